//! Receipts: what became of them, who was paid, and the proof of it.

use super::Api;
use super::error::ApiError;
use super::types::{ErrorDocument, LineShown, Page, ReceiptShown, Sums};
use super::view::{PageQuery, View, parse, read};
use crate::proof as builder;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use protocol::envelope::Verified;
use protocol::ids::{Account, ReceiptId};
use protocol::ledger::keys;
use protocol::ledger::records::{Line, ModelRecord, ReceiptRecord, ReceiptState, Role, Settlement, WorkRecord};
use protocol::objects::{Drops, Object};
use serde::Deserialize;

/// What became of a receipt, in one word.
pub(super) fn receipt_state(view: &View<'_>, record: &ReceiptRecord) -> Result<&'static str, ApiError> {
    Ok(match &record.state {
        ReceiptState::Refunded { .. } => "refunded",
        ReceiptState::Settled(settlement) => {
            if view.0.height()? >= due(view, settlement)? {
                "available"
            } else {
                "settled"
            }
        }
        ReceiptState::Sealed { .. } => {
            if is_attributed(view, record)? {
                "attributed"
            } else {
                "sealed"
            }
        }
    })
}

/// The height at which a settlement's payouts can be spent.
fn due(view: &View<'_>, settlement: &Settlement) -> Result<u64, ApiError> {
    Ok(settlement.height.saturating_add(view.params()?.dispute_window))
}

/// Did a quorum reveal the same root in every DataNet that is still open?
fn is_attributed(view: &View<'_>, record: &ReceiptRecord) -> Result<bool, ApiError> {
    let model: Option<ModelRecord> = view.record(&keys::model(&record.model))?;
    for source in model.map(|model| model.lineage).unwrap_or_default() {
        let work: Option<WorkRecord> = view.record(&keys::work(record.epoch, &source.datanet))?;
        if work.is_some_and(|work| work.root.is_none()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A receipt as people see it.
pub(super) fn shown(
    view: &View<'_>,
    id: ReceiptId,
    record: &ReceiptRecord,
    with_lines: bool,
) -> Result<ReceiptShown, ApiError> {
    let mut shown = ReceiptShown {
        id: id.to_string(),
        state: receipt_state(view, record)?.to_owned(),
        payer: record.payer.to_string(),
        server: record.server.to_string(),
        model: record.model.to_string(),
        prompt: record.prompt.to_string(),
        answer: record.answer.to_string(),
        tokens_in: record.tokens_in,
        tokens_out: record.tokens_out,
        fee: record.fee.to_string(),
        epoch: Some(record.epoch),
        settled_height: None,
        available_height: None,
        refunded_height: None,
        refund_reason: None,
        covered_words: None,
        total_words: None,
        lines: Vec::new(),
        sums: None,
    };
    match &record.state {
        ReceiptState::Sealed { .. } => {}
        ReceiptState::Refunded { height, reason } => {
            shown.refunded_height = Some(*height);
            shown.refund_reason = Some(reason.as_str().to_owned());
        }
        ReceiptState::Settled(settlement) => {
            shown.settled_height = Some(settlement.height);
            shown.available_height = Some(due(view, settlement)?);
            shown.covered_words = Some(settlement.covered_words);
            shown.total_words = Some(settlement.total_words);
            shown.sums = Some(sums(&settlement.lines, record.fee));
            if with_lines {
                shown.lines = settlement.lines.iter().map(|line| line_shown(view, line)).collect::<Result<_, _>>()?;
            }
        }
    }
    Ok(shown)
}

fn line_shown(view: &View<'_>, line: &Line) -> Result<LineShown, ApiError> {
    let name = line.contribution.map(|id| view.contribution(&id)).transpose()?.map(|record| record.credit);
    let datanet_name = line.datanet.map(|id| view.datanet(&id)).transpose()?.map(|record| record.name);
    Ok(LineShown {
        role: line.role.as_str().to_owned(),
        account: line.account.map(|account| account.to_string()),
        name,
        datanet: line.datanet.map(|id| id.to_string()),
        datanet_name,
        contribution: line.contribution.map(|id| id.to_string()),
        model: line.model.map(|id| id.to_string()),
        drops: line.amount.to_string(),
    })
}

/// A fee by role.
pub(super) fn sums(lines: &[Line], fee: Drops) -> Sums {
    let of = |role: Role| {
        let amounts = lines.iter().filter(|line| line.role == role).map(|line| line.amount.0);
        amounts.sum::<u128>().to_string()
    };
    Sums {
        data: of(Role::Data),
        base: of(Role::Base),
        model: of(Role::Model),
        serving: of(Role::Serving),
        validators: of(Role::Validators),
        treasury: of(Role::Treasury),
        fee: fee.to_string(),
    }
}

#[derive(Deserialize)]
pub(super) struct ReceiptsQuery {
    account: Option<String>,
    state: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// Receipts that are in blocks, by id, without their lines.
#[utoipa::path(get, path = "/v1/receipts", tag = "receipts", params(
    ("account" = Option<String>, Query, description = "Only those that this account pays, serves or is paid by"),
    ("state" = Option<String>, Query, description = "Only those in this state"),
    ("after" = Option<String>, Query, description = "The `next` of the page before"),
    ("limit" = Option<u64>, Query, description = "Rows at most, up to 1000"),
), responses((status = 200, description = "A page", body = Page<ReceiptShown>)))]
pub(super) async fn list(
    State(api): State<Api>,
    Query(query): Query<ReceiptsQuery>,
) -> Result<Json<Page<ReceiptShown>>, ApiError> {
    let account: Option<Account> = query.account.as_deref().map(parse).transpose()?;
    let page = PageQuery { after: query.after, limit: query.limit };
    let work = move |view: &View<'_>| {
        view.page(keys::RECEIPTS, &page, |id, record: ReceiptRecord| {
            if account.is_some_and(|account| !concerns(&record, account)) {
                return Ok(None);
            }
            let shown = shown(view, ReceiptId(id), &record, false)?;
            Ok(query.state.as_ref().is_none_or(|state| *state == shown.state).then_some(shown))
        })
    };
    read(&api.services, work).await.map(Json)
}

fn concerns(record: &ReceiptRecord, account: Account) -> bool {
    let paid = match &record.state {
        ReceiptState::Settled(settlement) => settlement.lines.iter().any(|line| line.account == Some(account)),
        _ => false,
    };
    paid || record.payer == account || record.server == account
}

/// One receipt with its lines, which add up to the fee.
#[utoipa::path(get, path = "/v1/receipts/{id}", tag = "receipts",
    params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The receipt", body = ReceiptShown),
    (status = 404, description = "There is none", body = ErrorDocument),
))]
pub(super) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<ReceiptShown>, ApiError> {
    let id: ReceiptId = parse(&id)?;
    let work = move |view: &View<'_>| match view.record(&keys::receipt(&id))? {
        Some(record) => shown(view, id, &record, true),
        None => pooled(view, id),
    };
    read(&api.services, work).await.map(Json)
}

