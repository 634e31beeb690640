//! Floods the network with receipts: for itself, by itself, most of them beyond what it can pay, some expired, some for
//! models that do not exist.

use super::{Act, Crime, Tools, unchecked};
use crate::crypto::SecretKey;
use crate::ids::{Hash32, ModelId};
use crate::ledger::keys;
use crate::node::{Effect, Notice};
use crate::objects::{Drops, ModelManifest, Object, Receipt};
use crate::sim::world::{PEOPLE, person};

/// Receipts it sends with each epoch.
const FLOOD: u64 = 24;

/// Sends receipts without end.
#[derive(Default)]
pub struct Spammer {
    sent: u64,
}

impl Spammer {
    /// One that has not begun.
    pub fn create() -> Box<dyn Crime> {
        Box::new(Self::default())
    }

    fn receipt(&mut self, tools: &mut Tools<'_>, model: ModelId, height: u64) -> Receipt {
        self.sent += 1;
        let tokens = tools.dice.between(1, 50);
        // It does not know the price better than anybody: that of the only model there is.
        let fee = ModelManifest::price(Drops(1_000_000), Drops(2_000_000), 1, tokens).unwrap_or_default();
        let wrong = tools.dice.roll(8);
        Receipt {
            // It owns nothing itself; now and then somebody pays for it.
            payer: if wrong == 0 { person(PEOPLE - 1).account() } else { tools.key.account() },
            server: tools.key.account(),
            model: if wrong == 1 { ModelId([9; 32]) } else { model },
            prompt: Hash32([3; 32]),
            output: "buy buy buy ".repeat(usize::try_from(tools.dice.between(1, 30)).unwrap_or(1)),
            tokens_in: 1,
            tokens_out: tokens,
            fee: if wrong == 2 { Drops(1) } else { fee },
            expiry: if wrong == 3 { height.saturating_sub(1) } else { height + 20 },
            nonce: self.sent,
            trace: None,
        }
    }
}

impl Crime for Spammer {
    fn name(&self) -> &'static str {
        "spammer"
    }

    fn asked(&mut self, tools: &mut Tools<'_>, effect: Effect, acts: &mut Vec<Act>) {
        if let Effect::Tell(Notice::Committed { height, .. }) = &effect {
            let entries = tools.world.members[tools.index].disk.entries();
            let model = entries.range(vec![keys::MODELS]..vec![keys::MODELS + 1]).next();
            if let Some(model) = model.map(|(key, _)| ModelId(keys::last_id(key))) {
                let friend: SecretKey = person(PEOPLE - 1);
                for _ in 0..FLOOD {
                    let receipt = self.receipt(tools, model, *height);
                    let payer = if receipt.payer == friend.account() { &friend } else { tools.key };
                    let sealed = tools.seal(&Object::Receipt(receipt), &[payer, tools.key]);
                    acts.extend(sealed.map(|envelope| Act::Gossip(unchecked(envelope))));
                }
            }
        }
        acts.push(Act::Do(effect));
    }
}
