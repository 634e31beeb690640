//! What an object must keep to whatever the ledger holds. Encoding and counts have been checked before.
//!
//! - A name is one line: at most [`MAX_NAME_BYTES`] without control characters. A text may have several lines: at most
//!   [`MAX_TEXT_BYTES`].
//! - Amounts are bounded so that no sum or product of the ledger can come near the end of 128 bits.

use super::within;
use crate::crypto::{checkpoint_digest, prompt_commitment};
use crate::genesis::WHOLE_BP;
use crate::limits::{
    EXAMPLE_BYTES, MAX_AMOUNT, MAX_ANSWER_BYTES, MAX_ARTIFACT_BYTES, MAX_CHECKPOINT_BYTES, MAX_DOCUMENT_BYTES,
    MAX_NAME_BYTES, MAX_PEER_ID_BYTES, MAX_PRICE, MAX_PROMPT_BYTES, MAX_TEXT_BYTES, MAX_TOKENS, MAX_TRACE_DIMENSION,
};
use crate::objects::{
    Action, Checkpoint, Contribution, DataNet, DatasetManifest, Drops, Evidence, Method, ModelManifest, Object,
    Operation, Receipt, Trace,
};
use crate::refusal::Refusal;
use std::collections::BTreeSet;

pub(super) fn check(object: &Object) -> Result<(), Refusal> {
    match object {
        Object::DataNet(object) => datanet(object),
        Object::Contribution(object) => contribution(object),
        Object::DatasetManifest(object) => manifest(object),
        Object::ModelManifest(object) => model(object),
        Object::Receipt(object) => receipt(object),
        Object::Operation(object) => operation(object),
        Object::AttributionCommit(_) | Object::AttributionReveal(_) => Ok(()),
        Object::Evidence(object) => evidence(object),
    }
}

fn datanet(datanet: &DataNet) -> Result<(), Refusal> {
    name("name", &datanet.name)?;
    within("description", datanet.description.len(), MAX_TEXT_BYTES)?;
    must(!datanet.licences.is_empty(), "licences", || "a DataNet accepts at least one licence".into())?;
    for licence in &datanet.licences {
        name("licences", licence)?;
    }
    must(datanet.max_contribution_bytes >= 1, "max_contribution_bytes", || "at least 1 byte must fit".into())?;
    let share = 1..=WHOLE_BP;
    must(share.contains(&datanet.max_known_basis_points), "max_known_basis_points", || {
        format!("a share is {} to {} basis points", share.start(), share.end())
    })
}

fn contribution(contribution: &Contribution) -> Result<(), Refusal> {
    name("credit", &contribution.credit)?;
    name("title", &contribution.title)?;
    name("licence", &contribution.licence)?;
    line("language", &contribution.language)?;
    within("source", contribution.source.len(), MAX_TEXT_BYTES)?;
    must(!contribution.documents.is_empty(), "documents", || "a contribution has at least one document".into())?;
    let mut hashes = BTreeSet::new();
    for document in &contribution.documents {
        line("title of a document", &document.title)?;
        must(document.bytes >= 1, "documents", || format!("document {} is empty", document.hash))?;
        if document.bytes > MAX_DOCUMENT_BYTES {
            return Err(Refusal::Oversize { what: "a document", got: document.bytes, limit: MAX_DOCUMENT_BYTES });
        }
        must(hashes.insert(document.hash), "documents", || format!("document {} is listed twice", document.hash))?;
    }
    Ok(())
}

fn manifest(manifest: &DatasetManifest) -> Result<(), Refusal> {
    must(manifest.version >= 1, "version", || "the first version is 1".into())?;
    must((manifest.version > 1) == manifest.parent.is_some(), "parent", || {
        "version 1 has no parent, and every later version has one".into()
    })?;
    must(!manifest.added.is_empty(), "added", || "a version adds at least one contribution".into())?;
    let mut ids = BTreeSet::new();
    for id in &manifest.added {
        must(ids.insert(id), "added", || format!("contribution {id} is listed twice"))?;
    }
    host(&manifest.host)
}

