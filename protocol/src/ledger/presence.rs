//! Who was there: blocks that validators did not sign for, results that they did not find.
//!
//! Rules:
//!
//! - **Presence**: a block carries the certificate of its parent. A member of the parent's set that is not in it was absent
//!   at that height. Only absences are written: one list for each height that has any, and one record of everybody's number
//!   within the window, from which a list's absences are taken again when its height leaves the window. So the number is
//!   exact, and a block that everybody signed writes nothing.
//! - More absences than the window allows, and a validator is jailed; then its count starts anew with the first height at
//!   which it is out of the set.
//! - **Duties**: when a result is settled, a quorum found it, so that it could be found. Members of its committee that did
//!   not commit, or committed and did not reveal, missed a duty; those that revealed another root were wrong. What is
//!   refunded is held against nobody. In each block that settles anything a validator fails at most once in either way;
//!   too many such blocks in one window, and it is jailed.

use super::keys;
use super::records::*;
use super::run::Run;
use super::view::{Read, decode};
use crate::block::{Block, ValidatorSet};
use crate::ids::{Account, Hash32};
use std::collections::{BTreeMap, BTreeSet};

impl Run<'_> {
    /// At a block's end: who did not sign for its parent.
    pub(super) fn note_absences(&mut self, block: &Block) {
        let (Some(commit), Some(set)) = (&block.body.last_commit, self.view.last_validators()) else { return };
        let height = self.ctx.height.saturating_sub(1);
        let mut absences = self.view.absences();
        self.forgive_absences(height, &mut absences);
        let signed: BTreeSet<&Account> = commit.signatures.iter().map(|(key, _)| key).collect();
        let is_active = |key: &Account| self.view.candidate(key).is_some_and(|it| it.state == ValidatorState::Active);
        let counts = |key: &Account| absences.get(key).is_none_or(|record| record.since <= height);
        let away = set.members().iter().map(|member| member.key).filter(|key| !signed.contains(key));
        let away: Vec<Account> = away.filter(|key| is_active(key) && counts(key)).collect();
        if !away.is_empty() {
            self.view.put(keys::absent(height), &away);
        }
        for key in away {
            let record = absences.entry(key).or_insert(AbsenceRecord { since: 0, missed: 0 });
            record.missed = record.missed.saturating_add(1);
            if record.missed > self.ctx.params.stake.misses_allowed() && self.jail(&key, JailReason::Downtime) {
                *record = AbsenceRecord { since: self.ctx.height.saturating_add(2), missed: 0 };
            }
        }
        let window = self.ctx.params.stake.downtime_window;
        absences.retain(|_, record| record.missed > 0 || record.since.saturating_add(window) > height);
        match absences.is_empty() {
            true => self.view.remove(keys::ABSENCES.to_vec()),
            false => self.view.put(keys::ABSENCES.to_vec(), &absences),
        }
    }

    /// Takes back the absences of heights that are out of the window ending at `height`.
    fn forgive_absences(&mut self, height: u64, absences: &mut Absences) {
        let Some(last) = height.checked_sub(self.ctx.params.stake.downtime_window) else { return };
        let lists = self.view.range(&keys::absent(0), &keys::absent(last.saturating_add(1))).into_iter();
        let lists: Vec<(u64, Vec<Account>)> =
            lists.map(|(key, value)| (keys::first_number(key), decode(key, value))).collect();
        for (height, list) in lists {
            self.view.remove(keys::absent(height));
            for key in list {
                if let Some(record) = absences.get_mut(&key).filter(|record| record.since <= height) {
                    record.missed = record.missed.saturating_sub(1);
                }
            }
        }
    }

    /// A result is settled: who of its committee did not find it.
    pub(super) fn note_failures(
        &mut self,
        committee: &ValidatorSet,
        said: &BTreeMap<Account, SaidRecord>,
        agreed: Hash32,
    ) {
        for member in committee.members() {
            let said = said.get(&member.key).unwrap_or(&SaidRecord::LATE);
            let missed_commit = said.commitment.is_none();
            let missed_reveal = !missed_commit && said.root.is_none();
            let is_wrong = said.root.is_some_and(|root| root != agreed);
            if missed_commit || missed_reveal || is_wrong {
                let failures = self.failures.entry(member.key).or_default();
                failures.missed_commits += u32::from(missed_commit);
                failures.missed_reveals += u32::from(missed_reveal);
                failures.wrong_roots += u32::from(is_wrong);
            }
        }
    }

    /// At a block's end: adds its failures to those of the window.
    pub(super) fn book_failures(&mut self) {
        let stake = self.ctx.params.stake;
        let window = self.ctx.height / stake.duty_window.max(1);
        for (key, now) in std::mem::take(&mut self.failures) {
            if self.view.candidate(&key).is_none_or(|record| record.state != ValidatorState::Active) {
                continue;
            }
            let mut record = self.view.failures(&key);
            if record.window != window {
                record = DutyRecord { window, ..DutyRecord::default() };
            }
            record.missed_commits = record.missed_commits.saturating_add(now.missed_commits);
            record.missed_reveals = record.missed_reveals.saturating_add(now.missed_reveals);
            record.wrong_roots = record.wrong_roots.saturating_add(now.wrong_roots);
            record.missed_blocks += u32::from(now.missed_commits > 0 || now.missed_reveals > 0);
            record.wrong_blocks += u32::from(now.wrong_roots > 0);
            let reason = match record {
                DutyRecord { wrong_blocks, .. } if wrong_blocks > stake.max_wrong_roots => Some(JailReason::WrongRoots),
                DutyRecord { missed_blocks, .. } if missed_blocks > stake.max_missed_duties => {
                    Some(JailReason::MissedDuties)
                }
                _ => None,
            };
            if reason.is_some_and(|reason| self.jail(&key, reason)) {
                // It is punished for these; after its time in jail it begins anew.
                record = DutyRecord { missed_blocks: 0, wrong_blocks: 0, ..record };
            }
            self.view.put(keys::duties(&key), &record);
        }
    }
}
