//! What this crate promises, tested from outside.

mod docs;
mod earlier;
mod index;
mod model;
mod model_files;
mod near;
mod passage;
mod segment;
mod span;
mod tracer;
