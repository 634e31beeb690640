//! The way from what is trusted to a height that is wanted, as few headers as skipping allows.
//!
//! The wanted header is tried first. While too few of the trusted validators signed a header, the one in the middle is
//! asked for; what was shown meanwhile waits in a stack and is tried again, nearest first. The stack holds at most one
//! header for each bit of a height, and all headers together are bounded by [`MAX_LIGHT_BLOCKS`].

use super::{LightBlock, LightClient, LightError, MAX_LIGHT_BLOCKS, Window};

/// What a bisection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bring the light block of this height.
    Need(u64),
    /// The wanted height is trusted.
    Done,
}

/// A client on its way.
#[derive(Clone, Debug)]
pub struct Bisection {
    client: LightClient,
    target: u64,
    /// Headers that too few of the trusted validators signed, the farthest first.
    waiting: Vec<LightBlock>,
    /// Headers that were taken, in order.
    trail: Vec<LightBlock>,
    /// How many headers were shown.
    shown: usize,
}

impl Bisection {
    /// The way to `target`.
    ///
    /// # Errors
    /// It lies before what the client trusts.
    pub fn new(client: LightClient, target: u64) -> Result<Self, LightError> {
        let trusted = client.trusted().height;
        if target < trusted {
            return Err(LightError::Height { expected: trusted, got: target });
        }
        Ok(Self { client, target, waiting: Vec::new(), trail: Vec::new(), shown: 0 })
    }

    /// What is needed now.
    pub fn step(&self) -> Step {
        let trusted = self.client.trusted().height;
        match self.waiting.last() {
            // Between two heights that differ by one there is no trust to gain: they are checked as neighbours.
            Some(nearest) => Step::Need(trusted.midpoint(nearest.header.height)),
            None if trusted == self.target => Step::Done,
            None => Step::Need(self.target),
        }
    }

    /// Takes the light block that [`Self::step`] asked for.
    ///
    /// # Errors
    /// As [`LightClient::verify`]; it was not the height asked for; or the way is too long. What was taken stays taken:
    /// the height that [`Self::step`] names then can be asked of somebody else.
    pub fn give(&mut self, window: Window, block: LightBlock) -> Result<Step, LightError> {
        match self.step() {
            Step::Need(expected) if expected == block.header.height => {}
            Step::Need(expected) => return Err(LightError::Height { expected, got: block.header.height }),
            Step::Done => return Ok(Step::Done),
        }
        if self.shown >= MAX_LIGHT_BLOCKS {
            return Err(LightError::TooMany);
        }
        match self.client.verify(window, &block) {
            Ok(()) => self.trail.push(block),
            // Its own signatures are checked when it is tried again; until then it only waits.
            Err(LightError::Trust { .. }) => self.waiting.push(block),
            Err(error) => return Err(error),
        }
        self.shown = self.shown.saturating_add(1);
        self.try_waiting(window)?;
        Ok(self.step())
    }

    /// Tries those that wait, from the nearest on, as far as the new trust leads.
    fn try_waiting(&mut self, window: Window) -> Result<(), LightError> {
        while let Some(nearest) = self.waiting.last() {
            match self.client.verify(window, nearest) {
                Ok(()) => self.trail.extend(self.waiting.pop()),
                Err(LightError::Trust { .. }) => break,
                Err(error) => {
                    // It was never checked before: it goes, and its height is asked for again.
                    self.waiting.pop();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Gives up what waits, unchecked: whoever brought it may have lied, and somebody else is asked.
    pub fn forget_unchecked(&mut self) {
        self.waiting.clear();
    }

    /// The client as far as it came.
    pub fn client(&self) -> &LightClient {
        &self.client
    }

    /// The client and the headers it took, in order: a chain for [`LightClient::verify_chain`].
    pub fn finish(self) -> (LightClient, Vec<LightBlock>) {
        (self.client, self.trail)
    }
}
