//! Each way to spell a thing differently, to leave something out or to pass a bound, and the word it is refused with.

use super::examples;
use protocol::block::{MissingParts, VoteStep};
use protocol::crypto::{Kind, Signature};
use protocol::genesis::canonical;
use protocol::ids::{Account, BlockId, ContributionId, Hash32, ObjectId};
use protocol::limits::{
    MAX_AMOUNT, MAX_ANSWER_BYTES, MAX_ASKED_OBJECTS, MAX_BLOB_BYTES, MAX_BLOCK_BYTES, MAX_BLOCK_ENVELOPES,
    MAX_BLOCK_SETTLEMENTS, MAX_BLOCK_WIRE_BYTES, MAX_CONSENSUS_BYTES, MAX_DOCUMENT_BYTES, MAX_DOCUMENTS,
    MAX_ENVELOPE_BYTES, MAX_GOSSIP_BATCH_BYTES, MAX_GOSSIP_BYTES, MAX_GOSSIP_ENVELOPES, MAX_LICENCES, MAX_LINEAGE,
    MAX_MANIFEST_CONTRIBUTIONS, MAX_NAME_BYTES, MAX_PAYLOAD_BYTES, MAX_PEER_ID_BYTES, MAX_PRICE, MAX_RECONCILE_BYTES,
    MAX_REQUEST_BYTES, MAX_SMALL_OBJECT_BYTES, MAX_SYNC_BLOCKS, MAX_SYNC_BYTES, MAX_TEXT_BYTES, MAX_TOKENS,
    MAX_VALIDATORS,
};
use protocol::node::PoolQuestion;
use protocol::objects::{
    Action, Contribution, DataNet, DatasetManifest, Document, Drops, Envelope, LineageEntry, ModelManifest, Object,
    Operation, Receipt,
};
use protocol::refusal::Refusal;
use protocol::wire::{self, ConsensusMessage, Request, Response, RoundCert, RoundCertKind, RoundSignature};

/// A varint of the wire.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        bytes.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return bytes;
        }
    }
}

