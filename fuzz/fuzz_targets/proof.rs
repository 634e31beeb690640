#![no_main]

#[path = "../targets/proof.rs"]
mod target;
#[path = "../../protocol/tests/it/ledger/world.rs"]
#[expect(dead_code, reason = "the ledger's tests use all of it")]
mod world;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target::run(bytes));
