//! Takes the author's own words out of a text as it was typed up and published by others.
//!
//! Lines were broken by the transcriber, not by the author: prose is unwrapped to one line a
//! paragraph, so that a quotation of two sentences is found whole. Verse keeps its lines. Runs of
//! spaces become one, and no line is indented.

/// Why a text could not be taken apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CleanError {
    /// The bytes are not UTF-8.
    #[error("it is not UTF-8 text")]
    NotUtf8,
    /// The line after which the author's words begin is not there.
    #[error("it has no line {line:?}, after which the text begins")]
    NoStart {
        /// The line looked for.
        line: String,
    },
    /// There is no text where it should be.
    #[error("there is no text left in it")]
    Empty,
}

/// An act of a play, or a whole play that has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// The act's Roman number.
    pub number: Option<String>,
    /// Its text, without the act's heading.
    pub text: String,
}

/// What opens each of the Federalist papers; a colon follows, once a full stop.
const SALUTATION: &str = "To the People of the State of New York";
/// Lines at which the text of a play is over and its editor begins.
const EDITOR: [&str; 3] = ["FOOTNOTES", "NOTES", "GLOSSARY"];

/// The bytes as text with plain line ends and no spaces before them: these files have `\r\r\n` and
/// `\r\n`.
///
/// # Errors
/// If they are not UTF-8.
pub fn plain(bytes: Vec<u8>) -> Result<String, CleanError> {
    let text = String::from_utf8(bytes).map_err(|_| CleanError::NotUtf8)?;
    let lines: Vec<_> = text.trim_start_matches('\u{feff}').split('\n').map(str::trim_end).collect();
    Ok(lines.join("\n"))
}

/// A Federalist paper's heading and text.
///
/// Above the salutation stand the heading, the newspaper, the date and the byline. Only the heading
/// is kept, as the title; a byline in the text would give the author away.
///
/// # Errors
/// If there is no salutation, or nothing after it.
pub fn paper(text: &str) -> Result<(String, String), CleanError> {
    let (head, body) = text.split_once(SALUTATION).ok_or_else(|| no_start(SALUTATION))?;
    let heading =
        paragraphs(head).map(joined).take_while(|p| !is_source(p) && !is_byline(p)).collect::<Vec<_>>().join(" ");
    // The next paper's running head was left at the end of each file.
    let body = body.trim_start_matches([':', '.']).trim_end();
    let body = body.strip_suffix("THE FEDERALIST.").unwrap_or(body);
    let body: Vec<_> = paragraphs(body).map(joined).filter(|p| !is_byline(p)).collect();
    Ok((heading, some(&body)?))
}

/// An excerpt from a novel: unwrapped, without pictures.
#[must_use]
pub fn novel(text: &str) -> String {
    paragraphs(text).filter(|p| p.trim() != "[Illustration]").map(joined).collect::<Vec<_>>().join("\n\n")
}

/// A play, act by act. The text begins after the last line that reads `start` (a table of contents
/// may have one before it) and ends where the editor's notes begin. Marks of footnotes go.
///
/// # Errors
/// If there is no such line, or nothing after it.
pub fn play(text: &str, start: &str) -> Result<Vec<Act>, CleanError> {
    let lines: Vec<&str> = text.lines().collect();
    let is_start = |line: &&str| heading(line) == start;
    let at = lines.iter().rposition(is_start).ok_or_else(|| no_start(start))?;
    let mut acts = vec![(act_number(lines[at]), Vec::new())];
    for line in &lines[at + 1..] {
        if EDITOR.contains(&heading(line).trim_end_matches(':')) {
            break;
        }
        match (act_number(line), acts.last_mut()) {
            (None, Some((_, text))) => text.push(single_spaces(&without_marks(line))),
            (number, _) => acts.push((number, Vec::new())),
        }
    }
    acts.into_iter()
        .map(|(number, lines)| {
            let text = lines.join("\n");
            let stanzas: Vec<_> = paragraphs(&text).map(str::to_owned).collect();
            Ok(Act { number, text: some(&stanzas)? })
        })
        .collect()
}

fn no_start(line: &str) -> CleanError {
    CleanError::NoStart { line: line.to_owned() }
}

fn some(paragraphs: &[String]) -> Result<String, CleanError> {
    if paragraphs.is_empty() {
        return Err(CleanError::Empty);
    }
    Ok(paragraphs.join("\n\n"))
}

/// The parts between blank lines.
fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").map(|p| p.trim_matches('\n')).filter(|p| !p.trim().is_empty())
}

