//! The node itself: health, status, peers, accounts, epochs, events.

use super::error::ApiError;
use super::types::{AccountShown, EpochShown, ErrorDocument, Health, PeerShown, ValidatorShown};
use super::view::{View, parse, read, read_at_once};
use super::{Api, MAX_LISTENERS};
use crate::client::Status;
use crate::{genesis_file, metrics};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use protocol::block::{Block, Certificate, ValidatorSet};
use protocol::ids::Account;
use protocol::ledger::records::{Absences, DutyRecord, ValidatorRecord, ValidatorState};
use protocol::ledger::{Event, Read as _, keys};
use protocol::limits::{MAX_CANDIDATES, MAX_UNBONDINGS};
use protocol::node::Notice;
use protocol::objects::Drops;
use protocol::refusal::Refusal;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// Epochs that a list gives unless told otherwise.
const DEFAULT_EPOCHS: u64 = 20;
/// Epochs that a list gives at most: each costs reading a block.
const MAX_EPOCHS: u64 = 100;
/// How long the core may take to answer before the node counts as unwell.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Is the process alive?
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, description = "It is", body = String)))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Is the node fit to serve?
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "It is", body = String),
    (status = 503, description = "What keeps it from it", body = ErrorDocument),
))]
pub(super) async fn readyz(State(api): State<Api>) -> Result<&'static str, ApiError> {
    let health = check(&api).await;
    if health.ready {
        return Ok("ok\n");
    }
    let wrong = health.checks.iter().filter(|(_, said)| *said != "ok");
    let reasons: Vec<String> = wrong.map(|(name, said)| format!("{name}: {said}")).collect();
    Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", reasons.join("; ")))
}

#[derive(Deserialize)]
pub(super) struct Verbose {
    verbose: Option<String>,
}

/// The node's health, with `?verbose` check by check.
#[utoipa::path(get, path = "/healthz", tag = "health",
    params(("verbose" = Option<String>, Query, description = "Answer with each check")), responses(
    (status = 200, description = "All is well", body = Health),
    (status = 503, description = "Something is not", body = Health),
))]
pub(super) async fn healthz(State(api): State<Api>, Query(query): Query<Verbose>) -> Response {
    let health = check(&api).await;
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if query.verbose.is_some() {
        return (status, Json(health)).into_response();
    }
    (status, if health.ready { "ok\n" } else { "not ready; ?verbose says why\n" }).into_response()
}

async fn check(api: &Api) -> Health {
    let services = &api.services;
    let say = |well: bool, otherwise: &str| if well { "ok".to_owned() } else { otherwise.to_owned() };
    let core = tokio::time::timeout(ANSWER_WITHIN, services.driver.ask(|node| node.is_behind())).await;
    let database = read_at_once(services, |view| Ok(view.0.height()?)).await;
    let checks = BTreeMap::from([
        ("core".to_owned(), say(matches!(core, Ok(Ok(_))), "it does not answer")),
        ("caught_up".to_owned(), say(!matches!(core, Ok(Ok(true))), "it fetches blocks that others have decided")),
        ("database".to_owned(), say(database.is_ok(), "it cannot be read")),
        ("running".to_owned(), say(!services.shutdown.is_cancelled(), "the node is stopping")),
    ]);
    Health { ready: checks.values().all(|said| said == "ok"), checks }
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, description = "Metrics", body = String)))]
pub(super) async fn metrics_text() -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::render()).into_response()
}

