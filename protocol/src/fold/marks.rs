//! Marks in canonical order.

use super::map::Origin;
use super::tables::Class;

/// How many marks in a row are kept: what Unicode's stream-safe text format allows (UAX #15, section 13), which is far
/// above what any language writes.
pub(super) const MAX_MARKS: usize = 30;

/// A mark: a code point with a canonical combining class above 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) character: char,
    pub(super) combining_class: u8,
    pub(super) class: Class,
    pub(super) origin: Origin,
}

/// A run of marks, in canonical order: by combining class, and as they came within one. Of a longer run it keeps the
/// first [`MAX_MARKS`] in that order, so that canonically equivalent texts keep the same ones.
#[derive(Debug, Default)]
pub(super) struct Marks {
    kept: Vec<Mark>,
    /// What the whole run comes from.
    hull: Option<Origin>,
    /// Are they in another order than they came in?
    moved: bool,
    /// Were there more of them?
    cut: bool,
}

impl Marks {
    /// Adds the next mark of the run.
    pub(super) fn insert(&mut self, mark: Mark) {
        self.hull = Some(self.hull.map_or(mark.origin, |hull| hull.with(mark.origin)));
        let at = self.kept.partition_point(|kept| kept.combining_class <= mark.combining_class);
        self.moved |= at < self.kept.len();
        self.cut |= self.kept.len() == MAX_MARKS;
        if at < MAX_MARKS {
            self.kept.truncate(MAX_MARKS - 1);
            self.kept.insert(at, mark);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// What the whole run comes from, if not all of it was kept. A mark may then have been lost that stands in one code
    /// point with the starter, which therefore depends on the whole run.
    pub(super) fn cut(&self) -> Option<Origin> {
        self.hull.filter(|_| self.cut)
    }

    /// The marks, after which the run is empty. Marks that changed places all come from the whole run, as ranges of the
    /// original must not go backwards.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Mark> {
        let hull = self.hull.take().filter(|_| self.moved || self.cut);
        (self.moved, self.cut) = (false, false);
        self.kept.drain(..).map(move |mark| Mark { origin: hull.unwrap_or(mark.origin), ..mark })
    }
}
