//! Every kind of value that travels, at random and within the rules.

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use protocol::block::{
    Block, Body, Certificate, CompactBlock, Header, MissingParts, Parts, Validator, ValidatorSet, VoteStep,
};
use protocol::crypto::{Kind, Signature, checkpoint_digest, prompt_commitment};
use protocol::genesis::canonical;
use protocol::ids::{Account, BlockId, ContributionId, DataNetId, Hash32, ManifestId, ModelId, ObjectId, ReceiptId};
use protocol::influence::{Damping, Header as RowsHeader, Query, RowName, Solution, Tolerance};
use protocol::light::LightBlock;
use protocol::node::{PoolAnswer, PoolQuestion};
use protocol::objects::{
    Action, Admission, AttributionCommit, AttributionReveal, Checkpoint, Contribution, DataNet, DatasetManifest,
    Document, Drops, Envelope, Evidence, LineageEntry, Method, ModelManifest, Object, Offence, Operation, Origin,
    Permission, Receipt, SaidProposal, SaidVote, Trace, UsagePolicy,
};
use protocol::wire::{
    ConsensusMessage, PolkaCert, Request, Response, RoundCert, RoundCertKind, RoundSignature, SignedProposal,
    SignedVote,
};

fn account() -> impl Strategy<Value = Account> {
    any::<[u8; 32]>().prop_map(Account)
}

fn hash() -> impl Strategy<Value = Hash32> {
    any::<[u8; 32]>().prop_map(Hash32)
}

fn block_id() -> impl Strategy<Value = BlockId> {
    any::<[u8; 32]>().prop_map(BlockId)
}

fn signature() -> impl Strategy<Value = Signature> {
    (any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(r, s)| {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&r);
        bytes[32..].copy_from_slice(&s);
        Signature(bytes)
    })
}

/// Every length of a varint and of an amount.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0_u32..64).prop_map(|(value, shift)| value >> shift)
}

fn amount(bits: u32) -> impl Strategy<Value = Drops> {
    (any::<u128>(), 128 - bits..=128).prop_map(|(value, shift)| Drops(value.checked_shr(shift).unwrap_or(0)))
}

fn name() -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{1,40}"
}

fn text() -> impl Strategy<Value = String> {
    "(?s).{0,60}"
}

fn datanet() -> impl Strategy<Value = Object> {
    let admission = prop_oneof![Just(Admission::Open), Just(Admission::Curated)];
    (account(), name(), text(), admission, vec(name(), 1..4), 1_u64.., 1_u32..=10_000).prop_map(
        |(owner, name, description, admission, licences, max_bytes, max_known)| {
            Object::DataNet(DataNet {
                owner,
                name,
                description,
                admission,
                licences,
                max_contribution_bytes: max_bytes,
                max_known_basis_points: max_known,
            })
        },
    )
}

fn permission() -> impl Strategy<Value = Permission> {
    prop_oneof![Just(Permission::Allowed), Just(Permission::Constrained), Just(Permission::NotAllowed)]
}

fn usage() -> impl Strategy<Value = UsagePolicy> {
    (permission(), permission(), permission(), permission()).prop_map(
        |(ai_training, ai_generative_training, ai_inference, data_mining)| UsagePolicy {
            ai_training,
            ai_generative_training,
            ai_inference,
            data_mining,
        },
    )
}

fn documents() -> impl Strategy<Value = Vec<Document>> {
    let document = (name(), 1_u64..=64 * 1024 * 1024);
    (btree_set(any::<[u8; 32]>(), 5), vec(document, 1..=5)).prop_map(|(hashes, documents)| {
        let document = |(hash, (title, bytes))| Document { title, hash: Hash32(hash), bytes };
        hashes.into_iter().zip(documents).map(document).collect()
    })
}

