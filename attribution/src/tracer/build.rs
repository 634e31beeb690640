//! The artifact of a model: made by its builder, looked at by everybody else.

use super::{Corpus, TraceError, Tracer, fisher_rows};
use crate::influence::{Artifact, ArtifactError, Parts, QuantiseError, Quantiser, exponent_for, is_fine};
use protocol::ids::Hash32;
use protocol::influence::{Damping, HEADER_BYTES, Rows, Source, Tolerance};
use protocol::limits::MAX_ARTIFACT_BYTES;
use std::fmt;

/// Passages whose gradients are taken and projected at once.
const PASSAGES_AT_ONCE: usize = 64;

/// What is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The rows of the passages.
    Rows,
    /// The Fisher rows.
    Fisher,
}

/// What an artifact is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    /// The digest of the checkpoint's files.
    pub checkpoint: Hash32,
}

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum BuildError<E: std::error::Error + 'static> {
    #[error("there is no training text: the model's lineage is empty")]
    Empty,
    #[error(
        "the rows of {passages} passages would take {bytes} bytes, where {MAX_ARTIFACT_BYTES} are allowed; take a larger \
         window, or less data"
    )]
    Large { passages: usize, bytes: u128 },
    #[error("document {document} cannot be had: {source}")]
    Text { document: Hash32, source: E },
    #[error("document {document} has no text from byte {start} to {end}: it is not the one that was cut")]
    Place { document: Hash32, start: usize, end: usize },
    #[error("the gradients of the passages from {first} on cannot be taken: {source}")]
    Trace { first: usize, source: TraceError },
    #[error(transparent)]
    Quantise(#[from] QuantiseError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

/// Why an artifact is not of a model, whatever its rows hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum StructureError {
    #[error("it is of another checkpoint")]
    Checkpoint,
    #[error("it has another seed")]
    Seed,
    #[error("its rows hold other parameters, or another projection of them")]
    Space,
    #[error("it has {got} {part}, where the training text makes {expected}")]
    Count { part: Part, got: u64, expected: u64 },
    #[error("{part} {at} is bound to another passage, or another contribution, than the training text's")]
    Source { part: Part, at: u64 },
    #[error("its exponent is so small that it makes zero of all but large gradients")]
    Exponent,
}

/// Which of the two lists of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// One for each passage.
    Rows,
    /// At labels that the model draws.
    Fisher,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rows => "rows",
            Self::Fisher => "Fisher rows",
        })
    }
}

/// Makes the artifact of a model. `text` gives documents by their hash; they are asked for in the corpus's order. Nothing
/// larger than the artifact is held, beside one document and the gradients of some passages.
///
/// # Errors
/// If a document cannot be had, a gradient is not finite, or the rows would take too much room.
pub fn build<E: std::error::Error + 'static>(
    tracer: &Tracer,
    corpus: &Corpus,
    options: BuildOptions,
    text: &mut dyn FnMut(&Hash32) -> Result<String, E>,
    progress: &mut dyn FnMut(Stage, u64, u64),
) -> Result<Artifact, BuildError<E>> {
    let dimension = tracer.space().dimension();
    let passages = corpus.len();
    let fisher_count = fisher_rows(passages as u64, dimension);
    if passages == 0 {
        return Err(BuildError::Empty);
    }
    let row_bytes = dimension as u128 + 64 + 4;
    let rest = HEADER_BYTES as u128 + 4 + tracer.space().to_bytes().len() as u128;
    let bytes = rest + row_bytes * (passages as u128 + u128::from(fisher_count));
    if bytes > MAX_ARTIFACT_BYTES.into() {
        return Err(BuildError::Large { passages, bytes });
    }
    let mut reader = Reader { corpus, text, document: None };
    let numbers: Vec<usize> = (0..passages).collect();
    let rows = make(&mut reader, dimension, &numbers, &mut |_, texts| tracer.rows(texts), &mut |done| {
        progress(Stage::Rows, done, passages as u64);
    })?;
    let numbers: Vec<usize> = (0..fisher_count).map_while(|row| corpus.of_fisher_row(row, dimension)).collect();
    let fisher =
        make(&mut reader, dimension, &numbers, &mut |first, texts| tracer.fisher(texts, first), &mut |done| {
            progress(Stage::Fisher, done, fisher_count);
        })?;
    let exponent = exponent_for(rows.largest().max(fisher.largest()), fisher.square());
    let (rows, fisher) = (rows.finish(exponent)?, fisher.finish(exponent)?);
    Ok(Artifact::new(Parts {
        space: tracer.space().clone(),
        exponent,
        damping: Damping::ONE,
        tolerance: Tolerance::DEFAULT,
        checkpoint: options.checkpoint,
        seed: tracer.seed(),
        rows,
        fisher,
    })?)
}