/// The node at a glance.
#[utoipa::path(get, path = "/v1/status", tag = "node", responses((status = 200, description = "Its status", body = Status)))]
pub(super) async fn status(State(api): State<Api>) -> Result<Json<Status>, ApiError> {
    let services = &api.services;
    let key = services.validator;
    let ask = move |node: &protocol::node::Node| {
        let set = node.state().validators().unwrap_or_default();
        (node.is_behind(), set.get(&key).is_some())
    };
    let status = services.driver.status();
    let (behind, validator) = services.driver.ask(ask).await?;
    let genesis = &services.genesis;
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        network: genesis.network.clone(),
        genesis: genesis.hash().to_string(),
        peer_id: services.network.local_peer_id().to_string(),
        height: status.height,
        block: if status.height == 0 { String::new() } else { status.block.to_string() },
        epoch_ms: genesis.params.epoch_ms,
        state_root: status.state_root.to_string(),
        peers: services.network.peers().len() as u64,
        validator,
        pool: status.pool_objects as u64,
        syncing: behind,
    }))
}

/// The network's genesis, in the form of a genesis file.
#[utoipa::path(get, path = "/v1/genesis", tag = "node", responses((status = 200, description = "The genesis", body = Value)))]
pub(super) async fn genesis(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let unwritten = |error: serde_json::Error| Refusal::Unavailable { reason: error.to_string() };
    Ok(Json(genesis_file::to_json(&api.services.genesis).map_err(unwritten)?))
}

/// Everybody who has something at stake, in the set of validators or not.
#[utoipa::path(get, path = "/v1/validators", tag = "node", responses((status = 200, description = "All of them", body = Vec<ValidatorShown>)))]
pub(super) async fn validators(State(api): State<Api>) -> Result<Json<Vec<ValidatorShown>>, ApiError> {
    read(&api.services, validators_shown).await.map(Json)
}

fn validators_shown(view: &View<'_>) -> Result<Vec<ValidatorShown>, ApiError> {
    let (stake, height) = (view.params()?.stake, view.0.height()?);
    let set: ValidatorSet = view.record(keys::VALIDATORS)?.unwrap_or_default();
    let absences: Absences = view.record(keys::ABSENCES)?.unwrap_or_default();
    let mut records = Vec::new();
    let bound = usize::try_from(MAX_CANDIDATES).unwrap_or(usize::MAX);
    view.scan(&[keys::CANDIDATE], bound, |key, record: ValidatorRecord| {
        records.push((Account(keys::last_id(key)), record));
        Ok(())
    })?;
    let mut all = Vec::new();
    for (key, record) in records {
        let mut unbonding = 0_u128;
        view.scan(&keys::unbonding_of(&key), MAX_UNBONDINGS, |_, amount: Drops| {
            unbonding = unbonding.saturating_add(amount.0);
            Ok(())
        })?;
        let failures: DutyRecord = view.record(&keys::duties(&key))?.unwrap_or_default();
        let failures = Some(failures).filter(|it| it.window == height / stake.duty_window.max(1)).unwrap_or_default();
        let (reason, jailed_until, evidence) = match record.state {
            ValidatorState::Active => (None, None, None),
            ValidatorState::Jailed { until, reason } => (Some(reason.as_str().to_owned()), Some(until), None),
            ValidatorState::Tombstoned { evidence, .. } => (None, None, Some(evidence.to_string())),
        };
        all.push(ValidatorShown {
            name: record.name,
            key: key.to_string(),
            payout: record.payout.to_string(),
            power: set.get(&key).map_or(0, |member| member.power),
            bond: record.bond.to_string(),
            unbonding: unbonding.to_string(),
            slashed: record.slashed.to_string(),
            state: record.state.as_str().to_owned(),
            reason,
            jailed_until,
            evidence,
            missed_blocks: absences.get(&key).map_or(0, |record| record.missed),
            missed_blocks_allowed: stake.misses_allowed(),
            missed_commits: failures.missed_commits,
            missed_reveals: failures.missed_reveals,
            wrong_roots: failures.wrong_roots,
        });
    }
    Ok(all)
}

/// Connected peers.
#[utoipa::path(get, path = "/v1/peers", tag = "node", responses((status = 200, description = "All of them", body = Vec<PeerShown>)))]
pub(super) async fn peers(State(api): State<Api>) -> Json<Vec<PeerShown>> {
    let shown = |peer: crate::network::PeerInfo| PeerShown {
        peer: peer.peer.to_string(),
        addresses: peer.addresses.iter().map(ToString::to_string).collect(),
        score: peer.score,
        strikes: peer.strikes,
    };
    Json(api.services.network.peers().into_iter().map(shown).collect())
}

