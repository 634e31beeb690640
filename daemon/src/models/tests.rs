use super::*;
use crate::api::types::{CheckpointShown, DocumentShown, EnvelopeJson, ObjectShown, RowsShown, SignatureJson};
use crate::fake_node;
use protocol::crypto::{checkpoint_digest, content_root};
use protocol::envelope::seal;
use protocol::ids::{DataNetId, to_hex};
use protocol::objects::{Drops, LineageEntry, Method};

const THEIRS: &[u8] = b"what the node would have written";

fn key() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn model(files: &[&str]) -> Object {
    let file =
        |title: &&str| Document { title: (*title).to_owned(), hash: document_hash(THEIRS), bytes: THEIRS.len() as u64 };
    let checkpoint =
        objects::Checkpoint { files: files.iter().map(file).collect(), window: DEFAULT_WINDOW, host: vec![1] };
    Object::ModelManifest(ModelManifest {
        builder: key().account(),
        name: "m".to_owned(),
        weights: checkpoint_digest(&checkpoint),
        base: None,
        reserve_bp: 0,
        lineage: vec![LineageEntry { manifest: ManifestId([1; 32]), weight: 1 }],
        method: Method::Influence,
        price_in: Drops(1),
        price_out: Drops(1),
        checkpoint: Some(checkpoint),
    })
}

fn manifest(version: u32, parent: Option<ManifestId>) -> Object {
    Object::DatasetManifest(DatasetManifest {
        owner: key().account(),
        datanet: DataNetId([1; 32]),
        version,
        parent,
        added: vec![ContributionId([1; 32])],
        content_root: content_root(&Hash32::default(), &[]),
        documents: 1,
        bytes: 1,
        host: vec![1],
    })
}

/// An object's id, and what an honest node answers when it is asked for it.
fn shown(object: &Object) -> (ObjectId, Vec<u8>) {
    let envelope = seal(object, &[&key()], &fake_node::genesis().hash()).unwrap();
    let signature = |(signer, signature): &(protocol::ids::Account, protocol::crypto::Signature)| SignatureJson {
        signer: signer.to_string(),
        signature: to_hex(&signature.0),
    };
    let shown = ObjectShown {
        id: envelope.id().to_string(),
        kind: None,
        state: "included".to_owned(),
        code: None,
        message: None,
        height: None,
        index: None,
        envelope: Some(EnvelopeJson {
            kind: envelope.kind.as_str().to_owned(),
            payload: to_hex(&envelope.payload),
            signatures: envelope.signatures.iter().map(signature).collect(),
        }),
    };
    (envelope.id(), serde_json::to_vec(&shown).unwrap())
}

/// What a node says of a model whose checkpoint has a file of this title.
fn model_shown(id: ModelId, title: &str) -> Vec<u8> {
    let file =
        DocumentShown { title: title.to_owned(), hash: document_hash(THEIRS).to_string(), bytes: THEIRS.len() as u64 };
    let rows = RowsShown {
        state: "active".to_owned(),
        since: None,
        seed: Some(Hash32([1; 32]).to_string()),
        bond: "0".to_owned(),
        offer: None,
        attested: Vec::new(),
        refuted: Vec::new(),
    };
    let shown = ModelShown {
        id: id.to_string(),
        builder: key().account().to_string(),
        name: "m".to_owned(),
        weights: Hash32([1; 32]).to_string(),
        base: None,
        depth: 0,
        reserve_bp: 0,
        lineage: Vec::new(),
        method: "influence".to_owned(),
        price_in: "1".to_owned(),
        price_out: "1".to_owned(),
        height: 1,
        checkpoint: Some(CheckpointShown { files: vec![file], window: DEFAULT_WINDOW }),
        rows: Some(rows),
    };
    serde_json::to_vec(&shown).unwrap()
}

/// Fetches a model from a node that shows it with a file of this title, and with an object of its own choice.
fn fetch_from(id: ModelId, title: &str, object: Vec<u8>) -> (tempfile::TempDir, String) {
    let told = model_shown(id, title);
    let remote = fake_node::start(move |request, _| match request {
        _ if request.starts_with("GET /v1/models/") => (200, told.clone()),
        _ if request.starts_with("GET /v1/objects/") => (200, object.clone()),
        _ if request.starts_with("GET /v1/blobs/") => (200, THEIRS.to_vec()),
        _ => (404, Vec::new()),
    });
    let user = tempfile::tempdir().unwrap();
    let refused = Lineage::fetch(&remote, &user.path().join("home"), id, None, &mut |_| ());
    let refused = refused.err().expect("it is refused").to_string();
    (user, refused)
}

#[test]
fn what_a_node_calls_a_file_never_leads_out_of_the_home() {
    let (id, honest) = shown(&model(&["base.gguf"]));
    let (user, refused) = fetch_from(id.into(), "../../../../stolen", honest);
    assert!(refused.contains("cannot be read"), "the file is no model: {refused}");
    assert!(!user.path().join("stolen").exists());
    assert!(user.path().join("home/models").join(id.to_string()).join("checkpoint/base.gguf").exists());
}

#[test]
fn a_checkpoint_has_no_files_of_other_names() {
    let (id, signed) = shown(&model(&["authorized_keys"]));
    let (user, refused) = fetch_from(id.into(), "authorized_keys", signed);
    assert!(refused.contains("no checkpoint has one of this name"), "{refused}");
    assert!(!user.path().join("home").exists());
}

#[test]
fn a_model_is_the_one_of_its_id() {
    let (_, another) = shown(&model(&["base.gguf"]));
    let (user, refused) = fetch_from(ModelId([7; 32]), "base.gguf", another);
    assert!(refused.contains("in the place of"), "{refused}");
    assert!(!user.path().join("home").exists());
}

#[test]
fn a_link_in_the_home_is_not_followed() {
    let remote = fake_node::start(|_, _| (200, THEIRS.to_vec()));
    let user = tempfile::tempdir().unwrap();
    let (link, target) = (user.path().join("link"), user.path().join("target"));
    std::fs::write(&target, "the user's").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let refused = fetch_file(&remote, "a file", document_hash(THEIRS), &link).unwrap_err();
    assert!(refused.to_string().contains("no regular file"), "{refused}");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "the user's");
}

#[test]
fn the_versions_of_a_manifest_count_down_to_the_first() {
    let (first, first_shown) = shown(&manifest(1, None));
    let (second, second_shown) = shown(&manifest(2, Some(first.into())));
    let (gap, gap_shown) = shown(&manifest(4, Some(second.into())));
    let remote = fake_node::start(move |request, _| {
        let is = |id: ObjectId| request.ends_with(&id.to_string());
        match request {
            _ if is(first) => (200, first_shown.clone()),
            _ if is(second) => (200, second_shown.clone()),
            _ if is(gap) => (200, gap_shown.clone()),
            // A manifest shown as its own parent.
            _ => (200, shown(&manifest(2, Some(ManifestId([7; 32])))).1),
        }
    });
    let found: Vec<u32> = versions(&remote, second.into()).unwrap().iter().map(|found| found.version).collect();
    assert_eq!(found, [1, 2]);
    let refused = versions(&remote, gap.into()).unwrap_err().to_string();
    assert!(refused.contains("count up by one"), "{refused}");
    assert!(versions(&remote, ManifestId([7; 32])).is_err());
}