/// A number's field.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field of bytes, text or a message.
fn delimited(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// The word and the sentence of a refusal.
fn refused<T: std::fmt::Debug>(what: &str, result: Result<T, Refusal>) -> (&'static str, String) {
    let refusal = result.expect_err(what);
    assert!(refusal.is_senders_fault(), "{what}: {refusal}");
    (refusal.as_str(), refusal.to_string())
}

/// The fields of an operation in order: account, nonce, fee, transfer, attest.
fn fields() -> [Vec<u8>; 5] {
    let transfer = [delimited(1, &[2; 32]), delimited(2, &[1, 0])].concat();
    [
        delimited(1, &[1; 32]),
        number(2, 300),
        delimited(3, &[9]),
        delimited(4, &transfer),
        delimited(5, &delimited(1, &[3; 32])),
    ]
}

#[test]
fn a_second_spelling_is_malformed() {
    let [account, nonce, fee, transfer, attest] = fields();
    let good = [&account[..], &nonce, &fee, &transfer].concat();
    let object = wire::decode_object(Kind::Operation, &good).expect("this is how it is spelled");
    assert_eq!(wire::encode_object(&object), good);

    let zero_nonce = number(2, 0);
    let long_nonce = [varint(2 << 3), vec![0xac, 0x82, 0x00]].concat();
    let endless = [varint(2 << 3), vec![0xff; 10]].concat();
    let over_64_bits = [varint(2 << 3), vec![0xff; 9], vec![2]].concat();
    let fixed_nonce = [varint(2 << 3 | 1), vec![44, 1, 0, 0, 0, 0, 0, 0]].concat();
    let nonce_as_bytes = delimited(2, &[1]);
    let long_tag = [vec![0x8a, 0x00, 32], vec![1; 32]].concat();
    let key = |length: usize| delimited(1, &vec![1; length]);
    let transfer_of = |inner: &[Vec<u8>]| delimited(4, &inner.concat());
    let (to, amount) = (delimited(1, &[2; 32]), delimited(2, &[1, 0]));
    let unknown = [number(25, 1), delimited(24, b""), number(1 << 29, 1), number(0, 1)];
    let attest_unknown = delimited(5, &[delimited(1, &[3; 32]), number(2, 1)].concat());
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("unknown number", [&good[..], &unknown[0]].concat(), "in Operation, field 25 is unknown"),
        ("unknown bytes", [&good[..], &unknown[1]].concat(), "field 24 is unknown"),
        ("field number too large", [&good[..], &unknown[2]].concat(), "is unknown"),
        ("field number zero", [&good[..], &unknown[3]].concat(), "field 0 is unknown"),
        ("unknown inside", [&account[..], &fee, &attest_unknown].concat(), "in Attest, field 2 is unknown"),
        ("other order", [&account[..], &fee, &nonce, &transfer].concat(), "nonce stands after fee"),
        ("other order inside", [&account[..], &transfer_of(&[amount.clone(), to.clone()])].concat(), "to stands after"),
        ("field twice", [&account[..], &nonce, &nonce, &fee, &transfer].concat(), "nonce stands twice"),
        ("message twice", [&good[..], &transfer].concat(), "transfer stands twice"),
        ("two choices", [&good[..], &attest].concat(), "not the canonical encoding"),
        ("long varint", [&account[..], &long_nonce, &fee, &transfer].concat(), "longer than it need be"),
        ("long tag", [&long_tag[..], &nonce, &fee, &transfer].concat(), "longer than it need be"),
        ("endless varint", [&account[..], &endless].concat(), "does not end"),
        ("varint beyond 64 bits", [&account[..], &over_64_bits].concat(), "does not end"),
        ("other wire type", [&account[..], &fixed_nonce, &fee, &transfer].concat(), "nonce has wire type 1"),
        ("bytes for a number", [&account[..], &nonce_as_bytes, &transfer].concat(), "nonce has wire type 2"),
        ("spelled-out zero", [&account[..], &zero_nonce, &fee, &transfer].concat(), "not the canonical encoding"),
        ("spelled-out empty", [&account[..], &delimited(3, b""), &transfer].concat(), "not the canonical encoding"),
        ("leading zero", [&account[..], &delimited(3, &[0, 9]), &transfer].concat(), "fee begins with a zero byte"),
        ("long amount", [&account[..], &delimited(3, &[9; 17]), &transfer].concat(), "fee has 17 bytes"),
        ("short key", [&key(31)[..], &transfer].concat(), "account has 31 bytes instead of 32"),
        ("long key", [&key(33)[..], &transfer].concat(), "account has 33 bytes instead of 32"),
        ("no key", transfer.clone(), "account is missing"),
        ("no key inside", [&account[..], &transfer_of(&[amount])].concat(), "to is missing"),
        ("no action", [&account[..], &nonce, &fee].concat(), "action is missing"),
        ("nothing", Vec::new(), "account is missing"),
        ("cut off", good[..good.len() - 1].to_vec(), "ends beyond the bytes"),
        ("cut in a tag", [&good[..], &[0x80][..]].concat(), "does not end"),
        ("only a tag", [&good[..], &[0x3a][..]].concat(), "does not end"),
        ("absurd length", [varint(1 << 3 | 2), varint(u64::MAX)].concat(), "account ends beyond the bytes"),
    ];
    for (what, bytes, reason) in cases {
        let (word, sentence) = refused(what, wire::decode_object(Kind::Operation, &bytes));
        assert_eq!(word, "malformed", "{what}: {sentence}");
        assert!(sentence.contains(reason), "{what}: {sentence}");
    }
}

#[test]
fn texts_and_enumerations_are_checked() {
    let start = delimited(1, &[1; 32]);
    let datanet = |name: &[u8], admission: u64| {
        [start.clone(), delimited(2, name), number(4, admission), delimited(5, b"MIT"), number(6, 1), number(7, 1)]
            .concat()
    };
    wire::decode_object(Kind::DataNet, &datanet(b"tales", 2)).expect("this is how it is spelled");
    let unset = [start.clone(), delimited(2, b"tales"), delimited(5, b"MIT"), number(6, 1), number(7, 1)].concat();
    for (what, bytes, reason) in [
        ("not UTF-8", datanet(&[0xc3, 0x28], 2), "UTF-8"),
        ("unknown admission", datanet(b"tales", 3), "admission is 3, which has no meaning"),
        ("negative admission", datanet(b"tales", u64::MAX), "admission is -1"),
        ("admission beyond 32 bits", datanet(b"tales", (1 << 32) + 2), "not the canonical encoding"),
        ("no admission", unset, "admission is missing"),
    ] {
        let (word, sentence) = refused(what, wire::decode_object(Kind::DataNet, &bytes));
        assert_eq!(word, "malformed", "{what}: {sentence}");
        assert!(sentence.contains(reason), "{what}: {sentence}");
    }
    let envelope = [number(1, 10), delimited(2, b"x")].concat();
    assert_eq!(refused("unknown kind", wire::decode_envelope(&envelope)).0, "malformed");
    let no_kind = delimited(2, b"x");
    assert_eq!(refused("no kind", wire::decode_envelope(&no_kind)).0, "malformed");
}