/// An account. One that nothing ever happened to has nothing.
#[utoipa::path(get, path = "/v1/accounts/{account}", tag = "node",
    params(("account" = String, Path, description = "Its address")), responses(
    (status = 200, description = "The account", body = AccountShown),
    (status = 400, description = "Not an address", body = ErrorDocument),
))]
pub(super) async fn account(
    State(api): State<Api>,
    Path(account): Path<String>,
) -> Result<Json<AccountShown>, ApiError> {
    let account: Account = parse(&account)?;
    let ask = move |node: &protocol::node::Node| {
        (node.state().account(&account), node.state().server(&account), node.next_nonce(&account))
    };
    let (record, server, next_nonce) = api.services.driver.ask(ask).await?;
    Ok(Json(AccountShown {
        account: account.to_string(),
        available: record.available.to_string(),
        pending: record.pending.to_string(),
        deposit: server.deposit.to_string(),
        locked: server.locked.to_string(),
        forfeited: server.forfeited.to_string(),
        nonce: record.nonce,
        next_nonce,
    }))
}

#[derive(Deserialize)]
pub(super) struct EpochsQuery {
    before: Option<u64>,
    limit: Option<u64>,
}

/// The last epochs, newest first.
#[utoipa::path(get, path = "/v1/epochs", tag = "node", params(
    ("before" = Option<u64>, Query, description = "Only epochs before this one"),
    ("limit" = Option<u64>, Query, description = "At most this many, up to 100"),
), responses((status = 200, description = "Epochs", body = Vec<EpochShown>)))]
pub(super) async fn epochs(
    State(api): State<Api>,
    Query(query): Query<EpochsQuery>,
) -> Result<Json<Vec<EpochShown>>, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_EPOCHS);
    if limit > MAX_EPOCHS {
        return Err(Refusal::TooMany { what: "limit", got: limit, limit: MAX_EPOCHS }.into());
    }
    let work = move |view: &View<'_>| {
        let top = view.0.height()?.min(query.before.map_or(u64::MAX, |before| before.saturating_sub(1)));
        let mut epochs = Vec::new();
        for height in (top.saturating_sub(limit).saturating_add(1)..=top).rev() {
            if let Some((block, certificate)) = view.0.block(height)? {
                epochs.push(shown(view, &block, &certificate, false)?);
            }
        }
        Ok(epochs)
    };
    read(&api.services, work).await.map(Json)
}

/// One epoch with its objects' ids.
#[utoipa::path(get, path = "/v1/epochs/{height}", tag = "node",
    params(("height" = u64, Path, description = "The epoch")), responses(
    (status = 200, description = "The epoch", body = EpochShown),
    (status = 404, description = "It is not decided", body = ErrorDocument),
))]
pub(super) async fn epoch(State(api): State<Api>, Path(height): Path<String>) -> Result<Json<EpochShown>, ApiError> {
    let height: u64 = parse(&height)?;
    let work = move |view: &View<'_>| {
        let found = view.0.block(height)?;
        let (block, certificate) = found.ok_or_else(|| ApiError::unknown("epoch", &height.to_string()))?;
        shown(view, &block, &certificate, true)
    };
    read(&api.services, work).await.map(Json)
}

