//! Tributary's disk: one database and one folder of content files per node.
//!
//! - [`Store`] is the contract; [`RocksStore`] keeps it on disk and [`MemoryStore`] in memory. One suite of tests runs
//!   over both.
//! - [`schema`] is everything that is stored: families, keys, values, versions.
//! - [`BlobStore`] holds documents and models, each a file named by the hash of its bytes.
//!
//! What is promised: when [`Store::write`] returns, all it was given is on the disk, and a crash at any moment leaves
//! either all of it or nothing. What is read is checked; damage is an error that names the record, never a panic and
//! never a wrong value.

mod blobs;
mod error;
mod memory;
mod rocks;
mod rows;
pub mod schema;
mod store;

pub use blobs::{BlobError, BlobStore, Incoming};
pub use error::StoreError;
pub use memory::MemoryStore;
pub use rocks::RocksStore;
pub use schema::Origin;
pub use store::{Entry, Found, Loaded, Place, Snapshot, StateProof, Store};
