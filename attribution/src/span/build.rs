//! Building an index.

use super::marked::{DOCUMENT_END, byte_pair, mark};
use super::packed::Packed;
use super::{Minima, SpanIndex};
use libsais::SuffixArrayConstruction;
use protocol::ids::ContributionId;

/// The most marked text of one index: places in it are suffix array entries of 31 bits.
pub const MAX_MARKED_BYTES: usize = i32::MAX as usize;

/// How many pairs of bytes there are.
const BYTE_PAIRS: usize = 1 << 16;

/// A document to be indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentRef<'a> {
    /// The contribution's place in the order of admission.
    pub order: u64,
    /// The contribution.
    pub contribution: ContributionId,
    /// The document's index in the contribution.
    pub document: u32,
    /// Its text.
    pub text: &'a str,
}

/// A document in an index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Document {
    /// Where it starts in the text.
    pub(super) start: u32,
    pub(super) order: u64,
    pub(super) contribution: ContributionId,
    pub(super) document: u32,
}

/// Why documents cannot be indexed together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// More text than one index can hold.
    #[error(
        "the documents have at least {bytes} bytes with their marks; one index holds {MAX_MARKED_BYTES}: divide them"
    )]
    TooLarge {
        /// How many bytes there are at least.
        bytes: usize,
    },
    /// A document was added twice.
    #[error("document {document} of contribution {contribution} was added twice")]
    Twice {
        /// The contribution.
        contribution: ContributionId,
        /// The document's index in it.
        document: u32,
    },
    /// Two contributions claim the same place in the order of admission.
    #[error("contributions {first} and {second} both claim place {order} in the order of admission")]
    SameOrder {
        /// The place.
        order: u64,
        /// One contribution.
        first: ContributionId,
        /// The other.
        second: ContributionId,
    },
    /// The suffix sorter failed, which it does when memory runs out.
    #[error("sorting the words of {bytes} bytes failed: {cause}")]
    Sorting {
        /// The length of the marked text.
        bytes: usize,
        /// What the sorter said.
        cause: String,
    },
}

/// Collects documents, in any order, and builds their index.
#[derive(Debug, Default)]
pub struct IndexBuilder<'a> {
    documents: Vec<DocumentRef<'a>>,
}

impl<'a> IndexBuilder<'a> {
    /// A builder without documents.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a document.
    pub fn add(&mut self, document: DocumentRef<'a>) -> &mut Self {
        self.documents.push(document);
        self
    }

    /// Sorts the words of all documents. Takes seconds for tens of megabytes.
    pub fn build(mut self) -> Result<SpanIndex, BuildError> {
        self.documents.sort_unstable_by_key(|document| (document.order, document.contribution, document.document));
        for pair in self.documents.windows(2) {
            check_neighbours(&pair[0], &pair[1])?;
        }
        let Laid { text, documents, marked, starts } = lay_out(&self.documents)?;
        let suffixes = Packed::new(sort(&marked, &starts)?.into_iter(), narrow(text.len()));
        drop(marked);
        Ok(SpanIndex { documents, buckets: buckets(&text, &suffixes), minima: Minima::new(&suffixes), suffixes, text })
    }
}

fn check_neighbours(first: &DocumentRef<'_>, second: &DocumentRef<'_>) -> Result<(), BuildError> {
    if first.order != second.order {
        return Ok(());
    }
    if first.contribution != second.contribution {
        let (order, first, second) = (first.order, first.contribution, second.contribution);
        return Err(BuildError::SameOrder { order, first, second });
    }
    if first.document == second.document {
        return Err(BuildError::Twice { contribution: first.contribution, document: first.document });
    }
    Ok(())
}

/// Documents one after the other, without and with the marks of words.
struct Laid {
    text: Vec<u8>,
    documents: Vec<Document>,
    marked: Vec<u8>,
    /// Where words start in the marked text.
    starts: Bits,
}

fn lay_out(documents: &[DocumentRef<'_>]) -> Result<Laid, BuildError> {
    let raw: usize = documents.iter().map(|document| document.text.len() + 1).sum();
    if raw > MAX_MARKED_BYTES {
        return Err(BuildError::TooLarge { bytes: raw });
    }
    let (mut text, mut marked) = (Vec::with_capacity(raw), Vec::with_capacity(raw + raw / 4));
    let mut starts = Bits::default();
    let mut laid = Vec::with_capacity(documents.len());
    for &DocumentRef { order, contribution, document, text: raw } in documents {
        laid.push(Document { start: narrow(text.len()), order, contribution, document });
        text.extend_from_slice(raw.as_bytes());
        text.push(DOCUMENT_END);
        mark(raw, &mut marked, |place| starts.set(place));
        marked.push(DOCUMENT_END);
        if marked.len() > MAX_MARKED_BYTES {
            return Err(BuildError::TooLarge { bytes: marked.len() });
        }
    }
    Ok(Laid { text, documents: laid, marked, starts })
}

/// Where words start in the text without marks, in the order of what follows them in the text with marks.
fn sort(text: &[u8], starts: &Bits) -> Result<Vec<u32>, BuildError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let all = SuffixArrayConstruction::for_text(text)
        .in_owned_buffer32()
        .single_threaded()
        .run()
        .map_err(|error| BuildError::Sorting { bytes: text.len(), cause: error.to_string() })?
        .into_vec();
    // All suffixes in order; leaving some out keeps the order of the others.
    let ranks = starts.ranks();
    let mut suffixes = Vec::with_capacity(starts.count());
    let places = all.into_iter().map(i32::cast_unsigned).filter(|place| starts.get(*place as usize));
    // Before a word there is one mark for each word before it.
    suffixes.extend(places.map(|place| place - starts.rank(&ranks, place as usize)));
    Ok(suffixes)
}

fn buckets(text: &[u8], suffixes: &Packed) -> Vec<u32> {
    let mut buckets = vec![0; BYTE_PAIRS + 1];
    for place in suffixes.range(0..suffixes.len()) {
        buckets[byte_pair(&text[place as usize..]) + 1] += 1;
    }
    for pair in 0..BYTE_PAIRS {
        buckets[pair + 1] += buckets[pair];
    }
    buckets
}

/// Places, counts and lengths all fit: the marked text has at most `MAX_MARKED_BYTES`.
pub(super) fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("an index has less than 2^31 bytes")
}

/// A set of numbers.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, number: usize) {
        let word = number / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    fn get(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// For each 64 numbers, how many are in the set below them.
    fn ranks(&self) -> Vec<u32> {
        let before = |sum: &mut u32, word: &u64| {
            let before = *sum;
            *sum += word.count_ones();
            Some(before)
        };
        self.0.iter().scan(0, before).collect()
    }

    /// How many numbers of the set are below one of them.
    fn rank(&self, ranks: &[u32], number: usize) -> u32 {
        let below = self.0[number / 64] & ((1 << (number % 64)) - 1);
        ranks[number / 64] + below.count_ones()
    }

    fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}