fn shown(view: &View<'_>, block: &Block, certificate: &Certificate, with_ids: bool) -> Result<EpochShown, ApiError> {
    // A store keeps the set of every height that it has a block of.
    let set = view.0.validator_set(&block.header.validators)?.unwrap_or_default();
    let mut objects = BTreeMap::new();
    for envelope in &block.body.envelopes {
        *objects.entry(envelope.kind.as_str().to_owned()).or_insert(0) += 1;
    }
    let ids = block.body.envelopes.iter().filter(|_| with_ids).map(|envelope| envelope.id().to_string());
    let power = |(key, _): &(Account, _)| set.get(key).map_or(0, |member| member.power);
    Ok(EpochShown {
        height: block.header.height,
        block: block.id().to_string(),
        parent: block.header.parent.to_string(),
        time_ms: block.header.time_ms,
        proposer: block.header.proposer.to_string(),
        state_root: block.header.state_root.to_string(),
        round: certificate.round,
        signers: certificate.signatures.iter().map(|(key, _)| key.to_string()).collect(),
        signed_power: certificate.signatures.iter().map(power).sum(),
        total_power: set.total_power(),
        objects,
        settlements: block.body.settlements.len() as u64,
        ids: ids.collect(),
    })
}

/// What happens, as it happens: server-sent events `committed`, `dropped`, `invalid`, `equivocation`, `badsync`, `silent`
/// where this validator keeps out of an epoch, and `missed` for a listener that was too slow.
#[utoipa::path(get, path = "/v1/events", tag = "node", responses(
    (status = 200, description = "Events", content_type = "text/event-stream", body = String),
    (status = 503, description = "Too many listeners", body = ErrorDocument),
))]
pub(super) async fn events(
    State(api): State<Api>,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, ApiError> {
    let full = |_| ApiError::busy(MAX_LISTENERS, "listeners");
    let permit = api.listeners.clone().try_acquire_owned().map_err(full)?;
    let (notices, shutdown) = (api.services.notices.subscribe(), api.services.shutdown.clone());
    let stream = futures::stream::unfold((notices, shutdown, permit), |(mut notices, shutdown, permit)| async move {
        let received = tokio::select! {
            received = notices.recv() => received,
            () = shutdown.cancelled() => return None,
        };
        let (name, data) = match received {
            Ok(notice) => notice_json(&notice),
            Err(RecvError::Lagged(missed)) => ("missed", json!({ "notices": missed })),
            Err(RecvError::Closed) => return None,
        };
        let event = SseEvent::default().event(name).data(data.to_string());
        Some((Ok(event), (notices, shutdown, permit)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

fn notice_json(notice: &Notice) -> (&'static str, Value) {
    match notice {
        Notice::Committed { height, block, round, objects, events } => {
            let events: Vec<Value> = events.iter().map(event_json).collect();
            let data = json!({
                "height": height, "block": block.to_string(), "round": round, "objects": objects, "events": events,
            });
            ("committed", data)
        }
        Notice::Dropped { id, refusal } => {
            ("dropped", json!({ "id": id.to_string(), "code": refusal.as_str(), "message": refusal.to_string() }))
        }
        Notice::InvalidBlock { block, reason } => ("invalid", json!({ "block": block.to_string(), "reason": reason })),
        Notice::Equivocation { validator } => ("equivocation", json!({ "validator": validator.to_string() })),
        Notice::Silent { height, reason } => ("silent", json!({ "height": height, "reason": reason })),
        Notice::BadSync { peer, reason } => {
            ("badsync", json!({ "peer": super::data::peer_text(&peer.0), "reason": reason }))
        }
    }
}

fn event_json(event: &Event) -> Value {
    let text = |id: &dyn std::fmt::Display| id.to_string();
    let texts = |ids: &[protocol::ids::ReceiptId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    match event {
        Event::DataNetCreated { datanet } => json!({ "event": "datanet_created", "datanet": text(datanet) }),
        Event::ContributionPending { contribution, datanet } => {
            json!({ "event": "contribution_pending", "contribution": text(contribution), "datanet": text(datanet) })
        }
        Event::ContributionAdmitted { contribution, datanet, order } => json!({
            "event": "contribution_admitted", "contribution": text(contribution), "datanet": text(datanet),
            "order": order,
        }),
        Event::ContributionRejected { contribution, datanet } => {
            json!({ "event": "contribution_rejected", "contribution": text(contribution), "datanet": text(datanet) })
        }
        Event::ManifestProposed { manifest, datanet } => {
            json!({ "event": "manifest_proposed", "manifest": text(manifest), "datanet": text(datanet) })
        }
        Event::ManifestSuperseded { manifest, datanet } => {
            json!({ "event": "manifest_superseded", "manifest": text(manifest), "datanet": text(datanet) })
        }
        Event::ManifestActive { manifest, datanet, from } => {
            json!({ "event": "manifest_active", "manifest": text(manifest), "datanet": text(datanet), "from": from })
        }
        Event::ModelRegistered { model } => json!({ "event": "model_registered", "model": text(model) }),
        Event::Transferred { from, to, amount } => {
            json!({ "event": "transferred", "from": text(from), "to": text(to), "drops": text(amount) })
        }
        Event::Sealed { epoch, receipts } => json!({ "event": "sealed", "epoch": epoch, "receipts": texts(receipts) }),
        Event::WorkOpened { epoch, datanet, receipts, manifests } => json!({
            "event": "work_opened", "epoch": epoch, "datanet": text(datanet), "receipts": texts(receipts),
            "manifests": manifests.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
        Event::CommitsClosed { epoch, datanet } => {
            json!({ "event": "commits_closed", "epoch": epoch, "datanet": text(datanet) })
        }
        Event::RootAgreed { epoch, datanet, root } => {
            json!({ "event": "root_agreed", "epoch": epoch, "datanet": text(datanet), "root": text(root) })
        }
        Event::WorkSettled { epoch, datanet } => {
            json!({ "event": "work_settled", "epoch": epoch, "datanet": text(datanet) })
        }
        Event::Settled { receipt } => json!({ "event": "settled", "receipt": text(receipt) }),
        Event::Refunded { receipt, reason } => {
            json!({ "event": "refunded", "receipt": text(receipt), "reason": reason.as_str() })
        }
        Event::Bonded { validator, amount } => {
            json!({ "event": "bonded", "validator": text(validator), "drops": text(amount) })
        }
        Event::Unbonding { validator, amount, until } => {
            json!({ "event": "unbonding", "validator": text(validator), "drops": text(amount), "until": until })
        }
        Event::PaidBack { validator, amount } => {
            json!({ "event": "paid_back", "validator": text(validator), "drops": text(amount) })
        }
        Event::Jailed { validator, until, reason } => {
            json!({ "event": "jailed", "validator": text(validator), "until": until, "reason": reason.as_str() })
        }
        Event::Unjailed { validator } => json!({ "event": "unjailed", "validator": text(validator) }),
        Event::Slashed { validator, amount, reason } => json!({
            "event": "slashed", "validator": text(validator), "drops": text(amount), "reason": reason.as_str(),
        }),
        Event::Tombstoned { validator, evidence } => {
            json!({ "event": "tombstoned", "validator": text(validator), "evidence": text(evidence) })
        }
        Event::RowsOffered { model, root } => {
            json!({ "event": "rows_offered", "model": text(model), "root": text(root) })
        }
        Event::RowsActive { model, root, from } => {
            json!({ "event": "rows_active", "model": text(model), "root": text(root), "from": from })
        }
        Event::RowsRefuted { model, root, amount } => {
            json!({ "event": "rows_refuted", "model": text(model), "root": text(root), "drops": text(amount) })
        }
        Event::Deposited { server, amount } => {
            json!({ "event": "deposited", "server": text(server), "drops": text(amount) })
        }
        Event::Withdrawn { server, amount } => {
            json!({ "event": "withdrawn", "server": text(server), "drops": text(amount) })
        }
        Event::Forfeited { server, receipt, amount } => json!({
            "event": "forfeited", "server": text(server), "receipt": text(receipt), "drops": text(amount),
        }),
        Event::ValidatorsElected { height } => json!({ "event": "validators_elected", "height": height }),
    }
}
