//! A network's genesis as a JSON file.
//!
//! Accounts are `trib1…`, drops are decimal strings, every parameter has its name, and an unknown or missing field is
//! refused with its line. The file is only a form of [`Genesis`]: the genesis hash is that of the genesis itself, so
//! neither white space nor the order of fields changes it.

use crate::files;
use protocol::genesis::{FeeSplit, Genesis, GenesisError, GenesisValidator, InfluenceParams, Params, StakeParams};
use protocol::ids::Account;
use protocol::objects::Drops;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Bytes of a genesis file that are read: 256 validators and some hundred thousand accounts.
const MAX_GENESIS_BYTES: u64 = 64 * 1024 * 1024;
/// Access rights: it is public.
const GENESIS_MODE: u32 = 0o644;

/// Why there is no genesis.
#[derive(Debug, thiserror::Error)]
pub enum GenesisFileError {
    /// The file cannot be read or written.
    #[error("cannot {action} the genesis {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not the JSON of a genesis.
    #[error("the genesis {} is malformed", path.display())]
    Malformed {
        /// Where.
        path: PathBuf,
        /// What, and on which line.
        #[source]
        source: serde_json::Error,
    },
    /// No network can start from it.
    #[error("no network can start from the genesis {}", path.display())]
    Unfit {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: GenesisError,
    },
}

impl GenesisFileError {
    /// One word.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "file",
            Self::Malformed { .. } => "malformed",
            Self::Unfit { .. } => "genesis",
        }
    }
}

/// Reads a genesis that a network can start from.
pub fn read(path: &Path) -> Result<Genesis, GenesisFileError> {
    let unread = |source| GenesisFileError::Io { action: "read", path: path.to_owned(), source };
    let text = files::read_text(path, MAX_GENESIS_BYTES).map_err(unread)?;
    let malformed = |source| GenesisFileError::Malformed { path: path.to_owned(), source };
    let genesis = Genesis::from(serde_json::from_str::<GenesisJson>(&text).map_err(malformed)?);
    genesis.check().map_err(|source| GenesisFileError::Unfit { path: path.to_owned(), source })?;
    Ok(genesis)
}

/// Writes a genesis that a network can start from; one that is there already is left alone and an error.
pub fn write_new(path: &Path, genesis: &Genesis) -> Result<(), GenesisFileError> {
    genesis.check().map_err(|source| GenesisFileError::Unfit { path: path.to_owned(), source })?;
    let unwritten = |source| GenesisFileError::Io { action: "write", path: path.to_owned(), source };
    let malformed = |source| GenesisFileError::Malformed { path: path.to_owned(), source };
    let mut text = serde_json::to_string_pretty(&GenesisJson::from(genesis)).map_err(malformed)?;
    text.push('\n');
    files::create_new(path, text.as_bytes(), GENESIS_MODE).map_err(unwritten)
}

/// A genesis as the file's JSON, for whoever asks the API.
pub fn to_json(genesis: &Genesis) -> Result<serde_json::Value, serde_json::Error> {
    serde_json::to_value(GenesisJson::from(genesis))
}

/// Something that stands in the file as a string.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text<Account> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Account::from_str(&text).map(Text).map_err(|error| de::Error::custom(format!("{text:?}: {error}")))
    }
}