/// Alters a good object and expects to see it refused with `word`, or read if there is none.
fn check(word: &str, object: Object) {
    let result = wire::decode_object(object.kind(), &wire::encode_object(&object));
    match result {
        Ok(read) => assert!(word == "ok" && read == object, "{object:?} should be refused: {word}"),
        Err(refusal) => {
            assert_eq!(refusal.as_str(), word, "{refusal}");
            assert!(refusal.is_senders_fault(), "{refusal}");
        }
    }
}

#[test]
fn a_datanet_keeps_its_rules() {
    let with = |word: &str, alter: &dyn Fn(&mut DataNet)| {
        let mut datanet = examples::datanet();
        alter(&mut datanet);
        check(word, Object::DataNet(datanet));
    };
    with("ok", &|_| {});
    with("field", &|it| it.name.clear());
    for control in ["a\0", "a\nb", "\t", "\u{7f}", "a\u{85}"] {
        with("field", &|it| it.name = control.into());
    }
    with("ok", &|it| it.name = "n".repeat(MAX_NAME_BYTES));
    with("oversize", &|it| it.name = "n".repeat(MAX_NAME_BYTES + 1));
    with("ok", &|it| it.description = "d".repeat(MAX_TEXT_BYTES));
    with("oversize", &|it| it.description = "d".repeat(MAX_TEXT_BYTES + 1));
    with("field", &|it| it.licences.clear());
    with("field", &|it| it.licences.push(String::new()));
    with("ok", &|it| it.licences = vec!["MIT".into(); MAX_LICENCES]);
    with("toomany", &|it| it.licences = vec!["MIT".into(); MAX_LICENCES + 1]);
    with("field", &|it| it.max_contribution_bytes = 0);
    with("ok", &|it| it.max_known_basis_points = 10_000);
    with("field", &|it| it.max_known_basis_points = 0);
    with("field", &|it| it.max_known_basis_points = 10_001);
    with("oversize", &|it| it.licences = vec!["l".repeat(MAX_NAME_BYTES); MAX_LICENCES]); // 16 KiB in all
}

#[test]
fn a_contribution_keeps_its_rules() {
    let with = |word: &str, alter: &dyn Fn(&mut Contribution)| {
        let mut contribution = examples::contribution();
        alter(&mut contribution);
        check(word, Object::Contribution(contribution));
    };
    let documents = |count: usize| {
        let document = |at: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&(at as u64).to_le_bytes());
            Document { title: String::new(), hash: Hash32(hash), bytes: 1 }
        };
        (0..count).map(document).collect::<Vec<_>>()
    };
    with("ok", &|_| {});
    with("field", &|it| it.credit.clear());
    with("field", &|it| it.title.clear());
    with("field", &|it| it.licence.clear());
    with("field", &|it| it.title = "two\nlines".into());
    with("field", &|it| it.language = "de\0".into());
    with("oversize", &|it| it.credit = "c".repeat(MAX_NAME_BYTES + 1));
    with("oversize", &|it| it.source = "s".repeat(MAX_TEXT_BYTES + 1));
    with("field", &|it| it.documents.clear());
    with("field", &|it| it.documents[1].bytes = 0);
    with("ok", &|it| it.documents[1].bytes = MAX_DOCUMENT_BYTES);
    with("oversize", &|it| it.documents[1].bytes = MAX_DOCUMENT_BYTES + 1);
    with("oversize", &|it| it.documents[1].title = "t".repeat(MAX_NAME_BYTES + 1));
    with("field", &|it| it.documents[1].hash = it.documents[0].hash);
    with("ok", &|it| it.documents = documents(MAX_DOCUMENTS));
    with("toomany", &|it| it.documents = documents(MAX_DOCUMENTS + 1));
}