fn contribution() -> impl Strategy<Value = Object> {
    let origin = prop_oneof![Just(Origin::OwnWork), Just(Origin::PublicDomain), Just(Origin::Licensed)];
    let names = (name(), name(), text(), name(), name());
    let previous = option::of(any::<[u8; 32]>().prop_map(ContributionId));
    (account(), any::<[u8; 32]>(), names, origin, usage(), previous, documents()).prop_map(
        |(contributor, datanet, (credit, title, source, language, licence), origin, usage, previous, documents)| {
            let datanet = DataNetId(datanet);
            Object::Contribution(Contribution {
                contributor,
                datanet,
                credit,
                title,
                source,
                language,
                licence,
                origin,
                usage,
                previous,
                documents,
            })
        },
    )
}

fn manifest() -> impl Strategy<Value = Object> {
    let added = btree_set(any::<[u8; 32]>(), 1..6).prop_map(|ids| ids.into_iter().map(ContributionId).collect());
    let ids = (account(), any::<[u8; 32]>(), any::<[u8; 32]>());
    (ids, 1_u32.., added, hash(), number(), number(), vec(any::<u8>(), 1..=64)).prop_map(
        |((owner, datanet, parent), version, added, content_root, documents, bytes, host)| {
            Object::DatasetManifest(DatasetManifest {
                owner,
                datanet: DataNetId(datanet),
                version,
                parent: (version > 1).then_some(ManifestId(parent)),
                added,
                content_root,
                documents,
                bytes,
                host,
            })
        },
    )
}

fn model() -> impl Strategy<Value = Object> {
    let lineage = (btree_set(any::<[u8; 32]>(), 4), vec(1_u32.., 1..=4)).prop_map(|(ids, weights)| {
        let entry = |(id, weight)| LineageEntry { manifest: ManifestId(id), weight };
        ids.into_iter().zip(weights).map(entry).collect()
    });
    let base = option::of(any::<[u8; 32]>().prop_map(ModelId));
    (account(), name(), hash(), base, 0..=10_000_u32, lineage, amount(64), amount(64)).prop_map(
        |(builder, name, weights, base, reserve_bp, lineage, price_in, price_out)| {
            let method = Method::Spans;
            Object::ModelManifest(ModelManifest {
                builder,
                name,
                weights,
                base,
                reserve_bp,
                lineage,
                method,
                price_in,
                price_out,
                checkpoint: None,
            })
        },
    )
}

fn adapter() -> impl Strategy<Value = Object> {
    let files =
        (btree_set("[a-z0-9_-]{1,9}(/[a-z][a-z0-9._-]{0,9}){0,2}", 1..6), documents()).prop_map(|(names, files)| {
            let file = |(title, file): (String, Document)| Document { title, ..file };
            names.into_iter().zip(files).map(file).collect()
        });
    (model(), files, 64..=4096_u32, vec(any::<u8>(), 1..=64)).prop_map(|(model, files, window, host)| {
        let Object::ModelManifest(mut model) = model else { unreachable!("a model") };
        let checkpoint = Checkpoint { files, window, host };
        model.method = Method::Influence;
        model.weights = checkpoint_digest(&checkpoint);
        model.checkpoint = Some(checkpoint);
        Object::ModelManifest(model)
    })
}

fn traced() -> impl Strategy<Value = Object> {
    let codes = vec((any::<i16>(), any::<i32>()), 0..9);
    (receipt(), "(?s).{0,60}", any::<[u8; 32]>(), any::<u32>(), any::<u8>(), codes).prop_map(
        |(receipt, prompt, salt, scale, shift, codes)| {
            let Object::Receipt(mut receipt) = receipt else { unreachable!("a receipt") };
            receipt.prompt = prompt_commitment(&salt, &prompt);
            let (query, solution) = codes.into_iter().unzip();
            let (query, solution) = (Query { scale, codes: query }, Solution { shift, codes: solution });
            receipt.trace = Some(Box::new(Trace { prompt, salt, query, solution }));
            Object::Receipt(receipt)
        },
    )
}

