//! What fails when: drawn from the seed when the window of faults begins.

use super::dice::Dice;
use super::scenario::{Faults, Scenario};
use super::world::{NodeIndex, World};
use std::collections::{BTreeMap, BTreeSet};

/// Effects after which a fuse blows at the latest.
const LONGEST_FUSE: u64 = 30;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Cut,
    Corrupt,
    Wipe,
    Part,
    Mend,
    Jump,
    Eclipse,
}

/// The faults to come.
pub(super) struct FaultPlan {
    faults: Faults,
    dice: Dice,
    agenda: BTreeMap<(u64, u64), Fault>,
    clocks: Vec<NodeIndex>,
    /// Whose log is lost: always the same one's, as whoever lost it cannot vote until the others have gone on.
    forgetful: Option<NodeIndex>,
}

impl FaultPlan {
    /// Nothing fails before [`FaultPlan::begin`], but clocks may be wrong from the start.
    pub(super) fn new(seed: u64, scenario: &Scenario, world: &mut World) -> Self {
        let mut dice = Dice::new(seed, "plan");
        let ppm = scenario.faults.drift_ppm;
        for member in world.members.iter_mut().filter(|_| ppm > 0) {
            let drift = i64::try_from(dice.roll(2 * ppm.unsigned_abs() + 1)).unwrap_or(0) - ppm;
            let ahead = i64::try_from(dice.roll(2_001)).unwrap_or(0) - 1_000;
            member.clock = super::clock::Clock::new(ahead, drift);
        }
        Self { faults: scenario.faults, dice, agenda: BTreeMap::new(), clocks: Vec::new(), forgetful: None }
    }

    /// Draws what will fail from now to `end`.
    pub(super) fn begin(&mut self, now: u64, end: u64) {
        let Faults { cuts, corruptions, wipes, partitions, jumps, eclipses, .. } = self.faults;
        let plan = [
            (cuts, Fault::Cut),
            (corruptions, Fault::Corrupt),
            (wipes, Fault::Wipe),
            (partitions, Fault::Part),
            (jumps, Fault::Jump),
            (eclipses, Fault::Eclipse),
        ];
        let mut number = 0;
        for (count, fault) in plan {
            for _ in 0..count {
                let at = now + self.dice.roll(end - now);
                self.agenda.insert((at, number), fault);
                number += 1;
                if matches!(fault, Fault::Part | Fault::Eclipse) {
                    let until = (at + self.dice.between(200, 3_000)).min(end);
                    self.agenda.insert((until, number), Fault::Mend);
                    number += 1;
                }
            }
        }
    }

    /// When the next fault is due.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// Injects what is due.
    pub(super) fn strike(&mut self, world: &mut World) {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= world.now) {
            let fault = entry.remove();
            self.inject(world, fault);
        }
    }

    /// No more faults, and clocks are set right.
    pub(super) fn end(&mut self, world: &mut World) {
        self.agenda.clear();
        for index in std::mem::take(&mut self.clocks) {
            world.members[index].clock = super::clock::Clock::default();
            world.jump_clock(index, 0);
        }
    }

    /// A node of whom promises are expected, and that runs.
    fn victim(&mut self, world: &World) -> Option<NodeIndex> {
        let up: Vec<NodeIndex> =
            world.honest().filter(|(_, member)| member.node.is_some()).map(|(index, _)| index).collect();
        self.dice.pick(&up).copied()
    }

    fn inject(&mut self, world: &mut World, fault: Fault) {
        if matches!(fault, Fault::Mend) {
            return world.network.mend();
        }
        let Some(mut victim) = self.victim(world) else { return };
        if self.faults.lost_logs && matches!(fault, Fault::Cut) {
            victim = *self.forgetful.get_or_insert(victim);
        }
        // Whoever lost his memory has no say until the others have gone on, and they must be able to.
        let guests = world.members.iter().any(|member| member.guest_until.is_some() || member.disk.is_damaged());
        if guests && matches!(fault, Fault::Corrupt | Fault::Wipe) {
            return;
        }
        let (now, rest) = (world.now, self.dice.between(20, 2_500));
        match fault {
            Fault::Cut if self.dice.chance(600) && !self.faults.lost_logs => {
                world.members[victim].fuse = Some(self.dice.roll(LONGEST_FUSE));
            }
            Fault::Cut => {
                world.journal.fault(now, victim, "power cut");
                world.cut_power(victim);
                if self.faults.lost_logs {
                    world.journal.fault(now, victim, "lost log");
                    world.members[victim].disk.lose_log();
                }
                world.start_after(victim, rest);
            }
            Fault::Corrupt => {
                world.journal.fault(now, victim, "corrupt record");
                world.cut_power(victim);
                world.members[victim].disk.corrupt();
                world.start_after(victim, rest);
            }
            Fault::Wipe => {
                world.journal.fault(now, victim, "wiped disk");
                world.cut_power(victim);
                world.wipe(victim);
                world.start_after(victim, rest);
            }
            Fault::Part => self.part(world),
            Fault::Jump => {
                world.journal.fault(now, victim, "clock jump");
                let by = i64::try_from(self.dice.roll(60_001)).unwrap_or(0) - 30_000;
                world.jump_clock(victim, by);
                self.clocks.push(victim);
            }
            Fault::Eclipse => {
                let criminals: BTreeSet<NodeIndex> =
                    (0..world.members.len()).filter(|index| !world.members[*index].is_honest()).collect();
                world.journal.fault(now, victim, "eclipse");
                world.network.eclipse(victim, &criminals);
            }
            Fault::Mend => {}
        }
    }

    fn part(&mut self, world: &mut World) {
        let count = world.members.len();
        let mut nodes: Vec<NodeIndex> = (0..count).collect();
        self.dice.shuffle(&mut nodes);
        let (kind, size, one_way) = match self.dice.roll(4) {
            0 => ("partition: one alone", 1, false),
            1 => ("partition: a minority", count / 3, false),
            2 => ("partition: halves", count / 2, false),
            _ => ("partition: one way", count / 2, true),
        };
        let group: BTreeSet<NodeIndex> = nodes.into_iter().take(size.max(1)).collect();
        world.journal.fault(world.now, group.first().copied().unwrap_or(0), kind);
        world.network.part(&group, one_way);
    }
}
