//! Answers for receipts, made from real texts: each time the same ones for the same seed.
//!
//! Three kinds, as different as what a network meets:
//!
//! - [`Kind::HeldBack`]: a passage that its author wrote, from a document that was never published.
//!   Little of it should match.
//! - [`Kind::Quotation`]: one to three passages of one to three sentences from published documents,
//!   by one or several authors, between sentences written here and sentences from held-back texts.
//!   [`Answer::quoted`] says what should be found.
//! - [`Kind::Model`]: what a language model says to a [`Question`] about the texts. The model runs
//!   elsewhere (`attribution::model`); this module only asks and packs.
//!
//! Every answer has from [`MIN_ANSWER_BYTES`] to [`MAX_ANSWER_BYTES`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{Corpus, Document, phrases};

/// The shortest answer, in bytes.
pub const MIN_ANSWER_BYTES: usize = 300;
/// The longest answer, in bytes.
pub const MAX_ANSWER_BYTES: usize = 2_000;
/// The shortest passage worth quoting, in bytes: less could be chance.
const MIN_PASSAGE_BYTES: usize = 80;
/// The longest passage. Three of them with all that stands between stay below the longest answer.
const MAX_PASSAGE_BYTES: usize = 450;
/// The most sentences in a passage.
const MAX_PASSAGE_SENTENCES: usize = 3;
/// The most passages in an answer.
const MAX_PASSAGES: usize = 3;
/// How often an answer is drawn again because its text was made before.
const MAX_DRAWS: u32 = 16;
/// The longest sentence of our own, with the marks around a quotation.
const MAX_OWN_BYTES: usize = 140;

const _: () = assert!(
    MAX_PASSAGES * (MAX_PASSAGE_BYTES + MAX_OWN_BYTES) + MAX_OWN_BYTES < MAX_ANSWER_BYTES,
    "a quotation with its own sentences must fit before a held-back passage fills the rest"
);

/// Where an answer's text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A held-back document.
    HeldBack,
    /// Published passages among other text.
    Quotation,
    /// A language model.
    Model,
}

impl Kind {
    /// One word for logs and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HeldBack => "held_back",
            Self::Quotation => "quotation",
            Self::Model => "model",
        }
    }
}

/// A prompt and what was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Where the text comes from.
    pub kind: Kind,
    /// The corpora it is about, by name; each once.
    pub corpora: Vec<&'static str>,
    /// What was asked.
    pub prompt: String,
    /// What was answered.
    pub text: String,
    /// The published passages in the text, in its order. Empty for the other kinds.
    pub quoted: Vec<Quoted>,
}

/// A published passage inside an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted {
    /// The corpus's name.
    pub corpus: &'static str,
    /// Who wrote it.
    pub author: String,
    /// The document's title.
    pub title: String,
    /// Where it stands in the answer, in bytes.
    pub at: Range<usize>,
}

/// A prompt for a language model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The corpora it is about, by name.
    pub corpora: Vec<&'static str>,
    /// What to ask.
    pub prompt: String,
}

impl Question {
    /// The answer a model gave, cut at a sentence if it is too long; none if it is too short to be
    /// worth a receipt.
    #[must_use]
    pub fn answered(self, text: &str) -> Option<Answer> {
        let text = text.trim();
        let whole = text.len() <= MAX_ANSWER_BYTES;
        let end = if whole {
            text.len()
        } else {
            sentences(text).iter().map(|s| s.at.end).take_while(|&end| end <= MAX_ANSWER_BYTES).last()?
        };
        (end >= MIN_ANSWER_BYTES).then(|| Answer {
            kind: Kind::Model,
            corpora: self.corpora,
            prompt: self.prompt,
            text: text[..end].to_owned(),
            quoted: Vec::new(),
        })
    }
}

/// There is nothing to make answers of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the corpus {corpus:?} has no {what} long enough to make answers of")]
pub struct NoText {
    /// The corpus's name.
    pub corpus: &'static str,
    /// `published passage` or `held-back passage`.
    pub what: &'static str,
}

