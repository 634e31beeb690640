//! What a block did, for the node, the API and whoever listens.

use super::records::{JailReason, RefundReason, SlashReason};
use crate::ids::{Account, ContributionId, DataNetId, Hash32, ManifestId, ModelId, ObjectId, ReceiptId};
use crate::objects::Drops;
use borsh::{BorshDeserialize, BorshSerialize};

/// One thing that happened in a block, in the order it happened.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Event {
    /// A DataNet was registered.
    DataNetCreated {
        /// Which.
        datanet: DataNetId,
    },
    /// A contribution waits for the owner of a curated DataNet.
    ContributionPending {
        /// Which.
        contribution: ContributionId,
        /// Where.
        datanet: DataNetId,
    },
    /// A contribution was admitted.
    ContributionAdmitted {
        /// Which.
        contribution: ContributionId,
        /// Where.
        datanet: DataNetId,
        /// Its place in the order of admission.
        order: u64,
    },
    /// A contribution was turned down.
    ContributionRejected {
        /// Which.
        contribution: ContributionId,
        /// Where.
        datanet: DataNetId,
    },
    /// The builder of a model by influence offers its rows.
    RowsOffered {
        /// The model.
        model: ModelId,
        /// The influence root.
        root: Hash32,
    },
    /// A model's rows count.
    RowsActive {
        /// The model.
        model: ModelId,
        /// The influence root.
        root: Hash32,
        /// The first epoch that may seal its receipts.
        from: u64,
    },
    /// A model's rows were found wrong.
    RowsRefuted {
        /// The model.
        model: ModelId,
        /// The influence root.
        root: Hash32,
        /// What its builder lost.
        amount: Drops,
    },
    /// An account put money aside to answer for what it serves.
    Deposited {
        /// Who.
        server: Account,
        /// How much more.
        amount: Drops,
    },
    /// An account took back what it had put aside.
    Withdrawn {
        /// Who.
        server: Account,
        /// How much.
        amount: Drops,
    },
    /// A server was found to have shown a wrong query or solution.
    Forfeited {
        /// Who.
        server: Account,
        /// For which receipt.
        receipt: ReceiptId,
        /// What it lost.
        amount: Drops,
    },
    /// A manifest waits for attestations.
    ManifestProposed {
        /// Which.
        manifest: ManifestId,
        /// Whose.
        datanet: DataNetId,
    },
    /// A proposed manifest was replaced by another before it was active.
    ManifestSuperseded {
        /// Which.
        manifest: ManifestId,
        /// Whose.
        datanet: DataNetId,
    },
    /// A manifest counts from an epoch on.
    ManifestActive {
        /// Which.
        manifest: ManifestId,
        /// Whose.
        datanet: DataNetId,
        /// The first epoch whose receipts are attributed to it.
        from: u64,
    },
    /// A model was registered.
    ModelRegistered {
        /// Which.
        model: ModelId,
    },
    /// Somebody paid somebody.
    Transferred {
        /// Who paid.
        from: Account,
        /// Who was paid.
        to: Account,
        /// How much.
        amount: Drops,
    },
    /// Receipts were sealed; their fees are in escrow.
    Sealed {
        /// The epoch.
        epoch: u64,
        /// Which, in the block's order.
        receipts: Vec<ReceiptId>,
    },
    /// Receipts are to be attributed.
    WorkOpened {
        /// The epoch that sealed them.
        epoch: u64,
        /// Against which DataNet.
        datanet: DataNetId,
        /// Which, in the block's order.
        receipts: Vec<ReceiptId>,
        /// The versions that count, oldest first.
        manifests: Vec<ManifestId>,
    },
    /// No more commits are accepted; reveals are, from the next block on.
    CommitsClosed {
        /// The epoch.
        epoch: u64,
        /// The DataNet.
        datanet: DataNetId,
    },
    /// A quorum revealed the same root.
    RootAgreed {
        /// The epoch.
        epoch: u64,
        /// The DataNet.
        datanet: DataNetId,
        /// The root.
        root: Hash32,
    },
    /// The attribution that was agreed on is in a block.
    WorkSettled {
        /// The epoch.
        epoch: u64,
        /// The DataNet.
        datanet: DataNetId,
    },
    /// A receipt's fee was divided.
    Settled {
        /// Which.
        receipt: ReceiptId,
    },
    /// A receipt's fee went back to its payer.
    Refunded {
        /// Which.
        receipt: ReceiptId,
        /// Why.
        reason: RefundReason,
    },
    /// An account put more at stake.
    Bonded {
        /// Whose key.
        validator: Account,
        /// How much more.
        amount: Drops,
    },
    /// A validator withdraws some of its bond.
    Unbonding {
        /// Whose.
        validator: Account,
        /// How much.
        amount: Drops,
        /// When it is paid.
        until: u64,
    },
    /// A withdrawal was paid.
    PaidBack {
        /// Whose.
        validator: Account,
        /// How much.
        amount: Drops,
    },
    /// A validator may not validate for a while.
    Jailed {
        /// Which.
        validator: Account,
        /// The first height at which it may say that it is ready.
        until: u64,
        /// Why.
        reason: JailReason,
    },
    /// A jailed validator is ready again.
    Unjailed {
        /// Which.
        validator: Account,
    },
    /// A validator lost some of what it has at stake, to the treasury.
    Slashed {
        /// Which.
        validator: Account,
        /// How much.
        amount: Drops,
        /// Why.
        reason: SlashReason,
    },
    /// A validator signed twice and will never validate again.
    Tombstoned {
        /// Which.
        validator: Account,
        /// The proof.
        evidence: ObjectId,
    },
    /// Another set of validators was elected.
    ValidatorsElected {
        /// The first height that it decides.
        height: u64,
    },
}
