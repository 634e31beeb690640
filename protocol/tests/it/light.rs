//! A light client against a network whose validators change, and against who signs what he should not.

use protocol::block::*;
use protocol::crypto::{Purpose, SecretKey};
use protocol::genesis::{Genesis, GenesisValidator, Params, canonical};
use protocol::ids::{Account, BlockId, Hash32};
use protocol::light::*;
use protocol::objects::Drops;

const DAY_MS: u64 = 86_400_000;

fn key(number: u16) -> SecretKey {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    SecretKey::from_seed(seed)
}

/// The place of a height in a list that begins with height 1.
fn at(height: u64) -> usize {
    usize::try_from(height).unwrap() - 1
}

fn set_of(members: impl IntoIterator<Item = (u16, u64)>) -> ValidatorSet {
    let member = |(number, power)| Validator { key: key(number).account(), payout: Account::default(), power };
    let mut members: Vec<Validator> = members.into_iter().map(member).collect();
    members.sort_by_key(|member| member.key);
    borsh::from_slice(&canonical(&members)).unwrap()
}

/// A chain of headers whose validators, by number, are chosen by the test.
struct Chain {
    genesis: Genesis,
    numbers: Vec<Vec<u16>>,
    blocks: Vec<LightBlock>,
}

impl Chain {
    /// `sets[h]` decides height h + 1, all with power 10; there is one set more than there are blocks.
    fn new(numbers: Vec<Vec<u16>>) -> Self {
        let mut validators: Vec<GenesisValidator> = numbers[0]
            .iter()
            .map(|number| GenesisValidator {
                key: key(*number).account(),
                payout: Account::default(),
                power: 10,
                name: format!("validator-{number}"),
            })
            .collect();
        validators.sort_by_key(|validator| validator.key);
        let genesis = Genesis {
            network: "light-test".into(),
            time_ms: 1_000_000,
            params: Params::devnet(),
            validators,
            accounts: vec![(Account([1; 32]), Drops(1))],
        };
        let mut chain = Self { genesis, numbers, blocks: Vec::new() };
        for height in 1..chain.numbers.len() {
            let block = chain.make(height as u64, 0, |_| true);
            chain.blocks.push(block);
        }
        chain
    }

    fn set(&self, height: u64) -> ValidatorSet {
        set_of(self.numbers[at(height)].iter().map(|number| (*number, 10)))
    }

    fn header(&self, height: u64, salt: u8) -> Header {
        Header {
            height,
            parent: self.blocks.get(at(height).wrapping_sub(1)).map(|block| block.header.id()).unwrap_or_default(),
            time_ms: self.genesis.time_ms + height * 1000,
            proposer: Account::default(),
            state_root: Hash32([salt; 32]),
            validators: self.set(height).hash(),
            next_validators: self.set(height + 1).hash(),
            beacon: Hash32::default(),
            body: Hash32::default(),
        }
    }

    /// A block of this height, signed by those of its validators that `signs` picks.
    fn make(&self, height: u64, salt: u8, signs: impl Fn(u16) -> bool) -> LightBlock {
        let header = self.header(height, salt);
        let signers: Vec<u16> = self.numbers[at(height)].iter().copied().filter(|number| signs(*number)).collect();
        let certificate = self.certify(&header, &signers);
        LightBlock::new(header, certificate, self.set(height), self.set(height + 1))
    }

    fn certify(&self, header: &Header, signers: &[u16]) -> Certificate {
        let genesis = self.genesis.hash();
        let mut signatures: Vec<_> = signers
            .iter()
            .map(|number| {
                let secret = key(*number);
                let payload = VotePayload {
                    step: VoteStep::Precommit,
                    height: header.height,
                    round: 0,
                    block: Some(header.id()),
                    validators: header.validators,
                    validator: secret.account(),
                };
                (secret.account(), secret.sign(Purpose::Vote, &genesis, &canonical(&payload)))
            })
            .collect();
        signatures.sort_by_key(|(account, _)| *account);
        Certificate { height: header.height, round: 0, block: header.id(), signatures }
    }

    fn block(&self, height: u64) -> &LightBlock {
        &self.blocks[at(height)]
    }

    fn client(&self) -> LightClient {
        LightClient::from_genesis(&self.genesis)
    }