/// Makes answers, one after another, from corpora and a seed.
#[derive(Debug)]
pub struct Maker<'a> {
    sources: Vec<Source<'a>>,
    draws: SplitMix,
    /// The texts so far: two receipts for one text would tell nothing that one does not.
    made: BTreeSet<String>,
}

/// One corpus, read for its passages.
#[derive(Debug)]
struct Source<'a> {
    corpus: &'static str,
    /// Passages by author, so that each author is quoted as often as another.
    published: Vec<Vec<Passage<'a>>>,
    /// Long passages from held-back documents.
    held_back: Vec<Passage<'a>>,
    /// Single short passages from held-back documents, to go between quotations.
    asides: Vec<Passage<'a>>,
}

#[derive(Debug, Clone, Copy)]
struct Passage<'a> {
    document: &'a Document,
    text: &'a str,
}

impl<'a> Maker<'a> {
    /// Reads the corpora.
    ///
    /// # Errors
    /// If there is none, or one has no passage to quote or none held back.
    pub fn new(corpora: &'a [Corpus], seed: u64) -> Result<Self, NoText> {
        if corpora.is_empty() {
            return Err(NoText { corpus: "", what: "text" });
        }
        let sources = corpora.iter().map(Source::read).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { sources, draws: SplitMix(seed), made: BTreeSet::new() })
    }

    /// `count` answers: each third one held back, the others quotations. No text comes twice, also
    /// over several calls, as long as the corpora have enough of them.
    pub fn answers(&mut self, count: usize) -> Vec<Answer> {
        (0..count).map(|index| self.answer(index.is_multiple_of(3))).collect()
    }

    fn answer(&mut self, held_back: bool) -> Answer {
        let mut draws_left = MAX_DRAWS;
        loop {
            let answer = if held_back { self.held_back() } else { self.quotation() };
            draws_left -= 1;
            if self.made.insert(answer.text.clone()) || draws_left == 0 {
                return answer;
            }
        }
    }

    /// A question for a language model, with a published passage in it to talk about.
    pub fn question(&mut self) -> Question {
        let source = self.draws.choose(&self.sources);
        let passage = self.draws.passage(source);
        let form = self.draws.phrase(phrases::QUESTIONS);
        Question {
            corpora: vec![source.corpus],
            prompt: form.replace("{title}", &passage.document.title).replace("{passage}", passage.text),
        }
    }

    fn held_back(&mut self) -> Answer {
        let source = self.draws.choose(&self.sources);
        let passage = self.draws.choose(&source.held_back);
        Answer {
            kind: Kind::HeldBack,
            corpora: vec![source.corpus],
            prompt: self.draws.phrase(phrases::HELD_BACK_PROMPTS).replace("{title}", &passage.document.title),
            text: passage.text.to_owned(),
            quoted: Vec::new(),
        }
    }

    fn quotation(&mut self) -> Answer {
        let count = 1 + self.draws.below(MAX_PASSAGES);
        let first = self.draws.choose(&self.sources);
        let mut text = self.draws.phrase(phrases::OPENINGS).to_owned();
        let mut corpora = BTreeSet::new();
        let mut quoted = Vec::new();
        let mut asked = String::new();
        for index in 0..count {
            // Most answers keep to one corpus; one passage in five comes from any.
            let source = if self.draws.below(5) == 0 { self.draws.choose(&self.sources) } else { first };
            let passage = self.draws.passage(source);
            if index == 0 {
                asked.clone_from(&passage.document.title);
            } else {
                text += self.draws.phrase(phrases::BRIDGES);
            }
            text.push_str("\n\n“");
            let start = text.len();
            text.push_str(passage.text);
            quoted.push(Quoted {
                corpus: source.corpus,
                author: passage.document.author.clone(),
                title: passage.document.title.clone(),
                at: start..text.len(),
            });
            text.push_str("”\n\n");
            corpora.insert(source.corpus);
        }
        text += self.draws.phrase(phrases::CLOSINGS);
        add_asides(&mut self.draws, first, &mut text);
        Answer {
            kind: Kind::Quotation,
            corpora: corpora.into_iter().collect(),
            prompt: self.draws.phrase(phrases::QUOTATION_PROMPTS).replace("{title}", &asked),
            text,
            quoted,
        }
    }
}