/// A receipt that waits for a block.
fn pooled(view: &View<'_>, id: ReceiptId) -> Result<ReceiptShown, ApiError> {
    let unknown = || ApiError::unknown("receipt", &id.to_string());
    let found = view.0.object(&id.into())?.ok_or_else(unknown)?;
    let verified = Verified::from_disk(found.envelope)?;
    let Object::Receipt(receipt) = verified.object() else { return Err(unknown()) };
    Ok(ReceiptShown {
        id: id.to_string(),
        state: "pooled".to_owned(),
        payer: receipt.payer.to_string(),
        server: receipt.server.to_string(),
        model: receipt.model.to_string(),
        prompt: receipt.prompt.to_string(),
        answer: protocol::crypto::document_hash(receipt.output.as_bytes()).to_string(),
        tokens_in: receipt.tokens_in,
        tokens_out: receipt.tokens_out,
        fee: receipt.fee.to_string(),
        epoch: None,
        settled_height: None,
        available_height: None,
        refunded_height: None,
        refund_reason: None,
        covered_words: None,
        total_words: None,
        lines: Vec::new(),
        sums: None,
    })
}

#[derive(Deserialize)]
pub(super) struct ProofQuery {
    trust: Option<u64>,
}

/// A proof of the receipt's payouts, which `tributary verify` checks offline.
#[utoipa::path(get, path = "/v1/receipts/{id}/proof", tag = "receipts",
    params(
        ("id" = String, Path, description = "Its id"),
        ("trust" = Option<u64>, Query, description = "The height whose block the reader trusts, instead of the genesis"),
    ), responses(
    (status = 200, description = "The proof file", content_type = "application/octet-stream", body = Vec<u8>),
    (status = 404, description = "There is no such receipt", body = ErrorDocument),
    (status = 409, description = "It is not settled", body = ErrorDocument),
    (status = 413, description = "Its passages are too long for a proof", body = ErrorDocument),
))]
pub(super) async fn proof(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(trust): Query<ProofQuery>,
) -> Result<Response, ApiError> {
    let id: ReceiptId = parse(&id)?;
    let bytes = builder::build(&api.services, &api.proofs, id, trust.trust).await?;
    let name = format!("attachment; filename=\"{}.proof\"", &id.to_string()[..16]);
    let headers = [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, bytes).into_response())
}
