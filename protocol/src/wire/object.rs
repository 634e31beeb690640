//! Objects and their messages, field by field.

use super::fields::{
    Enumeration, Fault, fixed, from_drops, from_signatures, optional, required, to_drops, to_signatures,
};
use super::{Wire, proto, schema};
use crate::crypto::Kind;
use crate::ids::{Account, ContributionId, DataNetId, Hash32, ManifestId, ModelId, ReceiptId};
use crate::influence::{Header, Query, RowName, Solution};
use crate::objects::{
    Action, Admission, AttributionCommit, AttributionReveal, Checkpoint, Contribution, DataNet, DatasetManifest,
    Document, Envelope, LineageEntry, Method, ModelManifest, Operation, Origin, Permission, Receipt, Trace,
    UsagePolicy,
};

impl Wire for Envelope {
    type Message = proto::Envelope;
    const NAME: &'static str = "envelope";
    const SCHEMA: &'static schema::Message = &schema::ENVELOPE;

    fn to_wire(&self) -> proto::Envelope {
        proto::Envelope {
            kind: self.kind.number(),
            payload: self.payload.clone(),
            signatures: from_signatures(&self.signatures),
        }
    }

    fn from_wire(message: proto::Envelope) -> Result<Self, Fault> {
        let kind = Kind::of_number("kind", message.kind)?;
        super::payload_within(kind, &message.payload)?;
        Ok(Self { kind, payload: message.payload, signatures: to_signatures(message.signatures)? })
    }
}

/// Envelopes of one gossiped message.
pub(super) struct Envelopes(pub(super) Vec<Envelope>);

impl Wire for Envelopes {
    type Message = proto::Envelopes;
    const NAME: &'static str = "gossiped message";
    const SCHEMA: &'static schema::Message = &schema::ENVELOPES;

    fn to_wire(&self) -> proto::Envelopes {
        proto::Envelopes { envelopes: self.0.iter().map(Envelope::to_wire).collect() }
    }

    fn from_wire(message: proto::Envelopes) -> Result<Self, Fault> {
        if message.envelopes.is_empty() {
            return Err(Fault::Malformed("it holds no envelope".into()));
        }
        Ok(Self(message.envelopes.into_iter().map(Envelope::from_wire).collect::<Result<_, Fault>>()?))
    }
}

impl Wire for DataNet {
    type Message = proto::DataNet;
    const NAME: &'static str = Kind::DataNet.as_str();
    const SCHEMA: &'static schema::Message = &schema::DATA_NET;

    fn to_wire(&self) -> proto::DataNet {
        proto::DataNet {
            owner: self.owner.0.to_vec(),
            name: self.name.clone(),
            description: self.description.clone(),
            admission: self.admission.number(),
            licences: self.licences.clone(),
            max_contribution_bytes: self.max_contribution_bytes,
            max_known_basis_points: self.max_known_basis_points,
        }
    }

    fn from_wire(message: proto::DataNet) -> Result<Self, Fault> {
        Ok(Self {
            owner: Account(fixed("owner", &message.owner)?),
            name: message.name,
            description: message.description,
            admission: Admission::of_number("admission", message.admission)?,
            licences: message.licences,
            max_contribution_bytes: message.max_contribution_bytes,
            max_known_basis_points: message.max_known_basis_points,
        })
    }
}

impl Wire for Contribution {
    type Message = proto::Contribution;
    const NAME: &'static str = Kind::Contribution.as_str();
    const SCHEMA: &'static schema::Message = &schema::CONTRIBUTION;

    fn to_wire(&self) -> proto::Contribution {
        proto::Contribution {
            contributor: self.contributor.0.to_vec(),
            datanet: self.datanet.0.to_vec(),
            credit: self.credit.clone(),
            title: self.title.clone(),
            source: self.source.clone(),
            language: self.language.clone(),
            licence: self.licence.clone(),
            origin: self.origin.number(),
            usage: Some(from_usage(self.usage)),
            previous: self.previous.map(|id| id.0.to_vec()).unwrap_or_default(),
            documents: self.documents.iter().map(from_document).collect(),
        }
    }

