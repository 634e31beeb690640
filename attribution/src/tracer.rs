//! Models whose answers are attributed by influence: from a checkpoint and texts to rows, queries, and what is agreed on.
//!
//! Builder, server and validator all compute the same things here, and so everything that decides who is paid is a rule of
//! this module and nobody's choice:
//!
//! - A [`Checkpoint`] is a folder: a model in `base/` or `base.gguf`, and perhaps an adapter in `adapter/`. Gradients are
//!   those of the adapter where there is one, else of the whole model.
//! - A [`Corpus`] is the text of a model's lineage, cut into passages of at most a window of bytes; each is one training
//!   example, named by its document's hash and its place therein.
//! - [`space_of`]: up to [`MAX_UNPROJECTED`] parameters a row holds all of them, beyond that [`PROJECTED`] sums with random
//!   signs.
//! - [`fisher_rows`] says how many Fisher rows there are, [`Corpus::of_fisher_row`] which passage each one is of, and the
//!   model's seed with the row's number which labels it has.
//! - A query is the gradient of the answer's log-likelihood after its prompt, in the form that
//!   [`Tokenizer::prompt`](crate::model::Tokenizer::prompt) gives prompts.
//!
//! [`build`] makes an artifact; [`check_structure`] and [`Tracer::audit`] are how validators look at one; [`Traces`] solves
//! queries, checks solutions and scores.

mod build;
mod checkpoint;
mod corpus;
mod traces;

pub use build::{BuildError, BuildOptions, Part, Stage, StructureError, build, check_structure};
pub use checkpoint::{Checkpoint, CheckpointError, checkpoint_files, is_checkpoint_file};
pub use corpus::{Corpus, CorpusError, Passage};
pub use traces::{Ranked, Traces, TracesError};

use crate::influence::{
    self, Artifact, Gradients, Layout, LayoutError, MethodError, Projection, Projector, QuantiseError, Space,
    quantise_query, quantise_rows,
};
use crate::model::{self, Example, GradientError, Labels, Scope, TokenizerError};
use protocol::influence::{Disagreement, Query, Row, RowName, audit, audit_query};

/// Parameters up to which rows hold all of them.
pub const MAX_UNPROJECTED: usize = protocol::limits::MAX_TRACE_DIMENSION;
/// Sums that rows hold instead of more parameters: half as many, since receipts carry two numbers for each.
pub const PROJECTED: u32 = 2048;
/// Fisher rows of a passage, if there are not more passages than dimensions.
const FISHER_DRAWS: u64 = 4;
/// Close calls among a Fisher row's labels of which both sides are looked at: 16 ways at most.
const MAX_CLOSE: usize = 4;

const _: () = assert!(PROJECTED as usize <= MAX_UNPROJECTED);

/// What rows of a layout hold.
///
/// # Errors
/// If there are more parameters than can be projected.
pub fn space_of(layout: &Layout) -> Result<Space, LayoutError> {
    let projection = match layout.parameters() {
        ..=MAX_UNPROJECTED => Projection::None,
        _ => Projection::Signs { dimension: PROJECTED },
    };
    Space::new(layout.clone(), projection)
}

/// How many Fisher rows a model has whose rows are so many and of this dimension.
pub fn fisher_rows(rows: u64, dimension: usize) -> u64 {
    FISHER_DRAWS * rows.min(dimension as u64)
}