fn model(model: &ModelManifest) -> Result<(), Refusal> {
    name("name", &model.name)?;
    must(model.reserve_bp <= WHOLE_BP, "reserve_bp", || {
        format!("{} basis points are more than the whole {WHOLE_BP}", model.reserve_bp)
    })?;
    must(!model.lineage.is_empty(), "lineage", || "a model names at least one manifest".into())?;
    let mut ids = BTreeSet::new();
    for entry in &model.lineage {
        must(entry.weight >= 1, "lineage", || format!("manifest {} has no weight; at least 1", entry.manifest))?;
        must(ids.insert(entry.manifest), "lineage", || format!("manifest {} is listed twice", entry.manifest))?;
    }
    match (model.method, &model.checkpoint) {
        (Method::Influence, Some(found)) => {
            checkpoint(found)?;
            let digest = checkpoint_digest(found);
            must(model.weights == digest, "weights", || format!("the checkpoint's digest is {digest}"))?;
        }
        (Method::Spans, None) => {}
        _ => return Err(field("checkpoint", "models by influence have one, and no others")),
    }
    amount("price_in", model.price_in, MAX_PRICE)?;
    amount("price_out", model.price_out, MAX_PRICE)
}

fn checkpoint(checkpoint: &Checkpoint) -> Result<(), Refusal> {
    must(!checkpoint.files.is_empty(), "files", || "a checkpoint has at least one file".into())?;
    must(checkpoint.files.is_sorted_by(|left, right| left.title < right.title), "files", || {
        "the names of a checkpoint's files ascend, and no two are the same".into()
    })?;
    let mut bytes = 0_u64;
    for file in &checkpoint.files {
        file_name(&file.title)?;
        must(file.bytes >= 1, "files", || format!("file {} is empty", file.title))?;
        bytes = bytes.saturating_add(file.bytes);
    }
    if bytes > MAX_CHECKPOINT_BYTES {
        let what = "the files of the checkpoint together";
        return Err(Refusal::Oversize { what, got: bytes, limit: MAX_CHECKPOINT_BYTES });
    }
    must(EXAMPLE_BYTES.contains(&checkpoint.window), "window", || {
        format!("an example is at most {} to {} bytes of text", EXAMPLE_BYTES.start(), EXAMPLE_BYTES.end())
    })?;
    host(&checkpoint.host)
}

/// A name that stays within its folder on every system.
fn file_name(name: &str) -> Result<(), Refusal> {
    within("name of a file", name.len(), MAX_NAME_BYTES)?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain);
    must(name.split('/').all(is_part), "files", || {
        "a file's name is made of letters, digits, \".\", \"_\" and \"-\", its parts of a \"/\" between, none with a dot first"
            .into()
    })
}

fn host(host: &[u8]) -> Result<(), Refusal> {
    must(!host.is_empty(), "host", || "some node must serve the content".into())?;
    within("host", host.len(), MAX_PEER_ID_BYTES)
}

fn receipt(receipt: &Receipt) -> Result<(), Refusal> {
    within("output", receipt.output.len(), MAX_ANSWER_BYTES)?;
    must(!receipt.output.is_empty(), "output", || "an answer is not empty".into())?;
    if let Some(at) = receipt.output.bytes().position(|byte| byte == 0) {
        return Err(Refusal::Field { field: "output", reason: format!("byte {at} is NUL") });
    }
    must(receipt.tokens_out >= 1, "tokens_out", || "an answer has at least one token".into())?;
    for (what, got) in [("tokens_in", receipt.tokens_in), ("tokens_out", receipt.tokens_out)] {
        if got > MAX_TOKENS {
            return Err(Refusal::TooMany { what, got, limit: MAX_TOKENS });
        }
    }
    if let Some(found) = &receipt.trace {
        trace(found)?;
        must(prompt_commitment(&found.salt, &found.prompt) == receipt.prompt, "trace", || {
            "its prompt and salt are not what the receipt commits to".into()
        })?;
    }
    amount("fee", receipt.fee, MAX_AMOUNT)
}

