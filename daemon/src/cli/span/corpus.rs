//! Texts to be indexed or traced: a folder of files, or JSON lines.

use crate::output::Failure;
use attribution::span::NewDocument;
use serde::Deserialize;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Files of one corpus at most: each is remembered until it is read.
const MAX_FILES: usize = 20_000_000;
/// Folders inside one another at most.
const MAX_DEPTH: usize = 64;
/// Bytes of one file or line at most: what one segment can hold, written with JSON's escapes.
const MAX_TEXT_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Documents, one after the other, always in the same order.
pub(super) enum Corpus {
    /// Files below a folder, by path. The first folder below it is the contributor.
    Folder { root: PathBuf, name: String, files: std::vec::IntoIter<PathBuf> },
    /// A document on each line.
    Lines(Lines),
}

/// A document on a line.
#[derive(Deserialize)]
struct DocumentLine {
    id: String,
    contributor: String,
    text: String,
}

impl Corpus {
    /// Opens a corpus, and tells how many bytes it has, for showing how far one is; 0 where nobody knows.
    pub(super) fn open(path: &Path) -> anyhow::Result<(Self, u64)> {
        let cannot = |error: &io::Error| {
            Failure::new("io", format!("{} cannot be read: {error}", path.display()))
                .hint("name a folder of text files, a file of JSON lines, or - for JSON lines from standard input")
        };
        if path.as_os_str() != "-" && fs::metadata(path).map_err(|error| cannot(&error))?.is_dir() {
            let (mut files, mut bytes) = (Vec::new(), 0);
            walk(path, 0, &mut files, &mut bytes)?;
            files.sort();
            let name = path.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
            let name = name.unwrap_or_else(|| ".".to_owned());
            return Ok((Self::Folder { root: path.to_owned(), name, files: files.into_iter() }, bytes));
        }
        let (lines, bytes) = Lines::open(path)?;
        Ok((Self::Lines(lines), bytes))
    }

    /// The next document, which gets this place in the order of admission.
    pub(super) fn next(&mut self, order: u64) -> anyhow::Result<Option<NewDocument>> {
        match self {
            Self::Folder { root, name, files } => {
                let Some(path) = files.next() else { return Ok(None) };
                let relative = path.strip_prefix(&*root).unwrap_or(&path);
                let mut parts = relative.components().map(|part| part.as_os_str().to_string_lossy());
                let first = parts.next().unwrap_or_default();
                let contributor = if parts.next().is_some() { first.into_owned() } else { name.clone() };
                let name = relative.to_string_lossy().replace('\\', "/");
                Ok(Some(NewDocument::unadmitted(order, name, contributor, read_text(&path)?)))
            }
            Self::Lines(lines) => {
                let line = lines.next::<DocumentLine>("{\"id\", \"contributor\", \"text\"}")?;
                Ok(line.map(|(_, line)| NewDocument::unadmitted(order, line.id, line.contributor, line.text)))
            }
        }
    }
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>, bytes: &mut u64) -> anyhow::Result<()> {
    let failed =
        |path: &Path, error: io::Error| Failure::new("io", format!("{} cannot be read: {error}", path.display()));
    if depth > MAX_DEPTH {
        let message = format!("{} lies more than {MAX_DEPTH} folders deep", folder.display());
        return Err(Failure::new("too_deep", message).into());
    }
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let entry = entry.map_err(|error| failed(folder, error))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(|error| failed(folder, error))?);
        // Links may lead out of the corpus or in circles, and what starts with a point is no content.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        } else if kind.is_dir() {
            walk(&path, depth + 1, files, bytes)?;
        } else if kind.is_file() {
            *bytes += entry.metadata().map_err(|error| failed(&path, error))?.len();
            files.push(path);
            if files.len() > MAX_FILES {
                let message =
                    format!("there are more than {MAX_FILES} files: divide the corpus, or give it as JSON lines");
                return Err(Failure::new("too_many", message).into());
            }
        }
    }
    Ok(())
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure::new("io", format!("{} cannot be read: {error}", path.display())))?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        let message = format!("{} has more than {MAX_TEXT_BYTES} bytes", path.display());
        return Err(Failure::new("too_large", message).hint("cut it into several documents").into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new("not_utf8", format!("{} is not UTF-8: byte {at} is wrong", path.display()))
            .hint("documents are UTF-8 text: convert this one, or leave it out")
            .into()
    })
}

/// JSON values, one on each line.
pub(super) struct Lines {
    reader: Box<dyn BufRead>,
    path: PathBuf,
    number: usize,
}

impl Lines {
    /// Opens a file, or standard input for `-`, and tells how many bytes it has; 0 where nobody knows.
    pub(super) fn open(path: &Path) -> anyhow::Result<(Self, u64)> {
        let (reader, bytes): (Box<dyn BufRead>, u64) = match path.as_os_str() == "-" {
            true => (Box::new(BufReader::new(io::stdin())), 0),
            false => {
                let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
                let (bytes, file) = opened.map_err(|error| {
                    Failure::new("io", format!("{} cannot be read: {error}", path.display()))
                        .hint("name a file of JSON lines, or - for standard input")
                })?;
                (Box::new(BufReader::new(file)), bytes)
            }
        };
        Ok((Self { reader, path: path.to_owned(), number: 0 }, bytes))
    }

    /// The value on the next line that is not empty, and the line's number.
    pub(super) fn next<T: for<'a> Deserialize<'a>>(&mut self, form: &str) -> anyhow::Result<Option<(usize, T)>> {
        loop {
            let mut line = Vec::new();
            let read = self.reader.by_ref().take(MAX_TEXT_BYTES + 1).read_until(b'\n', &mut line);
            self.number += 1;
            let at = format!("line {} of {}", self.number, self.path.display());
            let read = read.map_err(|error| Failure::new("io", format!("{at} cannot be read: {error}")))?;
            if read as u64 > MAX_TEXT_BYTES {
                return Err(Failure::new("too_large", format!("{at} has more than {MAX_TEXT_BYTES} bytes")).into());
            }
            if read == 0 {
                return Ok(None);
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let value = serde_json::from_slice(&line).map_err(|error| {
                let hint = format!("a line is one JSON object with {form}");
                Failure::new("malformed", format!("{at}: {error}")).hint(hint)
            })?;
            return Ok(Some((self.number, value)));
        }
    }
}
