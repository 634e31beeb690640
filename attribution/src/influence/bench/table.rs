//! A table of numbers: features and, in the last column, a label.

use super::draw::Draw;

/// Columns of a table.
const MAX_COLUMNS: usize = 1 << 16;
/// Numbers of a table.
const MAX_NUMBERS: usize = 1 << 28;
/// Classes of its labels.
const MAX_CLASSES: usize = 1 << 10;

/// Features, and the class of each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    width: usize,
    classes: usize,
    features: Vec<f64>,
    labels: Vec<usize>,
}

/// Why a text is no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum TableError {
    #[error("the table has no rows")]
    Empty,
    #[error("line {line} has {got} columns, the first line {expected}")]
    Columns { line: usize, got: usize, expected: usize },
    #[error("the table has {got} columns; there may be 2 to {MAX_COLUMNS}, the last of them the label")]
    Width { got: usize },
    #[error("`{text}` in line {line} is not a finite number")]
    Number { line: usize, text: String },
    #[error("the label `{text}` in line {line} is not a whole number below {MAX_CLASSES}")]
    Label { line: usize, text: String },
    #[error("the table has more than {MAX_NUMBERS} numbers")]
    Size,
    #[error("the table has no column {column:?}: it has {columns} columns, {names}")]
    NoColumn { column: String, columns: usize, names: &'static str },
    #[error("{features} features of {width} columns and {labels} labels do not belong together")]
    Parts { width: usize, features: usize, labels: usize },
}

fn label_column(first: &[String], has_names: bool, label: Option<&str>) -> Result<usize, TableError> {
    let Some(label) = label else { return Ok(first.len() - 1) };
    let by_name = first.iter().position(|name| has_names && name == label);
    let by_number = || label.parse::<usize>().ok()?.checked_sub(1).filter(|at| *at < first.len());
    let names = if has_names { "named in the first line, or by number from 1" } else { "by number from 1" };
    let missing = || TableError::NoColumn { column: label.chars().take(40).collect(), columns: first.len(), names };
    by_name.or_else(by_number).ok_or_else(missing)
}

