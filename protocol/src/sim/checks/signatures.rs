//! No honest validator signs two things in one place, whatever it lived through. What never left it does not count.

use crate::block::VoteStep;
use crate::genesis::canonical;
use crate::ids::Account;
use crate::sim::world::NodeIndex;
use crate::wire::ConsensusMessage;
use std::collections::BTreeMap;

/// Who, whether it was a proposal, a prevote or a precommit, height and round.
type Place = (Account, u8, u64, u32);

/// What left honest validators.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    said: BTreeMap<Place, Vec<u8>>,
}

impl Signatures {
    pub(super) fn published(&mut self, index: NodeIndex, message: &ConsensusMessage) -> Result<(), String> {
        let (place, said) = match message {
            ConsensusMessage::Vote(vote) => {
                let step = match vote.step {
                    VoteStep::Prevote => 1,
                    VoteStep::Precommit => 2,
                };
                ((vote.validator, step, vote.height, vote.round), canonical(&vote.block))
            }
            ConsensusMessage::Proposal(proposal) => (
                (proposal.validator, 0, proposal.height, proposal.round),
                canonical(&(proposal.block, proposal.pol_round)),
            ),
            // Certificates carry what others said.
            ConsensusMessage::Polka(_) | ConsensusMessage::Round(_) => return Ok(()),
        };
        let before = self.said.entry(place).or_insert_with(|| said.clone());
        if *before == said {
            return Ok(());
        }
        let (_, step, height, round) = place;
        let step = ["proposal", "prevote", "precommit"][usize::from(step)];
        Err(format!("node {index} signed two different {step}s at height {height}, round {round}"))
    }
}