/// Adds held-back sentences to every other answer, and to each that is too short without.
fn add_asides(draws: &mut SplitMix, source: &Source<'_>, text: &mut String) {
    let mut wanted = draws.below(2) == 0;
    while wanted || text.len() < MIN_ANSWER_BYTES {
        let aside = draws.choose(&source.asides).text;
        if text.len() + "\n\n".len() + aside.len() > MAX_ANSWER_BYTES {
            return;
        }
        text.push_str("\n\n");
        text.push_str(aside);
        wanted = false;
    }
}

impl<'a> Source<'a> {
    fn read(corpus: &'a Corpus) -> Result<Self, NoText> {
        let mut published: BTreeMap<&str, Vec<Passage<'a>>> = BTreeMap::new();
        for document in &corpus.documents {
            let passages = short_passages(document);
            if !passages.is_empty() {
                published.entry(&document.author).or_default().extend(passages);
            }
        }
        let source = Self {
            corpus: corpus.name,
            published: published.into_values().collect(),
            held_back: corpus.held_back.iter().flat_map(long_passages).collect(),
            asides: corpus.held_back.iter().flat_map(short_passages).collect(),
        };
        let lacks = |what| NoText { corpus: corpus.name, what };
        if source.published.is_empty() {
            return Err(lacks("published passage"));
        }
        if source.held_back.is_empty() || source.asides.is_empty() {
            return Err(lacks("held-back passage"));
        }
        Ok(source)
    }
}

/// All runs of one to three sentences within a paragraph that are worth quoting.
fn short_passages(document: &Document) -> Vec<Passage<'_>> {
    let all = sentences(&document.text);
    let runs =
        (0..all.len()).flat_map(|first| (first..all.len()).take(MAX_PASSAGE_SENTENCES).map(move |last| (first, last)));
    runs.filter(|&(first, last)| all[first].paragraph == all[last].paragraph)
        .map(|(first, last)| all[first].at.start..all[last].at.end)
        .filter(|at| (MIN_PASSAGE_BYTES..=MAX_PASSAGE_BYTES).contains(&at.len()))
        .map(|at| Passage { document, text: &document.text[at] })
        .collect()
}

/// From each sentence on, as many whole sentences as make an answer; every fifth of them somewhat
/// longer, so that lengths vary.
fn long_passages(document: &Document) -> Vec<Passage<'_>> {
    let all = sentences(&document.text);
    let mut passages = Vec::new();
    for (index, first) in all.iter().enumerate() {
        let wanted = MIN_ANSWER_BYTES + index % 5 * 300;
        let lengths = all[index..].iter().map(|last| last.at.end - first.at.start);
        if let Some(length) = lengths.into_iter().find(|&length| length >= wanted)
            && length <= MAX_ANSWER_BYTES
        {
            let text = &document.text[first.at.start..first.at.start + length];
            passages.push(Passage { document, text });
        }
    }
    passages
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sentence {
    at: Range<usize>,
    paragraph: usize,
}

