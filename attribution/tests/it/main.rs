//! What this crate promises, tested from outside.

mod docs;
mod earlier;
mod index;
mod near;
mod passage;
mod segment;
mod span;