fn rows_header() -> impl Strategy<Value = RowsHeader> {
    let numbers = (1..=1_u32 << 24, -256..=256_i16, 0..=1_u64 << 20, 0..=1_u64 << 20, 0..=1_u32 << 24);
    (numbers, hash(), hash(), hash(), hash(), any::<[u8; 32]>()).prop_map(
        |((dimension, exponent, rows, fisher_rows, tolerance), checkpoint, layout, rows_root, fisher_root, seed)| {
            RowsHeader {
                dimension,
                exponent,
                rows,
                fisher_rows,
                damping: Damping::ONE,
                tolerance: Tolerance::new(tolerance).expect("at most all"),
                checkpoint,
                layout,
                seed,
                rows_root,
                fisher_root,
            }
        },
    )
}

fn receipt() -> impl Strategy<Value = Object> {
    let tokens = (0..=10_000_000_u64, 1..=10_000_000_u64);
    (account(), account(), hash(), hash(), "[^\\x00]{1,200}", tokens, amount(100), number(), number()).prop_map(
        |(payer, server, model, prompt, output, (tokens_in, tokens_out), fee, expiry, nonce)| {
            let model = ModelId(model.0);
            let trace = None;
            Object::Receipt(Receipt {
                payer,
                server,
                model,
                prompt,
                output,
                tokens_in,
                tokens_out,
                fee,
                expiry,
                nonce,
                trace,
            })
        },
    )
}

fn operation() -> impl Strategy<Value = Object> {
    let contribution = || any::<[u8; 32]>().prop_map(ContributionId);
    let reason = "(?s).{1,60}";
    let action = prop_oneof![
        (account(), amount(100)).prop_map(|(to, amount)| Action::Transfer { to, amount }),
        any::<[u8; 32]>().prop_map(|id| Action::Attest { manifest: ManifestId(id) }),
        contribution().prop_map(|contribution| Action::Approve { contribution }),
        (contribution(), reason).prop_map(|(contribution, reason)| Action::Reject { contribution, reason }),
        (amount(100), account(), name()).prop_map(|(amount, payout, name)| Action::Bond { amount, payout, name }),
        amount(100).prop_map(|amount| Action::Unbond { amount: Drops(amount.0.max(1)) }),
        Just(Action::Unjail),
        (hash(), rows_header(), hash(), 0..=1_u64 << 30, vec(any::<u8>(), 1..=64)).prop_map(
            |(model, header, artifact, bytes, host)| {
                let model = ModelId(model.0);
                Action::OfferRows { model, header: Box::new(header), artifact, bytes, host }
            }
        ),
        (hash(), hash()).prop_map(|(model, root)| Action::AttestRows { model: ModelId(model.0), root }),
        (hash(), hash(), any::<bool>(), number()).prop_map(|(model, root, fisher, index)| {
            Action::RefuteRows { model: ModelId(model.0), root, row: RowName { fisher, index } }
        }),
        amount(100).prop_map(|amount| Action::Deposit { amount: Drops(amount.0.max(1)) }),
        amount(100).prop_map(|amount| Action::Withdraw { amount: Drops(amount.0.max(1)) }),
        hash().prop_map(|receipt| Action::RefuteQuery { receipt: ReceiptId(receipt.0) }),
    ];
    (account(), number(), amount(100), action)
        .prop_map(|(account, nonce, fee, action)| Object::Operation(Operation { account, nonce, fee, action }))
}

fn commit() -> impl Strategy<Value = Object> {
    (account(), number(), hash(), hash()).prop_map(|(validator, epoch, datanet, commitment)| {
        let datanet = DataNetId(datanet.0);
        Object::AttributionCommit(AttributionCommit { validator, epoch, datanet, commitment })
    })
}

fn reveal() -> impl Strategy<Value = Object> {
    (account(), number(), hash(), hash()).prop_map(|(validator, epoch, datanet, root)| {
        let datanet = DataNetId(datanet.0);
        Object::AttributionReveal(AttributionReveal { validator, epoch, datanet, root })
    })
}

