//! DataNets, contributions, manifests, models and documents.

use super::error::ApiError;
use super::objects::{body, hash, manifest_state};
use super::types::{
    BlobTaken, CheckpointShown, ContributionCounts, ContributionShown, ContributorShown, DataNetDetail, DataNetShown,
    DocumentShown, ErrorDocument, ManifestShown, ModelShown, OfferShown, Page, RefutedShown, RowsShown, SourceShown,
};
use super::view::{PageQuery, View, blocking, parse, read};
use super::{Api, MAX_DOWNLOADS, MAX_UPLOADS};
use attribution::span::{DocumentError, check_document};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use libp2p::PeerId;
use protocol::block::ValidatorSet;
use protocol::crypto::document_hash;
use protocol::ids::{Account, ContributionId, DataNetId, Hash32, ManifestId, ModelId, to_hex};
use protocol::influence::RowName;
use protocol::ledger::keys;
use protocol::ledger::records::{
    Admission, AdmissionRecord, ContributionRecord, DataNetRecord, ManifestRecord, ManifestState, ManifestStatus,
    ModelRecord, RowsRecord, RowsState,
};
use protocol::limits::MAX_DOCUMENT_BYTES;
use protocol::objects::{Document, Method};
use protocol::refusal::Refusal;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use storage::BlobStore;
use tokio::sync::OwnedSemaphorePermit;

/// Contributions that one request counts at most, over all DataNets.
pub(super) const MAX_COUNTED: usize = 1_000_000;
/// Bytes of a file that are read at once.
const PART_BYTES: u64 = 1 << 20;
/// Contributors that a DataNet's page names at most, and versions.
const MAX_LISTED: usize = 4096;

/// A peer's id as people write it; hex where it is none.
pub(super) fn peer_text(bytes: &[u8]) -> String {
    PeerId::from_bytes(bytes).map_or_else(|_| to_hex(bytes), |peer| peer.to_string())
}

/// All DataNets.
#[utoipa::path(get, path = "/v1/datanets", tag = "data", params(
    ("after" = Option<String>, Query, description = "The `next` of the page before"),
    ("limit" = Option<u64>, Query, description = "Rows at most, up to 1000"),
), responses((status = 200, description = "A page", body = Page<DataNetShown>)))]
pub(super) async fn datanets(
    State(api): State<Api>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<DataNetShown>>, ApiError> {
    let work = move |view: &View<'_>| {
        view.page(keys::DATANETS, &query, |id, record| datanet_shown(view, DataNetId(id), record).map(Some))
    };
    read(&api.services, work).await.map(Json)
}

fn datanet_shown(view: &View<'_>, id: DataNetId, record: DataNetRecord) -> Result<DataNetShown, ApiError> {
    let manifest: Option<ManifestId> = view.record(&keys::version(&id, record.version))?;
    Ok(DataNetShown {
        id: id.to_string(),
        owner: record.owner.to_string(),
        name: record.name,
        description: record.description,
        admission: if record.curated { "curated" } else { "open" }.to_owned(),
        licences: record.licences,
        max_contribution_bytes: record.max_contribution_bytes,
        max_known_basis_points: record.max_known_basis_points,
        height: record.height,
        version: record.version,
        manifest: manifest.map(|id| id.to_string()),
        proposed: record.proposed.map(|id| id.to_string()),
        contributors: record.contributors,
    })
}

/// One DataNet with its versions and contributors.
#[utoipa::path(get, path = "/v1/datanets/{id}", tag = "data",
    params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The DataNet", body = DataNetDetail),
    (status = 404, description = "There is none", body = ErrorDocument),
))]
pub(super) async fn datanet(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<DataNetDetail>, ApiError> {
    let id: DataNetId = parse(&id)?;
    let work = move |view: &View<'_>| {
        let datanet = datanet_shown(view, id, view.datanet(&id)?)?;
        let set = view.committee(&id)?;
        let mut versions = Vec::new();
        let mut ids = Vec::new();
        view.scan(&keys::versions(&id), MAX_LISTED, |_, manifest: ManifestId| {
            ids.push(manifest);
            Ok(())
        })?;
        for manifest in ids {
            versions.push(manifest_shown(view, manifest, &set)?);
        }
        let (contributions, names) = count(view, &id)?;
        let mut contributors = Vec::new();
        view.scan(&keys::contributors(&id), MAX_LISTED, |key, bytes: u64| {
            let account = Account(keys::last_id(key));
            let names = names.get(&account).into_iter().flatten().cloned().collect();
            contributors.push(ContributorShown { account: account.to_string(), names, bytes });
            Ok(())
        })?;
        Ok(DataNetDetail { datanet, versions, contributors, contributions })
    };
    read(&api.services, work).await.map(Json)
}

