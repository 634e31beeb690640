//! Explaining a receipt: its answer with the passages that are paid, whose they are, and the sums.

use super::Api;
use super::error::ApiError;
use super::receipts;
use super::types::{ErrorDocument, ExampleShown, Explained, InfluenceShown, ShareShown, SpanShown};
use super::view::{View, parse, read};
use crate::node_process::content::Content;
use crate::node_process::models::{Influences, InfluentialExample};
use crate::node_process::quote::Quote;
use axum::Json;
use axum::extract::{Path, State};
use protocol::envelope::Verified;
use protocol::evidence::Holder;
use protocol::ids::{ContributionId, DataNetId, ManifestId, ModelId, ReceiptId};
use protocol::ledger::keys;
use protocol::ledger::records::{
    Admission, AdmissionRecord, ContributionRecord, ManifestState, ManifestStatus, ModelRecord, PaidPassage,
    ReceiptRecord, ReceiptState, Role, Settlement,
};
use protocol::objects::{Object, Trace};
use protocol::refusal::Refusal;
use std::collections::BTreeMap;

/// Training examples shown of each sign.
const EXAMPLES: usize = 5;
/// Bytes of text shown on each side of a passage's earliest occurrence.
const AROUND_BYTES: u64 = 120;
/// Bytes of text that are quoted of documents for one answer; further passages come without.
const MAX_QUOTES_BYTES: usize = 8 << 20;
/// Versions of a DataNet that are searched at most.
const MAX_VERSIONS: usize = 4096;

/// The answer with its paid passages, by contributor, and the sums.
#[utoipa::path(get, path = "/v1/receipts/{id}/explain", tag = "receipts",
    params(("id" = String, Path, description = "The receipt's id")), responses(
    (status = 200, description = "The explanation", body = Explained),
    (status = 404, description = "There is no such receipt", body = ErrorDocument),
    (status = 409, description = "It is not settled", body = ErrorDocument),
))]
pub(super) async fn explain(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Explained>, ApiError> {
    let id: ReceiptId = parse(&id)?;
    let content = api.services.content.clone();
    read(&api.services, move |view| build(view, &content, id)).await.map(Json)
}

fn build(view: &View<'_>, content: &Content, id: ReceiptId) -> Result<Explained, ApiError> {
    let unknown = || ApiError::unknown("receipt", &id.to_string());
    let record: ReceiptRecord = view.record(&keys::receipt(&id))?.ok_or_else(unknown)?;
    let ReceiptState::Settled(settlement) = &record.state else {
        let reason = format!("it is {}, not settled", receipts::receipt_state(view, &record)?);
        return Err(Refusal::State { what: "the receipt", reason }.into());
    };
    let found = view.0.object(&id.into())?.ok_or_else(|| ApiError::pruned("receipt", &id.to_string()))?;
    let verified = Verified::from_disk(found.envelope)?;
    let Object::Receipt(receipt) = verified.object() else { return Err(unknown()) };
    let model: Option<ModelRecord> = view.record(&keys::model(&record.model))?;
    let mut known = Known {
        view,
        content,
        epoch: record.epoch,
        contributions: BTreeMap::new(),
        datanets: BTreeMap::new(),
        quotes: MAX_QUOTES_BYTES,
    };
    let spans: Vec<SpanShown> =
        settlement.spans.iter().map(|passage| known.span(passage, &receipt.output)).collect::<Result<_, _>>()?;
    let contributions = known.shares(settlement)?;
    let influence = receipt.trace.as_deref().map(|trace| known.influence(&record.model, trace)).transpose()?;
    Ok(Explained {
        receipt: receipts::shown(view, id, &record, true)?,
        model_name: model.map(|model| model.name).unwrap_or_default(),
        output: receipt.output.clone(),
        spans,
        contributions,
        total_words: settlement.total_words,
        uncovered_words: settlement.total_words.saturating_sub(settlement.covered_words),
        sums: receipts::sums(&settlement.lines, record.fee),
        influence,
    })
}

struct Searched {
    name: String,
    /// The versions that counted when the receipt was sealed.
    manifests: Vec<ManifestId>,
}

/// What has been looked up so far.
struct Known<'a> {
    view: &'a View<'a>,
    content: &'a Content,
    epoch: u64,
    contributions: BTreeMap<ContributionId, ContributionRecord>,
    datanets: BTreeMap<DataNetId, Searched>,
    /// Bytes that may still be quoted.
    quotes: usize,
}