fn trace(trace: &Trace) -> Result<(), Refusal> {
    within("prompt", trace.prompt.len(), MAX_PROMPT_BYTES)?;
    let (query, solution) = (trace.query.codes.len(), trace.solution.codes.len());
    if query > MAX_TRACE_DIMENSION {
        return Err(Refusal::TooMany {
            what: "codes of the query",
            got: query as u64,
            limit: MAX_TRACE_DIMENSION as u64,
        });
    }
    must(query == solution, "solution", || format!("it has {solution} codes, and the query {query}"))
}

fn operation(operation: &Operation) -> Result<(), Refusal> {
    amount("fee", operation.fee, MAX_AMOUNT)?;
    match &operation.action {
        Action::Transfer { amount: drops, .. } => amount("amount", *drops, MAX_AMOUNT),
        Action::Reject { reason, .. } => {
            within("reason", reason.len(), MAX_TEXT_BYTES)?;
            must(!reason.is_empty(), "reason", || "whoever is turned down is told why".into())
        }
        Action::Bond { amount: drops, name: text, .. } => {
            name("name", text)?;
            amount("amount", *drops, MAX_AMOUNT)
        }
        Action::Unbond { amount: drops } => {
            must(*drops > Drops::ZERO, "amount", || "nothing is withdrawn".into())?;
            amount("amount", *drops, MAX_AMOUNT)
        }
        Action::OfferRows { bytes, host: peer, .. } => {
            if *bytes > MAX_ARTIFACT_BYTES {
                return Err(Refusal::Oversize { what: "the artifact", got: *bytes, limit: MAX_ARTIFACT_BYTES });
            }
            host(peer)
        }
        Action::Deposit { amount: drops } | Action::Withdraw { amount: drops } => {
            must(*drops > Drops::ZERO, "amount", || "nothing is moved".into())?;
            amount("amount", *drops, MAX_AMOUNT)
        }
        Action::Attest { .. }
        | Action::Approve { .. }
        | Action::Unjail
        | Action::AttestRows { .. }
        | Action::RefuteRows { .. }
        | Action::RefuteQuery { .. } => Ok(()),
    }
}

fn evidence(evidence: &Evidence) -> Result<(), Refusal> {
    must(evidence.offence.height >= 1, "height", || "the first height is 1".into())?;
    must(evidence.offence.is_ordered(), "signed", || {
        "the two messages do not exclude each other, or do not stand in ascending order".into()
    })
}

fn field(field: &'static str, reason: &str) -> Refusal {
    Refusal::Field { field, reason: reason.into() }
}

fn must(holds: bool, field: &'static str, reason: impl FnOnce() -> String) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::Field { field, reason: reason() }) }
}

fn name(field: &'static str, text: &str) -> Result<(), Refusal> {
    must(!text.is_empty(), field, || "it is empty".into())?;
    line(field, text)
}

fn line(field: &'static str, text: &str) -> Result<(), Refusal> {
    within(field, text.len(), MAX_NAME_BYTES)?;
    match text.char_indices().find(|(_, letter)| letter.is_control()) {
        Some((at, letter)) => {
            let reason = format!("there is a control character, U+{:04X}, at byte {at}", u32::from(letter));
            Err(Refusal::Field { field, reason })
        }
        None => Ok(()),
    }
}

fn amount(field: &'static str, got: Drops, limit: Drops) -> Result<(), Refusal> {
    must(got <= limit, field, || format!("{got} drops are more than the limit of {limit}"))
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn a_files_name_stays_in_its_folder() {
        for name in ["base.gguf", "adapter/adapter_model.safetensors", "a/b/c-d_e.1"] {
            assert_eq!(file_name(name), Ok(()), "{name}");
        }
        for name in ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", ".hidden", "a\\b", "C:x", "a b", "ä", "a\0"] {
            assert!(file_name(name).is_err(), "{name:?}");
        }
    }
}