    fn from_wire(message: proto::Contribution) -> Result<Self, Fault> {
        Ok(Self {
            contributor: Account(fixed("contributor", &message.contributor)?),
            datanet: DataNetId(fixed("datanet", &message.datanet)?),
            credit: message.credit,
            title: message.title,
            source: message.source,
            language: message.language,
            licence: message.licence,
            origin: Origin::of_number("origin", message.origin)?,
            usage: to_usage(required("usage", message.usage)?)?,
            previous: optional("previous", &message.previous)?.map(ContributionId),
            documents: message.documents.into_iter().map(to_document).collect::<Result<_, Fault>>()?,
        })
    }
}

fn from_document(document: &Document) -> proto::Document {
    proto::Document { title: document.title.clone(), hash: document.hash.0.to_vec(), bytes: document.bytes }
}

fn to_document(document: proto::Document) -> Result<Document, Fault> {
    let hash = Hash32(fixed("hash", &document.hash)?);
    Ok(Document { title: document.title, hash, bytes: document.bytes })
}

fn from_usage(usage: UsagePolicy) -> proto::UsagePolicy {
    proto::UsagePolicy {
        ai_training: usage.ai_training.number(),
        ai_generative_training: usage.ai_generative_training.number(),
        ai_inference: usage.ai_inference.number(),
        data_mining: usage.data_mining.number(),
    }
}

fn to_usage(message: proto::UsagePolicy) -> Result<UsagePolicy, Fault> {
    Ok(UsagePolicy {
        ai_training: Permission::of_number("ai_training", message.ai_training)?,
        ai_generative_training: Permission::of_number("ai_generative_training", message.ai_generative_training)?,
        ai_inference: Permission::of_number("ai_inference", message.ai_inference)?,
        data_mining: Permission::of_number("data_mining", message.data_mining)?,
    })
}

impl Wire for DatasetManifest {
    type Message = proto::DatasetManifest;
    const NAME: &'static str = Kind::DatasetManifest.as_str();
    const SCHEMA: &'static schema::Message = &schema::DATASET_MANIFEST;

    fn to_wire(&self) -> proto::DatasetManifest {
        proto::DatasetManifest {
            owner: self.owner.0.to_vec(),
            datanet: self.datanet.0.to_vec(),
            version: self.version,
            parent: self.parent.map(|id| id.0.to_vec()).unwrap_or_default(),
            added: self.added.iter().map(|id| id.0.to_vec()).collect(),
            content_root: self.content_root.0.to_vec(),
            documents: self.documents,
            bytes: self.bytes,
            host: self.host.clone(),
        }
    }

    fn from_wire(message: proto::DatasetManifest) -> Result<Self, Fault> {
        let added = message.added.iter().map(|id| fixed("added", id).map(ContributionId));
        Ok(Self {
            owner: Account(fixed("owner", &message.owner)?),
            datanet: DataNetId(fixed("datanet", &message.datanet)?),
            version: message.version,
            parent: optional("parent", &message.parent)?.map(ManifestId),
            added: added.collect::<Result<_, Fault>>()?,
            content_root: Hash32(fixed("content_root", &message.content_root)?),
            documents: message.documents,
            bytes: message.bytes,
            host: message.host,
        })
    }
}

impl Wire for ModelManifest {
    type Message = proto::ModelManifest;
    const NAME: &'static str = Kind::ModelManifest.as_str();
    const SCHEMA: &'static schema::Message = &schema::MODEL_MANIFEST;

