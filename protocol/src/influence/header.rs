//! The header: what a model's influence is made of, in a few hundred bytes, whose hash is the influence root.

use super::{MAX_DAMPING, MAX_DIMENSION, MAX_EXPONENT, MAX_FISHER_ROWS, MAX_ROWS};
use crate::crypto;
use crate::genesis::canonical;
use crate::ids::Hash32;
use borsh::{BorshDeserialize, BorshSerialize};

const MAGIC: [u8; 8] = *b"trib-inf";
const VERSION: u32 = 1;
/// Bytes of the header without its root.
const BODY_BYTES: usize = 8 + 4 + 4 + 2 + 8 + 8 + 8 + 4 + 5 * 32;
/// Bytes of the header: its fields and, last, the influence root.
pub const HEADER_BYTES: usize = BODY_BYTES + 32;

/// λ as a part of the mean eigenvalue of K: numerator and denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Damping {
    numerator: u32,
    denominator: u32,
}

/// Why a fraction is no damping.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a damping of {numerator}/{denominator}; it must be above 0 and at most {MAX_DAMPING}")]
pub struct DampingError {
    /// The part above the line.
    pub numerator: u32,
    /// The part below it.
    pub denominator: u32,
}

impl Damping {
    /// One mean eigenvalue: the choice that served best where nobody had looked at the truth before.
    pub const ONE: Self = Self { numerator: 1, denominator: 1 };

    /// A fraction above 0, [`MAX_DAMPING`] at most.
    pub fn new(numerator: u32, denominator: u32) -> Result<Self, DampingError> {
        let most = u64::from(denominator) * u64::from(MAX_DAMPING);
        if numerator == 0 || u64::from(numerator) > most {
            return Err(DampingError { numerator, denominator });
        }
        Ok(Self { numerator, denominator })
    }

    /// The part above the line.
    pub fn numerator(self) -> u32 {
        self.numerator
    }

    /// The part below it.
    pub fn denominator(self) -> u32 {
        self.denominator
    }

    /// λ for K of this trace, which is at most [`super::MAX_TRACE`], and dimension.
    pub(super) fn lambda(self, trace: u128, dimension: usize) -> u128 {
        let below = u128::from(self.denominator) * dimension.max(1) as u128;
        (trace * u128::from(self.numerator) / below).max(1)
    }
}

/// How far a solution may be off, in parts of 2²⁴ of the query's largest entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Tolerance(u32);

impl Tolerance {
    /// Bits behind the point.
    pub const BITS: u8 = 24;
    /// A part of 2¹⁶ of the query. A score then is off by less than what the codes of rows are.
    pub const DEFAULT: Self = Self(1 << 8);

    /// Parts of 2²⁴, at most all of them.
    pub const fn new(parts: u32) -> Option<Self> {
        if parts <= 1 << Self::BITS { Some(Self(parts)) } else { None }
    }

    /// Parts of 2²⁴.
    pub const fn parts(self) -> u32 {
        self.0
    }
}

/// What a model's influence is made of.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// Entries of each row.
    pub dimension: u32,
    /// e: a code of a row is worth its scale times 2^-e.
    pub exponent: i16,
    /// How many rows there are.
    pub rows: u64,
    /// How many Fisher rows there are.
    pub fisher_rows: u64,
    /// What λ is.
    pub damping: Damping,
    /// How far a solution may be off.
    pub tolerance: Tolerance,
    /// The digest of the checkpoint whose gradients these are.
    pub checkpoint: Hash32,
    /// The hash of the layout: which parameters, and which projection of them.
    pub layout: Hash32,
    /// The seed of projection and sampled labels; see [`crypto::influence_seed`].
    pub seed: [u8; 32],
    /// The root of the tree over the rows.
    pub rows_root: Hash32,
    /// The root of the tree over the Fisher rows.
    pub fisher_root: Hash32,
}