fn evidence() -> impl Strategy<Value = Object> {
    let votes =
        (step(), [option::of(block_id()), option::of(block_id())], [hash(), hash()], [signature(), signature()])
            .prop_map(|(step, [a, b], sets, signatures)| {
                let said = |block, at: usize| SaidVote { block, validators: sets[at], signature: signatures[at] };
                // Two that are equal by chance become a vote for none and one for a block.
                let b = if a == b { a.map_or(Some(BlockId([7; 32])), |_| None) } else { b };
                (Some(step), [said(a, 0), said(b, 1)], None)
            });
    let proposals =
        ([block_id(), block_id()], [option::of(any::<u32>()), option::of(any::<u32>())], hash(), signature()).prop_map(
            |(blocks, [a, b], validators, signature)| {
                let said = |block, pol_round| SaidProposal { block, pol_round, validators, signature };
                (None, [said_nothing(); 2], Some([said(blocks[0], a), said(blocks[1], b)]))
            },
        );
    let signed = prop_oneof![votes, proposals];
    (account(), account(), 1_u64.., any::<u32>(), signed).prop_map(
        |(reporter, validator, height, round, (step, votes, proposals))| {
            let place = (validator, height, round);
            let offence = match (step, proposals) {
                (_, Some(proposals)) => Offence::of_proposals(place, proposals),
                (step, None) => Offence::of_votes(place, step.unwrap_or(VoteStep::Prevote), votes),
            };
            Object::Evidence(Box::new(Evidence { reporter, offence: offence.expect("they differ") }))
        },
    )
}

fn said_nothing() -> SaidVote {
    SaidVote { block: None, validators: Hash32([0; 32]), signature: Signature([0; 64]) }
}

pub(super) fn object() -> impl Strategy<Value = Object> {
    let models = prop_oneof![model(), adapter()];
    let receipts = prop_oneof![receipt(), traced()];
    prop_oneof![datanet(), contribution(), manifest(), models, receipts, operation(), commit(), reveal(), evidence()]
}

pub(super) fn envelope() -> impl Strategy<Value = Envelope> {
    let kind = proptest::sample::select(Kind::ALL.to_vec());
    (kind, vec(any::<u8>(), 0..200), vec((account(), signature()), 0..=2))
        .prop_map(|(kind, payload, signatures)| Envelope { kind, payload, signatures })
}

pub(super) fn certificate() -> impl Strategy<Value = Certificate> {
    (number(), any::<u32>(), block_id(), vec((account(), signature()), 0..5))
        .prop_map(|(height, round, block, signatures)| Certificate { height, round, block, signatures })
}

fn header() -> impl Strategy<Value = Header> {
    (number(), block_id(), number(), account(), hash(), hash(), hash(), hash(), hash()).prop_map(
        |(height, parent, time_ms, proposer, state_root, validators, next_validators, beacon, body)| Header {
            height,
            parent,
            time_ms,
            proposer,
            state_root,
            validators,
            next_validators,
            beacon,
            body,
        },
    )
}

pub(super) fn block() -> impl Strategy<Value = Block> {
    let settlements = vec(vec(any::<u8>(), 0..50), 0..3);
    (header(), option::of(certificate()), vec(envelope(), 0..4), settlements).prop_map(
        |(header, last_commit, envelopes, settlements)| Block {
            header,
            body: Body { last_commit, envelopes, settlements },
        },
    )
}

fn step() -> impl Strategy<Value = VoteStep> {
    prop_oneof![Just(VoteStep::Prevote), Just(VoteStep::Precommit)]
}

pub(super) fn consensus() -> impl Strategy<Value = ConsensusMessage> {
    let vote = (step(), number(), any::<u32>(), option::of(block_id()), account(), signature()).prop_map(
        |(step, height, round, block, validator, signature)| {
            ConsensusMessage::Vote(SignedVote { step, height, round, block, validator, signature })
        },
    );
    let proposal = (number(), any::<u32>(), block_id(), option::of(any::<u32>()), account(), signature()).prop_map(
        |(height, round, block, pol_round, validator, signature)| {
            ConsensusMessage::Proposal(SignedProposal { height, round, block, pol_round, validator, signature })
        },
    );
    let polka = (number(), any::<u32>(), block_id(), vec((account(), signature()), 0..5)).prop_map(
        |(height, round, block, signatures)| ConsensusMessage::Polka(PolkaCert { height, round, block, signatures }),
    );
    let round_signature = (step(), option::of(block_id()), account(), signature())
        .prop_map(|(step, block, validator, signature)| RoundSignature { step, block, validator, signature });
    let kind = prop_oneof![Just(RoundCertKind::Precommit), Just(RoundCertKind::Skip)];
    let round =
        (number(), any::<u32>(), kind, vec(round_signature, 0..5)).prop_map(|(height, round, kind, signatures)| {
            ConsensusMessage::Round(RoundCert { height, round, kind, signatures })
        });
    prop_oneof![vote, proposal, polka, round]
}