impl Known<'_> {
    fn contribution(&mut self, id: ContributionId) -> Result<ContributionRecord, ApiError> {
        if let Some(record) = self.contributions.get(&id) {
            return Ok(record.clone());
        }
        let record = self.view.contribution(&id)?;
        self.contributions.insert(id, record.clone());
        Ok(record)
    }

    /// The place of a contribution in the order of admission.
    fn order(&self, id: &ContributionId) -> Result<u64, ApiError> {
        let record: Option<AdmissionRecord> = self.view.record(&keys::admission(id))?;
        match record.map(|record| record.state) {
            Some(Admission::Admitted { order, .. }) => Ok(order),
            _ => Err(ApiError::unknown("admission of contribution", &id.to_string())),
        }
    }

    fn datanet(&mut self, id: DataNetId) -> Result<&Searched, ApiError> {
        if !self.datanets.contains_key(&id) {
            let (mut manifests, mut active) = (Vec::new(), Vec::new());
            self.view.scan(&keys::versions(&id), MAX_VERSIONS, |_, manifest: ManifestId| {
                active.push(manifest);
                Ok(())
            })?;
            for manifest in active {
                let status: Option<ManifestStatus> = self.view.record(&keys::manifest_status(&manifest))?;
                let counted = |status: ManifestStatus| matches!(status.state, ManifestState::Active { from } if from <= self.epoch);
                if status.is_some_and(counted) {
                    manifests.push(manifest);
                }
            }
            let name = self.view.datanet(&id)?.name;
            self.datanets.insert(id, Searched { name, manifests });
        }
        self.datanets.get(&id).ok_or_else(|| ApiError::unknown("DataNet", &id.to_string()))
    }

    fn span(&mut self, passage: &PaidPassage, output: &str) -> Result<SpanShown, ApiError> {
        let text = output.get(passage.start as usize..passage.end as usize).unwrap_or_default().to_owned();
        let contribution = self.contribution(passage.contribution)?;
        let content = self.content;
        let datanet = self.datanet(contribution.datanet)?;
        let places = content.explain(&datanet.manifests, &text);
        let (datanet_name, manifests) = (datanet.name.clone(), datanet.manifests.clone());
        let document = contribution.documents.get(passage.document as usize).cloned();
        let document = document.ok_or_else(|| ApiError::unknown("document", &passage.document.to_string()))?;
        let (documents, occurrences) = (places.documents(), places.occurrences());
        let contributions = places.contributions.len() as u64;
        let holder = Holder {
            order: self.order(&passage.contribution)?,
            contribution: passage.contribution,
            document: passage.document,
            offset: passage.offset,
        };
        let quote = content.quote(&manifests, &holder, passage.length, &document.hash, AROUND_BYTES);
        let quote = within(&mut self.quotes, quote.unwrap_or_default());
        let Quote { offset, before, passage: there, left_out, after } = quote;
        Ok(SpanShown {
            start: passage.start,
            end: passage.end,
            text,
            bits_q16: passage.bits_q16,
            bits: bits(passage.bits_q16.into()),
            credit: contribution.credit,
            account: contribution.contributor.to_string(),
            contribution: passage.contribution.to_string(),
            title: contribution.title,
            document: document.title,
            document_hash: document.hash.to_string(),
            offset,
            datanet: contribution.datanet.to_string(),
            datanet_name,
            documents,
            contributions,
            occurrences,
            before,
            there,
            left_out: (left_out > 0).then_some(left_out),
            after,
        })
    }

    /// What the model's training text has to do with the answer.
    fn influence(&mut self, model: &ModelId, trace: &Trace) -> Result<InfluenceShown, ApiError> {
        let mut shown = InfluenceShown {
            prompt: trace.prompt.clone(),
            refused: false,
            raised: Vec::new(),
            lowered: Vec::new(),
            raised_count: 0,
            count: 0,
        };
        match self.content.influences(model, trace, EXAMPLES) {
            None => {}
            Some(Influences { refused: true, .. }) => shown.refused = true,
            Some(found) => {
                shown.raised =
                    found.raised.into_iter().map(|example| self.example(example)).collect::<Result<_, _>>()?;
                shown.lowered =
                    found.lowered.into_iter().map(|example| self.example(example)).collect::<Result<_, _>>()?;
                (shown.raised_count, shown.count) = (found.raised_count, found.count);
            }
        }
        Ok(shown)
    }

    fn example(&mut self, example: InfluentialExample) -> Result<ExampleShown, ApiError> {
        let contribution = self.contribution(example.contribution)?;
        Ok(ExampleShown {
            parts: example.parts,
            text: example.text,
            credit: contribution.credit,
            account: contribution.contributor.to_string(),
            contribution: example.contribution.to_string(),
            title: contribution.title,
            document_hash: example.document.to_string(),
            offset: example.offset,
            row: example.row,
        })
    }

    /// What each contribution earned, most first.
    fn shares(&mut self, settlement: &Settlement) -> Result<Vec<ShareShown>, ApiError> {
        let mut found: BTreeMap<ContributionId, (u128, u64, u128)> = BTreeMap::new();
        for passage in &settlement.spans {
            let share = found.entry(passage.contribution).or_default();
            share.0 += u128::from(passage.bits_q16);
            share.1 += 1;
        }
        for line in settlement.lines.iter().filter(|line| line.role == Role::Data) {
            if let Some(id) = line.contribution {
                found.entry(id).or_default().2 += line.amount.0;
            }
        }
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_by_key(|(id, (_, _, drops))| (std::cmp::Reverse(*drops), *id));
        let mut shares = Vec::new();
        for (id, (weight, spans, drops)) in found {
            let record = self.contribution(id)?;
            let datanet_name = self.datanet(record.datanet)?.name.clone();
            shares.push(ShareShown {
                contribution: id.to_string(),
                credit: record.credit,
                title: record.title,
                account: record.contributor.to_string(),
                datanet: record.datanet.to_string(),
                datanet_name,
                bits: bits(weight),
                spans,
                drops: drops.to_string(),
            });
        }
        Ok(shares)
    }
}

