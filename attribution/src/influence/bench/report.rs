//! What a suite found, for people and programs.

use super::lds::Lds;
use std::fmt;

/// One way to attribute, measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The method and what was done before it.
    pub method: String,
    /// Entries of a row.
    pub dimension: usize,
    /// The score in floats.
    pub float: f64,
    /// The interval of it, where there is one.
    pub interval: Option<(f64, f64)>,
    /// The score of the integer path: rows of 8 bits, and the checked solution where the method has one.
    pub integer: Option<f64>,
    /// Seconds of the float path, from gradients to scores.
    pub float_seconds: f64,
    /// Seconds of the integer path, from gradients to scores.
    pub integer_seconds: f64,
    /// Bytes of a row in an artifact.
    pub bytes_per_row: usize,
}

/// A table of lines, and what was trained for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The suite.
    pub suite: String,
    /// What the numbers are.
    pub measure: &'static str,
    /// Facts about the models and the truth, each a sentence.
    pub facts: Vec<String>,
    /// What was measured.
    pub lines: Vec<Line>,
}

impl Line {
    /// A line of a score with its interval.
    pub(super) fn with_interval(mut self, lds: Lds) -> Self {
        (self.float, self.interval) = (lds.mean, Some((lds.low, lds.high)));
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.suite)?;
        self.facts.iter().try_for_each(|fact| writeln!(f, "  {fact}"))?;
        writeln!(
            f,
            "  {:<44} {:>6} {:>7} {:>16} {:>7} {:>8} {:>8} {:>9}",
            "method", "k", self.measure, "95 %", "int8", "float s", "int8 s", "bytes/row"
        )?;
        for line in &self.lines {
            let interval = line.interval.map(|(low, high)| format!("[{low:.3}, {high:.3}]"));
            let integer = line.integer.map(|score| format!("{score:.4}"));
            writeln!(
                f,
                "  {:<44} {:>6} {:>7.4} {:>16} {:>7} {:>8.2} {:>8.2} {:>9}",
                line.method,
                line.dimension,
                line.float,
                interval.unwrap_or_default(),
                integer.unwrap_or_default(),
                line.float_seconds,
                line.integer_seconds,
                line.bytes_per_row
            )?;
        }
        Ok(())
    }
}
