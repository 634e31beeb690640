//! Reads the structure of a message without allocating: which fields, in which order, how many.
//!
//! prost allocates for each repeated element before anybody can count them, and two bytes on the wire may become two
//! hundred in memory; so bounds are held here, before it reads. As the table knows every field of the contract, the
//! commonest ways to spell a message differently are refused here too, by name.

use super::fields::Fault;
use crate::limits::{
    MAX_ASKED_OBJECTS, MAX_BLOCK_ENVELOPES, MAX_BLOCK_SETTLEMENTS, MAX_CHECKPOINT_FILES, MAX_DOCUMENTS,
    MAX_GOSSIP_ENVELOPES, MAX_LICENCES, MAX_LINEAGE, MAX_MANIFEST_CONTRIBUTIONS, MAX_SIGNATURES, MAX_SYNC_BLOCKS,
    MAX_VALIDATORS,
};
use crate::refusal::Refusal;
use crate::snapshot::MAX_OFFERS;

/// A message of the contract.
pub(super) struct Message {
    name: &'static str,
    /// Its fields by number, ascending.
    fields: &'static [Field],
}

/// A field of a message.
struct Field {
    number: u32,
    name: &'static str,
    repeated: bool,
    /// A string, bytes or a message; anything else is a varint.
    delimited: bool,
    /// The message that it holds.
    inside: Option<&'static Message>,
}

include!(concat!(env!("OUT_DIR"), "/schema.rs"));

/// How often a repeated field may occur, and what to call its elements. A field that is not listed may not occur.
fn most(message: &Message, field: &Field) -> (&'static str, u64) {
    let (what, limit) = match (message.name, field.name) {
        ("Envelope", "signatures") => ("signatures of the envelope", MAX_SIGNATURES),
        ("Envelopes", "envelopes") => ("envelopes of the message", MAX_GOSSIP_ENVELOPES),
        ("DataNet", "licences") => ("licences", MAX_LICENCES),
        ("Contribution", "documents") => ("documents of the contribution", MAX_DOCUMENTS),
        ("DatasetManifest", "added") => ("contributions of the manifest", MAX_MANIFEST_CONTRIBUTIONS),
        ("Checkpoint", "files") => ("files of the checkpoint", MAX_CHECKPOINT_FILES),
        ("ModelManifest", "lineage") => ("manifests of the lineage", MAX_LINEAGE),
        ("Certificate", "signatures") => ("signatures of the certificate", MAX_VALIDATORS),
        ("PolkaCertificate", "signatures") => ("signatures of the polka certificate", MAX_VALIDATORS),
        ("RoundCertificate", "signatures") => ("signatures of the round certificate", MAX_VALIDATORS),
        ("Body", "envelopes") => ("envelopes of the block", MAX_BLOCK_ENVELOPES),
        ("Body", "settlements") => ("settlements of the block", MAX_BLOCK_SETTLEMENTS),
        ("PartsResponse", "envelopes") => ("envelopes of the answer", MAX_BLOCK_ENVELOPES),
        ("PartsResponse", "settlements") => ("settlements of the answer", MAX_BLOCK_SETTLEMENTS),
        ("ObjectsResponse", "envelopes") => ("envelopes of the answer", MAX_ASKED_OBJECTS),
        ("DecidedResponse", "envelopes") => ("envelopes of the answer", MAX_ASKED_OBJECTS),
        ("SnapshotsResponse", "snapshots") => ("snapshots of the answer", MAX_OFFERS),
        ("BlocksResponse", "blocks") => return ("blocks of the answer", MAX_SYNC_BLOCKS),
        _ => (field.name, 0),
    };
    (what, limit as u64)
}

/// Refuses bytes that are not a `message` in the one order, or that hold more of anything than the limits allow.
pub(super) fn check(message: &Message, mut bytes: &[u8]) -> Result<(), Fault> {
    let mut last: Option<(&Field, u64)> = None;
    while !bytes.is_empty() {
        let tag = varint(message, &mut bytes)?;
        let (number, wire_type) = (tag >> 3, tag & 7);
        let Some(field) = message.fields.iter().find(|field| u64::from(field.number) == number) else {
            return Err(malformed(message, format!("field {number} is unknown")));
        };
        last = match last {
            Some((before, count)) if before.number == field.number && field.repeated => Some((field, count + 1)),
            Some((before, _)) if before.number == field.number => {
                return Err(malformed(message, format!("{} stands twice", field.name)));
            }
            Some((before, _)) if before.number > field.number => {
                return Err(malformed(message, format!("{} stands after {}", field.name, before.name)));
            }
            before => {
                check_count(message, before)?;
                Some((field, 1))
            }
        };
        if wire_type != if field.delimited { 2 } else { 0 } {
            return Err(malformed(message, format!("{} has wire type {wire_type}", field.name)));
        }
        let value = varint(message, &mut bytes)?;
        if field.delimited {
            let length = usize::try_from(value).unwrap_or(usize::MAX);
            let Some((inside, rest)) = bytes.split_at_checked(length) else {
                return Err(malformed(message, format!("{} ends beyond the bytes", field.name)));
            };
            bytes = rest;
            if let Some(schema) = field.inside {
                check(schema, inside)?;
            }
        }
    }
    check_count(message, last)
}

fn check_count(message: &Message, field: Option<(&Field, u64)>) -> Result<(), Fault> {
    let Some((field, got)) = field.filter(|(field, _)| field.repeated) else { return Ok(()) };
    let (what, limit) = most(message, field);
    if got > limit {
        return Err(Refusal::TooMany { what, got, limit }.into());
    }
    Ok(())
}

/// Takes one varint of at most 64 bits in its shortest form.
fn varint(message: &Message, bytes: &mut &[u8]) -> Result<u64, Fault> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if at == 9 && bits > 1 {
            break; // beyond 64 bits
        }
        value |= bits << (7 * at);
        if byte & 0x80 == 0 {
            if at > 0 && *byte == 0 {
                return Err(malformed(message, "a varint is longer than it need be".into()));
            }
            *bytes = &bytes[at + 1..];
            return Ok(value);
        }
    }
    Err(malformed(message, "a varint does not end".into()))
}

fn malformed(message: &Message, reason: String) -> Fault {
    Fault::Malformed(format!("in {}, {reason}", message.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every repeated field of the contract has a bound of its own.
    #[test]
    fn every_repeated_field_is_bounded() {
        let mut seen = 0;
        let mut open = vec![
            &DATA_NET,
            &CONTRIBUTION,
            &DATASET_MANIFEST,
            &MODEL_MANIFEST,
            &RECEIPT,
            &OPERATION,
            &ATTRIBUTION_COMMIT,
            &ATTRIBUTION_REVEAL,
            &ENVELOPE,
            &ENVELOPES,
            &CONSENSUS_MESSAGE,
            &REQUEST,
            &RESPONSE,
        ];
        while let Some(message) = open.pop() {
            assert!(message.fields.is_sorted_by_key(|field| field.number), "{}", message.name);
            for field in message.fields {
                open.extend(field.inside);
                if field.repeated {
                    assert!(most(message, field).1 > 0, "{}.{}", message.name, field.name);
                    seen += 1;
                }
            }
        }
        assert!(seen >= 12);
    }
}