#[test]
fn a_manifest_keeps_its_rules() {
    let with = |word: &str, alter: &dyn Fn(&mut DatasetManifest)| {
        let mut manifest = examples::manifest();
        alter(&mut manifest);
        check(word, Object::DatasetManifest(manifest));
    };
    let added = |count: usize| {
        let id = |at: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(at as u64).to_le_bytes());
            ContributionId(id)
        };
        (0..count).map(id).collect::<Vec<_>>()
    };
    with("ok", &|_| {});
    with("field", &|it| it.version = 0);
    with("field", &|it| it.version = 1);
    with("field", &|it| it.parent = None);
    with("ok", &|it| (it.version, it.parent) = (1, None));
    with("field", &|it| (it.version, it.parent) = (0, None));
    with("field", &|it| it.added.clear());
    with("field", &|it| it.added.push(it.added[0]));
    with("field", &|it| it.host.clear());
    with("ok", &|it| it.host = vec![1; MAX_PEER_ID_BYTES]);
    with("oversize", &|it| it.host = vec![1; MAX_PEER_ID_BYTES + 1]);
    with("ok", &|it| it.added = added(MAX_MANIFEST_CONTRIBUTIONS));
    with("toomany", &|it| it.added = added(MAX_MANIFEST_CONTRIBUTIONS + 1));
}

#[test]
fn a_model_keeps_its_rules() {
    let with = |word: &str, alter: &dyn Fn(&mut ModelManifest)| {
        let mut model = examples::model();
        alter(&mut model);
        check(word, Object::ModelManifest(model));
    };
    let lineage = |count: u8| {
        let entry = |at| LineageEntry { manifest: protocol::ids::ManifestId([at; 32]), weight: 1 };
        (0..count).map(entry).collect::<Vec<_>>()
    };
    let most = u8::try_from(MAX_LINEAGE).expect("a small bound");
    with("ok", &|_| {});
    with("field", &|it| it.name.clear());
    with("ok", &|it| it.reserve_bp = 10_000);
    with("field", &|it| it.reserve_bp = 10_001);
    with("field", &|it| it.lineage.clear());
    with("field", &|it| it.lineage[1].weight = 0);
    with("field", &|it| it.lineage[1].manifest = it.lineage[0].manifest);
    with("ok", &|it| it.lineage = lineage(most));
    with("toomany", &|it| it.lineage = lineage(most + 1));
    with("ok", &|it| it.price_in = MAX_PRICE);
    with("field", &|it| it.price_in = Drops(MAX_PRICE.0 + 1));
    with("field", &|it| it.price_out = Drops(u128::MAX));
}

#[test]
fn a_receipt_keeps_its_rules() {
    let with = |word: &str, alter: &dyn Fn(&mut Receipt)| {
        let mut receipt = examples::receipt();
        alter(&mut receipt);
        check(word, Object::Receipt(receipt));
    };
    with("ok", &|_| {});
    with("field", &|it| it.output.clear());
    with("field", &|it| it.output = "once\0upon".into());
    with("ok", &|it| it.output = "\n\t\u{1}".into());
    with("ok", &|it| it.output = "o".repeat(MAX_ANSWER_BYTES));
    with("oversize", &|it| it.output = "o".repeat(MAX_ANSWER_BYTES + 1));
    with("field", &|it| it.tokens_out = 0);
    with("ok", &|it| (it.tokens_in, it.tokens_out) = (MAX_TOKENS, MAX_TOKENS));
    with("toomany", &|it| it.tokens_in = MAX_TOKENS + 1);
    with("toomany", &|it| it.tokens_out = u64::MAX);
    with("ok", &|it| it.fee = MAX_AMOUNT);
    with("field", &|it| it.fee = Drops(MAX_AMOUNT.0 + 1));
}