    fn to_wire(&self) -> proto::ModelManifest {
        let entry =
            |entry: &LineageEntry| proto::LineageEntry { manifest: entry.manifest.0.to_vec(), weight: entry.weight };
        proto::ModelManifest {
            builder: self.builder.0.to_vec(),
            name: self.name.clone(),
            weights: self.weights.0.to_vec(),
            base: self.base.map(|id| id.0.to_vec()).unwrap_or_default(),
            reserve_bp: self.reserve_bp,
            lineage: self.lineage.iter().map(entry).collect(),
            method: self.method.number(),
            price_in: from_drops(self.price_in),
            price_out: from_drops(self.price_out),
            checkpoint: self.checkpoint.as_ref().map(|checkpoint| proto::Checkpoint {
                files: checkpoint.files.iter().map(from_document).collect(),
                window: checkpoint.window,
                host: checkpoint.host.clone(),
            }),
        }
    }

    fn from_wire(message: proto::ModelManifest) -> Result<Self, Fault> {
        let entry = |entry: proto::LineageEntry| {
            Ok(LineageEntry { manifest: ManifestId(fixed("manifest", &entry.manifest)?), weight: entry.weight })
        };
        Ok(Self {
            builder: Account(fixed("builder", &message.builder)?),
            name: message.name,
            weights: Hash32(fixed("weights", &message.weights)?),
            base: optional("base", &message.base)?.map(ModelId),
            reserve_bp: message.reserve_bp,
            lineage: message.lineage.into_iter().map(entry).collect::<Result<_, Fault>>()?,
            method: Method::of_number("method", message.method)?,
            price_in: to_drops("price_in", &message.price_in)?,
            price_out: to_drops("price_out", &message.price_out)?,
            checkpoint: message.checkpoint.map(to_checkpoint).transpose()?,
        })
    }
}

fn to_checkpoint(message: proto::Checkpoint) -> Result<Checkpoint, Fault> {
    let files = message.files.into_iter().map(to_document).collect::<Result<_, Fault>>()?;
    Ok(Checkpoint { files, window: message.window, host: message.host })
}

impl Wire for Receipt {
    type Message = proto::Receipt;
    const NAME: &'static str = Kind::Receipt.as_str();
    const SCHEMA: &'static schema::Message = &schema::RECEIPT;

    fn to_wire(&self) -> proto::Receipt {
        proto::Receipt {
            payer: self.payer.0.to_vec(),
            server: self.server.0.to_vec(),
            model: self.model.0.to_vec(),
            prompt: self.prompt.0.to_vec(),
            output: self.output.clone(),
            tokens_in: self.tokens_in,
            tokens_out: self.tokens_out,
            fee: from_drops(self.fee),
            expiry: self.expiry,
            nonce: self.nonce,
            trace: self.trace.as_deref().map(from_trace),
        }
    }

    fn from_wire(message: proto::Receipt) -> Result<Self, Fault> {
        Ok(Self {
            payer: Account(fixed("payer", &message.payer)?),
            server: Account(fixed("server", &message.server)?),
            model: ModelId(fixed("model", &message.model)?),
            prompt: Hash32(fixed("prompt", &message.prompt)?),
            output: message.output,
            tokens_in: message.tokens_in,
            tokens_out: message.tokens_out,
            fee: to_drops("fee", &message.fee)?,
            expiry: message.expiry,
            nonce: message.nonce,
            trace: message.trace.map(to_trace).transpose()?.map(Box::new),
        })
    }
}

fn from_trace(trace: &Trace) -> proto::Trace {
    proto::Trace {
        prompt: trace.prompt.clone(),
        salt: trace.salt.to_vec(),
        query_scale: trace.query.scale,
        query: trace.query.codes.iter().flat_map(|code| code.to_le_bytes()).collect(),
        shift: trace.solution.shift.into(),
        solution: trace.solution.codes.iter().flat_map(|code| code.to_le_bytes()).collect(),
    }
}