pub(super) fn request() -> impl Strategy<Value = Request> {
    let blob = (hash(), 0..1_u64 << 40, 0..=2 * 1024 * 1024_u64, 0..1_u64 << 40)
        .prop_map(|(hash, offset, len, rest)| Request::Blob { hash, offset, len, size: offset + len + rest });
    prop_oneof![
        (number(), 1..=64_u32).prop_map(|(from, count)| Request::Blocks { from, count }),
        block_id().prop_map(Request::BlockById),
        Just(Request::Status),
        Just(Request::Snapshots),
        vec(block_id(), 1..5).prop_map(|ids| Request::Decided(ids.into_iter().map(|id| ObjectId(id.0)).collect())),
        number().prop_map(Request::Light),
        (number(), any::<u32>()).prop_map(|(height, index)| Request::Chunk { height, index }),
        blob,
        block_id().prop_map(Request::CompactBlock),
        (block_id(), places(), places()).prop_map(|(id, objects, settlements)| Request::Parts {
            id,
            missing: MissingParts { objects, settlements }
        }),
        vec(any::<u8>(), 0..300).prop_map(|message| Request::Pool(PoolQuestion::Reconcile(message))),
        vec(hash(), 1..5).prop_map(|ids| {
            Request::Pool(PoolQuestion::Objects(ids.into_iter().map(|id| ObjectId(id.0)).collect()))
        }),
    ]
}

/// Places of parts: ascending, each once.
fn places() -> impl Strategy<Value = Vec<u32>> {
    btree_set(0_u32..200, 0..9).prop_map(|places| places.into_iter().collect())
}

pub(super) fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        vec((block(), certificate()), 0..3).prop_map(Response::Blocks),
        option::of(block()).prop_map(Response::Block),
        (number(), option::of(block_id()), hash(), number())
            .prop_map(|(height, block, genesis, lowest)| Response::Status { height, block, genesis, lowest }),
        option::of(block().prop_map(|block| CompactBlock::of(&block))).prop_map(Response::CompactBlock),
        (vec(envelope(), 0..4), vec(vec(any::<u8>(), 0..50), 0..3))
            .prop_map(|(envelopes, settlements)| Response::Parts(Parts { envelopes, settlements })),
        vec(any::<u8>(), 0..300).prop_map(|message| Response::Pool(PoolAnswer::Reconcile(message))),
        vec(envelope(), 0..4).prop_map(|envelopes| Response::Pool(PoolAnswer::Objects(envelopes))),
        option::of(vec(any::<u8>(), 0..300)).prop_map(Response::Blob),
        option::of(vec(any::<u8>(), 0..300)).prop_map(Response::Chunk),
        vec(envelope(), 0..4).prop_map(Response::Decided),
        vec((number(), vec(any::<u8>(), 0..9)), 0..4).prop_map(Response::Snapshots),
        option::of(light_block().prop_map(Box::new)).prop_map(Response::Light),
    ]
}

fn light_block() -> impl Strategy<Value = LightBlock> {
    let set = || {
        let member = (account(), account(), number());
        let member = member.prop_map(|(key, payout, power)| Validator { key, payout, power });
        vec(member, 0..4)
            .prop_map(|members| -> ValidatorSet { borsh::from_slice(&canonical(&members)).expect("a set is a list") })
    };
    (block(), certificate(), set(), option::of(set())).prop_map(|(block, certificate, validators, changed)| {
        LightBlock { header: block.header, certificate, validators, changed }
    })
}