/// The sentences of a text, in order. A sentence ends at `.`, `!` or `?`, with the quotation marks
/// and brackets after it, before a space; not at an abbreviation; and always with its paragraph.
fn sentences(text: &str) -> Vec<Sentence> {
    let mut found = Vec::new();
    let mut offset = 0;
    for (paragraph, part) in text.split("\n\n").enumerate() {
        let mut start = 0;
        let mut push = |at: Range<usize>| {
            let trimmed = part[at.clone()].trim();
            if !trimmed.is_empty() {
                let begin = offset + at.start + part[at.clone()].len() - part[at].trim_start().len();
                found.push(Sentence { at: begin..begin + trimmed.len(), paragraph });
            }
        };
        for (index, _) in part.match_indices(['.', '!', '?']) {
            let closed = part[index + 1..].trim_start_matches(['”', '’', '"', '\'', ')', ']', '_', '.', '!', '?']);
            let end = part.len() - closed.len();
            let before_space = closed.starts_with(char::is_whitespace);
            if before_space && end > start && !is_abbreviation(&part[start..index]) {
                push(start..end);
                start = end;
            }
        }
        push(start..part.len());
        offset += part.len() + "\n\n".len();
    }
    found
}

/// Whether the full stop after these words belongs to their last one.
fn is_abbreviation(words: &str) -> bool {
    const SHORT: [&str; 16] =
        ["Mr", "Mrs", "Dr", "St", "No", "Nos", "Esq", "Hon", "sec", "art", "vol", "p", "pp", "viz", "i.e", "e.g"];
    let last = words.rsplit(char::is_whitespace).next().unwrap_or(words);
    let last = last.trim_start_matches(['“', '‘', '"', '(', '[']);
    SHORT.contains(&last) || (last.chars().count() == 1 && last != "I")
}