fn to_trace(message: proto::Trace) -> Result<Trace, Fault> {
    let query = numbers("query", &message.query, i16::from_le_bytes)?;
    let solution = numbers("solution", &message.solution, i32::from_le_bytes)?;
    let shift = u8::try_from(message.shift).map_err(|_| Fault::Malformed("shift does not fit a byte".into()))?;
    Ok(Trace {
        prompt: message.prompt,
        salt: fixed("salt", &message.salt)?,
        query: Query { scale: message.query_scale, codes: query },
        solution: Solution { shift, codes: solution },
    })
}

/// Numbers of so many bytes each, one after the other.
fn numbers<T, const N: usize>(name: &str, bytes: &[u8], number: fn([u8; N]) -> T) -> Result<Vec<T>, Fault> {
    match bytes.as_chunks() {
        (numbers, []) => Ok(numbers.iter().map(|bytes| number(*bytes)).collect()),
        _ => Err(Fault::Malformed(format!("{name} has {} bytes, which are not {N} for each number", bytes.len()))),
    }
}

impl Wire for Operation {
    type Message = proto::Operation;
    const NAME: &'static str = Kind::Operation.as_str();
    const SCHEMA: &'static schema::Message = &schema::OPERATION;

    fn to_wire(&self) -> proto::Operation {
        proto::Operation {
            account: self.account.0.to_vec(),
            nonce: self.nonce,
            fee: from_drops(self.fee),
            action: Some(from_action(&self.action)),
        }
    }

    fn from_wire(message: proto::Operation) -> Result<Self, Fault> {
        Ok(Self {
            account: Account(fixed("account", &message.account)?),
            nonce: message.nonce,
            fee: to_drops("fee", &message.fee)?,
            action: to_action(required("action", message.action)?)?,
        })
    }
}

fn from_action(action: &Action) -> proto::operation::Action {
    use proto::operation::Action as Message;
    match action {
        Action::Transfer { to, amount } => {
            Message::Transfer(proto::Transfer { to: to.0.to_vec(), amount: from_drops(*amount) })
        }
        Action::Attest { manifest } => Message::Attest(proto::Attest { manifest: manifest.0.to_vec() }),
        Action::Approve { contribution } => Message::Approve(proto::Approve { contribution: contribution.0.to_vec() }),
        Action::Reject { contribution, reason } => {
            Message::Reject(proto::Reject { contribution: contribution.0.to_vec(), reason: reason.clone() })
        }
        Action::Bond { amount, payout, name } => {
            Message::Bond(proto::Bond { amount: from_drops(*amount), payout: payout.0.to_vec(), name: name.clone() })
        }
        Action::Unbond { amount } => Message::Unbond(proto::Unbond { amount: from_drops(*amount) }),
        Action::Unjail => Message::Unjail(proto::Unjail {}),
        Action::OfferRows { model, header, artifact, bytes, host } => Message::OfferRows(proto::OfferRows {
            model: model.0.to_vec(),
            header: header.to_bytes(),
            artifact: artifact.0.to_vec(),
            bytes: *bytes,
            host: host.clone(),
        }),
        Action::AttestRows { model, root } => {
            Message::AttestRows(proto::AttestRows { model: model.0.to_vec(), root: root.0.to_vec() })
        }
        Action::RefuteRows { model, root, row: RowName { fisher, index } } => {
            let (model, root) = (model.0.to_vec(), root.0.to_vec());
            Message::RefuteRows(proto::RefuteRows { model, root, fisher: *fisher, index: *index })
        }
        Action::Deposit { amount } => Message::Deposit(proto::Deposit { amount: from_drops(*amount) }),
        Action::Withdraw { amount } => Message::Withdraw(proto::Withdraw { amount: from_drops(*amount) }),
        Action::RefuteQuery { receipt } => Message::RefuteQuery(proto::RefuteQuery { receipt: receipt.0.to_vec() }),
    }
}

