//! A proof file from anywhere never panics, and proves nothing but what it was made for.
//!
//! One sound proof is made here. As long as the validators do not help, nothing of it can be changed. With their help
//! (the state's tree, the header and its certificate made anew over what was changed) another claim may be proved, but
//! never the same one by other means, and what is proved adds up.

use super::world::{World, key, who};
use borsh::{BorshDeserialize, BorshSerialize};
use protocol::block::{Certificate, Header, ValidatorSet, VotePayload, VoteStep};
use protocol::crypto::{Kind, Purpose, document_hash};
use protocol::envelope::{Verified, seal};
use protocol::evidence::Evidence;
use protocol::fold::fold;
use protocol::genesis::{Genesis, canonical};
use protocol::ids::{Account, BlockId, Hash32, ReceiptId};
use protocol::ledger::records::{ReceiptRecord, ReceiptState, Role, Settlement};
use protocol::ledger::{Changes, keys, open_work};
use protocol::light::LightBlock;
use protocol::objects::{Admission, Drops, Object, Receipt};
use protocol::proof::{MAGIC, PassageSlice, PayoutProof, Proved, Trust, verify};
use protocol::slice::{Grain, Sliced};
use protocol::tree::Tree;
use protocol::wire::{decode_object, encode_object};
use std::sync::LazyLock;

const TEXTS: [&str; 2] = [
    "The spring in the eastern valley never froze before the winter of the great comet, says the old chronicle of the \
     ferrymen, and whoever drank of it in that year was never thirsty again.",
    "A ferryman carried seven sacks of barley across the swollen river at dawn, while nobody in the harbour town could \
     remember who had lit the lamp on the breakwater.",
];
const ANSWER: &str = "They say that the SPRING in the eastern valley never froze, and that somebody had lit the lamp on \
                      the breakwater at dawn.";

/// Bytes of the sound proof, at most.
pub(super) const MAX_BYTES: usize = 5_000;

struct Sound {
    genesis: Genesis,
    proof: PayoutProof,
    proved: Proved,
}

static SOUND: LazyLock<Sound> = LazyLock::new(sound);

/// The first byte chooses what is done with the others.
pub(super) fn run(bytes: &[u8]) {
    let Some((mode, rest)) = bytes.split_first() else { return };
    let (sound, mut rest) = (&*SOUND, Bytes(rest));
    let trust = Trust::of_genesis(&sound.genesis);
    match mode % 4 {
        0 => {
            assert!(verify(rest.0, &trust).is_err());
            assert!(verify(&[MAGIC.as_slice(), rest.0].concat(), &trust).is_err());
        }
        1 => {
            let mut file = sound.proof.to_bytes();
            let at = rest.below(file.len());
            let mask = rest.next();
            file[at] ^= mask;
            same_or_nothing(verify(&file, &trust).ok(), mask == 0);
        }
        2 => {
            let mut proof = sound.proof.clone();
            for _ in 0..=rest.below(3) {
                alter(&mut proof, &mut rest);
            }
            // The same light block twice is another way to the same header.
            let without_chain = |proof: &PayoutProof| PayoutProof { chain: Vec::new(), ..proof.clone() };
            let is_same_chain = proof.chain.iter().all(|light| *light == sound.proof.chain[0]);
            let is_same =
                is_same_chain && !proof.chain.is_empty() && without_chain(&proof) == without_chain(&sound.proof);
            let proved = verify(&proof.to_bytes(), &trust).ok();
            same_or_nothing(proved.map(|proved| Proved { light: sound.proved.light, ..proved }), is_same);
        }
        _ => {
            let proof = with_help(&mut rest);
            if let Ok(proved) = verify(&proof.to_bytes(), &trust) {
                adds_up(&proved);
                let is_same =
                    (&proved.receipt, &proved.settlement) == (&sound.proved.receipt, &sound.proved.settlement);
                let by_same =
                    (&proof.evidence, &proof.contributions) == (&sound.proof.evidence, &sound.proof.contributions);
                assert!(!is_same || by_same, "the same claim with another reason");
            }
        }
    }
}

fn same_or_nothing(proved: Option<Proved>, is_unchanged: bool) {
    let expected = is_unchanged.then_some(&SOUND.proved);
    assert_eq!(proved.as_ref(), expected, "a changed proof proves something");
}