#[test]
fn an_operation_keeps_its_rules() {
    let with = |word: &str, alter: &dyn Fn(&mut Operation)| {
        let action = Action::Transfer { to: examples::account(2), amount: MAX_AMOUNT };
        let mut operation = examples::operation(action);
        alter(&mut operation);
        check(word, Object::Operation(operation));
    };
    let contribution = ContributionId([1; 32]);
    let reject = |reason: String| Action::Reject { contribution, reason };
    with("ok", &|_| {});
    with("ok", &|it| it.fee = MAX_AMOUNT);
    with("field", &|it| it.fee = Drops(MAX_AMOUNT.0 + 1));
    with("field", &|it| {
        it.action = Action::Transfer { to: examples::account(2), amount: Drops(MAX_AMOUNT.0 + 1) };
    });
    with("ok", &|it| it.action = reject("Because.\nIndeed.".into()));
    with("field", &|it| it.action = reject(String::new()));
    with("oversize", &|it| it.action = reject("r".repeat(MAX_TEXT_BYTES + 1)));
}

/// Sizes are judged before contents: what is refused here is not even an encoding.
#[test]
fn sizes_come_first() {
    for kind in Kind::ALL {
        let limit = match kind {
            Kind::Contribution | Kind::DatasetManifest | Kind::Receipt => MAX_PAYLOAD_BYTES,
            _ => MAX_SMALL_OBJECT_BYTES,
        };
        let refusal = wire::decode_object(kind, &vec![0xff; limit + 1]).expect_err("too long");
        let expected = Refusal::Oversize { what: "the payload", got: limit as u64 + 1, limit: limit as u64 };
        assert_eq!(refusal, expected);
        assert_eq!(refused("no encoding", wire::decode_object(kind, &vec![0xff; limit])).0, "malformed");

        let mut envelope = Envelope { kind, payload: vec![1; limit], signatures: Vec::new() };
        wire::decode_envelope(&wire::encode_envelope(&envelope)).expect("as long as may be");
        envelope.payload.push(1);
        assert_eq!(refused("envelope", wire::decode_envelope(&wire::encode_envelope(&envelope))).0, "oversize");
        let mut block = examples::block();
        block.body.envelopes.push(envelope);
        assert_eq!(refused("block", wire::decode_block(&wire::encode_block(&block))).0, "oversize");
    }
    let bytes = vec![0xff; MAX_SYNC_BYTES + 1];
    let oversize = |what: &str, refusal: Option<Refusal>, limit: usize| match refusal {
        Some(Refusal::Oversize { got, limit: named, .. }) => {
            assert_eq!((got, named), (limit as u64 + 1, limit as u64), "{what}");
        }
        other => panic!("{what}: {other:?}"),
    };
    oversize("envelope", wire::decode_envelope(&bytes[..=MAX_ENVELOPE_BYTES]).err(), MAX_ENVELOPE_BYTES);
    oversize("block", wire::decode_block(&bytes[..=MAX_BLOCK_WIRE_BYTES]).err(), MAX_BLOCK_WIRE_BYTES);
    oversize("certificate", wire::decode_certificate(&bytes[..=MAX_CONSENSUS_BYTES]).err(), MAX_CONSENSUS_BYTES);
    oversize("consensus", wire::decode_consensus(&bytes[..=MAX_CONSENSUS_BYTES]).err(), MAX_CONSENSUS_BYTES);
    oversize("answer", wire::decode_response(&bytes).err(), MAX_SYNC_BYTES);
    assert_eq!(refused("request", wire::decode_request(&bytes[..=MAX_REQUEST_BYTES])).0, "oversize");
}