type Names = BTreeMap<Account, BTreeSet<String>>;

/// A DataNet's contributions by what became of them, and the names to credit.
fn count(view: &View<'_>, datanet: &DataNetId) -> Result<(ContributionCounts, Names), ApiError> {
    let (mut counts, mut names) = (ContributionCounts::default(), Names::new());
    view.scan(&[keys::ADMISSIONS], MAX_COUNTED, |key, record: AdmissionRecord| {
        if record.datanet != *datanet {
            return Ok(());
        }
        match record.state {
            Admission::Pending => counts.pending += 1,
            Admission::Admitted { .. } => {
                counts.admitted += 1;
                counts.unpublished += u64::from(record.manifest.is_none());
                let credit = view.contribution(&ContributionId(keys::last_id(key)))?.credit;
                names.entry(record.contributor).or_default().insert(credit);
            }
            Admission::Rejected { .. } => counts.rejected += 1,
        }
        Ok(())
    })?;
    Ok((counts, names))
}

#[derive(Deserialize)]
pub(super) struct ContributionsQuery {
    datanet: Option<String>,
    state: Option<String>,
    unpublished: Option<bool>,
    after: Option<String>,
    limit: Option<usize>,
}

/// Contributions, by id.
#[utoipa::path(get, path = "/v1/contributions", tag = "data", params(
    ("datanet" = Option<String>, Query, description = "Only of this DataNet"),
    ("state" = Option<String>, Query, description = "Only `pending`, `admitted` or `rejected` ones"),
    ("unpublished" = Option<bool>, Query, description = "Only those that are in no manifest, or only those in one"),
    ("after" = Option<String>, Query, description = "The `next` of the page before"),
    ("limit" = Option<u64>, Query, description = "Rows at most, up to 1000"),
), responses((status = 200, description = "A page", body = Page<ContributionShown>)))]
pub(super) async fn contributions(
    State(api): State<Api>,
    Query(query): Query<ContributionsQuery>,
) -> Result<Json<Page<ContributionShown>>, ApiError> {
    let datanet: Option<DataNetId> = query.datanet.as_deref().map(parse).transpose()?;
    let page = PageQuery { after: query.after, limit: query.limit };
    let work = move |view: &View<'_>| {
        view.page(keys::ADMISSIONS, &page, |id, admission: AdmissionRecord| {
            let wanted = datanet.is_none_or(|datanet| datanet == admission.datanet)
                && query.state.as_deref().is_none_or(|state| state == admission_state(&admission.state))
                && query.unpublished.is_none_or(|unpublished| unpublished == admission.manifest.is_none());
            if !wanted {
                return Ok(None);
            }
            let id = ContributionId(id);
            Ok(Some(contribution_shown(id, view.contribution(&id)?, admission)))
        })
    };
    read(&api.services, work).await.map(Json)
}

/// One contribution.
#[utoipa::path(get, path = "/v1/contributions/{id}", tag = "data",
    params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The contribution", body = ContributionShown),
    (status = 404, description = "There is none", body = ErrorDocument),
))]
pub(super) async fn contribution(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<ContributionShown>, ApiError> {
    let id: ContributionId = parse(&id)?;
    let work = move |view: &View<'_>| {
        let unknown = || ApiError::unknown("contribution", &id.to_string());
        let admission = view.record(&keys::admission(&id))?.ok_or_else(unknown)?;
        Ok(contribution_shown(id, view.contribution(&id)?, admission))
    };
    read(&api.services, work).await.map(Json)
}

fn admission_state(state: &Admission) -> &'static str {
    match state {
        Admission::Pending => "pending",
        Admission::Admitted { .. } => "admitted",
        Admission::Rejected { .. } => "rejected",
    }
}

fn contribution_shown(id: ContributionId, record: ContributionRecord, admission: AdmissionRecord) -> ContributionShown {
    let state = admission_state(&admission.state).to_owned();
    let (order, reason) = match admission.state {
        Admission::Pending => (None, None),
        Admission::Admitted { order, .. } => (Some(order), None),
        Admission::Rejected { reason, .. } => (None, Some(reason)),
    };
    ContributionShown {
        id: id.to_string(),
        contributor: record.contributor.to_string(),
        datanet: record.datanet.to_string(),
        credit: record.credit,
        title: record.title,
        source: record.source,
        language: record.language,
        licence: record.licence,
        previous: record.previous.map(|id| id.to_string()),
        height: record.height,
        state,
        order,
        reason,
        manifest: admission.manifest.map(|id| id.to_string()),
        bytes: admission.bytes,
        documents: record.documents.iter().map(document_shown).collect(),
    }
}

