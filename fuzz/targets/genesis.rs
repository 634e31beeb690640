//! A genesis from a file: refused, or one that a node starts from, with one form.

use protocol::crypto::SecretKey;
use protocol::genesis::{Genesis, GenesisValidator, Params, canonical};
use protocol::ids::Account;
use protocol::node::{Node, Restored};
use protocol::objects::Drops;

/// The bytes as a whole genesis; and as changes of a sound one, three bytes each: a place, and what is added there.
pub(super) fn run(bytes: &[u8]) {
    read(bytes);
    let mut sound = canonical(&sound());
    for change in bytes.chunks_exact(3).take(8) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % sound.len();
        sound[at] = sound[at].wrapping_add(change[2]);
    }
    read(&sound);
}

fn read(bytes: &[u8]) {
    let Ok(genesis) = borsh::from_slice::<Genesis>(bytes) else { return };
    assert_eq!(canonical(&genesis), bytes);
    if genesis.check().is_ok() {
        assert!(genesis.supply().0 <= 1 << 100);
        let node = Node::new(genesis, SecretKey::from_seed([1; 32]), Restored::default());
        assert!(node.is_ok(), "a node starts from a genesis that was checked");
    }
}

fn sound() -> Genesis {
    let member = |n: u8| GenesisValidator {
        key: Account([n; 32]),
        payout: Account([n + 9; 32]),
        power: u64::from(n),
        name: format!("member-{n}"),
    };
    Genesis {
        network: "fuzz".to_owned(),
        time_ms: 1_000,
        params: Params::devnet(),
        validators: (1..=4).map(member).collect(),
        accounts: vec![(Account([1; 32]), Drops(5)), (Account([2; 32]), Drops(7))],
    }
}