    fn window(&self) -> Window {
        Window { now_ms: self.genesis.time_ms + self.blocks.len() as u64 * 1000 + 500, period_ms: DAY_MS }
    }

    fn bisect(&self, target: u64) -> Vec<u64> {
        let mut bisection = Bisection::new(self.client(), target).unwrap();
        let mut shown = 0;
        while let Step::Need(height) = bisection.step() {
            shown += 1;
            bisection.give(self.window(), self.block(height).clone()).unwrap();
        }
        println!("height {target}: {shown} shown, {} taken", bisection.clone().finish().1.len());
        let (client, trail) = bisection.finish();
        assert_eq!(client.trusted().block, self.block(target).header.id());
        let mut again = self.client();
        again.verify_chain(self.window(), &trail).unwrap();
        assert_eq!(again, client);
        trail.iter().map(|block| block.header.height).collect()
    }
}

/// Four of a hundred numbers, one replaced every `every` heights.
fn rotating(heights: u16, every: u16) -> Chain {
    Chain::new((0..=heights).map(|height| (height / every..height / every + 4).collect()).collect())
}

#[test]
fn a_set_that_never_changes_is_skipped_in_one_step() {
    let chain = rotating(50, 1000);
    assert_eq!(chain.bisect(50), [50]);
    assert_eq!(chain.bisect(1), [1]);
}

#[test]
fn a_set_that_is_replaced_over_time_is_followed_in_a_few_steps() {
    let chain = rotating(64, 8);
    let trail = chain.bisect(64);
    assert!(trail.len() <= 8, "{trail:?}");
    // Wherever it leads, each step keeps more than a third of the set before, or is the next height.
    for target in 1..=64 {
        assert_eq!(chain.bisect(target).last(), Some(&target));
    }
}

#[test]
fn a_set_that_is_replaced_at_once_is_followed_through_the_header_that_names_the_next() {
    let all_new = |height: u16| if height < 7 { vec![1, 2, 3, 4] } else { vec![11, 12, 13, 14] };
    let chain = Chain::new((0..=20).map(all_new).collect());
    let trail = chain.bisect(20);
    assert!(trail.contains(&7), "height 7 alone vouches for those who follow: {trail:?}");
    let refused = chain.client().verify(chain.window(), chain.block(20));
    assert_eq!(refused, Err(LightError::Trust { height: 20, signed: 0, total: 40 }));
}

