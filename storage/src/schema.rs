//! Everything that is on disk, in one place: families of rows, their keys, their values.
//!
//! | Family         | Key                         | Value                                       |
//! |----------------|-----------------------------|---------------------------------------------|
//! | `tributary`    | `schema`, `origin`, `height`, `lowest` | schema version u32; [`Origin`]; heights u64 |
//! | `state`        | ledger key                  | ledger value                                |
//! | `tree`         | Merkle node key             | Merkle node                                 |
//! | `blocks`       | height                      | block, its certificate                      |
//! | `block_index`  | block id                    | height                                      |
//! | `objects`      | object id                   | height, place in the block's body           |
//! | `pool`         | object id                   | arrival number u64, envelope                |
//! | `wal`          | height ‖ index              | entry of the agreement's write-ahead log    |
//! | `sign_record`  | `last`                      | the last thing signed                       |
//! | `host`         | manifest id                 | nothing: the row says "its content is here" |
//! | `validators`   | hash of a validator set     | the set                                     |
//! | `kept`         | object id                   | height and place of its block, envelope     |
//!
//! - Numbers in keys are big-endian, so that rows lie in the order of numbers; a height has 8 bytes, an index 4.
//! - Every value lies in a frame: row version (1 byte) ‖ checksum (8 bytes) ‖ body. The frame has this form in every
//!   schema. The body is borsh, but for `state`, `tree`, `wal` and `sign_record`, which hold their bytes as given.
//! - `lowest` is the lowest height whose block is here; below it, blocks were pruned or never were here. Of objects in
//!   pruned blocks, those that later proofs need are in `kept`.
//! - The checksum covers family, key, version and body: a row that was altered, or that stands in another row's place,
//!   is found out.
//! - The row with the empty key, in every family, is its stamp: the number (u64) of the last batch that was written.
//!   Every batch stamps all families. RocksDB can lose the newest files of one family without a word when its manifest is
//!   cut short; then that family's stamp is behind, and the database is refused as damaged.
//! - [`SCHEMA_VERSION`] counts changes of this table, [`ROW_VERSION`] changes of a body. A database with a newer one is
//!   refused; the row `schema` keeps its form for ever, so that the refusal can be understood.

use crate::error::StoreError;
use borsh::{BorshDeserialize, BorshSerialize};
use protocol::genesis::Genesis;
use protocol::ids::{Hash32, to_hex};

/// The form of the whole database.
pub const SCHEMA_VERSION: u32 = 3;
/// The form of a row's body.
pub const ROW_VERSION: u8 = 1;

/// Bytes before a row's body: version and checksum.
pub const FRAME_BYTES: usize = 1 + CHECKSUM_BYTES;
const CHECKSUM_BYTES: usize = 8;
const CHECKSUM_CONTEXT: &str = "tributary v1 stored row";

/// Key of the stamp, in every family.
pub const KEY_STAMP: &[u8] = b"";
/// The first key after the stamp's.
pub const FIRST_KEY: &[u8] = &[0];
/// Key of the schema version in [`Family::Meta`].
pub const KEY_SCHEMA: &[u8] = b"schema";
/// Key of the [`Origin`] in [`Family::Meta`].
pub const KEY_ORIGIN: &[u8] = b"origin";
/// Key of the last committed height in [`Family::Meta`].
pub const KEY_HEIGHT: &[u8] = b"height";
/// Key of the lowest height whose block is here in [`Family::Meta`].
pub const KEY_LOWEST: &[u8] = b"lowest";
/// Key of the only row in [`Family::SignRecord`].
pub const KEY_SIGN_RECORD: &[u8] = b"last";

/// Which network a database belongs to.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Origin {
    /// The hash of its genesis.
    pub genesis: Hash32,
    /// Its name.
    pub network: String,
}

impl Origin {
    /// The network that starts from this genesis.
    pub fn of(genesis: &Genesis) -> Self {
        Self { genesis: genesis.hash(), network: genesis.network.clone() }
    }
}

/// A family of rows; a column family of RocksDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the table at the top of this file describes each")]
pub enum Family {
    Meta,
    State,
    Tree,
    Blocks,
    BlockIndex,
    Objects,
    Pool,
    Wal,
    SignRecord,
    Host,
    Validators,
    Kept,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 12] = [
        Self::Meta,
        Self::State,
        Self::Tree,
        Self::Blocks,
        Self::BlockIndex,
        Self::Objects,
        Self::Pool,
        Self::Wal,
        Self::SignRecord,
        Self::Host,
        Self::Validators,
        Self::Kept,
    ];

    /// Its name on disk. That of the first tells our databases from other programs'.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Meta => "tributary",
            Self::State => "state",
            Self::Tree => "tree",
            Self::Blocks => "blocks",
            Self::BlockIndex => "block_index",
            Self::Objects => "objects",
            Self::Pool => "pool",
            Self::Wal => "wal",
            Self::SignRecord => "sign_record",
            Self::Host => "host",
            Self::Validators => "validators",
            Self::Kept => "kept",
        }
    }

    /// A row's key as an error names it to a person.
    pub fn describe(self, key: &[u8]) -> String {
        let hex = || to_hex(key);
        match self {
            _ if key == KEY_STAMP => "stamp".to_owned(),
            Self::Meta | Self::SignRecord => String::from_utf8_lossy(key).into_owned(),
            Self::Blocks => read_height_key(key).map_or_else(hex, |height| format!("height {height}")),
            Self::Wal => {
                read_wal_key(key).map_or_else(hex, |(height, index)| format!("height {height}, entry {index}"))
            }
            Self::State
            | Self::Tree
            | Self::BlockIndex
            | Self::Objects
            | Self::Pool
            | Self::Host
            | Self::Validators
            | Self::Kept => hex(),
        }
    }
}

