//! Tests of what the rest of the crate does not see: the arithmetic in doubles, and the readers'
//! inner forms. What is public is tested in `attribution/tests/it`.

mod gguf;
mod numeric;