/// By its own arithmetic: which overlap of power is trusted, over all overlaps of two sets.
#[test]
fn more_than_a_third_of_the_trusted_power_and_two_thirds_of_its_own_must_sign() {
    for size in [1_u16, 3, 4, 6, 7] {
        for kept in 0..=size {
            for signing in 0..=size {
                let first: Vec<u16> = (0..size).collect();
                // The new set keeps the first `kept` of the old one; the old ones sign first.
                let second: Vec<u16> = (0..kept).chain(100..100 + size - kept).collect();
                let mut sets = vec![first.clone(); 5];
                sets.extend(vec![second.clone(); 5]);
                let chain = Chain::new(sets);
                let signers: Vec<u16> = second.iter().copied().take(usize::from(signing)).collect();
                let block = chain.make(8, 0, |number| signers.contains(&number));
                let told = chain.client().verify(chain.window(), &block);
                let overlap = u32::from(kept.min(signing)) * 3 > u32::from(size);
                let quorum = u32::from(signing) * 3 > u32::from(size) * 2;
                match told {
                    Ok(()) => assert!(overlap && quorum, "{size} {kept} {signing}"),
                    Err(LightError::Trust { .. }) => assert!(!overlap, "{size} {kept} {signing}"),
                    Err(LightError::Certificate { .. }) => assert!(overlap && !quorum, "{size} {kept} {signing}"),
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}

#[test]
fn two_signed_headers_of_one_height_are_told_with_both_names() {
    let chain = rotating(10, 1000);
    let mut client = chain.client();
    client.verify(chain.window(), chain.block(5)).unwrap();
    let other = chain.make(5, 1, |_| true);
    let (trusted, shown) = (chain.block(5).header.id(), other.header.id());
    assert_eq!(client.verify(chain.window(), &other), Err(LightError::Conflict { height: 5, trusted, shown }));
    assert_eq!(client.verify(chain.window(), chain.block(5)), Ok(()), "the same again contradicts nothing");
    // A header that is trusted vouches for no other certificate: a proof shows who signed by its last one.
    let mut forged = chain.block(5).clone();
    forged.certificate.signatures[0].1 = forged.certificate.signatures[1].1;
    assert!(matches!(client.verify(chain.window(), &forged), Err(LightError::Certificate { .. })));
    // Without enough signatures it is one liar, not a broken network.
    let unsigned = chain.make(5, 1, |number| number < 2);
    assert!(matches!(client.verify(chain.window(), &unsigned), Err(LightError::Certificate { .. })));
    // The next header names another parent.
    let mut header = chain.header(6, 0);
    header.parent = BlockId([9; 32]);
    let certificate = chain.certify(&header, &[0, 1, 2, 3]);
    let stray = LightBlock::new(header, certificate, chain.set(6), chain.set(7));
    let told = client.verify(chain.window(), &stray);
    assert_eq!(told, Err(LightError::Conflict { height: 5, trusted, shown: BlockId([9; 32]) }));
    assert_eq!(client.trusted().height, 5);
}

#[test]
fn trust_ends_with_its_period_and_the_future_is_refused() {
    let chain = rotating(10, 1000);
    let mut client = chain.client();
    client.verify(chain.window(), chain.block(4)).unwrap();
    let at = |now_ms| Window { now_ms, period_ms: 60_000 };
    let time = chain.block(4).header.time_ms;
    assert!(client.clone().verify(at(time + 59_999), chain.block(9)).is_ok());
    let told = client.clone().verify(at(time + 60_000), chain.block(9));
    assert_eq!(told, Err(LightError::Expired { height: 4, time_ms: time }));
    let late = at(chain.block(9).header.time_ms - protocol::limits::MAX_CLOCK_DRIFT_MS - 1);
    assert!(matches!(client.clone().verify(late, chain.block(9)), Err(LightError::Time { height: 9, .. })));
    let told = client.verify(chain.window(), chain.block(3));
    assert_eq!(told, Err(LightError::Height { expected: 4, got: 3 }));
    assert!(Bisection::new(client, 3).is_err());
}

#[test]
fn a_checkpoint_is_the_block_that_was_named_and_nothing_else() {
    let chain = rotating(30, 3);
    let genesis = chain.genesis.hash();
    let id = chain.block(20).header.id();
    let mut client = LightClient::from_checkpoint(&genesis, 20, id, chain.block(20)).unwrap();
    client.verify(chain.window(), chain.block(22)).unwrap();
    let wrong = LightClient::from_checkpoint(&genesis, 20, id, &chain.make(20, 1, |_| true));
    assert!(matches!(wrong, Err(LightError::Checkpoint { height: 20, .. })));
    assert!(LightClient::from_checkpoint(&genesis, 19, id, chain.block(20)).is_err());
    assert!(LightClient::from_checkpoint(&Hash32([1; 32]), 20, id, chain.block(20)).is_err(), "another network");
    let unsigned = chain.make(20, 0, |_| false);
    assert_eq!(unsigned.header.id(), id);
    assert!(matches!(
        LightClient::from_checkpoint(&genesis, 20, id, &unsigned),
        Err(LightError::Certificate { height: 20, .. })
    ));
}

type Crime = fn(&Chain, &mut LightBlock);

/// Whoever alters a light block is refused, whatever he alters, before or after it is signed.
#[test]
fn every_crime_is_refused_in_one_word() {
    let crimes: [(&str, Crime); 14] = [
        ("header", |_, block| block.header.time_ms += 1),
        ("header", |_, block| block.certificate.height += 1),
        ("header", |_, block| block.certificate.block = BlockId([1; 32])),
        ("malformed", |chain, block| block.validators = chain.set(30)),
        ("malformed", |_, block| block.changed = None),
        ("malformed", |_, block| block.changed = Some(set_of([(9, 10)]))),
        ("malformed", |_, block| block.validators = set_of([])),
        ("malformed", |_, block| block.validators = set_of([(1, 0)])),
        ("malformed", |_, block| block.validators = set_of([(1, u64::MAX), (2, u64::MAX)])),
        ("malformed", |_, block| block.validators = set_of((0..257).map(|number| (number, 1)))),
        ("malformed", |_, block| {
            let mut members = block.validators.members().to_vec();
            members.reverse();
            block.validators = borsh::from_slice(&canonical(&members)).unwrap();
        }),
        ("certificate", |_, block| block.certificate.signatures.reverse()),
        ("certificate", |_, block| block.certificate.signatures[0].1.0[5] ^= 1),
        ("malformed", |_, block| {
            let twice = block.certificate.signatures.clone();
            block.certificate.signatures.extend(twice);
        }),
    ];
    let chain =
        Chain::new((0..=40).map(|height| if height < 6 { vec![0, 1, 2, 3] } else { vec![0, 1, 2, 4] }).collect());
    for (at, (word, crime)) in crimes.into_iter().enumerate() {
        let mut block = chain.block(6).clone();
        assert!(block.changed.is_some());
        assert!(chain.client().verify(chain.window(), &block).is_ok());
        crime(&chain, &mut block);
        let told = chain.client().verify(chain.window(), &block).unwrap_err();
        // A reversed list of signers counts only its first, and is refused for its trust or its order.
        let word = if told.as_str() == "trust" { told.as_str() } else { word };
        assert_eq!(told.as_str(), word, "crime {at}: {told}");
        let mut bisection = Bisection::new(chain.client(), 6).unwrap();
        let given = bisection.give(chain.window(), block);
        assert!(matches!(given, Err(_) | Ok(Step::Need(_))), "crime {at}");
        assert_eq!(bisection.client().trusted().height, 0);
    }
}

/// Somebody who owns no validator answers every question with validators of his own.
#[test]
fn a_stranger_leads_nowhere_and_not_for_long() {
    let chain = rotating(40, 1000);
    let mut strange = Chain::new((0..=40).map(|_| vec![51, 52, 53, 54]).collect());
    // He signs for the right network.
    strange.genesis = chain.genesis.clone();
    let blocks: Vec<LightBlock> = (1..=40).map(|height| strange.make(height, 3, |_| true)).collect();
    let mut bisection = Bisection::new(chain.client(), 40).unwrap();
    let mut questions = 0;
    let refused = loop {
        let Step::Need(height) = bisection.step() else { panic!("a stranger is trusted") };
        questions += 1;
        if let Err(error) = bisection.give(chain.window(), blocks[at(height)].clone()) {
            break error;
        }
    };
    assert_eq!(refused.as_str(), "validators", "{refused}");
    assert!(questions <= 7, "{questions}");
    assert_eq!(bisection.client().trusted().height, 0);
    bisection.forget_unchecked();
    assert_eq!(bisection.step(), Step::Need(40));
    assert_eq!(bisection.give(chain.window(), chain.block(40).clone()), Ok(Step::Done));
}

#[test]
fn a_way_that_is_too_long_is_given_up() {
    // All new at every height: each step is one height, and more are needed than a client takes.
    let chain = Chain::new((0..=300).map(|height| vec![height * 2, height * 2 + 1]).collect());
    let mut bisection = Bisection::new(chain.client(), 300).unwrap();
    let told = loop {
        let Step::Need(height) = bisection.step() else { panic!("it is too long") };
        if let Err(error) = bisection.give(chain.window(), chain.block(height).clone()) {
            break error;
        }
    };
    assert_eq!(told, LightError::TooMany);
    let told = chain.client().verify_chain(chain.window(), &chain.blocks[..MAX_LIGHT_BLOCKS + 1]);
    assert_eq!(told, Err(LightError::TooMany));
    assert!(chain.client().verify_chain(chain.window(), &chain.blocks[..MAX_LIGHT_BLOCKS]).is_ok());
}

#[test]
fn the_largest_light_block_is_within_its_bound() {
    for (size, changing) in [(4, false), (4, true), (100, false), (100, true), (256, true)] {
        let second = |height: u16| (height == 2 && changing).then_some(500);
        let chain =
            Chain::new((0..=2).map(|height| (0..size - 1).chain([second(height).unwrap_or(400)]).collect()).collect());
        let bytes = canonical(chain.block(2)).len();
        println!("{size} validators, {}: {bytes} bytes", if changing { "the next ones differ" } else { "no change" });
        assert!(bytes <= MAX_LIGHT_BLOCK_BYTES, "{bytes}");
        assert!(chain.client().verify(chain.window(), chain.block(2)).is_ok());
    }
}
