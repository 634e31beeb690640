//! What happens to nodes, each fault with what must hold while it lasts and after it. One node at a time, unless the
//! fault is that several go down at once.

use super::hostile::Crime;
use super::net::configure;
use super::relay::Way;
use super::{Fault, Trial};
use anyhow::Context as _;
use daemon::keys::KeyKind;
use daemon::supervisor::Ended;
use protocol::ids::Account;
use protocol::objects::{Action, Drops};
use serde_json::Value;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Bytes that no file of a node on a full disk can pass: less than its database's log holds after the first epochs.
const FULL_AT: u64 = 4096;
/// What a node says when it cannot write.
const WRITE_FAILED: &str = "a write to the database failed";
/// A wrong clock is wrong by this: far more than the network lets a block's time lie ahead.
const CLOCK_JUMP_MS: i64 = 3_600_000;
/// Connections older than this have long been settled: a second one then says that the first is dead.
const SETTLED: Duration = Duration::from_millis(3_500);
/// Whose money new voting keys stake. It publishes before there are faults, and writes nothing else while there are.
const FUNDER: &str = "alice";
/// Operations with a fee that give a node another voting key: two transfers, a bond, a withdrawal.
pub(super) const ROTATION_OPERATIONS: u64 = 4;
/// Epochs that the others decide during a fault, to see that they can without the node.
const MEANWHILE: u64 = 2;

