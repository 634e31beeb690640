//! The fuzz targets of `fuzz/targets` on random bytes and on falsified frozen vectors, as a part of every test run: they
//! keep compiling, and what a short hunt would find is found. `make fuzz` hunts for longer, guided by coverage.

#[path = "../../../fuzz/targets/evidence.rs"]
mod evidence;
#[path = "../../../fuzz/targets/genesis.rs"]
mod genesis;
#[path = "../../../fuzz/targets/light.rs"]
mod light;
#[path = "../../../fuzz/targets/node.rs"]
mod node;
#[path = "../../../fuzz/targets/passage.rs"]
mod passage;
#[path = "../../../fuzz/targets/proof.rs"]
mod proof;
#[path = "../../../fuzz/targets/slice.rs"]
mod slice;
#[path = "../../../fuzz/targets/snapshot.rs"]
mod snapshot;
#[path = "../../../fuzz/targets/wire.rs"]
mod wire;

use crate::ledger::world;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Inputs of each target; of `node`, whose inputs are whole networks at work, a tenth.
const INPUTS: u64 = 2_000;

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % (end.max(1) as u64)).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.roll().to_be_bytes()[0]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.byte()).collect()
    }
}

/// What the frozen vectors hold: their bytes, as seeds.
fn seeds() -> Vec<Vec<u8>> {
    let unhex = |text: &str| -> Option<Vec<u8>> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect()
    };
    let lines = include_str!("../vectors/v1.txt").lines();
    lines.filter_map(|line| unhex(line.split_once(" = ")?.1)).filter(|bytes| !bytes.is_empty()).collect()
}

/// Runs a target on random bytes, and on seeds behind a random first byte with a few bytes changed.
fn smoke(target: fn(&[u8]), inputs: u64, most: usize) {
    let seeds = seeds();
    assert!(seeds.len() > 30, "the vectors are read");
    for seed in 0..inputs {
        let mut dice = Dice(seed);
        let bytes = if dice.byte().is_multiple_of(2) {
            dice.bytes(most)
        } else {
            let mut bytes = vec![dice.byte()];
            bytes.extend_from_slice(&seeds[dice.below(seeds.len())]);
            for _ in 0..dice.below(4) {
                let at = dice.below(bytes.len());
                bytes[at] = dice.byte();
            }
            bytes
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&bytes))) {
            eprintln!("seed {seed}, bytes {}", protocol::ids::to_hex(&bytes));
            resume_unwind(panic);
        }
    }
}

#[test]
fn wire_messages() {
    smoke(wire::run, INPUTS, 400);
}

#[test]
fn proofs() {
    smoke(proof::run, INPUTS, 60);
}

#[test]
fn no_byte_of_a_proof_can_be_another() {
    for at in 0..u16::try_from(proof::MAX_BYTES).unwrap() {
        let [high, low] = at.to_be_bytes();
        proof::run(&[1, high, low, 1 << (at % 8)]);
    }
}

#[test]
fn evidence_of_words() {
    smoke(evidence::run, INPUTS, 400);
}

#[test]
fn passages_of_segments() {
    smoke(passage::run, INPUTS, 1_500);
}

#[test]
fn slices() {
    smoke(slice::run, INPUTS, 3_000);
}

#[test]
fn geneses() {
    smoke(genesis::run, INPUTS, 400);
}

#[test]
fn light_blocks() {
    smoke(light::run, INPUTS, 200);
}

#[test]
fn snapshots() {
    smoke(snapshot::run, INPUTS, 400);
}

#[test]
fn nodes() {
    smoke(node::run, INPUTS / 10, 1_000);
}

/// Found by fuzzing: whatever a peer says of heights, a node neither stops nor asks for much.
#[test]
fn a_message_of_the_last_height_is_ignored() {
    use protocol::crypto::{SecretKey, Signature};
    use protocol::genesis::{Genesis, GenesisValidator, Params};
    use protocol::node::{Effect, Input, Node, Peer, Restored, Token, Verdict};
    use protocol::wire::{ConsensusMessage, SignedVote, decode_consensus, encode_consensus};

    let key = SecretKey::from_seed([1; 32]);
    let member = GenesisValidator { key: key.account(), payout: key.account(), power: 1, name: "one".into() };
    let genesis = Genesis {
        network: "fuzz".into(),
        time_ms: 1_000,
        params: Params::devnet(),
        validators: vec![member],
        accounts: Vec::new(),
    };
    for height in [u64::MAX, u64::MAX - 1, 1 << 63, 0] {
        let mut node = Node::new(genesis.clone(), key.clone(), Restored::default()).unwrap();
        let vote = ConsensusMessage::Vote(SignedVote {
            step: protocol::block::VoteStep::Prevote,
            height,
            round: u32::MAX,
            block: None,
            validator: key.account(),
            signature: Signature([0; 64]),
        });
        let message = decode_consensus(&encode_consensus(&vote)).unwrap();
        let effects = node.handle(2_000, Input::Consensus { message, peer: Peer(vec![1]), token: Token(7) });
        let judged = effects.iter().any(|effect| matches!(effect, Effect::Judge(Token(7), Verdict::Ignore(_))));
        assert!(judged && effects.len() < 8, "height {height}: {effects:?}");
    }
}