/// One version of a DataNet's content.
#[utoipa::path(get, path = "/v1/manifests/{id}", tag = "data",
    params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The manifest", body = ManifestShown),
    (status = 404, description = "There is none", body = ErrorDocument),
))]
pub(super) async fn manifest(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<ManifestShown>, ApiError> {
    let id: ManifestId = parse(&id)?;
    let work = move |view: &View<'_>| {
        let record: Option<ManifestRecord> = view.record(&keys::manifest(&id))?;
        let set = record.map(|record| view.committee(&record.datanet)).transpose()?.unwrap_or_default();
        manifest_shown(view, id, &set)
    };
    read(&api.services, work).await.map(Json)
}

fn manifest_shown(view: &View<'_>, id: ManifestId, set: &ValidatorSet) -> Result<ManifestShown, ApiError> {
    let unknown = || ApiError::unknown("manifest", &id.to_string());
    let record: ManifestRecord = view.record(&keys::manifest(&id))?.ok_or_else(unknown)?;
    let status: ManifestStatus = view.record(&keys::manifest_status(&id))?.ok_or_else(unknown)?;
    let (from, superseded_by) = match status.state {
        ManifestState::Proposed => (None, None),
        ManifestState::Active { from } => (Some(from), None),
        ManifestState::Superseded { by } => (None, Some(by.to_string())),
    };
    Ok(ManifestShown {
        id: id.to_string(),
        datanet: record.datanet.to_string(),
        version: record.version,
        parent: record.parent.map(|id| id.to_string()),
        added: record.added.iter().map(ToString::to_string).collect(),
        content_root: record.content_root.to_string(),
        documents: record.documents,
        bytes: record.bytes,
        host: peer_text(&record.host),
        height: record.height,
        state: manifest_state(&status.state).to_owned(),
        from,
        superseded_by,
        attested: status.attested.iter().map(ToString::to_string).collect(),
        attested_power: status.attested.iter().filter_map(|key| set.get(key)).map(|member| member.power).sum(),
        total_power: set.total_power(),
    })
}

/// All models.
#[utoipa::path(get, path = "/v1/models", tag = "models", params(
    ("after" = Option<String>, Query, description = "The `next` of the page before"),
    ("limit" = Option<u64>, Query, description = "Rows at most, up to 1000"),
), responses((status = 200, description = "A page", body = Page<ModelShown>)))]
pub(super) async fn models(
    State(api): State<Api>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ModelShown>>, ApiError> {
    let work = move |view: &View<'_>| {
        view.page(keys::MODELS, &query, |id, record| model_shown(view, ModelId(id), record).map(Some))
    };
    read(&api.services, work).await.map(Json)
}

/// One model.
#[utoipa::path(get, path = "/v1/models/{id}", tag = "models",
    params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The model", body = ModelShown),
    (status = 404, description = "There is none", body = ErrorDocument),
))]
pub(super) async fn model(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<ModelShown>, ApiError> {
    let id: ModelId = parse(&id)?;
    let work = move |view: &View<'_>| {
        let record = view.record(&keys::model(&id))?.ok_or_else(|| ApiError::unknown("model", &id.to_string()))?;
        model_shown(view, id, record)
    };
    read(&api.services, work).await.map(Json)
}

fn model_shown(view: &View<'_>, id: ModelId, record: ModelRecord) -> Result<ModelShown, ApiError> {
    let mut lineage = Vec::new();
    for source in record.lineage {
        lineage.push(SourceShown {
            manifest: source.manifest.to_string(),
            datanet: source.datanet.to_string(),
            name: view.datanet(&source.datanet)?.name,
            weight: source.weight,
        });
    }
    let method = match record.method {
        Method::Spans => "spans",
        Method::Influence => "influence",
    };
    Ok(ModelShown {
        id: id.to_string(),
        builder: record.builder.to_string(),
        name: record.name,
        weights: record.weights.to_string(),
        base: record.base.map(|id| id.to_string()),
        depth: record.depth,
        reserve_bp: record.reserve_bp,
        lineage,
        method: method.to_owned(),
        price_in: record.price_in.to_string(),
        price_out: record.price_out.to_string(),
        height: record.height,
        checkpoint: record.checkpoint.map(|checkpoint| CheckpointShown {
            files: checkpoint.files.iter().map(document_shown).collect(),
            window: checkpoint.window,
        }),
        rows: view.record(&keys::model_rows(&id))?.map(rows_shown),
    })
}

fn document_shown(document: &Document) -> DocumentShown {
    DocumentShown { title: document.title.clone(), hash: document.hash.to_string(), bytes: document.bytes }
}

