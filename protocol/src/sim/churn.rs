//! Validators that come and go: observers' operators bond, validators' operators bond more, withdraw a part or all of it,
//! and say that their validator is ready again after it was jailed.

use super::dice::Dice;
use super::world::{NodeIndex, PEOPLE, World, person};
use crate::crypto::SecretKey;
use crate::genesis::{Params, StakeParams};
use crate::ids::Account;
use crate::ledger::Read as _;
use crate::ledger::records::{ValidatorRecord, ValidatorState};
use crate::objects::{Action, Drops, Object, Operation};
use std::collections::BTreeSet;

/// What an operation costs.
const FEE: Drops = Drops(1_000_000);
/// Who has less than this asks people for money: enough for the largest bond and some fees.
const LEAST_CREDITS: u64 = 20;
/// The largest bond, in credits: whoever has it is below a third of what the fewest others have.
const MOST_CREDITS: u64 = 15;
/// The least that stays after a withdrawal of a part, in credits.
const FEWEST_CREDITS: u64 = 5;
/// Nobody leaves a smaller set: one may be off.
const FEWEST_VALIDATORS: usize = 5;
/// Milliseconds between two things that operators do, on average.
const PACE_MS: u64 = 120;

/// Parameters under which validators come and go within a few seconds: committees of four that are redrawn, withdrawals
/// that are paid back, and absences of a second that are punished.
pub(super) fn params(base: Params) -> Params {
    let stake = StakeParams {
        unbonding_epochs: 12,
        evidence_age: 6,
        downtime_window: 10,
        downtime_slash_bp: 100,
        jail_epochs: 5,
        committee_size: 4,
        redraw_epochs: 20,
        ..base.stake
    };
    // Several times the validators by the committee's size: somebody proposes who has the agreed body.
    Params { agreed_timeout: 20, stake, ..base }
}

/// The operators of all nodes.
pub(super) struct Churn {
    dice: Dice,
    next_ms: u64,
    /// Who was paid something to bond and has not seen it yet, and when.
    funded: Vec<(Account, u64)>,
}

impl Churn {
    /// Operators who have done nothing yet.
    pub(super) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed, "churn"), next_ms: 0, funded: Vec::new() }
    }

    /// When somebody does something next.
    pub(super) fn next_at(&self) -> u64 {
        self.next_ms
    }

    /// Somebody does something, if it is time.
    pub(super) fn tick(&mut self, world: &mut World) {
        if world.now < self.next_ms {
            return;
        }
        self.next_ms = world.now + self.dice.between(1, 2 * PACE_MS);
        let up: Vec<NodeIndex> =
            world.honest().filter(|(_, member)| member.node.is_some()).map(|(index, _)| index).collect();
        let Some(at) = self.dice.pick(&up).copied() else { return };
        let Some(node) = world.members[at].node.as_ref() else { return };
        let (state, key) = (node.state(), world.members[at].key.clone());
        let own = key.account();
        let account = state.account(&own);
        // One thing after the other: what comes next depends on what became of the last.
        if node.next_nonce(&own) != account.nonce {
            return;
        }
        let candidate = state.candidate(&own);
        let set = state.validators().map_or(0, |set| set.members().len());
        let height = state.height();
        if account.available < credits(LEAST_CREDITS) {
            return self.fund(world, at, own);
        }
        if let Some((what, action)) = self.choose(own, at, candidate.as_ref(), set, height)
            && self.give(world, at, &key, action)
        {
            world.journal.fault(world.now, at, what);
        }
    }

    /// What an operator does, and what that is called.
    fn choose(
        &mut self,
        own: Account,
        at: NodeIndex,
        candidate: Option<&ValidatorRecord>,
        set: usize,
        height: u64,
    ) -> Option<(&'static str, Action)> {
        let bond = |amount| Action::Bond { amount, payout: own, name: format!("v{at}") };
        let most = credits(MOST_CREDITS);
        let Some(record) = candidate.filter(|record| record.bond > Drops::ZERO) else {
            return Some(("bond: joins", bond(credits(self.dice.between(FEWEST_CREDITS, MOST_CREDITS)))));
        };
        match record.state {
            ValidatorState::Jailed { until, .. } => (height > until).then_some(("unjails", Action::Unjail)),
            ValidatorState::Tombstoned { .. } => None,
            ValidatorState::Active => match self.dice.roll(3) {
                0 => {
                    let more = most.checked_sub(record.bond).filter(|more| *more > Drops::ZERO)?;
                    Some(("bond: more", bond(Drops(1 + u128::from(self.dice.roll(1 << 40)) % more.0))))
                }
                1 => {
                    let part = record.bond.checked_sub(credits(FEWEST_CREDITS))?;
                    let amount = Drops(part.0 / u128::from(self.dice.between(1, 4)));
                    (amount > Drops::ZERO).then_some(("unbond: a part", Action::Unbond { amount }))
                }
                _ if set > FEWEST_VALIDATORS => Some(("unbond: leaves", Action::Unbond { amount: record.bond })),
                _ => None,
            },
        }
    }

    /// Somebody who has money pays an operator, who asks again when nothing came of it.
    fn fund(&mut self, world: &mut World, at: NodeIndex, to: Account) {
        let now = world.now;
        self.funded.retain(|(_, at)| at + 3_000 > now);
        if self.funded.iter().any(|(account, _)| *account == to) {
            return;
        }
        self.funded.push((to, now));
        let payer = person(self.dice.roll(PEOPLE));
        self.give(world, at, &payer, Action::Transfer { to, amount: credits(2 * LEAST_CREDITS) });
    }

    fn give(&self, world: &mut World, at: NodeIndex, key: &SecretKey, action: Action) -> bool {
        let account = key.account();
        let Some(nonce) = world.members[at].node.as_ref().map(|node| node.next_nonce(&account)) else { return false };
        let fee = if action.is_free() { Drops::ZERO } else { FEE };
        let operation = Operation { account, nonce, fee, action };
        matches!(world.submit(at, &Object::Operation(operation), &[key]), Some(Ok(_)))
    }
}

/// How many accounts that the genesis does not name as validators certified blocks, by a node's disk.
pub(super) fn newcomers(world: &World) -> BTreeSet<Account> {
    let first = world.validators();
    let furthest = world.honest().map(|(_, member)| member).max_by_key(|member| member.disk.height());
    let blocks = furthest.into_iter().flat_map(|member| member.disk.blocks().values());
    let signers = blocks.flat_map(|decided| decided.1.signatures.iter().map(|(signer, _)| *signer));
    signers.filter(|signer| first.get(signer).is_none()).collect()
}

fn credits(count: u64) -> Drops {
    Drops(Drops::CREDIT.0 * u128::from(count))
}