impl Trial<'_> {
    /// Carries a fault out, at a random moment of the load, and waits until the network has got over it.
    pub(super) fn suffer(&mut self, fault: Fault) -> anyhow::Result<()> {
        if fault == Fault::Kill {
            sleep(SETTLED.saturating_sub(self.last_start.elapsed()));
        }
        self.random_moment()?;
        let before = self.load.count();
        match fault {
            Fault::Kill => self.kill(false),
            Fault::KillSoon => self.kill(true),
            Fault::Freeze => self.freeze(),
            Fault::FullDisk => self.full_disk(),
            Fault::Clock => self.clock(),
            Fault::Wipe => self.wipe(),
            Fault::Rolling => self.rolling(),
            Fault::Rotate => self.rotate(),
            Fault::Hostile => self.hostile(),
            Fault::Silence => self.partition(Way::Silent),
            Fault::Cut => self.partition(Way::Dead),
        }
        .with_context(|| format!("{} after {before} acknowledged objects", fault.as_str()))?;
        self.load.check()?;
        self.observer.check()?;
        self.last_start = Instant::now();
        *self.report.faults.entry(fault.as_str()).or_default() += 1;
        Ok(())
    }

    /// Waits until some more is acknowledged, and then a little: epochs are not to be met at the same moment always.
    fn random_moment(&mut self) -> anyhow::Result<()> {
        let after = self.load.count() + 5 + self.random.below(40);
        let load = self.load;
        self.net.until("more acknowledged objects", |_| {
            load.check()?;
            Ok((load.count() >= after).then_some(()))
        })?;
        sleep(self.random.ms(0, 150));
        Ok(())
    }

    fn node(&mut self) -> usize {
        self.random.below(self.net.nodes())
    }

    /// Mostly one node dies; now and then two do at the same moment, or all.
    fn kill(&mut self, soon: bool) -> anyhow::Result<()> {
        let mut victims: Vec<usize> = (0..self.net.nodes()).collect();
        self.random.shuffle(&mut victims);
        victims.truncate(match self.random.below(16) {
            0 => self.net.nodes(),
            1 => 2,
            _ => 1,
        });
        for victim in &victims {
            self.net.devnet.kill9(*victim);
        }
        // Some are started again at once, some when the others have long gone on; what was on its way arrives first.
        sleep(self.random.ms(30, 400));
        self.report.kills += victims.len() as u64;
        let [victim] = victims[..] else {
            for victim in victims {
                self.start_again(victim)?;
            }
            return self.all_go_on();
        };
        self.observer.watch(&self.net.validator(victim));
        let known = self.net.highest(self.net.others(victim))?;
        let started = self.start_again(victim)?;
        let voted = self.observer.voted()?.saturating_duration_since(started);
        self.net.until(format!("{} decides a new epoch", self.net.devnet.name(victim)), |net| {
            Ok((net.height(victim)? > known).then_some(()))
        })?;
        let report = &mut self.report;
        let (votes_again, in_step) = match soon {
            false => (&mut report.votes_again_ms, &mut report.in_step_ms),
            true => (&mut report.soon_votes_again_ms, &mut report.soon_in_step_ms),
        };
        votes_again.note(voted);
        in_step.note(started.elapsed());
        Ok(())
    }

    fn start_again(&mut self, node: usize) -> anyhow::Result<Instant> {
        let started = Instant::now();
        self.net.devnet.restart(node)?;
        self.report.ready_ms.note(started.elapsed());
        Ok(started)
    }

    fn all_go_on(&self) -> anyhow::Result<()> {
        let all: Vec<usize> = (0..self.net.nodes()).collect();
        self.net.epochs_pass(&all, MEANWHILE)?;
        all.iter().try_for_each(|i| self.net.in_step(*i))
    }

    /// A node that the system does not let run for a while, and then does.
    fn freeze(&mut self) -> anyhow::Result<()> {
        let victim = self.node();
        let others: Vec<usize> = self.net.others(victim).collect();
        self.load.avoid(victim, true);
        self.net.signal(victim, "STOP")?;
        let went_on = self.net.epochs_pass(&others, MEANWHILE);
        sleep(self.random.ms(0, 2_000));
        // Whatever was found, it must not stay frozen.
        self.net.signal(victim, "CONT")?;
        went_on?;
        self.load.avoid(victim, false);
        self.votes_and_is_in_step(victim)
    }

    fn votes_and_is_in_step(&self, node: usize) -> anyhow::Result<()> {
        self.net.in_step(node)?;
        self.observer.watch(&self.net.validator(node));
        self.observer.voted()?;
        Ok(())
    }

    /// No room to write. The node must say so and stop, lose nothing, and go on when there is room.
    fn full_disk(&mut self) -> anyhow::Result<()> {
        let victim = match &self.small_disk {
            Some(small) => small.node,
            None => self.node(),
        };
        let log = self.net.devnet.log(victim);
        let said = |log: &PathBuf| std::fs::read_to_string(log).map(|text| text.matches(WRITE_FAILED).count());
        let before = said(&log)?;
        match &self.small_disk {
            Some(small) => {
                let ended = self.net.devnet.stop(victim)?;
                anyhow::ensure!(ended == Ended::Gracefully, "{} stopped {ended:?}", self.net.devnet.name(victim));
                super::disk::fill(small)?;
                self.net.devnet.restart(victim)?;
            }
            None => self.net.limit_files(victim, FULL_AT)?,
        }
        let name = self.net.devnet.name(victim).to_owned();
        self.net.until(format!("{name} stops, as its disk is full"), |net| {
            Ok(net.devnet.pid(victim)?.is_none().then_some(()))
        })?;
        self.net.until(format!("{name} says in its log that {WRITE_FAILED:?}"), |_| {
            Ok((said(&log)? > before).then_some(()))
        })?;
        let ended = self.net.devnet.stop(victim)?;
        anyhow::ensure!(ended == Ended::Failed, "{name} ended {ended:?} on a full disk: its exit code must tell");
        let others: Vec<usize> = self.net.others(victim).collect();
        self.net.epochs_pass(&others, MEANWHILE)?;
        if let Some(small) = &self.small_disk {
            super::disk::make_room(small)?;
        }
        self.net.devnet.restart(victim)?;
        self.votes_and_is_in_step(victim)
    }

    /// A node starts with a clock that is an hour fast or slow: no block gets a time that the others would not have
    /// given it, and nothing stops. Then it starts with the right time.
    fn clock(&mut self) -> anyhow::Result<()> {
        let victim = self.node();
        let others: Vec<usize> = self.net.others(victim).collect();
        let wrong_by = if self.random.below(2) == 0 { CLOCK_JUMP_MS } else { -CLOCK_JUMP_MS };
        for by in [wrong_by, 0] {
            self.net.set_clock(victim, by)?;
            self.net.devnet.kill9(victim);
            self.net.devnet.restart(victim)?;
            if by != 0 {
                self.net.epochs_pass(&others, 2 * MEANWHILE)?;
            }
        }
        self.votes_and_is_in_step(victim)
    }

    /// A node loses all that it had but its keys and its configuration, and gets it back from the others.
    fn wipe(&mut self) -> anyhow::Result<()> {
        let victim = match &self.small_disk {
            // A folder that is a file system of its own cannot be removed.
            Some(small) => self.net.others(small.node).next().context("another node")?,
            None => self.node(),
        };
        // What it alone acknowledged goes to a block first: a promise binds a disk, and this one goes.
        self.load.avoid(victim, true);
        let load = self.load;
        self.net.until("the node has answered all", |_| Ok(load.is_answered(victim).then_some(())))?;
        let mut undecided = load.promises();
        undecided.retain(|promise| promise.by == victim);
        let other = self.net.api(self.net.others(victim).next().context("another node")?)?;
        self.net.until("what the node acknowledged is in blocks", |_| {
            let is_decided = |id: &str| {
                let shown: Option<Value> = other.get(&format!("/v1/objects/{id}")).ok();
                shown.is_some_and(|shown| shown["height"].is_u64())
            };
            // The newest first: mostly all before it are decided as well, and each is asked for once.
            while undecided.last().is_some_and(|promise| is_decided(&promise.id)) {
                undecided.pop();
            }
            Ok(undecided.is_empty().then_some(()))
        })?;
        self.net.devnet.kill9(victim);
        // What it signed last is decided before it starts without remembering that.
        let others: Vec<usize> = self.net.others(victim).collect();
        self.net.epochs_pass(&others, MEANWHILE)?;
        std::fs::remove_dir_all(self.net.devnet.home(victim).join("data"))?;
        let started = Instant::now();
        self.net.devnet.restart(victim)?;
        self.net.in_step(victim)?;
        self.report.wiped_in_step_ms.note(started.elapsed());
        self.load.avoid(victim, false);
        self.votes_and_is_in_step(victim)
    }

    /// Each node in its turn is stopped in order and started again, as for a new version.
    fn rolling(&mut self) -> anyhow::Result<()> {
        for i in 0..self.net.nodes() {
            let ended = self.net.devnet.stop(i)?;
            anyhow::ensure!(ended == Ended::Gracefully, "{} stopped {ended:?}", self.net.devnet.name(i));
            self.net.devnet.restart(i)?;
            self.votes_and_is_in_step(i)?;
        }
        Ok(())
    }

    /// A node gets another voting key, as when an operator fears for the old one: the new one bonds what the old one
    /// has at stake, the old one withdraws, and the node starts again with the new one. The node with the oldest key is
    /// the next.
    fn rotate(&mut self) -> anyhow::Result<()> {
        let oldest = self.net.rotated.iter().min().copied().unwrap_or_default();
        let mut victims: Vec<usize> = (0..self.net.nodes()).filter(|i| self.net.rotated[*i] == oldest).collect();
        self.random.shuffle(&mut victims);
        let victim = *victims.first().context("a node")?;
        let name = format!("{}-{}", self.net.devnet.name(victim), oldest + 1);
        let (old, seed) = (self.net.validator(victim), self.net.voting_seed(victim, oldest + 1));
        let (new, payout) = (seed.secret_key(), self.net.key(self.net.devnet.name(victim)).account());
        let stake = self.net.genesis.params.stake.min_bond;
        let by = self.net.others(victim).next().context("another node")?;

        let funder = self.net.key(FUNDER);
        for to in [old.account(), new.account()] {
            self.net.operate(by, &funder, Action::Transfer { to, amount: Drops(stake.0 * 2) })?;
        }
        self.net.operate(by, &new, Action::Bond { amount: stake, payout, name: name.clone() })?;
        self.validators_become(&new.account(), true)?;
        self.net.operate(by, &old, Action::Unbond { amount: stake })?;
        self.validators_become(&old.account(), false)?;

        let key = self.net.devnet.home(victim).join(format!("{name}.key"));
        seed.write_new(&key, KeyKind::Validator, &name)?;
        let ended = self.net.devnet.stop(victim)?;
        anyhow::ensure!(ended == Ended::Gracefully, "{} stopped {ended:?}", self.net.devnet.name(victim));
        configure(&self.net.devnet, victim, |config| config.node.validator_key = key)?;
        self.net.devnet.restart(victim)?;
        self.net.rotated[victim] += 1;
        self.votes_and_is_in_step(victim)
    }

    /// Waits until every node knows that this key will validate, or will not any more.
    fn validators_become(&self, key: &Account, member: bool) -> anyhow::Result<()> {
        for i in 0..self.net.nodes() {
            let set = self.net.until(format!("{key} among the validators: {member}"), |net| {
                Ok(Some(net.validators(i)?).filter(|set| set.get(key).is_some() == member))
            })?;
            self.observer.learn(&set);
        }
        Ok(())
    }

    /// A stranger commits every crime under a name of its own; the network goes on as if nothing had happened.
    fn hostile(&mut self) -> anyhow::Result<()> {
        for crime in Crime::ALL {
            crime.commit(self.net, &mut self.random)?;
        }
        self.all_go_on()
    }

    /// One node, or half of all, cannot be reached for a while. Only who has more than two thirds goes on.
    fn partition(&mut self, how: Way) -> anyhow::Result<()> {
        let nodes = self.net.nodes();
        let mut order: Vec<usize> = (0..nodes).collect();
        self.random.shuffle(&mut order);
        let half = self.random.below(2) == 0;
        let (group, rest) = order.split_at(if half { nodes / 2 } else { 1 });
        self.net.between.part(group, how)?;
        let cut_at = self.net.highest(0..nodes)?;
        let waited = if half {
            sleep(self.random.ms(500, 3_000));
            Ok(())
        } else {
            self.net.epochs_pass(rest, 2 * MEANWHILE)
        };
        let stuck = group.iter().chain(rest.iter().filter(|_| half));
        let heights: Vec<(usize, u64)> =
            stuck.map(|i| Ok((*i, self.net.height(*i)?))).collect::<anyhow::Result<_>>()?;
        self.net.between.heal()?;
        waited?;
        for (i, height) in heights {
            let name = self.net.devnet.name(i);
            // What had arrived may still decide a height, and a node tells of its height a moment after it tells its peers.
            anyhow::ensure!(height <= cut_at + 2, "{name}, without a quorum, went from {cut_at} to {height}");
        }
        let healed = Instant::now();
        self.all_go_on()?;
        self.report.healed_ms.note(healed.elapsed());
        Ok(())
    }
}