/// Two bytes on the wire can be an element of hundreds in memory: counts are judged before anything is allocated.
#[test]
fn counts_come_before_contents() {
    let header = delimited(1, b"");
    let envelopes = |count: usize| delimited(2, &[0x12, 0].repeat(count));
    let settlements = |count: usize| delimited(2, &[0x1a, 0].repeat(count));
    let word = |body: Vec<u8>| refused("a block", wire::decode_block(&[header.clone(), body].concat())).0;
    assert_eq!(word(envelopes(MAX_BLOCK_ENVELOPES)), "malformed"); // empty envelopes, but not too many
    assert_eq!(word(envelopes(MAX_BLOCK_ENVELOPES + 1)), "toomany");
    assert_eq!(word(envelopes((MAX_BLOCK_BYTES - 64) / 2)), "toomany");
    assert_eq!(word(settlements(MAX_BLOCK_SETTLEMENTS)), "malformed");
    assert_eq!(word(settlements(MAX_BLOCK_SETTLEMENTS + 1)), "toomany");

    let blocks = delimited(1, &[0x0a, 0].repeat((MAX_SYNC_BYTES - 64) / 2));
    let refusal = wire::decode_response(&blocks).expect_err("two million empty blocks");
    let got = (MAX_SYNC_BYTES as u64 - 64) / 2;
    assert_eq!(refusal, Refusal::TooMany { what: "blocks of the answer", got, limit: MAX_SYNC_BLOCKS });

    let signed = (Account([1; 32]), Signature([2; 64]));
    let three = Envelope { kind: Kind::Receipt, payload: vec![1], signatures: vec![signed; 3] };
    assert_eq!(refused("three signatures", wire::decode_envelope(&wire::encode_envelope(&three))).0, "toomany");

    let mut certificate = examples::certificate();
    certificate.signatures = vec![signed; MAX_VALIDATORS];
    assert_eq!(wire::decode_certificate(&wire::encode_certificate(&certificate)), Ok(certificate.clone()));
    certificate.signatures.push(signed);
    assert_eq!(refused("257", wire::decode_certificate(&wire::encode_certificate(&certificate))).0, "toomany");

    let vote = RoundSignature {
        step: VoteStep::Precommit,
        block: Some(BlockId([3; 32])),
        validator: signed.0,
        signature: signed.1,
    };
    let mut round = RoundCert {
        height: u64::MAX,
        round: u32::MAX,
        kind: RoundCertKind::Precommit,
        signatures: vec![vote.clone(); MAX_VALIDATORS],
    };
    let message = ConsensusMessage::Round(round.clone());
    assert_eq!(wire::decode_consensus(&wire::encode_consensus(&message)), Ok(message));
    round.signatures.push(vote);
    let message = ConsensusMessage::Round(round);
    assert_eq!(refused("257", wire::decode_consensus(&wire::encode_consensus(&message))).0, "toomany");
}

#[test]
fn requests_and_answers_keep_their_bounds() {
    let most = u32::try_from(MAX_SYNC_BLOCKS).expect("a small bound");
    let hash = Hash32([1; 32]);
    let blob = |offset, len, size| Request::Blob { hash, offset, len, size };
    let slice = MAX_BLOB_BYTES as u64;
    let parts = |objects| {
        let missing = MissingParts { objects, settlements: Vec::new() };
        Request::Parts { id: BlockId([1; 32]), missing }
    };
    let objects = |count| Request::Pool(PoolQuestion::Objects(vec![ObjectId([1; 32]); count]));
    for (word, request) in [
        ("ok", Request::Blocks { from: 0, count: most }),
        ("toomany", Request::Blocks { from: 0, count: most + 1 }),
        ("field", Request::Blocks { from: 1, count: 0 }),
        ("ok", blob(0, slice, slice)),
        ("oversize", blob(0, slice + 1, slice + 1)),
        ("field", blob(1, slice, slice)),
        ("field", blob(u64::MAX, 1, u64::MAX)),
        ("ok", blob(u64::MAX - 1, 1, u64::MAX)),
        ("ok", parts(vec![0, 5, 4_095])),
        ("oversize", parts(vec![u32::try_from(MAX_BLOCK_ENVELOPES).expect("a small bound") + 7])),
        ("ok", objects(MAX_ASKED_OBJECTS)),
        ("oversize", objects(MAX_ASKED_OBJECTS + 1)),
        ("field", objects(0)),
        ("ok", Request::Pool(PoolQuestion::Reconcile(vec![1; MAX_RECONCILE_BYTES]))),
        ("oversize", Request::Pool(PoolQuestion::Reconcile(vec![1; MAX_RECONCILE_BYTES + 1]))),
    ] {
        let result = wire::decode_request(&wire::encode_request(&request));
        match result {
            Ok(read) => assert!(word == "ok" && read == request, "{request:?}"),
            Err(refusal) => assert_eq!(refusal.as_str(), word, "{request:?}: {refusal}"),
        }
    }
    let mut slice = vec![7; MAX_BLOB_BYTES];
    wire::decode_response(&wire::encode_response(&Response::Blob(Some(slice.clone())))).expect("as long as may be");
    slice.push(7);
    assert_eq!(
        refused("a slice", wire::decode_response(&wire::encode_response(&Response::Blob(Some(slice))))).0,
        "oversize"
    );
}