/// The fee is divided to the last drop, each contributor is who signed, and each passage is that of the answer.
fn adds_up(proved: &Proved) {
    let lines = &proved.settlement.lines;
    assert_eq!(lines.iter().map(|line| line.amount.0).sum::<u128>(), proved.receipt.fee.0);
    for line in lines.iter().filter(|line| line.role == Role::Data) {
        let contribution = &proved.contributions[&line.contribution.expect("a data line names one")];
        assert_eq!(line.account, Some(contribution.contributor));
    }
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect()
    };
    for (passage, shown) in proved.settlement.spans.iter().zip(&proved.passages) {
        let quoted = &proved.receipt.output[passage.start as usize..passage.end as usize];
        if quoted.is_ascii() && shown.text.is_ascii() {
            assert_eq!(words(quoted), words(&shown.text));
        }
    }
}

/// The bytes that are left; zeros after their end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(u16::from_be_bytes([self.next(), self.next()])) % end.max(1)
    }
}

/// Changes, drops or adds a byte.
fn spoil(bytes: &mut Vec<u8>, by: &mut Bytes<'_>) {
    let (at, byte) = (by.below(bytes.len()), by.next());
    match by.next() % 4 {
        0 => bytes.insert(at, byte),
        1 if at < bytes.len() => drop(bytes.remove(at)),
        2 if at < bytes.len() => bytes[at] = byte,
        _ if at < bytes.len() => bytes[at] ^= byte,
        _ => bytes.push(byte),
    }
}

/// Changes a value into another one, if its bytes make one.
fn change<T: BorshSerialize + BorshDeserialize>(value: &mut T, by: &mut Bytes<'_>) {
    let mut bytes = canonical(value);
    spoil(&mut bytes, by);
    if let Ok(changed) = borsh::from_slice(&bytes) {
        *value = changed;
    }
}

fn change_receipt(receipt: &mut Receipt, by: &mut Bytes<'_>) {
    let mut bytes = encode_object(&Object::Receipt(receipt.clone()));
    spoil(&mut bytes, by);
    if let Ok(Object::Receipt(changed)) = decode_object(Kind::Receipt, &bytes) {
        *receipt = changed;
    }
}

/// Changes, drops, doubles or moves an element.
fn rearrange<T: Clone + BorshSerialize + BorshDeserialize>(list: &mut Vec<T>, by: &mut Bytes<'_>) {
    let (at, other) = (by.below(list.len()), by.below(list.len()));
    match by.next() % 8 {
        0 if at < list.len() => drop(list.remove(at)),
        1 if at < list.len() => list.insert(other, list[at].clone()),
        2 if at < list.len() => list.swap(at, other),
        _ => list.get_mut(at).into_iter().for_each(|element| change(element, by)),
    }
}

fn alter(proof: &mut PayoutProof, by: &mut Bytes<'_>) {
    match by.next() % 15 {
        0 => change(&mut proof.genesis, by),
        1 => rearrange(&mut proof.chain, by),
        2 => proof.chain.iter_mut().for_each(|light| change(&mut light.header, by)),
        3 => proof.chain.iter_mut().for_each(|light| change(&mut light.certificate, by)),
        4 => proof.chain.iter_mut().for_each(|light| rearrange(&mut light.certificate.signatures, by)),
        5 => proof.chain.iter_mut().for_each(|light| light.changed = Some(light.validators.clone())),
        6 => change(&mut proof.receipt, by),
        7 => spoil(&mut proof.record, by),
        8 => spoil(&mut proof.state_proof, by),
        9 => spoil(&mut proof.evidence, by),
        10 => rearrange(&mut proof.contributions, by),
        11 => rearrange(&mut proof.slices, by),
        // The same header once more, with another certificate.
        12 => {
            proof.chain.extend(proof.chain.last().cloned());
            proof.chain.last_mut().into_iter().for_each(|light| rearrange(&mut light.certificate.signatures, by));
        }
        13 => proof.slices.iter_mut().for_each(|place| spoil(&mut place.slice, by)),
        _ => change(proof, by),
    }
}

/// Receipt, evidence, settlement or slices are others, and the validators sign for a state that holds such a record.
fn with_help(by: &mut Bytes<'_>) -> PayoutProof {
    let sound = &*SOUND;
    let (mut proof, mut receipt) = (sound.proof.clone(), sound.proved.receipt.clone());
    let mut settlement = sound.proved.settlement.clone();
    for _ in 0..=by.below(3) {
        match by.next() % 6 {
            0 => change_receipt(&mut receipt, by),
            1 => spoil(&mut proof.evidence, by),
            2 => change(&mut settlement, by),
            3 => rearrange(&mut settlement.lines, by),
            4 => rearrange(&mut settlement.spans, by),
            _ => rearrange(&mut proof.slices, by),
        }
    }
    let object = Object::Receipt(receipt.clone());
    if let Ok(envelope) = seal(&object, &[&key(110), &key(111)], &sound.genesis.hash()) {
        proof.receipt = envelope;
    }
    settlement.evidence = document_hash(&proof.evidence);
    let record = ReceiptRecord {
        payer: receipt.payer,
        server: receipt.server,
        model: receipt.model,
        prompt: receipt.prompt,
        answer: document_hash(receipt.output.as_bytes()),
        tokens_in: receipt.tokens_in,
        tokens_out: receipt.tokens_out,
        fee: receipt.fee,
        epoch: 1,
        state: ReceiptState::Settled(settlement),
    };
    proof.record = canonical(&record);
    let id = keys::receipt(&ReceiptId::from(proof.receipt.id()));
    let entries = Changes::from([(id.clone(), Some(proof.record.clone())), (vec![0], Some(vec![0]))]);
    let mut tree = Tree::default();
    let update = tree.update(0, &entries).expect("a first version");
    proof.state_proof = tree.prove(&id).expect("an entry");
    proof.chain = vec![light_block(&sound.genesis, 9, update.root)];
    proof
}

