//! Attributes wrongly: what it commits to and reveals leaves out evidence or gives it to another.

use super::{Act, Crime, Tools};
use crate::node::Input;

/// Reveals a wrong root.
pub struct Liar;

impl Liar {
    /// One that has not begun.
    pub fn create() -> Box<dyn Crime> {
        Box::new(Self)
    }
}

impl Crime for Liar {
    fn name(&self) -> &'static str {
        "liar"
    }

    fn hears(&mut self, tools: &mut Tools<'_>, input: &mut Input, _: &mut Vec<Act>) -> bool {
        if let Input::Attributed { evidence, .. } = input {
            for (_, found) in evidence.iter_mut() {
                match tools.dice.roll(2) {
                    0 => found.spans.clear(),
                    _ => found.spans.iter_mut().for_each(|span| span.holder.offset += 1),
                }
                // Even where there was no evidence to spoil, the root is another.
                found.frequencies.values_mut().for_each(|frequencies| frequencies.words += 1);
            }
        }
        true
    }
}