fn rows_shown(record: RowsRecord) -> RowsShown {
    let (state, since) = match record.state {
        RowsState::Awaited => ("awaited", None),
        RowsState::Offered => ("offered", None),
        RowsState::Active { from } => ("active", Some(from)),
        RowsState::Refuted { height } => ("refuted", Some(height)),
    };
    let refuted = |(validator, row): (&Account, &RowName)| RefutedShown {
        validator: validator.to_string(),
        fisher: row.fisher,
        row: row.index,
    };
    RowsShown {
        state: state.to_owned(),
        since,
        seed: record.seed.map(|seed| Hash32(seed).to_string()),
        bond: record.bond.to_string(),
        offer: record.offer.map(|offer| OfferShown {
            root: offer.header.root().to_string(),
            artifact: offer.artifact.to_string(),
            bytes: offer.bytes,
            rows: offer.header.rows,
            fisher_rows: offer.header.fisher_rows,
            dimension: offer.header.dimension,
        }),
        attested: record.attested.iter().map(ToString::to_string).collect(),
        refuted: record.refuted.iter().map(refuted).collect(),
    }
}

/// Takes a document: UTF-8 text with at least one word, at most 64 MiB.
#[utoipa::path(post, path = "/v1/blobs", tag = "data",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 200, description = "It is kept", body = BlobTaken),
    (status = 400, description = "Empty, or not UTF-8", body = ErrorDocument),
    (status = 413, description = "Too large", body = ErrorDocument),
    (status = 503, description = "No room", body = ErrorDocument),
))]
pub(super) async fn upload(
    State(api): State<Api>,
    headers: HeaderMap,
    request: Body,
) -> Result<Json<BlobTaken>, ApiError> {
    let full = |_| ApiError::busy(MAX_UPLOADS, "uploads");
    let _permit = api.uploads.acquire().await.map_err(full)?;
    let limit = usize::try_from(MAX_DOCUMENT_BYTES).unwrap_or(usize::MAX);
    let bytes = body("the document", limit, &headers, request).await?;
    let blobs = api.uploaded();
    let work = move || {
        check_document(&bytes).map_err(|error| document_refusal(&error, &bytes))?;
        let hash = blobs.put(&bytes)?;
        Ok(BlobTaken { hash: hash.to_string(), bytes: bytes.len() as u64 })
    };
    blocking(work).await.map(Json)
}

fn document_refusal(error: &DocumentError, bytes: &[u8]) -> Refusal {
    let document = document_hash(bytes).to_string();
    match error {
        DocumentError::Empty => Refusal::Empty { document },
        DocumentError::NotUtf8 { at } => Refusal::NotUtf8 { document, at: *at as u64 },
        DocumentError::TooLarge { length } => {
            Refusal::Oversize { what: "the document", got: *length as u64, limit: MAX_DOCUMENT_BYTES }
        }
    }
}

/// The bytes of a document, or of a model's file. They are not checked here: compare their hash.
#[utoipa::path(get, path = "/v1/blobs/{hash}", tag = "data",
    params(("hash" = String, Path, description = "BLAKE3 of its bytes")), responses(
    (status = 200, description = "The document", content_type = "text/plain", body = Vec<u8>),
    (status = 404, description = "It is not here", body = ErrorDocument),
    (status = 503, description = "Too many are sent already", body = ErrorDocument),
))]
pub(super) async fn blob(State(api): State<Api>, Path(hash): Path<String>) -> Result<Response, ApiError> {
    let hash = self::hash(&hash)?;
    let full = |_| ApiError::busy(MAX_DOWNLOADS, "downloads");
    let permit = api.downloads.clone().try_acquire_owned().map_err(full)?;
    let blobs = api.services.blobs.clone();
    let asked = blobs.clone();
    let found = blocking(move || Ok(asked.len(&hash)?)).await?;
    let length = found.ok_or_else(|| ApiError::unknown("document", &hash.to_string()))?;
    let head = [
        (CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (CONTENT_LENGTH, length.to_string()),
    ];
    Ok((StatusCode::OK, head, Body::from_stream(parts(blobs, hash, length, permit))).into_response())
}

/// A file piece by piece, so that whoever reads it slowly holds no more than a piece in memory, and the permit until the
/// end.
fn parts(
    blobs: Arc<BlobStore>,
    hash: Hash32,
    length: u64,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Vec<u8>, storage::BlobError>> + Send + 'static {
    futures::stream::try_unfold((0, permit), move |(offset, permit)| {
        let blobs = blobs.clone();
        async move {
            let size = PART_BYTES.min(length - offset);
            if size == 0 {
                return Ok(None);
            }
            let read = tokio::task::spawn_blocking(move || blobs.read_range(&hash, offset, size)).await;
            // A file that went away, or a thread that failed, ends the answer short of its announced length.
            let part = read.unwrap_or(Ok(None))?;
            Ok(part.map(|part| (part, (offset + size, permit))))
        }
    })
}
