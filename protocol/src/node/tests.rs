//! A node that must stop, and one that is behind.

use super::*;
use crate::block::{Body, CompactBlock, Header, Parts, VotePayload, VoteStep};
use crate::crypto::Purpose;
use crate::envelope::seal;
use crate::genesis::{GenesisValidator, Params, canonical};
use crate::ids::{DataNetId, ManifestId, ModelId, ReceiptId};
use crate::ledger::Changes;
use crate::objects::{Action, Object, Operation};
use crate::wire::{ConsensusMessage, SignedVote};

const NOW_MS: u64 = 1_000_000;

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

fn peer(number: u8) -> Peer {
    Peer(vec![number])
}

/// So many validators of equal power, of which one, and only one, acts here.
fn genesis(validators: u8) -> Genesis {
    let member = |number: u8| GenesisValidator {
        key: key(number).account(),
        payout: key(number).account(),
        power: 10,
        name: format!("validator {number}"),
    };
    let mut validators: Vec<GenesisValidator> = (1..=validators).map(member).collect();
    validators.sort_by_key(|validator| validator.key);
    let accounts = vec![(key(100).account(), Drops(1_000 * Drops::CREDIT.0))];
    Genesis { network: "node-test".into(), time_ms: 1_000, params: Params::devnet(), validators, accounts }
}

/// The node of the first validator, with a log for the first height.
fn node(validators: u8, wal: Vec<Vec<u8>>) -> Node {
    let genesis = genesis(validators);
    let pool = vec![transfer(&genesis, 0).into_envelope()];
    let restored = Restored { wal, pool, sign_record: Some(canonical(&SignRecord::default())), ..Restored::default() };
    Node::new(genesis, key(1), restored).unwrap()
}

fn transfer(genesis: &Genesis, nonce: u64) -> Verified {
    let action = Action::Transfer { to: key(1).account(), amount: Drops(1) };
    let fee = genesis.params.object_fee;
    let operation = Operation { account: key(100).account(), nonce, fee, action };
    let envelope = seal(&Object::Operation(operation), &[&key(100)], &genesis.hash()).unwrap();
    Verified::check(envelope, &genesis.hash()).unwrap()
}

fn prevote(genesis: &Genesis, by: u8, height: u64) -> SignedVote {
    let (step, round, block, validator) = (VoteStep::Prevote, 0, Some(BlockId([9; 32])), key(by).account());
    let validators = ValidatorSet::of_genesis(genesis).hash();
    let payload = VotePayload { step, height, round, block, validators, validator };
    let signature = key(by).sign(Purpose::Vote, &genesis.hash(), &canonical(&payload));
    SignedVote { step, height, round, block, validator, signature }
}

/// One of each kind of input.
fn inputs(genesis: &Genesis) -> Vec<Input> {
    let header = Header {
        height: 1,
        parent: BlockId::default(),
        time_ms: NOW_MS,
        proposer: key(2).account(),
        state_root: Hash32::default(),
        validators: Hash32::default(),
        next_validators: Hash32::default(),
        beacon: Hash32::default(),
        body: Body::default().hash(),
    };
    let block = Block { header, body: Body::default() };
    let message = ConsensusMessage::Vote(prevote(genesis, 2, 1));
    let (object, id) = (transfer(genesis, 1), block.id());
    let timers = [Timer::Epoch, Timer::Step(1), Timer::Sync, Timer::Reconcile, Timer::Listen];
    let mut inputs: Vec<Input> = timers.map(Input::Timer).into();
    inputs.extend([
        Input::Start,
        Input::Object(object.clone(), Source::Local(Token(1))),
        Input::Object(object.clone(), Source::Gossip(Token(2))),
        Input::Object(object, Source::Fetched),
        Input::Consensus { message, peer: peer(2), token: Token(3) },
        Input::Compact { block: Box::new(CompactBlock::of(&block)), peer: peer(2) },
        Input::Block(Box::new(block)),
        Input::Parts { id, parts: Box::new(Parts::default()) },
        Input::PeerStatus { peer: peer(2), height: 99, lowest: 1 },
        Input::Blocks { peer: peer(2), blocks: Vec::new() },
        Input::Asked { token: Token(4), question: PoolQuestion::Objects(Vec::new()) },
        Input::Answered { peer: peer(2), answer: None },
        Input::Attributed { epoch: 1, datanet: DataNetId([1; 32]), evidence: Vec::new() },
        Input::NotAttributed { epoch: 1, datanet: DataNetId([1; 32]) },
        Input::Indexed { manifest: ManifestId([1; 32]) },
        Input::BlockMissing(id),
        Input::RowsAudited { model: ModelId([1; 32]), root: Hash32::default(), wrong: None },
        Input::QueryAudited { receipt: ReceiptId([1; 32]), is_wrong: true },
    ]);
    inputs
}