fn to_action(message: proto::operation::Action) -> Result<Action, Fault> {
    use proto::operation::Action as Message;
    let contribution = |bytes: &[u8]| fixed("contribution", bytes).map(ContributionId);
    let model = |bytes: &[u8]| fixed("model", bytes).map(ModelId);
    Ok(match message {
        Message::Transfer(transfer) => {
            Action::Transfer { to: Account(fixed("to", &transfer.to)?), amount: to_drops("amount", &transfer.amount)? }
        }
        Message::Attest(attest) => Action::Attest { manifest: ManifestId(fixed("manifest", &attest.manifest)?) },
        Message::Approve(approve) => Action::Approve { contribution: contribution(&approve.contribution)? },
        Message::Reject(reject) => {
            Action::Reject { contribution: contribution(&reject.contribution)?, reason: reject.reason }
        }
        Message::Bond(bond) => Action::Bond {
            amount: to_drops("amount", &bond.amount)?,
            payout: Account(fixed("payout", &bond.payout)?),
            name: bond.name,
        },
        Message::Unbond(unbond) => Action::Unbond { amount: to_drops("amount", &unbond.amount)? },
        Message::Unjail(proto::Unjail {}) => Action::Unjail,
        Message::OfferRows(offer) => Action::OfferRows {
            model: model(&offer.model)?,
            header: Header::from_bytes(&offer.header)
                .map(Box::new)
                .map_err(|error| Fault::Malformed(format!("header: {error}")))?,
            artifact: Hash32(fixed("artifact", &offer.artifact)?),
            bytes: offer.bytes,
            host: offer.host,
        },
        Message::AttestRows(attest) => {
            Action::AttestRows { model: model(&attest.model)?, root: Hash32(fixed("root", &attest.root)?) }
        }
        Message::RefuteRows(refute) => Action::RefuteRows {
            model: model(&refute.model)?,
            root: Hash32(fixed("root", &refute.root)?),
            row: RowName { fisher: refute.fisher, index: refute.index },
        },
        Message::Deposit(deposit) => Action::Deposit { amount: to_drops("amount", &deposit.amount)? },
        Message::Withdraw(withdraw) => Action::Withdraw { amount: to_drops("amount", &withdraw.amount)? },
        Message::RefuteQuery(refute) => Action::RefuteQuery { receipt: ReceiptId(fixed("receipt", &refute.receipt)?) },
    })
}

impl Wire for AttributionCommit {
    type Message = proto::AttributionCommit;
    const NAME: &'static str = Kind::AttributionCommit.as_str();
    const SCHEMA: &'static schema::Message = &schema::ATTRIBUTION_COMMIT;

    fn to_wire(&self) -> proto::AttributionCommit {
        proto::AttributionCommit {
            validator: self.validator.0.to_vec(),
            epoch: self.epoch,
            datanet: self.datanet.0.to_vec(),
            commitment: self.commitment.0.to_vec(),
        }
    }

    fn from_wire(message: proto::AttributionCommit) -> Result<Self, Fault> {
        Ok(Self {
            validator: Account(fixed("validator", &message.validator)?),
            epoch: message.epoch,
            datanet: DataNetId(fixed("datanet", &message.datanet)?),
            commitment: Hash32(fixed("commitment", &message.commitment)?),
        })
    }
}

impl Wire for AttributionReveal {
    type Message = proto::AttributionReveal;
    const NAME: &'static str = Kind::AttributionReveal.as_str();
    const SCHEMA: &'static schema::Message = &schema::ATTRIBUTION_REVEAL;

    fn to_wire(&self) -> proto::AttributionReveal {
        proto::AttributionReveal {
            validator: self.validator.0.to_vec(),
            epoch: self.epoch,
            datanet: self.datanet.0.to_vec(),
            root: self.root.0.to_vec(),
        }
    }

    fn from_wire(message: proto::AttributionReveal) -> Result<Self, Fault> {
        Ok(Self {
            validator: Account(fixed("validator", &message.validator)?),
            epoch: message.epoch,
            datanet: DataNetId(fixed("datanet", &message.datanet)?),
            root: Hash32(fixed("root", &message.root)?),
        })
    }
}