/// Why bytes are not a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum HeaderError {
    #[error("{got} bytes; a header of influence has {HEADER_BYTES}")]
    Length { got: usize },
    #[error("these are not influence rows: the first bytes are others")]
    Magic,
    #[error("influence rows of version {got}; this program knows version {VERSION}")]
    Version { got: u32 },
    #[error("the header was altered: its hash is not the root at its end")]
    Root,
    #[error("the header's {what} is {got}, out of bounds ({least} to {most})")]
    Bound { what: &'static str, got: i128, least: i128, most: i128 },
    #[error(transparent)]
    Damping(#[from] DampingError),
}

impl Header {
    /// The influence root: what a manifest says to commit to all of this.
    pub fn root(&self) -> Hash32 {
        crypto::influence_root(&self.body())
    }

    /// Its bytes, as they stand at the start of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = self.body();
        [&body, &crypto::influence_root(&body).0[..]].concat()
    }

    fn body(&self) -> Vec<u8> {
        [&MAGIC, &VERSION.to_le_bytes()[..], &canonical(self)].concat()
    }

    /// The header whose bytes these are, with every number within bounds.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() != HEADER_BYTES {
            return Err(HeaderError::Length { got: bytes.len() });
        }
        let (body, root) = bytes.split_at(BODY_BYTES);
        let Some((version, fields)) = body.strip_prefix(&MAGIC).and_then(|rest| rest.split_first_chunk::<4>()) else {
            return Err(HeaderError::Magic);
        };
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(HeaderError::Version { got: version });
        }
        if crypto::influence_root(body).0 != root {
            return Err(HeaderError::Root);
        }
        // Fields of a fixed length, as many bytes as there are: any bytes are some fields.
        let header: Self = borsh::from_slice(fields).map_err(|_| HeaderError::Length { got: bytes.len() })?;
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), HeaderError> {
        let exponent = i128::from(MAX_EXPONENT);
        for (what, got, least, most) in [
            ("dimension", self.dimension.into(), 1, MAX_DIMENSION as i128),
            ("exponent", self.exponent.into(), -exponent, exponent),
            ("number of rows", self.rows.into(), 1, MAX_ROWS.into()),
            ("number of Fisher rows", self.fisher_rows.into(), 0, MAX_FISHER_ROWS.into()),
            ("tolerance", self.tolerance.0.into(), 0, 1 << Tolerance::BITS),
        ] {
            if !(least..=most).contains(&got) {
                return Err(HeaderError::Bound { what, got, least, most });
            }
        }
        Damping::new(self.damping.numerator, self.damping.denominator)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            dimension: 650,
            exponent: 20,
            rows: 1_000,
            fisher_rows: 10_000,
            damping: Damping::ONE,
            tolerance: Tolerance::DEFAULT,
            checkpoint: Hash32([1; 32]),
            layout: Hash32([2; 32]),
            seed: [3; 32],
            rows_root: Hash32([4; 32]),
            fisher_root: Hash32([5; 32]),
        }
    }

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_is_refused() {
        let bytes = header().to_bytes();
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(Header::from_bytes(&bytes), Ok(header()));
        assert_eq!(bytes[BODY_BYTES..], header().root().0);
        for bit in 0..HEADER_BYTES * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::from_bytes(&wrong).is_err(), "bit {bit}");
        }
        assert_eq!(Header::from_bytes(&bytes[1..]), Err(HeaderError::Length { got: HEADER_BYTES - 1 }));
    }

    #[test]
    fn the_form_of_the_header_is_frozen() {
        assert_eq!(
            header().root().to_string(),
            "97647e449cf159b780baf87de5df092d137ce115ed5e3a65d80588d29581ae00",
            "whoever changes the form raises VERSION and says so in CHANGELOG.md"
        );
    }

    #[test]
    fn numbers_out_of_bounds_are_refused_by_name() {
        let refused = |change: fn(&mut Header)| {
            let mut header = header();
            change(&mut header);
            Header::from_bytes(&header.to_bytes()).unwrap_err().to_string()
        };
        assert!(refused(|header| header.dimension = 0).contains("dimension is 0"));
        assert!(refused(|header| header.dimension = u32::MAX).contains("dimension is 4294967295"));
        assert!(refused(|header| header.rows = u64::MAX).contains("number of rows"));
        assert!(refused(|header| header.fisher_rows = u64::MAX).contains("number of Fisher rows"));
        assert!(refused(|header| header.exponent = i16::MIN).contains("exponent is -32768"));
        assert!(refused(|header| header.tolerance = Tolerance(u32::MAX)).contains("tolerance"));
        assert!(refused(|header| header.damping.denominator = 0).contains("damping of 1/0"));
        assert!(refused(|header| header.damping.numerator = 257).contains("damping of 257/1"));
    }

    #[test]
    fn lambda_is_a_part_of_the_mean_eigenvalue() {
        let half = Damping::new(1, 2).unwrap();
        assert_eq!((Damping::ONE.lambda(700, 7), half.lambda(700, 7), half.lambda(0, 7)), (100, 50, 1));
        assert_eq!(Damping::new(0, 1), Err(DampingError { numerator: 0, denominator: 1 }));
        let most = Damping::new(u32::MAX, u32::MAX).unwrap();
        assert_eq!(most.lambda(super::super::MAX_TRACE, 1), super::super::MAX_TRACE);
    }
}