/// SplitMix64 (Steele, Lea, Flood 2014): the whole of an answer follows from its seed.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is above 0. The bias of the remainder is far below what a
    /// handful of choices could show.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    /// One of the items, which are never none: [`Source::read`] and the lists of phrases see to it.
    fn choose<'i, T>(&mut self, items: &'i [T]) -> &'i T {
        &items[self.below(items.len())]
    }

    fn phrase(&mut self, phrases: &[&'static str]) -> &'static str {
        phrases[self.below(phrases.len())]
    }

    /// A published passage: first an author, then one of his.
    fn passage<'a>(&mut self, source: &Source<'a>) -> Passage<'a> {
        let author = self.choose(&source.published);
        *self.choose(author)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made-up prose: each document has words of its own, so that a passage tells where it is from.
    fn document(author: &str, number: usize) -> Document {
        let sentence = |i: usize| {
            format!("In part {i} of number {number} Mr. {author} weighs the harvest against the toll of the road.")
        };
        let paragraph = |p: usize| (0..6).map(|i| sentence(p * 6 + i)).collect::<Vec<_>>().join(" ");
        Document {
            author: author.into(),
            title: format!("{author} {number}"),
            text: (0..20).map(paragraph).collect::<Vec<_>>().join("\n\n"),
        }
    }

    fn corpora() -> Vec<Corpus> {
        let corpus = |name, authors: [&str; 2]| Corpus {
            name,
            title: "A title",
            description: "A description.",
            documents: authors.iter().flat_map(|a| (0..3).map(move |n| document(a, n))).collect(),
            held_back: authors.iter().map(|a| document(a, 9)).collect(),
        };
        vec![corpus("left", ["Ann", "Ben"]), corpus("right", ["Cyd", "Dan"])]
    }

    #[test]
    fn the_same_seed_gives_the_same_answers_and_another_seed_others() {
        let corpora = corpora();
        let made = |seed| Maker::new(&corpora, seed).expect("text").answers(60);
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
    }

    #[test]
    fn answers_keep_their_bounds_and_say_what_they_quote() {
        let corpora = corpora();
        let published: BTreeMap<_, _> =
            corpora.iter().flat_map(|c| c.documents.iter().map(|d| ((c.name, d.title.as_str()), d))).collect();
        let answers = Maker::new(&corpora, 7).expect("text").answers(600);
        assert_eq!(answers.iter().map(|a| &a.text).collect::<BTreeSet<_>>().len(), 600, "no text twice");
        for answer in &answers {
            assert!((MIN_ANSWER_BYTES..=MAX_ANSWER_BYTES).contains(&answer.text.len()), "{}", answer.text.len());
            assert!(!answer.prompt.contains('{') && !answer.text.contains('{'), "{}", answer.prompt);
            assert_eq!(answer.kind == Kind::Quotation, !answer.quoted.is_empty());
            for quoted in &answer.quoted {
                let passage = &answer.text[quoted.at.clone()];
                let document = published[&(quoted.corpus, quoted.title.as_str())];
                assert!(document.text.contains(passage), "{passage:?}");
                assert_eq!(document.author, quoted.author);
                assert!(answer.corpora.contains(&quoted.corpus));
            }
        }
        let quoted = answers.iter().flat_map(|a| &a.quoted);
        assert_eq!(
            quoted.map(|q| q.author.as_str()).collect::<BTreeSet<_>>(),
            BTreeSet::from(["Ann", "Ben", "Cyd", "Dan"])
        );
        assert!(answers.iter().any(|a| a.corpora.len() == 2), "some answers are about two corpora");
    }

    #[test]
    fn nothing_published_is_in_a_held_back_answer() {
        let corpora = corpora();
        let answers = Maker::new(&corpora, 3).expect("text").answers(90);
        let held_back: Vec<_> = answers.iter().filter(|a| a.kind == Kind::HeldBack).collect();
        assert_eq!(held_back.len(), 30);
        for answer in held_back {
            assert!(corpora.iter().any(|c| c.held_back.iter().any(|d| d.text.contains(&answer.text))));
        }
    }

    #[test]
    fn corpora_without_text_are_refused() {
        let mut corpora = corpora();
        corpora[1].held_back.clear();
        let refused = |corpora: &[Corpus]| Maker::new(corpora, 0).map(|_| ()).expect_err("refused");
        assert_eq!(refused(&corpora), NoText { corpus: "right", what: "held-back passage" });
        corpora[1].documents.clear();
        assert_eq!(refused(&corpora).what, "published passage");
        assert_eq!(refused(&[]).what, "text");
    }

    #[test]
    fn sentences_end_where_a_reader_would_say() {
        let check = |text: &str, wanted: &[&str]| {
            let found: Vec<_> = sentences(text).into_iter().map(|s| text[s.at].to_owned()).collect();
            assert_eq!(found, wanted, "{text:?}");
        };
        check("One. Two! Three?", &["One.", "Two!", "Three?"]);
        check(
            "“Go!” said Mr. Reed. (He went.) No. 3 did not.",
            &["“Go!”", "said Mr. Reed.", "(He went.)", "No. 3 did not."],
        );
        check("It was I. J. Smith came…", &["It was I.", "J. Smith came…"]);
        check("No stop\n\n  Next one.  Last\nline. ", &["No stop", "Next one.", "Last\nline."]);
        check("What?! Well...", &["What?!", "Well..."]);
        check("", &[]);
        check("Ça va. Über é. ä", &["Ça va.", "Über é. ä"]);
    }

    #[test]
    fn a_models_answer_is_cut_at_a_sentence_or_dropped() {
        let question = || Question { corpora: vec!["left"], prompt: "Why?".into() };
        assert_eq!(question().answered("Too short."), None);
        let long = "This sentence has forty bytes to itself. ".repeat(80);
        let answer = question().answered(&long).expect("long enough");
        assert!(answer.text.len() <= MAX_ANSWER_BYTES && answer.text.ends_with("itself."));
        assert_eq!(question().answered(&"é".repeat(2_000)), None, "no sentence ends within the bound");
    }

    #[test]
    fn our_own_sentences_are_short_enough() {
        let own = [phrases::OPENINGS, phrases::BRIDGES, phrases::CLOSINGS].concat();
        assert!(own.iter().all(|sentence| sentence.len() + "\n\n“”\n\n".len() <= MAX_OWN_BYTES));
    }
}
