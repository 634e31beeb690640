//! Double signatures: proved at the border, punished here.
//!
//! - Whoever has or is withdrawing a bond can be punished, once, for what it signed at most `evidence_age` epochs ago;
//!   withdrawing takes longer than that.
//! - It loses a part of all that is at stake, is tombstoned, and with that no candidate any more.

use super::content::state;
use super::event::Event;
use super::keys;
use super::records::*;
use super::run::Run;
use super::view::Read;
use crate::ids::ObjectId;
use crate::objects::{Evidence, Offence};
use crate::refusal::Refusal;

impl Run<'_> {
    pub(super) fn evidence(&mut self, id: ObjectId, object: &Evidence) -> Result<(), Refusal> {
        let Offence { validator, height, .. } = object.offence;
        let unbonded = || state("the accused", "it has nothing at stake");
        let mut record = self.view.candidate(&validator).ok_or_else(unbonded)?;
        if let ValidatorState::Tombstoned { height, .. } = record.state {
            return Err(state("the accused", format!("it was punished for ever in epoch {height}")));
        }
        let epoch = self.ctx.height;
        if height > epoch {
            return Err(state("the evidence", format!("it is of epoch {height}; it is epoch {epoch} now")));
        }
        let params = &self.ctx.params.stake;
        let expiry = height.saturating_add(params.evidence_age);
        if expiry < epoch {
            return Err(Refusal::Expired { expiry, epoch });
        }
        record.state = ValidatorState::Tombstoned { height: epoch, evidence: id };
        self.view.put(keys::candidate(&validator), &record);
        self.events.push(Event::Tombstoned { validator, evidence: id });
        self.slash(&validator, params.double_sign_slash_bp, SlashReason::DoubleSign);
        Ok(())
    }
}
