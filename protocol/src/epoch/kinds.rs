//! Names for what the core asks for, so that tests can count it.

use super::context::Tributary;
use malachite::{Effect, LivenessMsg};

/// What the core can ask for as this host drives it.
pub(crate) const LIVE: [&str; 20] = [
    "CancelAllTimeouts",
    "CancelTimeout",
    "ScheduleTimeout",
    "StartRound",
    "PublishConsensusMsg",
    "PublishLivenessMsg: polka",
    "PublishLivenessMsg: round",
    "RepublishVote",
    "RepublishRoundCertificate",
    "GetValue",
    "RestreamProposal",
    "Decide",
    "Finalize",
    "SignVote",
    "SignProposal",
    "VerifySignature",
    "VerifyCommitCertificate",
    "VerifyPolkaCertificate",
    "VerifyRoundCertificate",
    "WalAppend",
];

/// What it never asks for: it makes no such message in this version (votes as liveness messages); decided blocks never
/// reach it, so that it has none to verify, take or refuse (the three of sync); vote extensions are disabled.
pub(crate) const IDLE: [&str; 6] = [
    "PublishLivenessMsg: vote",
    "CertVerifiedSyncValue",
    "CertRejectedSyncValue",
    "VerifyExtendedCommitCertificate",
    "ExtendVote",
    "VerifyVoteExtension",
];

/// The name of one.
pub(super) fn kind(effect: &Effect<Tributary>) -> &'static str {
    match effect {
        Effect::CancelAllTimeouts(_) => "CancelAllTimeouts",
        Effect::CancelTimeout(..) => "CancelTimeout",
        Effect::ScheduleTimeout(..) => "ScheduleTimeout",
        Effect::StartRound(..) => "StartRound",
        Effect::PublishConsensusMsg(..) => "PublishConsensusMsg",
        Effect::PublishLivenessMsg(LivenessMsg::Vote(_), _) => "PublishLivenessMsg: vote",
        Effect::PublishLivenessMsg(LivenessMsg::PolkaCertificate(_), _) => "PublishLivenessMsg: polka",
        Effect::PublishLivenessMsg(LivenessMsg::SkipRoundCertificate(_), _) => "PublishLivenessMsg: round",
        Effect::RepublishVote(..) => "RepublishVote",
        Effect::RepublishRoundCertificate(..) => "RepublishRoundCertificate",
        Effect::GetValue(..) => "GetValue",
        Effect::RestreamProposal(..) => "RestreamProposal",
        Effect::CertVerifiedSyncValue(..) => "CertVerifiedSyncValue",
        Effect::CertRejectedSyncValue(..) => "CertRejectedSyncValue",
        Effect::Decide(..) => "Decide",
        Effect::Finalize(..) => "Finalize",
        Effect::SignVote(..) => "SignVote",
        Effect::SignProposal(..) => "SignProposal",
        Effect::VerifySignature(..) => "VerifySignature",
        Effect::VerifyCommitCertificate(..) => "VerifyCommitCertificate",
        Effect::VerifyExtendedCommitCertificate(..) => "VerifyExtendedCommitCertificate",
        Effect::VerifyPolkaCertificate(..) => "VerifyPolkaCertificate",
        Effect::VerifyRoundCertificate(..) => "VerifyRoundCertificate",
        Effect::WalAppend(..) => "WalAppend",
        Effect::ExtendVote(..) => "ExtendVote",
        Effect::VerifyVoteExtension(..) => "VerifyVoteExtension",
    }
}