/// Every block within the canonical bound travels, however much of it is framing, and with the largest certificate.
/// A message of many objects is bounded in number and bytes, one of a single object only as the object is.
#[test]
fn gossip_keeps_its_bounds() {
    let envelope = |bytes: usize, signatures: usize| Envelope {
        kind: Kind::Receipt,
        payload: vec![7; bytes],
        signatures: vec![(Account([1; 32]), Signature([2; 64])); signatures],
    };
    let read = |envelopes: Vec<Envelope>| wire::decode_envelopes(&wire::encode_envelopes(envelopes));
    assert!(read(vec![envelope(MAX_PAYLOAD_BYTES, 2)]).is_ok(), "the largest envelope travels alone");
    assert!(read(vec![envelope(1, 0); MAX_GOSSIP_ENVELOPES]).is_ok());
    assert_eq!(refused("none", read(Vec::new())).0, "malformed");
    assert_eq!(refused("too many", read(vec![envelope(1, 0); MAX_GOSSIP_ENVELOPES + 1])).0, "toomany");
    let half = MAX_GOSSIP_BATCH_BYTES / 2;
    assert!(read(vec![envelope(half - 64, 0); 2]).is_ok());
    assert_eq!(refused("together too large", read(vec![envelope(half, 0); 2])).0, "oversize");
    assert_eq!(refused("too large", read(vec![envelope(MAX_GOSSIP_BYTES, 0)])).0, "oversize");
    // Two bytes on the wire are counted before they become many in memory.
    let crowd = delimited(1, &[]).repeat(MAX_GOSSIP_BATCH_BYTES);
    assert_eq!(refused("a crowd", wire::decode_envelopes(&crowd)).0, "toomany");
}

#[test]
fn the_largest_block_travels() {
    let signed = (Account([1; 32]), Signature([2; 64]));
    let mut certificate = examples::certificate();
    (certificate.height, certificate.round) = (u64::MAX, u32::MAX);
    certificate.signatures = vec![signed; MAX_VALIDATORS];
    let mut block = examples::block();
    (block.header.height, block.header.time_ms) = (u64::MAX, u64::MAX);
    block.body.last_commit = Some(certificate.clone());
    let envelope = |length| Envelope { kind: Kind::Receipt, payload: vec![3; length], signatures: vec![signed; 2] };
    block.body.envelopes = vec![envelope(200); MAX_BLOCK_ENVELOPES - 1];
    block.body.settlements = vec![vec![4; 200]; MAX_BLOCK_SETTLEMENTS];
    let missing = MAX_BLOCK_BYTES - canonical(&block).len() - canonical(&envelope(0)).len();
    block.body.envelopes.push(envelope(missing));
    assert_eq!(canonical(&block).len(), MAX_BLOCK_BYTES);
    let bytes = wire::encode_block(&block);
    assert!(bytes.len() > MAX_BLOCK_BYTES, "framing makes the difference here");
    assert_eq!(wire::decode_block(&bytes), Ok(block.clone()));
    let answer = Response::Blocks(vec![(block, certificate)]);
    assert_eq!(wire::decode_response(&wire::encode_response(&answer)), Ok(answer));
}

/// A block inside an answer is under the same bound as one that travels alone.
#[test]
fn a_block_in_an_answer_is_bounded() {
    let mut block = examples::block();
    block.body.settlements = vec![vec![5; MAX_BLOCK_WIRE_BYTES - 10_000]];
    let missing = MAX_BLOCK_WIRE_BYTES - wire::encode_block(&block).len();
    block.body.settlements[0].extend(vec![5; missing]);
    let answer = Response::Block(Some(block.clone()));
    assert_eq!(wire::decode_response(&wire::encode_response(&answer)), Ok(answer));
    block.body.settlements[0].push(5);
    let answer = Response::Block(Some(block));
    assert_eq!(refused("a block", wire::decode_response(&wire::encode_response(&answer))).0, "oversize");
}