type Take<'a> = &'a mut dyn FnMut(u64, &[&str]) -> Result<crate::influence::Gradients, TraceError>;

/// Rows of the passages with these numbers, in this order.
fn make<E: std::error::Error + 'static>(
    reader: &mut Reader<'_, E>,
    dimension: usize,
    numbers: &[usize],
    take: Take<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Quantiser, BuildError<E>> {
    let mut rows = Quantiser::new(dimension);
    let mut done = 0;
    for numbers in numbers.chunks(PASSAGES_AT_ONCE) {
        let mut texts = Vec::with_capacity(numbers.len());
        let mut sources = Vec::with_capacity(numbers.len());
        for number in numbers {
            let (source, text) = reader.passage(*number)?;
            texts.push(text);
            sources.push(source);
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let first = numbers.first().copied().unwrap_or_default();
        let gradients = take(done, &texts).map_err(|source| BuildError::Trace { first, source })?;
        rows.add(&gradients, &sources)?;
        done += numbers.len() as u64;
        progress(done);
    }
    Ok(rows)
}

/// Reads passages, and keeps the document of the last.
struct Reader<'a, E> {
    corpus: &'a Corpus,
    text: &'a mut dyn FnMut(&Hash32) -> Result<String, E>,
    document: Option<(Hash32, String)>,
}

impl<E: std::error::Error + 'static> Reader<'_, E> {
    fn passage(&mut self, number: usize) -> Result<(Source, String), BuildError<E>> {
        let passage = self.corpus.passage(number).ok_or(BuildError::Empty)?;
        let document = passage.document;
        let text = match self.document.take().filter(|(hash, _)| *hash == document) {
            Some((_, text)) => text,
            None => (self.text)(&document).map_err(|source| BuildError::Text { document, source })?,
        };
        let (_, text) = self.document.insert((document, text));
        let range = passage.range.clone();
        let piece = text.get(range.clone());
        let piece = piece.ok_or(BuildError::Place { document, start: range.start, end: range.end })?;
        Ok((passage.source(), piece.to_owned()))
    }
}

/// Is an artifact one of this checkpoint, seed and training text, as far as can be seen without computing a gradient?
///
/// # Errors
/// Says what is wrong first.
pub fn check_structure(
    artifact: &Artifact,
    tracer: &Tracer,
    corpus: &Corpus,
    checkpoint: &Hash32,
) -> Result<(), StructureError> {
    let header = artifact.header();
    if header.checkpoint != *checkpoint {
        return Err(StructureError::Checkpoint);
    }
    if header.seed != tracer.seed() {
        return Err(StructureError::Seed);
    }
    if artifact.space() != tracer.space() {
        return Err(StructureError::Space);
    }
    let dimension = tracer.space().dimension();
    check_sources(Part::Rows, artifact.rows(), corpus.len() as u64, corpus.passages().map(|passage| passage.source()))?;
    let expected = fisher_rows(corpus.len() as u64, dimension);
    let of_row = |row| corpus.passage(corpus.of_fisher_row(row, dimension)?).map(|passage| passage.source());
    check_sources(Part::Fisher, artifact.fisher().rows(), expected, (0..expected).map_while(of_row))?;
    if is_fine(artifact.rows(), artifact.fisher()) { Ok(()) } else { Err(StructureError::Exponent) }
}

fn check_sources(
    part: Part,
    rows: &Rows,
    expected: u64,
    sources: impl Iterator<Item = Source>,
) -> Result<(), StructureError> {
    let got = rows.len() as u64;
    if got != expected {
        return Err(StructureError::Count { part, got, expected });
    }
    match rows.sources().iter().zip(sources).position(|(got, expected)| *got != expected) {
        Some(at) => Err(StructureError::Source { part, at: at as u64 }),
        None => Ok(()),
    }
}