impl Table {
    /// Reads numbers separated by commas, a row each line; a first line with anything else names the columns. Features are
    /// divided by `divisor`: those of digits are 0 to 16. `label` is the label's column, by name or by number from 1; the
    /// last one unless told.
    pub fn from_csv(text: &str, divisor: f64, label: Option<&str>) -> Result<Self, TableError> {
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).peekable();
        let cells = |line: &str| line.split(',').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let first = lines.peek().map(|(_, line)| cells(line)).ok_or(TableError::Empty)?;
        let has_names = first.iter().any(|cell| cell.parse::<f64>().is_err());
        let label = label_column(&first, has_names, label)?;
        if has_names {
            lines.next();
        }
        let mut columns = Some(first.len());
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        for (line, text) in lines {
            let got = text.split(',').count();
            let expected = *columns.get_or_insert(got);
            if got != expected {
                return Err(TableError::Columns { line, got, expected });
            }
            if !(2..=MAX_COLUMNS).contains(&got) {
                return Err(TableError::Width { got });
            }
            if features.len() + got > MAX_NUMBERS {
                return Err(TableError::Size);
            }
            for (at, text) in text.split(',').map(str::trim).enumerate() {
                let error = || TableError::Number { line, text: text.chars().take(40).collect() };
                let number: f64 = text.parse().map_err(|_| error())?;
                if !number.is_finite() {
                    return Err(error());
                }
                if at != label {
                    features.push(number / divisor);
                    continue;
                }
                if number.fract() != 0.0 || !(0.0..MAX_CLASSES as f64).contains(&number) {
                    return Err(TableError::Label { line, text: text.chars().take(40).collect() });
                }
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
                labels.push(number as usize);
            }
        }
        Self::from_parts(columns.ok_or(TableError::Empty)? - 1, features, labels)
    }

    /// A table of its numbers.
    pub fn from_parts(width: usize, features: Vec<f64>, labels: Vec<usize>) -> Result<Self, TableError> {
        let classes = labels.iter().max().ok_or(TableError::Empty)? + 1;
        if !(1..MAX_COLUMNS).contains(&width) {
            return Err(TableError::Width { got: width + 1 });
        }
        if classes > MAX_CLASSES || labels.len().checked_mul(width) != Some(features.len()) {
            return Err(TableError::Parts { width, features: features.len(), labels: labels.len() });
        }
        Ok(Self { width, classes: classes.max(2), features, labels })
    }

    /// Features of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none, which is never so.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// All features, row by row.
    pub fn features(&self) -> &[f64] {
        &self.features
    }

    /// The class of each row.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Some rows, with as many classes as there are here. None if there is no such row, or none at all.
    pub(super) fn select(&self, rows: &[usize]) -> Option<Self> {
        let mut features = Vec::with_capacity(rows.len() * self.width);
        let mut labels = Vec::with_capacity(rows.len());
        for row in rows {
            labels.push(*self.labels.get(*row)?);
            features.extend_from_slice(&self.features[row * self.width..(row + 1) * self.width]);
        }
        (!labels.is_empty()).then_some(Self { features, labels, ..*self })
    }

    /// The table with the same rows and `classes` classes, if these are more.
    pub(super) fn with_classes(mut self, classes: usize) -> Self {
        self.classes = self.classes.max(classes);
        self
    }

    /// Changes the labels of so many rows to other ones, and says of which.
    pub(super) fn with_noise(mut self, count: usize, draw: &mut Draw) -> (Self, Vec<bool>) {
        let mut changed = vec![false; self.len()];
        for row in draw.subset(self.len(), count) {
            changed[row] = true;
            self.labels[row] = (self.labels[row] + 1 + draw.below(self.classes - 1)) % self.classes;
        }
        (self, changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_and_errors_name_the_line() {
        let table = Table::from_csv("0, 8,1\n\n16,4,0\r\n1e0,2,2\n", 16.0, None).unwrap();
        assert_eq!((table.width(), table.classes(), table.len()), (2, 3, 3));
        assert_eq!(table.features(), [0.0, 0.5, 1.0, 0.25, 0.0625, 0.125]);
        assert_eq!(table.labels(), [1, 0, 2]);
        for (text, label) in [("1,0,8\n0,16,4\n2,1,2", "1"), ("class,a,b\n1,0,8\n0,16,4\n2,1,2", "class")] {
            assert_eq!(Table::from_csv(text, 16.0, Some(label)).as_ref(), Ok(&table));
        }
        for (text, label) in [("1,2\n", "0"), ("1,2\n", "3"), ("1,2\n", "class"), ("a,b\n1,2\n", "c")] {
            assert!(matches!(Table::from_csv(text, 1.0, Some(label)), Err(TableError::NoColumn { columns: 2, .. })));
        }
        let error = |text: &str| Table::from_csv(text, 1.0, None).unwrap_err();
        assert_eq!(error(""), TableError::Empty);
        assert_eq!(error("1\n"), TableError::Width { got: 1 });
        assert_eq!(error("1,2\n1,2,3\n"), TableError::Columns { line: 2, got: 3, expected: 2 });
        for wrong in ["x", "nan", "inf", ""] {
            assert_eq!(error(&format!("1,2\n{wrong},1")), TableError::Number { line: 2, text: wrong.to_owned() });
        }
        for wrong in ["-1", "0.5", "1e9"] {
            assert_eq!(error(&format!("1,{wrong}")), TableError::Label { line: 1, text: wrong.to_owned() });
        }
        assert_eq!(table.select(&[2, 0]).unwrap().labels(), [2, 1]);
        assert_eq!((table.select(&[3]), table.select(&[])), (None, None));
    }

    #[test]
    fn noise_changes_as_many_labels_as_it_says() {
        let table = Table::from_parts(1, vec![0.0; 100], (0..100).map(|row| row % 10).collect()).unwrap();
        let (noisy, changed) = table.clone().with_noise(10, &mut Draw::new(1, 1));
        assert_eq!(changed.iter().filter(|changed| **changed).count(), 10);
        for (row, changed) in changed.iter().enumerate() {
            assert_eq!(table.labels()[row] != noisy.labels()[row], *changed);
        }
    }
}