impl<'de> Deserialize<'de> for Text<Drops> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let amount = text.parse::<u128>().ok().filter(|amount| amount.to_string() == text);
        let wrong = || de::Error::custom(format!("drops are a whole number in quotes, such as \"1000\", not {text:?}"));
        amount.map(|amount| Text(Drops(amount))).ok_or_else(wrong)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenesisJson {
    network: String,
    time_ms: u64,
    params: ParamsJson,
    validators: Vec<ValidatorJson>,
    accounts: Vec<BalanceJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParamsJson {
    epoch_ms: u64,
    max_block_bytes: u64,
    max_block_envelopes: u32,
    dispute_window: u64,
    commit_window: u64,
    settle_timeout: u64,
    max_expiry: u64,
    split: SplitJson,
    share_cap_bp: u32,
    object_fee: Text<Drops>,
    min_receipt_fee: Text<Drops>,
    agreed_timeout: u64,
    stake: StakeJson,
    influence: InfluenceJson,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InfluenceJson {
    rows_bond: Text<Drops>,
    audit_bp: u32,
    audit_window: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StakeJson {
    power_unit: Text<Drops>,
    min_bond: Text<Drops>,
    max_validators: u32,
    unbonding_epochs: u64,
    evidence_age: u64,
    double_sign_slash_bp: u32,
    downtime_window: u64,
    min_signed_bp: u32,
    downtime_slash_bp: u32,
    jail_epochs: u64,
    duty_window: u64,
    max_missed_duties: u32,
    max_wrong_roots: u32,
    committee_size: u32,
    redraw_epochs: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitJson {
    data_bp: u32,
    model_bp: u32,
    serving_bp: u32,
    validators_bp: u32,
    treasury_bp: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidatorJson {
    name: String,
    key: Text<Account>,
    payout: Text<Account>,
    power: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BalanceJson {
    account: Text<Account>,
    drops: Text<Drops>,
}

// Both directions take their side apart in full, so that a new field cannot be forgotten here.

impl From<&Genesis> for GenesisJson {
    fn from(genesis: &Genesis) -> Self {
        let Genesis { network, time_ms, params, validators, accounts } = genesis;
        let validator = |validator: &GenesisValidator| {
            let GenesisValidator { key, payout, power, name } = validator;
            ValidatorJson { name: name.clone(), key: Text(*key), payout: Text(*payout), power: *power }
        };
        let balance =
            |(account, drops): &(Account, Drops)| BalanceJson { account: Text(*account), drops: Text(*drops) };
        Self {
            network: network.clone(),
            time_ms: *time_ms,
            params: params.into(),
            validators: validators.iter().map(validator).collect(),
            accounts: accounts.iter().map(balance).collect(),
        }
    }
}

impl From<GenesisJson> for Genesis {
    fn from(json: GenesisJson) -> Self {
        let GenesisJson { network, time_ms, params, validators, accounts } = json;
        let validator = |validator: ValidatorJson| {
            let ValidatorJson { name, key, payout, power } = validator;
            GenesisValidator { key: key.0, payout: payout.0, power, name }
        };
        Self {
            network,
            time_ms,
            params: params.into(),
            validators: validators.into_iter().map(validator).collect(),
            accounts: accounts.into_iter().map(|BalanceJson { account, drops }| (account.0, drops.0)).collect(),
        }
    }
}

impl From<&Params> for ParamsJson {
    fn from(params: &Params) -> Self {
        let Params {
            epoch_ms,
            max_block_bytes,
            max_block_envelopes,
            dispute_window,
            commit_window,
            settle_timeout,
            max_expiry,
            split: FeeSplit { data_bp, model_bp, serving_bp, validators_bp, treasury_bp },
            share_cap_bp,
            object_fee,
            min_receipt_fee,
            agreed_timeout,
            stake,
            influence,
        } = *params;
        let split = SplitJson { data_bp, model_bp, serving_bp, validators_bp, treasury_bp };
        let (object_fee, min_receipt_fee) = (Text(object_fee), Text(min_receipt_fee));
        Self {
            epoch_ms,
            max_block_bytes,
            max_block_envelopes,
            dispute_window,
            commit_window,
            settle_timeout,
            max_expiry,
            split,
            share_cap_bp,
            object_fee,
            min_receipt_fee,
            agreed_timeout,
            stake: stake.into(),
            influence: influence.into(),
        }
    }
}

impl From<ParamsJson> for Params {
    fn from(json: ParamsJson) -> Self {
        let ParamsJson {
            epoch_ms,
            max_block_bytes,
            max_block_envelopes,
            dispute_window,
            commit_window,
            settle_timeout,
            max_expiry,
            split: SplitJson { data_bp, model_bp, serving_bp, validators_bp, treasury_bp },
            share_cap_bp,
            object_fee: Text(object_fee),
            min_receipt_fee: Text(min_receipt_fee),
            agreed_timeout,
            stake,
            influence,
        } = json;
        let split = FeeSplit { data_bp, model_bp, serving_bp, validators_bp, treasury_bp };
        Self {
            epoch_ms,
            max_block_bytes,
            max_block_envelopes,
            dispute_window,
            commit_window,
            settle_timeout,
            max_expiry,
            split,
            share_cap_bp,
            object_fee,
            min_receipt_fee,
            agreed_timeout,
            stake: stake.into(),
            influence: influence.into(),
        }
    }
}

impl From<InfluenceParams> for InfluenceJson {
    fn from(influence: InfluenceParams) -> Self {
        let InfluenceParams { rows_bond, audit_bp, audit_window } = influence;
        Self { rows_bond: Text(rows_bond), audit_bp, audit_window }
    }
}

impl From<InfluenceJson> for InfluenceParams {
    fn from(json: InfluenceJson) -> Self {
        let InfluenceJson { rows_bond: Text(rows_bond), audit_bp, audit_window } = json;
        Self { rows_bond, audit_bp, audit_window }
    }
}

impl From<StakeParams> for StakeJson {
    fn from(stake: StakeParams) -> Self {
        let StakeParams {
            power_unit,
            min_bond,
            max_validators,
            unbonding_epochs,
            evidence_age,
            double_sign_slash_bp,
            downtime_window,
            min_signed_bp,
            downtime_slash_bp,
            jail_epochs,
            duty_window,
            max_missed_duties,
            max_wrong_roots,
            committee_size,
            redraw_epochs,
        } = stake;
        Self {
            power_unit: Text(power_unit),
            min_bond: Text(min_bond),
            max_validators,
            unbonding_epochs,
            evidence_age,
            double_sign_slash_bp,
            downtime_window,
            min_signed_bp,
            downtime_slash_bp,
            jail_epochs,
            duty_window,
            max_missed_duties,
            max_wrong_roots,
            committee_size,
            redraw_epochs,
        }
    }
}

impl From<StakeJson> for StakeParams {
    fn from(json: StakeJson) -> Self {
        let StakeJson {
            power_unit: Text(power_unit),
            min_bond: Text(min_bond),
            max_validators,
            unbonding_epochs,
            evidence_age,
            double_sign_slash_bp,
            downtime_window,
            min_signed_bp,
            downtime_slash_bp,
            jail_epochs,
            duty_window,
            max_missed_duties,
            max_wrong_roots,
            committee_size,
            redraw_epochs,
        } = json;
        Self {
            power_unit,
            min_bond,
            max_validators,
            unbonding_epochs,
            evidence_age,
            double_sign_slash_bp,
            downtime_window,
            min_signed_bp,
            downtime_slash_bp,
            jail_epochs,
            duty_window,
            max_missed_duties,
            max_wrong_roots,
            committee_size,
            redraw_epochs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::dev_seed;

    fn genesis() -> Genesis {
        let account = |name: &str| dev_seed("test", name).secret_key().account();
        let mut accounts = vec![(account("alice"), Drops(u128::from(u64::MAX) + 7)), (account("bob"), Drops(1))];
        accounts.sort();
        Genesis {
            network: "test".to_owned(),
            time_ms: 1_700_000_000_123,
            params: Params::devnet(),
            validators: vec![GenesisValidator {
                key: account("v"),
                payout: account("p"),
                power: 3,
                name: "v".to_owned(),
            }],
            accounts,
        }
    }

    #[test]
    fn a_genesis_reads_back_with_the_same_hash_whatever_its_white_space() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("genesis.json");
        write_new(&path, &genesis()).unwrap();
        assert_eq!(read(&path).unwrap(), genesis());
        assert_eq!(write_new(&path, &genesis()).unwrap_err().code(), "file");
        let compact = std::fs::read_to_string(&path).unwrap().replace(['\n', ' '], "");
        std::fs::write(&path, compact).unwrap();
        assert_eq!(read(&path).unwrap().hash(), genesis().hash());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("genesis.json");
        let good = serde_json::to_string_pretty(&GenesisJson::from(&genesis())).unwrap();
        let cases = [
            ("\"epoch_ms\": 1000", "\"epochms\": 1000", "malformed", "unknown field `epochms`"),
            ("\"epoch_ms\": 1000,", "", "malformed", "missing field `epoch_ms`"),
            ("\"object_fee\": \"1000000\"", "\"object_fee\": 1000000", "malformed", "expected a string"),
            ("\"object_fee\": \"1000000\"", "\"object_fee\": \"01\"", "malformed", "not \"01\""),
            ("\"object_fee\": \"1000000\"", "\"object_fee\": \"-1\"", "malformed", "drops are a whole number"),
            ("trib1", "trab1", "malformed", "not an account address"),
            ("\"power\": 3", "\"power\": 0", "genesis", "power of at least 1"),
            ("\"data_bp\": 5000", "\"data_bp\": 5001", "genesis", "10,000 basis points"),
            ("\"network\": \"test\"", "\"network\": \"Te st\"", "genesis", "lower-case letters"),
        ];
        for (from, to, code, says) in cases {
            assert!(good.contains(from), "{from}");
            std::fs::write(&path, good.replacen(from, to, 1)).unwrap();
            let error = read(&path).unwrap_err();
            let text = format!("{:#}", anyhow::Error::new(error));
            assert!(text.contains(says) && text.contains("genesis.json"), "{to}: {text}");
            assert_eq!(read(&path).unwrap_err().code(), code, "{to}");
            assert_eq!(text.contains("line "), code == "malformed", "{to}: {text}");
        }
    }
}
