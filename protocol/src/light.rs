//! A light client: it follows the decided headers of a network, and the changes of their validators, without the blocks.
//!
//! It starts from what a person trusts, the genesis or one (height, hash), and takes a further header when
//!
//! 1. the trust it starts from is not too old: validators that left long ago have nothing to lose by signing again;
//! 2. more than two thirds of the power of the header's own validators signed it, in one certificate;
//! 3. the header follows the trusted one and is decided by the very set that this one named, or, with heights in
//!    between, more than one third of the power of that set is among the signers: at least one of them is honest as
//!    long as less than a third is not, and an honest validator signs one block of a height ("skipping verification").
//!
//! Where a third is not reached, [`Bisection`] asks for a header in between. Heights below the trusted one are never
//! taken. A header that contradicts what is trusted and yet is properly signed is [`LightError::Conflict`]: more than a
//! third of the power broke the protocol, and both headers together are the evidence.
//!
//! Nothing here does I/O: who asks brings the light blocks and the time.

mod bisection;

pub use bisection::{Bisection, Step};

use crate::block::{Certificate, CertificateError, Header, Validator, ValidatorSet};
use crate::genesis::Genesis;
use crate::ids::{Account, BlockId, Hash32};
use crate::limits::{MAX_CLOCK_DRIFT_MS, MAX_VALIDATORS};
use borsh::{BorshDeserialize, BorshSerialize};

/// Light blocks of one way from what is trusted to a header: what a proof carries or a client fetches. Each bridges a
/// change of up to two thirds of the power, so a way that needs more leads through more changes than a sound network
/// makes while its trust lasts.
pub const MAX_LIGHT_BLOCKS: usize = 256;
/// Canonical bytes of the largest light block: two sets of 72 bytes a member, a signature of 96 bytes each, and a header.
pub const MAX_LIGHT_BLOCK_BYTES: usize = MAX_VALIDATORS * (2 * 72 + 96) + 1024;
/// The most power of a set together; a genesis is bounded likewise, so sums cannot overflow.
const MAX_POWER: u64 = 1 << 60;

/// A decided header with what it takes to check it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LightBlock {
    /// The header.
    pub header: Header,
    /// Proof that its block was decided.
    pub certificate: Certificate,
    /// The set that decided it; [`Header::validators`] is its hash.
    pub validators: ValidatorSet,
    /// The set that decides the next height, where it is another one.
    pub changed: Option<ValidatorSet>,
}

impl LightBlock {
    /// A light block; `next_validators` is the set of the height after.
    pub fn new(
        header: Header,
        certificate: Certificate,
        validators: ValidatorSet,
        next_validators: ValidatorSet,
    ) -> Self {
        let changed = (header.validators != header.next_validators).then_some(next_validators);
        Self { header, certificate, validators, changed }
    }

    /// The set that decides the next height.
    pub fn next_validators(&self) -> &ValidatorSet {
        self.changed.as_ref().unwrap_or(&self.validators)
    }

    /// Checks everything that a light block says of itself: sizes and order first, then hashes, signatures last.
    fn check_alone(&self) -> Result<(), LightError> {
        let Self { header, certificate, validators, changed } = self;
        check_set(validators)?;
        changed.as_ref().map_or(Ok(()), check_set)?;
        if certificate.signatures.len() > validators.members().len() {
            let reason = "its certificate has more signatures than there are validators";
            return Err(LightError::Malformed { height: header.height, reason });
        }
        let id = header.id();
        if certificate.block != id || certificate.height != header.height || header.height == 0 {
            return Err(LightError::Header { certified: certificate.block, header: id });
        }
        let malformed = |reason| LightError::Malformed { height: header.height, reason };
        if validators.hash() != header.validators {
            return Err(malformed("its validators are not those that the header names"));
        }
        match changed {
            None if header.next_validators == header.validators => Ok(()),
            None => Err(malformed("the next validators are missing")),
            Some(_) if header.next_validators == header.validators => Err(malformed("its validators stand twice")),
            Some(next) if next.hash() == header.next_validators => Ok(()),
            Some(_) => Err(malformed("the next validators are not those that the header names")),
        }
    }
}

/// Refuses a set that no network can have: what follows counts its power without overflow and finds members by key.
fn check_set(set: &ValidatorSet) -> Result<(), LightError> {
    let members = set.members();
    if !(1..=MAX_VALIDATORS).contains(&members.len()) {
        return Err(LightError::Set("it must have 1 to 256 members"));
    }
    if !members.is_sorted_by(|a, b| a.key < b.key) {
        return Err(LightError::Set("its members must be in ascending order without repetition"));
    }
    let total = members.iter().fold(0_u64, |sum, member| sum.saturating_add(member.power));
    if total > MAX_POWER || members.iter().any(|member| member.power == 0) {
        return Err(LightError::Set("each member needs a power of at least 1, all together at most 2^60"));
    }
    Ok(())
}

