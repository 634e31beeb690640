//! Light blocks of whoever makes them: one validator of four never leads a client anywhere; and where more of them sign,
//! what a bisection takes is a chain that a new client takes too.

use protocol::block::{Certificate, Header, Validator, ValidatorSet, VotePayload, VoteStep};
use protocol::crypto::{Purpose, SecretKey};
use protocol::genesis::{Genesis, GenesisValidator, Params, canonical};
use protocol::ids::{Account, BlockId, Hash32};
use protocol::light::{Bisection, LightBlock, LightClient, Step, Window};
use std::sync::LazyLock;

const TIME_MS: u64 = 1_000_000;
/// Light blocks of one input: enough for a way with many turns.
const MAX_SHOWN: usize = 48;

/// The first byte: may all keys sign, or the last alone? Then six bytes for each light block.
pub(super) fn run(bytes: &[u8]) {
    let Some((mode, rest)) = bytes.split_first() else { return };
    if let Ok(block) = borsh::from_slice::<LightBlock>(rest) {
        let _ = LightClient::from_genesis(&genesis()).verify(window(), &block);
        let id = block.header.id();
        let _ = LightClient::from_checkpoint(&genesis().hash(), block.header.height, id, &block);
    }
    let may_sign = if mode % 4 == 0 { 0b1000 } else { 0b1111 };
    let mut bisection = match Bisection::new(LightClient::from_genesis(&genesis()), u64::from(*mode)) {
        Ok(bisection) => bisection,
        Err(_) => return,
    };
    let mut client = LightClient::from_genesis(&genesis());
    for recipe in rest.chunks_exact(6).take(MAX_SHOWN) {
        let need = match bisection.step() {
            Step::Need(height) => height,
            Step::Done => break,
        };
        let asked = light_block(recipe, need, bisection.client(), may_sign);
        let before = bisection.client().trusted().height;
        let _ = bisection.give(window(), asked);
        assert!(bisection.client().trusted().height >= before, "trust never goes back");
        let told = light_block(recipe, u64::from(recipe[0]), &client, may_sign);
        let before = client.trusted().clone();
        if client.verify(window(), &told).is_err() {
            assert_eq!(*client.trusted(), before, "a refusal changes nothing");
        }
        if may_sign == 0b1000 {
            assert_eq!((client.trusted().height, bisection.client().trusted().height), (0, 0));
        }
    }
    let (reached, trail) = bisection.finish();
    let mut again = LightClient::from_genesis(&genesis());
    assert_eq!(again.verify_chain(window(), &trail), Ok(()));
    assert_eq!(again, reached);
}

fn window() -> Window {
    Window { now_ms: TIME_MS + 10_000_000, period_ms: Window::FOREVER }
}

/// The keys of all that sign, made once: making one costs as much as a signature.
fn key(number: u8) -> &'static SecretKey {
    static KEYS: LazyLock<Vec<SecretKey>> =
        LazyLock::new(|| (1..=4).map(|number| SecretKey::from_seed([number; 32])).collect());
    &KEYS[usize::from(number % 4)]
}

fn genesis() -> Genesis {
    let member = |number| GenesisValidator {
        key: key(number).account(),
        payout: Account::default(),
        power: 10,
        name: format!("member-{number}"),
    };
    let mut validators: Vec<GenesisValidator> = (0..4).map(member).collect();
    validators.sort_by_key(|validator| validator.key);
    Genesis { network: "fuzz".to_owned(), time_ms: TIME_MS, params: Params::devnet(), validators, accounts: Vec::new() }
}

/// The set with the members whose bits are set, at least one.
fn set(bits: u8) -> ValidatorSet {
    let bits = if bits & 0b1111 == 0 { 0b1111 } else { bits };
    let member = |number| Validator { key: key(number).account(), payout: Account::default(), power: 10 };
    ValidatorSet::new((0..4).filter(|number| bits & (1 << number) != 0).map(member).collect())
}

/// What is shown for a height: sets, signers and faults as the recipe says.
fn light_block(recipe: &[u8], height: u64, client: &LightClient, may_sign: u8) -> LightBlock {
    let (own, next, signs, fault) = (recipe[1], recipe[2], recipe[3] & may_sign, recipe[4]);
    let trusted = client.trusted();
    let validators = if own & 0x80 == 0 { trusted.next_validators.clone() } else { set(own) };
    let next_validators = if next & 0x80 == 0 { validators.clone() } else { set(next) };
    let header = Header {
        height: if fault == 1 { height ^ u64::from(recipe[5]) } else { height },
        parent: if fault == 2 { BlockId([recipe[5]; 32]) } else { trusted.block },
        time_ms: if fault == 3 { u64::from(recipe[5]) << 56 } else { TIME_MS + height * 1_000 },
        proposer: Account::default(),
        state_root: Hash32([recipe[5]; 32]),
        validators: validators.hash(),
        next_validators: next_validators.hash(),
        beacon: Hash32::default(),
        body: Hash32::default(),
    };
    let mut signatures: Vec<_> = (0..4)
        .filter(|number| signs & (1 << number) != 0)
        .map(|number| {
            let payload = VotePayload {
                step: if fault == 4 { VoteStep::Prevote } else { VoteStep::Precommit },
                height: header.height,
                round: 0,
                block: Some(header.id()),
                validators: header.validators,
                validator: key(number).account(),
            };
            let signature = key(number).sign(Purpose::Vote, &genesis().hash(), &canonical(&payload));
            (key(number).account(), signature)
        })
        .collect();
    signatures.sort_by_key(|(account, _)| *account);
    if fault == 5 {
        // One signature shown as another's, and twice.
        signatures.extend(signatures.last().map(|(_, signature)| (key(0).account(), *signature)));
    }
    let certificate = Certificate { height: header.height, round: 0, block: header.id(), signatures };
    LightBlock::new(header, certificate, validators, next_validators)
}