/// Why a gradient cannot be had, or is not what somebody says it is.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum TraceError {
    #[error("the prompt and the answer have {got} tokens together; the model holds {limit}")]
    Long { got: usize, limit: usize },
    #[error("there is no {0}")]
    Row(RowName),
    #[error("it is not what the model says: {0}")]
    Disagreement(#[from] Disagreement),
    #[error(transparent)]
    Gradient(#[from] GradientError),
    #[error(transparent)]
    Rows(#[from] influence::GradientError),
    #[error(transparent)]
    Method(#[from] MethodError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Quantise(#[from] QuantiseError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

impl TraceError {
    /// Is it the fault of what was looked at, and not of whoever looks?
    pub fn is_refutation(&self) -> bool {
        match self {
            Self::Long { .. } | Self::Row(_) | Self::Disagreement(_) | Self::Quantise(_) => true,
            // A model of which no gradient can be had has no rows either.
            Self::Gradient(error) => matches!(error, GradientError::NotFinite { .. } | GradientError::Example(_)),
            Self::Rows(error) => matches!(error, influence::GradientError::NotFinite { .. }),
            _ => false,
        }
    }
}

/// Takes gradients of one checkpoint, in the space of its rows.
#[derive(Debug)]
pub struct Tracer {
    checkpoint: Checkpoint,
    gradients: model::Gradients,
    projector: Projector,
    seed: [u8; 32],
}

impl Tracer {
    /// Gradients of a checkpoint, with the seed of projection and labels.
    ///
    /// # Errors
    /// If the model has too many parameters for rows.
    pub fn new(checkpoint: Checkpoint, seed: [u8; 32]) -> Result<Self, TraceError> {
        let scope = if checkpoint.model().adapter().is_some() { Scope::Adapter } else { Scope::Full };
        let gradients = model::Gradients::new(checkpoint.model(), scope)?;
        let projector = Projector::new(space_of(gradients.layout())?, seed)?;
        Ok(Self { checkpoint, gradients, projector, seed })
    }

    /// What it takes gradients of.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What the entries of rows are.
    pub fn space(&self) -> &Space {
        self.projector.space()
    }

    /// The seed of projection and labels.
    pub fn seed(&self) -> [u8; 32] {
        self.seed
    }

    /// Rows of training examples.
    ///
    /// # Errors
    /// If the model diverged.
    pub fn rows(&self, texts: &[&str]) -> Result<Gradients, TraceError> {
        self.gradients_of(&self.examples(texts)?, Labels::Given)
    }

    /// Fisher rows of training examples: the first has this number, the others follow it.
    ///
    /// # Errors
    /// If the model diverged.
    pub fn fisher(&self, texts: &[&str], first: u64) -> Result<Gradients, TraceError> {
        self.gradients_of(&self.examples(texts)?, Labels::sampled(self.seed, first))
    }

    /// The gradient of an answer's log-likelihood, in the fixed point of the rows.
    ///
    /// # Errors
    /// If prompt and answer do not fit the model.
    pub fn query(&self, prompt: &str, answer: &str, exponent: i16) -> Result<Query, TraceError> {
        let tokenizer = self.checkpoint.tokenizer();
        let example = Example::answer(&tokenizer.prompt(prompt)?, &tokenizer.encode(answer)?);
        let (got, limit) = (example.tokens().len(), self.checkpoint.model().config().context + 1);
        if got > limit {
            return Err(TraceError::Long { got, limit });
        }
        let gradient = self.gradients_of(&[example], Labels::Given)?;
        Ok(quantise_query(gradient.values(), exponent)?)
    }

    /// Computes a row of an artifact anew, of the text of its passage, and compares.
    ///
    /// # Errors
    /// If it is not the row of that text, or cannot be computed.
    pub fn audit(&self, artifact: &Artifact, name: RowName, text: &str) -> Result<(), TraceError> {
        let rows = if name.fisher { artifact.fisher().rows() } else { artifact.rows() };
        let claimed = usize::try_from(name.index).ok().and_then(|index| rows.get(index));
        let claimed = claimed.ok_or(TraceError::Row(name))?;
        if !name.fisher {
            return self.compare(artifact, &claimed, self.rows(&[text])?);
        }
        let examples = self.examples(&[text])?;
        let with = |second| {
            let labels = Labels::Sampled { seed: self.seed, first: name.index, second };
            self.compare(artifact, &claimed, self.gradients_of(&examples, labels)?)
        };
        let found = with(0);
        if found.is_ok() {
            return found;
        }
        // Where arithmetic differs in the last bits, another token may have won a close call.
        let close = examples.iter().map(|example| self.gradients.close_calls(example, &self.seed, name.index));
        let close = close.sum::<Result<usize, _>>()?.min(MAX_CLOSE);
        if (1..1 << close).any(|second| with(second).is_ok()) { Ok(()) } else { found }
    }

    fn compare(&self, artifact: &Artifact, claimed: &Row<'_>, computed: Gradients) -> Result<(), TraceError> {
        // Who brought the text is compared for all rows at once, by `check_structure`.
        let computed = quantise_rows(&computed, &[claimed.source], artifact.header().exponent)?;
        for computed in computed.iter() {
            audit(claimed, &computed)?;
        }
        Ok(())
    }

    /// Computes a receipt's query anew and compares.
    ///
    /// # Errors
    /// If it is not the gradient of that answer, or cannot be computed.
    pub fn audit_query(&self, claimed: &Query, prompt: &str, answer: &str, exponent: i16) -> Result<(), TraceError> {
        Ok(audit_query(claimed, &self.query(prompt, answer, exponent)?)?)
    }

    /// A passage as a training example, cut off where the model ends.
    fn examples(&self, texts: &[&str]) -> Result<Vec<Example>, TraceError> {
        texts.iter().map(|text| Ok(self.checkpoint.example(text)?)).collect()
    }

    fn gradients_of(&self, examples: &[Example], labels: Labels) -> Result<Gradients, TraceError> {
        let rows = self.gradients.rows(examples, labels)?;
        let gradients = Gradients::new(self.gradients.layout().parameters(), rows.concat())?;
        Ok(self.projector.project(&gradients)?)
    }
}