/// The key of a block.
pub fn height_key(height: u64) -> [u8; 8] {
    height.to_be_bytes()
}

/// The height in the key of a block.
pub fn read_height_key(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// The key of an entry of the write-ahead log.
pub fn wal_key(height: u64, index: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&height.to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Height and index in the key of an entry of the write-ahead log.
pub fn read_wal_key(key: &[u8]) -> Option<(u64, u32)> {
    let (height, index) = key.split_at_checked(8)?;
    Some((read_height_key(height)?, u32::from_be_bytes(index.try_into().ok()?)))
}

/// The stored value of a row with this body.
pub fn seal(family: Family, key: &[u8], body: &[u8]) -> Vec<u8> {
    seal_as(ROW_VERSION, family, key, body)
}

/// The stored value of a row of any version.
pub fn seal_as(version: u8, family: Family, key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(FRAME_BYTES + body.len());
    value.push(version);
    value.extend(checksum(version, family, key, body));
    value.extend(body);
    value
}

/// The body of a stored row, after its checks.
pub fn open<'a>(family: Family, key: &[u8], value: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let damaged = |reason: &str| StoreError::damaged(family, key, reason);
    let (frame, body) = value.split_at_checked(FRAME_BYTES).ok_or_else(|| damaged("it is too short"))?;
    let version = frame[0];
    if frame[1..] != checksum(version, family, key, body) {
        return Err(damaged("its checksum does not hold"));
    }
    if version != ROW_VERSION {
        let record = family.describe(key);
        return Err(StoreError::NewerRow { family: family.as_str(), record, found: version, known: ROW_VERSION });
    }
    Ok(body)
}

fn checksum(version: u8, family: Family, key: &[u8], body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key(CHECKSUM_CONTEXT);
    // Names hold no zero byte and the key's length is told, so that no two rows read the same here.
    hasher.update(family.as_str().as_bytes());
    hasher.update(&[0, version]);
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(body);
    let mut out = [0; CHECKSUM_BYTES];
    hasher.finalize_xof().fill(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Databases in the field hold these bytes: a change here needs a new [`ROW_VERSION`] or [`SCHEMA_VERSION`].
    #[test]
    fn the_bytes_on_disk_do_not_change() {
        assert_eq!(to_hex(&wal_key(258, 3)), "000000000000010200000003");
        assert_eq!(to_hex(&height_key(258)), "0000000000000102");
        let origin = Origin { genesis: Hash32([7; 32]), network: "devnet".to_owned() };
        let body = protocol::genesis::canonical(&origin);
        let row = to_hex(&seal(Family::Meta, KEY_ORIGIN, &body));
        assert_eq!(row, format!("01{}{}06000000{}", "2b95237213e9360f", "07".repeat(32), to_hex(b"devnet")));
    }

    #[test]
    fn an_altered_or_displaced_row_is_found_out() {
        let row = seal(Family::Wal, &wal_key(7, 3), b"entry");
        assert_eq!(open(Family::Wal, &wal_key(7, 3), &row).unwrap(), b"entry");
        for bit in 0..row.len() * 8 {
            let mut altered = row.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(open(Family::Wal, &wal_key(7, 3), &altered), Err(StoreError::Damaged { .. })), "{bit}");
        }
        for short in 0..row.len() {
            assert!(open(Family::Wal, &wal_key(7, 3), &row[..short]).is_err(), "{short}");
        }
        let error = open(Family::Wal, &wal_key(7, 4), &row).unwrap_err().to_string();
        assert!(error.contains("height 7, entry 4 in wal"), "{error}");
        assert!(open(Family::Host, &wal_key(7, 3), &row).is_err());
    }

    #[test]
    fn a_row_of_a_newer_version_is_told_from_a_damaged_one() {
        let row = seal_as(ROW_VERSION + 1, Family::Wal, &wal_key(7, 3), b"entry");
        assert!(matches!(
            open(Family::Wal, &wal_key(7, 3), &row),
            Err(StoreError::NewerRow { found: 2, known: 1, .. })
        ));
    }
}
