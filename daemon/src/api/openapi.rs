//! The description of the API, from the types and handlers themselves. `docs/openapi.json` is a copy; a test compares.

use super::{batch, data, earnings, explain, files, known, light, node, objects, receipts};
use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tributary node",
        description = "Submit objects, follow them, and see who is paid for which words. Ids and hashes are 64 hex \
                       digits, accounts `trib1…`, amounts decimal strings of drops (1 credit = 1,000,000,000 drops). \
                       Every refusal is `{\"error\": {\"code\", \"message\"}}`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        node::livez,
        node::readyz,
        node::healthz,
        node::metrics_text,
        document,
        node::status,
        node::genesis,
        node::validators,
        node::peers,
        node::account,
        node::epochs,
        node::epoch,
        node::events,
        objects::submit,
        objects::show,
        data::datanets,
        data::datanet,
        data::contributions,
        data::contribution,
        known::known,
        data::manifest,
        data::models,
        data::model,
        data::upload,
        data::blob,
        files::put,
        batch::submit,
        receipts::list,
        receipts::show,
        explain::explain,
        receipts::proof,
        light::light,
        earnings::all,
        earnings::one,
    )
)]
struct Description;

/// The description as JSON text, ended by a newline.
///
/// # Errors
/// Never in practice: the description is fixed when the program is built.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(&Description::openapi())? + "\n")
}

/// This description of the API.
#[utoipa::path(get, path = "/openapi.json", tag = "health", responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Description::openapi())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let routes: BTreeSet<String> = super::super::routes().into_iter().map(|(path, _)| path.to_owned()).collect();
        let described: BTreeSet<String> = Description::openapi().paths.paths.keys().cloned().collect();
        assert_eq!(routes, described);
    }
}
