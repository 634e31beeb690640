//! The simulator: whole nodes of the real core in virtual time, under one seed, with everything around them that fails.
//!
//! - `world` is the queue of what happens next; `effects` carries out what cores ask for, `requests` what
//!   they ask of each other; `member` is one node with its
//!   `disk` and `clock`; `network` is what lies between them.
//! - `load` is what people do, `churn` what operators do, `content` what people wrote; `faults` is what fails when, `attackers` who breaks the rules.
//! - `checks` looks for broken promises, each checker by its own arithmetic; `ablation` takes away what the design rests
//!   on, so that the checkers can be seen to see.
//! - `scenario` is the table of what is tried, `run` one run of it;
//!   `latency` measures instead.
//!
//! The same seed gives the same [`run::Outcome::digest`] in any process. Bandwidth, CPU time and gossip over several hops
//! are not modelled: messages go directly and cost their link's latency.

pub mod ablation;
pub mod attackers;
pub mod checks;
mod churn;
mod clock;
pub mod content;
pub mod dice;
pub mod disk;
mod effects;
mod faults;
pub mod journal;
pub mod latency;
pub mod load;
pub mod member;
pub mod network;
mod requests;
pub mod run;
pub mod scenario;
pub mod world;

#[cfg(test)]
mod tests;
