//! Folding, one code point after the other.

use super::Folded;
use super::map::{BLOCK_WORDS, FoldMap, Origin};
use super::marks::{Mark, Marks};
use super::tables::{Class, DOT_ABOVE, IOTA, YPOGEGRAMMENI, class_of, fold_case, is_removed};
use crate::words::words;
use unicode_normalization::char::{canonical_combining_class, compose, decompose_compatible};

/// No code point below this one is a mark.
const FIRST_MARK: char = '\u{300}';

/// A code point with what it comes from.
#[derive(Clone, Copy, Debug)]
struct Piece {
    character: char,
    origin: Origin,
}

/// Holds back one starter with its marks, as what follows may yet be composed with it.
#[derive(Debug, Default)]
pub(super) struct Folder {
    starter: Option<Piece>,
    marks: Marks,
    /// Marks that could not be composed with the starter. Empty but while marks are put on it.
    left: Vec<Piece>,
    writer: Writer,
}

impl Folder {
    pub(super) fn fold(mut self, text: &str) -> Folded {
        self.writer.text.reserve(text.len());
        let mut at = 0;
        while at < text.len() {
            at = self.take_ascii(text, at);
            for character in text[at..].chars() {
                let origin = Origin { start: at, end: at + character.len_utf8() };
                decompose_compatible(character, |part| self.take(part, origin));
                at = origin.end;
                if text.as_bytes().get(at).is_some_and(u8::is_ascii) {
                    break;
                }
            }
        }
        self.flush();
        self.writer.finish()
    }

    /// Takes the ASCII from `at` on, and tells where it ends. Its last code point is left if another follows, which may
    /// be a mark on it.
    fn take_ascii(&mut self, text: &str, at: usize) -> usize {
        let length = text.as_bytes()[at..].iter().take_while(|byte| byte.is_ascii()).count();
        let end = if at + length < text.len() { at + length.saturating_sub(1) } else { text.len() };
        if at < end {
            self.flush();
            self.writer.write_ascii(&text[at..end], at);
        }
        end
    }

    /// Takes a code point that has no decomposition.
    fn take(&mut self, character: char, origin: Origin) {
        if is_removed(character) {
            return;
        }
        let combining_class = if character < FIRST_MARK { 0 } else { canonical_combining_class(character) };
        if combining_class == 0 {
            fold_case(character).for_each(|character| self.take_starter(Piece { character, origin }));
            return;
        }
        let class = class_of(character);
        if class != Class::Separator {
            self.marks.insert(Mark { character, combining_class, class, origin });
        }
    }

    fn take_starter(&mut self, piece: Piece) {
        self.put_marks();
        if let (Some(starter), true) = (&mut self.starter, self.left.is_empty())
            && let Some(composed) = compose(starter.character, piece.character)
        {
            *starter = Piece { character: composed, origin: starter.origin.with(piece.origin) };
            return;
        }
        self.flush();
        self.starter = Some(piece);
    }

    /// Puts the marks on the starter; those that cannot be composed with it are left.
    fn put_marks(&mut self) {
        if self.marks.is_empty() {
            return;
        }
        if let (Some(starter), Some(cut)) = (&mut self.starter, self.marks.cut()) {
            starter.origin = starter.origin.with(cut);
        }
        let dotted = self.starter.is_some_and(|starter| starter.character == 'i');
        let mut joins = self.starter.is_some_and(|starter| class_of(starter.character) == Class::Joining);
        // The combining class of the last mark that is left: a mark of the same class stays behind it.
        let mut behind = 0;
        for mark in self.marks.take() {
            joins &= mark.class == Class::Joining;
            if mark.class == Class::Joining && !joins || dotted && mark.character == DOT_ABOVE {
                if let Some(starter) = &mut self.starter {
                    starter.origin = starter.origin.with(mark.origin);
                }
                continue;
            }
            let piece = Piece { character: mark.character, origin: mark.origin };
            if mark.character == YPOGEGRAMMENI {
                // Has the greatest class of all, so that nothing but itself comes behind it.
                self.left.push(Piece { character: IOTA, ..piece });
            } else if let (Some(starter), true) = (&mut self.starter, behind < mark.combining_class)
                && let Some(composed) = compose(starter.character, mark.character)
            {
                *starter = Piece { character: composed, origin: starter.origin.with(mark.origin) };
            } else {
                self.left.push(piece);
                behind = mark.combining_class;
            }
        }
    }

    /// Writes what is held back.
    fn flush(&mut self) {
        self.put_marks();
        for piece in self.starter.take().into_iter().chain(self.left.drain(..)) {
            self.writer.write(piece);
        }
    }
}

/// What was written last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    /// Nothing, or a separator.
    #[default]
    Gap,
    /// A joining code point.
    Joining,
    /// A word of one code point.
    Alone,
}

/// Divides composed text into words, and writes them down with what they come from.
#[derive(Debug, Default)]
struct Writer {
    text: String,
    map: FoldMap,
    /// Where every [`BLOCK_WORDS`]th word starts in the text.
    blocks: Vec<usize>,
    /// What the last word, which may go on, comes from. It is not in the map yet.
    word: Option<Origin>,
    last: Last,
}

impl Writer {
    fn write(&mut self, Piece { character, origin }: Piece) {
        let last = match class_of(character) {
            Class::Separator => Last::Gap,
            Class::Joining => Last::Joining,
            Class::Alone => Last::Alone,
        };
        if last != Last::Gap {
            self.enter(last, origin);
            self.text.push(character);
        }
        self.last = last;
    }

    /// Writes ASCII, which stands at `at` in the original text.
    fn write_ascii(&mut self, ascii: &str, at: usize) {
        let mut done = 0;
        for word in words(ascii) {
            if word.start > done {
                self.last = Last::Gap;
            }
            self.enter(Last::Joining, Origin { start: at + word.start, end: at + word.end });
            self.last = Last::Joining;
            done = word.end;
            let from = self.text.len();
            self.text.push_str(&ascii[word]);
            self.text[from..].make_ascii_lowercase();
        }
        if done < ascii.len() {
            self.last = Last::Gap;
        }
    }

    /// Goes on with the last word, if what comes next joins it, or starts one.
    fn enter(&mut self, next: Last, origin: Origin) {
        let ended = match &mut self.word {
            Some(word) if self.last == Last::Joining && next == Last::Joining => {
                word.end = word.end.max(origin.end);
                return;
            }
            ended => ended.take(),
        };
        let mut word = origin;
        if let Some(ended) = ended {
            self.map.push(ended);
            // Marks that were composed over another one end behind it.
            word.end = word.end.max(ended.end);
            if self.last == Last::Gap {
                self.text.push(' ');
            }
        }
        if self.map.len().is_multiple_of(BLOCK_WORDS) {
            self.blocks.push(self.text.len());
        }
        self.word = Some(word);
    }

    fn finish(mut self) -> Folded {
        if let Some(word) = self.word {
            self.map.push(word);
        }
        Folded { text: self.text, map: self.map, blocks: self.blocks }
    }
}
