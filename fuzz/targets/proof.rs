//! A proof file from anywhere never panics, and proves nothing by chance.

use protocol::genesis::{Genesis, GenesisValidator, Params};
use protocol::ids::Account;
use protocol::proof::{MAGIC, Trust, verify};

/// Takes the bytes for a proof, with and without the mark that proofs begin with.
pub(super) fn run(bytes: &[u8]) {
    let member = GenesisValidator { key: Account([9; 32]), payout: Account([9; 32]), power: 1, name: "one".to_owned() };
    let genesis = Genesis {
        network: "fuzz".to_owned(),
        time_ms: 0,
        params: Params::devnet(),
        validators: vec![member],
        accounts: Vec::new(),
    };
    assert!(verify(bytes, &Trust::of_genesis(&genesis)).is_err());
    assert!(verify(&[MAGIC.as_slice(), bytes].concat(), &Trust::of_genesis(&genesis)).is_err());
}
