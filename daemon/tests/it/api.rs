//! The API of a real node: a network of one validator, in this process, on disk in a folder of its own.
//!
//! - every bad input is refused with its word, its status and a sentence, and counted;
//! - the whole path from a document to a payout holds, adds up, and can be proved offline;
//! - copies are told from what is new, and earn nothing;
//! - receipts by the array have a reply each;
//! - the commands say the same, to people and to programs;
//! - `docs/openapi.json` is what the node answers.

mod batch;
mod commands;
mod copies;
mod influence;
mod node;
mod path;
mod refusals;

/// `TRIBUTARY_REGENERATE_VECTORS=1` writes the file anew; then look at the difference before you commit it.
#[test]
fn the_description_in_docs_is_the_one_of_this_build() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let now = daemon::api::openapi_json().expect("it can be written as JSON");
    if std::env::var("TRIBUTARY_REGENERATE_VECTORS").is_ok_and(|value| value == "1") {
        std::fs::write(&file, &now).expect("docs can be written");
    }
    let then = std::fs::read_to_string(&file).expect("docs/openapi.json is there");
    assert!(then == now, "docs/openapi.json is of another build; TRIBUTARY_REGENERATE_VECTORS=1 writes it anew");
}