/// The time, and how long a trusted header may be built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The time now, in milliseconds since 1970.
    pub now_ms: u64,
    /// Milliseconds after its own time for which a trusted header may vouch for later ones: less than validators' stake
    /// stays bound, so that whoever signs falsely still loses it. [`Self::FOREVER`] waives this protection.
    pub period_ms: u64,
}

impl Window {
    /// No end of trust: for who takes a static set of validators at its word.
    pub const FOREVER: u64 = u64::MAX;
}

/// What a light client builds on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// The height; 0 is the genesis.
    pub height: u64,
    /// The block; zero at height 0, as in the header of height 1.
    pub block: BlockId,
    /// Its time in milliseconds since 1970.
    pub time_ms: u64,
    /// The hash of the set that decided it; zero at height 0.
    pub validators: Hash32,
    /// The set that decides the next height.
    pub next_validators: ValidatorSet,
}

/// Why a light block is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LightError {
    /// It is not put together as light blocks are.
    #[error("the light block of height {height} is malformed: {reason}")]
    Malformed {
        /// Its height.
        height: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A set that cannot be one.
    #[error("the validator set is malformed: {0}")]
    Set(&'static str),
    /// The certificate is of another block.
    #[error("the certificate is of block {certified}, not of this header's {header}")]
    Header {
        /// What was certified.
        certified: BlockId,
        /// What was shown.
        header: BlockId,
    },
    /// Another height than was asked for, or one that lies before what is trusted.
    #[error("height {got} was shown where {expected} was due")]
    Height {
        /// The height that was due.
        expected: u64,
        /// The height of the header.
        got: u64,
    },
    /// Its time contradicts the trusted header's, or the clock.
    #[error("the header of height {height} is of time {time_ms} ms: {reason}")]
    Time {
        /// Its height.
        height: u64,
        /// Its time.
        time_ms: u64,
        /// What it contradicts.
        reason: &'static str,
    },
    /// The trust is too old to build on.
    #[error(
        "what is trusted, height {height} of {time_ms} ms, is too old to vouch for later headers: \
         give a younger trusted height and hash, from somebody you believe"
    )]
    Expired {
        /// The trusted height.
        height: u64,
        /// Its time.
        time_ms: u64,
    },
    /// Too few of the trusted validators signed: a header in between is needed.
    #[error("only {signed} of {total} of the trusted power signed height {height}; more than one third is needed")]
    Trust {
        /// The height that was shown.
        height: u64,
        /// The trusted set's power among the signers.
        signed: u64,
        /// The trusted set's power.
        total: u64,
    },
    /// The next header is not decided by the set that the trusted one named.
    #[error("height {height} must be decided by the validators {expected}, not by {got}")]
    Validators {
        /// The height that was shown.
        height: u64,
        /// The set that the trusted header names.
        expected: Hash32,
        /// The set of the header shown.
        got: Hash32,
    },
    /// Not signed by two thirds of its own set.
    #[error("the certificate of height {height} does not hold: {source}")]
    Certificate {
        /// The height.
        height: u64,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// Two properly signed headers of one height.
    #[error(
        "height {height} was decided twice: block {trusted} is trusted, and block {shown} is signed as well; \
         more than a third of the validators broke the protocol: stop, keep both, and ask the network's people"
    )]
    Conflict {
        /// The height.
        height: u64,
        /// The block that is trusted.
        trusted: BlockId,
        /// The block that contradicts it.
        shown: BlockId,
    },
    /// A way of too many steps.
    #[error("more than {MAX_LIGHT_BLOCKS} headers would be needed: give a younger trusted height and hash")]
    TooMany,
    /// The header at the trusted height has another hash than the person gave.
    #[error("block {shown} was shown for height {height}, where block {trusted} is trusted")]
    Checkpoint {
        /// The height.
        height: u64,
        /// What the person trusts.
        trusted: BlockId,
        /// What was shown.
        shown: BlockId,
    },
}

impl LightError {
    /// The reason in one word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed { .. } | Self::Set(_) => "malformed",
            Self::Header { .. } => "header",
            Self::Height { .. } => "height",
            Self::Time { .. } => "time",
            Self::Expired { .. } => "expired",
            Self::Trust { .. } => "trust",
            Self::Validators { .. } => "validators",
            Self::Certificate { .. } => "certificate",
            Self::Conflict { .. } => "conflict",
            Self::TooMany => "toomany",
            Self::Checkpoint { .. } => "checkpoint",
        }
    }
}

/// Follows a network's headers from what is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LightClient {
    genesis: Hash32,
    trusted: Trusted,
}

impl LightClient {
    /// A client that trusts the genesis.
    pub fn from_genesis(genesis: &Genesis) -> Self {
        let trusted = Trusted {
            height: 0,
            block: BlockId::default(),
            time_ms: genesis.time_ms,
            validators: Hash32::default(),
            next_validators: ValidatorSet::of_genesis(genesis),
        };
        Self { genesis: genesis.hash(), trusted }
    }