/// A decided header with just enough signatures.
fn light_block(genesis: &Genesis, height: u64, state_root: Hash32) -> LightBlock {
    let set = ValidatorSet::of_genesis(genesis);
    let header = Header {
        height,
        parent: BlockId([1; 32]),
        time_ms: 1_000 * height,
        proposer: Account::default(),
        state_root,
        validators: set.hash(),
        next_validators: set.hash(),
        beacon: Hash32::default(),
        body: Hash32::default(),
    };
    let mut signatures: Vec<_> = (1..4)
        .map(|number| {
            let (step, block, validator) = (VoteStep::Precommit, Some(header.id()), who(number));
            let payload = VotePayload { step, height, round: 0, block, validators: set.hash(), validator };
            (validator, key(number).sign(Purpose::Vote, &genesis.hash(), &canonical(&payload)))
        })
        .collect();
    signatures.sort_by_key(|(validator, _)| *validator);
    let certificate = Certificate { height, round: 0, block: header.id(), signatures };
    LightBlock::new(header, certificate, set.clone(), set)
}

/// Two people's documents, an answer that quotes both, and the proof of who is paid for it.
fn sound() -> Sound {
    let mut world = World::new();
    let net = world.found(100, Admission::Open);
    let contributions: Vec<Verified> = (101..)
        .zip(TEXTS)
        .map(|(by, text)| {
            let object = world.contribution_object(by, net, &[text]);
            let signed = world.sign(&Object::Contribution(object), &[by]);
            world.block(std::slice::from_ref(&signed));
            signed
        })
        .collect();
    let added: Vec<_> = contributions.iter().map(|signed| signed.id().into()).collect();
    let manifest = world.publish(100, net, &added);
    let model = world.model_object(105, &[(manifest, 1)]);
    let model = world.register(model, 105);
    let receipt = world.receipt(110, 111, model, ANSWER);
    world.block(std::slice::from_ref(&receipt));
    let work = open_work(&world.state).remove(0);
    let evidence: Evidence = world.body(&work).receipts.remove(0).1;
    world.settle_all();

    let settlement: Settlement = world.settlement(&receipt);
    let place = |passage: &protocol::ledger::records::PaidPassage| {
        let text = TEXTS[added.iter().position(|id| *id == passage.contribution).expect("one of them")];
        let at = usize::try_from(passage.offset).expect("a short text");
        let range = fold(text).original(at..at + passage.length as usize).expect("whole letters");
        let (start, end) = (range.start as u64, range.end as u64);
        let slice = Sliced::new(text.as_bytes(), Grain::Proof).cut(start..end).expect("a part of it");
        PassageSlice { start, end, slice }
    };
    let mut envelopes: Vec<_> = contributions.iter().map(|signed| signed.envelope().clone()).collect();
    envelopes.sort_by_key(|envelope| envelope.id());
    let id = keys::receipt(&receipt.id().into());
    let proof = PayoutProof {
        genesis: world.genesis.hash(),
        chain: vec![light_block(
            &world.genesis,
            world.height() + 1,
            world.tree.root(world.height()).expect("the latest"),
        )],
        receipt: receipt.envelope().clone(),
        record: canonical(&world.record(&receipt)),
        state_proof: world.tree.prove(&id).expect("an entry"),
        evidence: evidence.to_bytes(),
        contributions: envelopes,
        slices: settlement.spans.iter().map(place).collect(),
    };
    let proved = verify(&proof.to_bytes(), &Trust::of_genesis(&world.genesis)).expect("a sound proof");
    assert!(settlement.spans.len() > 1 && proved.receipt.fee > Drops::ZERO);
    assert!(proof.to_bytes().len() <= MAX_BYTES, "{} bytes", proof.to_bytes().len());
    Sound { genesis: world.genesis, proof, proved }
}