/// A quote, without its text where no more may be quoted.
fn within(room: &mut usize, quote: Quote) -> Quote {
    match room.checked_sub(quote.len()) {
        Some(left) => {
            *room = left;
            quote
        }
        None => {
            let left_out = quote.left_out.saturating_add(quote.passage.len() as u64);
            Quote { offset: quote.offset, left_out, ..Quote::default() }
        }
    }
}

/// Bits in units of 2^-16, with two decimals, rounded down.
fn bits(q16: u128) -> String {
    format!("{}.{:02}", q16 >> 16, ((q16 & 0xffff) * 100) >> 16)
}

#[cfg(test)]
mod tests {
    use super::{Quote, bits, within};

    #[test]
    fn quotes_of_one_answer_are_bounded_together() {
        let quote = || Quote { offset: 1, passage: "12345".to_owned(), after: "6".to_owned(), ..Quote::default() };
        let mut room = 13;
        assert_eq!((within(&mut room, quote()), within(&mut room, quote())), (quote(), quote()));
        let last = within(&mut room, quote());
        assert_eq!((last.offset, last.left_out, last.is_empty(), room), (1, 5, true, 1));
    }

    #[test]
    fn bits_have_two_decimals() {
        assert_eq!(bits(0), "0.00");
        assert_eq!(bits(1 << 16), "1.00");
        assert_eq!(bits((3 << 16) + (1 << 15)), "3.50");
        assert_eq!(bits(65_535), "0.99");
    }
}