    /// A client that trusts the block that a person named by height and id, and has been shown it.
    ///
    /// # Errors
    /// It is not that block, or not one that its own validators decided.
    pub fn from_checkpoint(
        genesis: &Hash32,
        height: u64,
        block: BlockId,
        shown: &LightBlock,
    ) -> Result<Self, LightError> {
        shown.check_alone()?;
        if shown.header.height != height {
            return Err(LightError::Height { expected: height, got: shown.header.height });
        }
        if shown.header.id() != block {
            return Err(LightError::Checkpoint { height, trusted: block, shown: shown.header.id() });
        }
        check_certificate(shown, genesis)?;
        Ok(Self { genesis: *genesis, trusted: trust(shown) })
    }

    /// What later headers are checked against.
    pub fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// Checks a light block, and trusts it from then on. On an error nothing changes.
    ///
    /// # Errors
    /// [`LightError::Trust`] asks for a header in between; any other says that whoever sent it is wrong, that the trust
    /// is too old, or that the network's validators contradict themselves.
    pub fn verify(&mut self, window: Window, block: &LightBlock) -> Result<(), LightError> {
        let trusted = &self.trusted;
        let header = &block.header;
        if trusted.time_ms.saturating_add(window.period_ms) <= window.now_ms {
            return Err(LightError::Expired { height: trusted.height, time_ms: trusted.time_ms });
        }
        block.check_alone()?;
        if header.height < trusted.height {
            return Err(LightError::Height { expected: trusted.height, got: header.height });
        }
        if header.height == trusted.height {
            return self.verify_again(block);
        }
        let wrong_time = |reason| LightError::Time { height: header.height, time_ms: header.time_ms, reason };
        if header.time_ms <= trusted.time_ms {
            return Err(wrong_time("it is not later than that of the trusted header"));
        }
        if header.time_ms > window.now_ms.saturating_add(MAX_CLOCK_DRIFT_MS) {
            return Err(wrong_time("it lies in the future; is this machine's clock right?"));
        }
        if header.height == trusted.height.saturating_add(1) {
            let expected = trusted.next_validators.hash();
            if header.validators != expected {
                return Err(LightError::Validators { height: header.height, expected, got: header.validators });
            }
            check_certificate(block, &self.genesis)?;
            if header.parent != trusted.block {
                return Err(self.conflict(header.parent));
            }
        } else {
            check_overlap(&trusted.next_validators, block)?;
            check_certificate(block, &self.genesis)?;
        }
        self.trusted = trust(block);
        Ok(())
    }

    /// Checks light blocks one after the other, as a proof carries them.
    pub fn verify_chain(&mut self, window: Window, chain: &[LightBlock]) -> Result<(), LightError> {
        if chain.len() > MAX_LIGHT_BLOCKS {
            return Err(LightError::TooMany);
        }
        chain.iter().try_for_each(|block| self.verify(window, block))
    }

    /// A light block of the trusted height: the same, or the other half of a contradiction.
    fn verify_again(&self, block: &LightBlock) -> Result<(), LightError> {
        let trusted = &self.trusted;
        if block.header.id() == trusted.block {
            return check_certificate(block, &self.genesis);
        }
        if block.header.validators != trusted.validators {
            let (expected, got) = (trusted.validators, block.header.validators);
            return Err(LightError::Validators { height: trusted.height, expected, got });
        }
        check_certificate(block, &self.genesis)?;
        Err(self.conflict(block.header.id()))
    }

    fn conflict(&self, shown: BlockId) -> LightError {
        LightError::Conflict { height: self.trusted.height, trusted: self.trusted.block, shown }
    }
}

fn trust(block: &LightBlock) -> Trusted {
    Trusted {
        height: block.header.height,
        block: block.header.id(),
        time_ms: block.header.time_ms,
        validators: block.header.validators,
        next_validators: block.next_validators().clone(),
    }
}

/// More than one third of the trusted power must be among those whose signatures the certificate shows.
///
/// Counted before the signatures are checked, so that a stranger's certificate costs no arithmetic; it proves something
/// only together with [`check_certificate`], which checks every signature of the certificate.
fn check_overlap(trusted: &ValidatorSet, block: &LightBlock) -> Result<(), LightError> {
    let mut counted: Option<Account> = None;
    let mut signed = 0_u64;
    for (key, _) in &block.certificate.signatures {
        // A repeated or displaced signer is refused with the certificate; here it only must not count twice.
        if counted.is_none_or(|last| last < *key) {
            counted = Some(*key);
            signed = signed.saturating_add(trusted.get(key).map_or(0, |member: &Validator| member.power));
        }
    }
    let total = trusted.total_power();
    match u128::from(signed) * 3 > u128::from(total) {
        true => Ok(()),
        false => Err(LightError::Trust { height: block.header.height, signed, total }),
    }
}

fn check_certificate(block: &LightBlock, genesis: &Hash32) -> Result<(), LightError> {
    let checked = block.certificate.verify(&block.validators, genesis);
    checked.map_err(|source| LightError::Certificate { height: block.header.height, source })
}
