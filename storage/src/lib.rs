//! Tributary's disk: one database and one folder of content files per node.
//!
//! - [`Store`] is the contract; [`RocksStore`] keeps it on disk and [`MemoryStore`] in memory. One suite of tests runs
//!   over both.
//! - [`schema`] is everything that is stored: families, keys, values, versions.
//! - [`Snapshots`] are whole states in chunks that new nodes start from, and [`Staging`] is where such a node gathers them.
//! - [`BlobStore`] holds documents and models, each a file named by the hash of its bytes.
//!
//! What is promised: when [`Store::write`] returns, all it was given is on the disk, and a crash at any moment leaves
//! either all of it or nothing. What is read is checked; damage is an error that names the record, never a panic and
//! never a wrong value.

#![forbid(unsafe_code)]

mod blobs;
mod error;
mod folders;
mod memory;
mod rocks;
mod rows;
pub mod schema;
mod snapshots;
mod store;
mod witness;

pub use blobs::{BlobError, BlobStore, Incoming};
pub use error::StoreError;
pub use folders::create_folder;
pub use memory::MemoryStore;
pub use rocks::{Beginning, RocksStore};
pub use schema::Origin;
pub use snapshots::{SnapshotInfo, Snapshots, Staging};
pub use store::{Entry, Found, Loaded, Place, Snapshot, StateProof, Store};