/// A node that cannot go on says so, and nothing after that, to nobody.
fn stops(mut node: Node, because: &str) {
    let effects = node.handle(NOW_MS, Input::Start);
    let Some(Effect::Halt(reason)) = effects.last() else { panic!("{because}: it goes on with {effects:?}") };
    assert!(reason.contains(because), "{reason}");
    assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Halt(_))).count(), 1);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Persist(Write::Commit(_)))), "{effects:?}");
    for input in inputs(&node.genesis.clone()) {
        assert_eq!(node.handle(NOW_MS + 60_000, input.clone()), [], "{because}: after {input:?}");
    }
    assert_eq!((node.height(), node.pooled().0), (0, 1));
}

#[test]
fn a_node_with_a_damaged_log_stops() {
    stops(node(4, vec![vec![0xff]]), "damaged");
}

/// The log says that it prevoted a block, and then that it waited in vain for a proposal, after which it prevotes none.
#[test]
fn a_node_whose_log_contradicts_itself_stops() {
    let vote = canonical(&(0_u8, prevote(&genesis(4), 1, 1)));
    let timeout = canonical(&(4_u8, 0_u8, Some(0_u32)));
    stops(node(4, vec![vote, timeout]), "agreement stopped");
}

/// Alone in its network, it decides the first height as it starts.
#[test]
fn a_node_that_cannot_keep_what_was_decided_stops() {
    let mut node = node(1, Vec::new());
    node.tree.update(1, &Changes::from([(vec![1], Some(vec![1]))])).unwrap();
    stops(node, "Merkle");
}

/// Whom a node asks for which blocks: from which height on, and how many.
fn requests(effects: &[Effect]) -> Vec<(Peer, u64, u64)> {
    let request = |effect: &Effect| match effect {
        Effect::RequestBlocks { peer, from, count } => Some((peer.clone(), *from, u64::from(*count))),
        _ => None,
    };
    effects.iter().filter_map(request).collect()
}

/// A started node, and two peers of which it knows that they are no further.
fn behind() -> Node {
    let mut node = node(4, Vec::new());
    node.handle(NOW_MS, Input::Start);
    for number in [1, 2] {
        let effects = node.handle(NOW_MS, Input::PeerStatus { peer: peer(number), height: 0, lowest: 1 });
        assert_eq!(requests(&effects), []);
    }
    node
}

#[test]
fn whoever_brings_a_vote_from_far_ahead_is_asked_for_the_blocks_before_it() {
    let mut node = behind();
    let message = ConsensusMessage::Vote(prevote(&node.genesis, 2, 5));
    let effects = node.handle(NOW_MS, Input::Consensus { message, peer: peer(2), token: Token(1) });
    assert_eq!(effects.first(), Some(&Effect::Judge(Token(1), Verdict::Ignore("ahead"))));
    assert_eq!(requests(&effects), [(peer(2), 1, 4)]);
}

#[test]
fn different_peers_are_asked_for_different_blocks() {
    let mut node = behind();
    let mut meets = |number: u8, lowest: u64| {
        let effects = node.handle(NOW_MS, Input::PeerStatus { peer: peer(number), height: 10_000, lowest });
        requests(&effects)
    };
    assert_eq!(meets(3, 5_000), [], "it has not the first ones any more");
    let asked: Vec<(Peer, u64, u64)> = (4..10).flat_map(|number| meets(number, 1)).collect();
    let peers: BTreeSet<&Peer> = asked.iter().map(|(peer, ..)| peer).collect();
    assert_eq!((asked.len(), peers.len()), (4, 4), "four peers, each once: {asked:?}");
    let mut heights: Vec<u64> = asked.iter().flat_map(|(_, from, count)| *from..from + count).collect();
    heights.sort_unstable();
    assert_eq!(heights, (1..=4 * 64).collect::<Vec<u64>>(), "each height once");
    // What one of them does not deliver is asked of one who was not asked yet.
    let (failed, from, count) = asked[1].clone();
    let again = requests(&node.handle(NOW_MS + 1, Input::Blocks { peer: failed, blocks: Vec::new() }));
    let [(other, again_from, again_count)] = &again[..] else { panic!("{again:?}") };
    assert_eq!((*again_from, *again_count), (from, count));
    assert!(!peers.contains(other));
}
