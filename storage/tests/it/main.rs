//! The disk's promises, tested from outside.

mod bench;
mod blobs;
mod contract;
mod damage;
mod files;
mod kill;
mod model;
mod prune;
mod snapshots;
mod witness;
