//! What the API says of models by influence.

use super::DocumentShown;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the gradients of a model by influence are taken of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointShown {
    /// Its files: names in the checkpoint's folder.
    pub files: Vec<DocumentShown>,
    /// A training example is at most so many bytes of text.
    pub window: u32,
}

/// How far the rows of a model by influence are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RowsShown {
    /// `awaited`, `offered`, `active` or `refuted`.
    pub state: String,
    /// The first epoch that may seal its receipts, or in which it was refuted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// The seed of projection and labels, once it is drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    /// What its builder has at stake while they are judged.
    pub bond: String,
    /// What was offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<OfferShown>,
    /// The validators that found them right.
    pub attested: Vec<String>,
    /// The validators that found one wrong, and which.
    pub refuted: Vec<RefutedShown>,
}

/// Rows that were offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OfferShown {
    /// The root that commits to them.
    pub root: String,
    /// BLAKE3 of the artifact, which is the file of them.
    pub artifact: String,
    /// Its length.
    pub bytes: u64,
    /// How many rows there are, one for each training example.
    pub rows: u64,
    /// How many Fisher rows.
    pub fisher_rows: u64,
    /// Entries of a row.
    pub dimension: u32,
}

/// A row that a validator found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefutedShown {
    /// Who.
    pub validator: String,
    /// Is it one of the Fisher rows?
    pub fisher: bool,
    /// Its number.
    pub row: u64,
}

/// How an answer came of training examples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InfluenceShown {
    /// What was asked.
    pub prompt: String,
    /// Did the server's solution not solve? Then nobody is paid by influence, and the server lost what it answers with.
    pub refused: bool,
    /// The examples that made the answer likelier, most first; empty while this node has no rows of the model.
    pub raised: Vec<ExampleShown>,
    /// The examples that made it less likely, most first: they take nothing from anybody.
    pub lowered: Vec<ExampleShown>,
    /// How many examples raised it.
    pub raised_count: u64,
    /// How many examples there are.
    pub count: u64,
}

/// A training example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExampleShown {
    /// Its influence, in millionths of that of all examples which raised the answer's likelihood.
    pub parts: i64,
    /// Its text.
    pub text: String,
    /// The name credited.
    pub credit: String,
    /// Who is paid.
    pub account: String,
    /// The contribution.
    pub contribution: String,
    /// The contribution's title.
    pub title: String,
    /// BLAKE3 of the document.
    pub document_hash: String,
    /// The byte at which it starts there.
    pub offset: u64,
    /// The number of its row.
    pub row: u64,
}