/// A paragraph's words on one line.
fn joined(paragraph: &str) -> String {
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn single_spaces(line: &str) -> String {
    joined(line)
}

/// Where a paper first appeared, or when.
fn is_source(paragraph: &str) -> bool {
    const DAYS: [&str; 7] = ["Monday,", "Tuesday,", "Wednesday,", "Thursday,", "Friday,", "Saturday,", "Sunday,"];
    ["For the ", "From the ", "From M"].iter().chain(&DAYS).any(|start| paragraph.starts_with(start))
}

/// The names of the papers' authors alone on a line: `MADISON`, `HAMILTON OR MADISON`.
fn is_byline(paragraph: &str) -> bool {
    const NAMES: [&str; 5] = ["HAMILTON", "MADISON", "JAY", "AND", "OR"];
    paragraph.split(' ').all(|word| NAMES.contains(&word.trim_end_matches(['.', ','])))
}

/// A line as a heading: without what surrounds it and without its full stop.
fn heading(line: &str) -> &str {
    line.trim().trim_end_matches('.')
}

/// The number of the act that this line announces; `ACT I. SCENE II.` announces none.
fn act_number(line: &str) -> Option<String> {
    let number = heading(line).strip_prefix("ACT ")?;
    let roman = !number.is_empty() && number.chars().all(|c| matches!(c, 'I' | 'V' | 'X'));
    roman.then(|| number.to_owned())
}

/// Without the marks of an editor's footnotes: `Afric, [5] and` becomes `Afric, and`. A word that
/// the editor supplied in brackets stays.
fn without_marks(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('[') {
        match after.split_once(']') {
            Some((mark, tail)) if !mark.is_empty() && mark.bytes().all(|b| b.is_ascii_digit()) => {
                out.push_str(before.trim_end());
                rest = tail;
            }
            _ => {
                out.push_str(before);
                out.push('[');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_made_plain() {
        assert_eq!(plain(b"a\r\r\n\r\r\nb\r\nc".to_vec()).as_deref(), Ok("a\n\nb\nc"));
        assert_eq!(plain(vec![0xff, b'a']), Err(CleanError::NotUtf8));
    }

    #[test]
    fn a_paper_keeps_its_heading_and_loses_its_byline() {
        let text = "On Bridges Over\nWide Rivers\n\n(The Same Subject Continued)\n\nFrom the Daily Packet.\n\n\
            Friday, March 7, 1788.\n\nHAMILTON OR MADISON\n\n\nTo the People of the State of New York:\n\n\
            A bridge is, in\nthe first place, a road.\n\nIt  must stand.\n\nPUBLIUS.\n\n [1] See\n No. 3.\n\n\n\n\nTHE FEDERALIST.";
        let (heading, text) = paper(text).expect("a paper");
        assert_eq!(heading, "On Bridges Over Wide Rivers (The Same Subject Continued)");
        assert_eq!(text, "A bridge is, in the first place, a road.\n\nIt must stand.\n\nPUBLIUS.\n\n[1] See No. 3.");
    }

    #[test]
    fn bylines_are_told_from_sentences() {
        for line in ["MADISON", "HAMILTON AND MADISON", "JAY.", "HAMILTON OR MADISON"] {
            assert!(is_byline(line), "{line}");
        }
        for line in ["MADISON spoke", "PUBLIUS.", "THE UNION", "Jay"] {
            assert!(!is_byline(line), "{line}");
        }
    }

    #[test]
    fn a_paper_without_salutation_or_text_is_refused() {
        assert_eq!(paper("Heading\n\nText"), Err(no_start(SALUTATION)));
        let empty = format!("Heading\n\n{SALUTATION}\n\n\nTHE FEDERALIST.\n");
        assert_eq!(paper(&empty), Err(CleanError::Empty));
    }

    #[test]
    fn a_novel_is_unwrapped_and_loses_its_pictures() {
        let text = "THE VISIT\n\n\nIt rained\nall day.\n\n[Illustration]\n\n“Come in,”\nhe said.\n";
        assert_eq!(novel(text), "THE VISIT\n\nIt rained all day.\n\n“Come in,” he said.");
    }

    #[test]
    fn a_play_is_split_at_its_acts_and_ends_before_its_editor() {
        let text = "THE PLAY\n\nby A. Poet\n\nContents\n ACT I\n Scene I.\n ACT II\n\nACT I.\n\nSCENE I. A field.\n\n     \
            FIRST. Well  met, [12] friend,\n     And thou, [sir]!\n          [Exit.]\n\nACT I.  SCENE II.\n\nSECOND.\nGone?\n\n\
            ACT II\n\nTHIRD. Gone.\n\n\nFOOTNOTES:\n\n[Footnote 12: met: Old eds. \"meet.\"]\n";
        let acts = play(text, "ACT I").expect("a play");
        assert_eq!(acts.len(), 2);
        assert_eq!(acts[0].number.as_deref(), Some("I"));
        assert_eq!(
            acts[0].text,
            "SCENE I. A field.\n\nFIRST. Well met, friend,\nAnd thou, [sir]!\n[Exit.]\n\nACT I. SCENE II.\n\nSECOND.\nGone?"
        );
        assert_eq!((acts[1].number.as_deref(), acts[1].text.as_str()), (Some("II"), "THIRD. Gone."));
    }

    #[test]
    fn a_play_without_acts_is_one_text() {
        let acts =
            play("Edited\n\nFROM THE QUARTO.\n\nEnter CHORUS.\n\nGLOSSARY\n\nABATE, cast down.", "FROM THE QUARTO");
        assert_eq!(acts, Ok(vec![Act { number: None, text: "Enter CHORUS.".into() }]));
        assert_eq!(play("no such line", "ACT I"), Err(no_start("ACT I")));
    }
}
