//! Experiments as files, for other programs and for later.

use super::halves::Halves;
use super::network::{Labels, Network};
use super::npy::{self, NpyError, Number};
use super::problem::Problem;
use super::table::Table;
use super::text::Documents;
use super::{BenchError, Experiment, Model};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why an experiment cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum FilesError {
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not what is expected there", path.display())]
    Array { path: PathBuf, source: NpyError },
    #[error("the shape of {} is {got:?}, which does not fit the other files", path.display())]
    Shape { path: PathBuf, got: Vec<usize> },
    #[error("a number in {} is out of range", path.display())]
    Range { path: PathBuf },
    #[error("{} holds other documents than these; use an empty folder, or the same text, seed and sizes", path.display())]
    Others { path: PathBuf },
}

impl Experiment {
    /// Writes `.npy` files into a folder:
    ///
    /// | file | shape | what |
    /// | --- | --- | --- |
    /// | `train_x`, `test_x` | rows × features, f64 | features |
    /// | `train_y`, `test_y` | rows, i64 | labels |
    /// | `subsets` | halves × rows of each, i64 | which rows |
    /// | `truth` | halves × tests, f64 | mean log-likelihood of a test by models of a half |
    /// | `widths` | layers + 1, i64 | features, units of each layer between, classes |
    /// | `parameters` | checkpoints × parameters, f64 | layer by layer (inputs + 1) × outputs, the bias last |
    /// | `train_gradients`, `test_gradients` | rows × parameters, f32 | of the log-likelihood, first checkpoint |
    pub fn write(&self, folder: &Path) -> Result<(), BenchError> {
        fs::create_dir_all(folder).map_err(failed("create the folder", folder))?;
        for (name, table) in [("train", &self.train), ("test", &self.test)] {
            let features = table.features().iter().copied();
            put(folder, &format!("{name}_x"), &[table.len(), table.width()], features)?;
            put(folder, &format!("{name}_y"), &[table.len()], table.labels().iter().map(|label| *label as i64))?;
        }
        self.halves.write(folder, self.test.len())?;
        let Some(network) = self.networks.first() else { return Ok(()) };
        put(folder, "widths", &[network.widths().len()], network.widths().iter().map(|width| *width as i64))?;
        let parameters = self.networks.iter().flat_map(|network| network.parameters().iter().copied());
        put(folder, "parameters", &[self.networks.len(), network.parameters().len()], parameters)?;
        for (name, table) in [("train", &self.train), ("test", &self.test)] {
            let gradients = network.gradients(table, Labels::Data)?;
            let shape = [gradients.len(), gradients.dimension()];
            put(folder, &format!("{name}_gradients"), &shape, gradients.values().iter().copied())?;
        }
        Ok(())
    }

    /// Reads what [`Self::write`] wrote. (Gradients are made anew, and the agreement of seeds is not kept.)
    pub fn read(folder: &Path) -> Result<Self, BenchError> {
        let table = |name: &str| -> Result<Table, BenchError> {
            let (shape, features) = get::<f64>(folder, &format!("{name}_x"), 2)?;
            let labels = numbers(folder, &format!("{name}_y"), 1)?.1;
            Ok(Table::from_parts(shape[1], features, labels)?)
        };
        let (train, test) = (table("train")?, table("test")?);
        let halves = Halves::read(folder, train.len(), test.len())?;
        let (got, widths) = numbers(folder, "widths", 1)?;
        let classes = widths.last().copied().unwrap_or(0);
        let fits = widths.first() == Some(&train.width()) && classes >= train.classes().max(test.classes());
        if !(2..=16).contains(&widths.len()) || !fits || widths.iter().any(|width| !(1..=1 << 16).contains(width)) {
            return Err(FilesError::Shape { path: path(folder, "widths"), got }.into());
        }
        let (got, parameters) = get::<f64>(folder, "parameters", 2)?;
        let empty = Network::new(&widths);
        if got[0] == 0 || got[1] != empty.parameters().len() {
            return Err(FilesError::Shape { path: path(folder, "parameters"), got }.into());
        }
        let network = |weights: &[f64]| {
            let mut network = empty.clone();
            network.parameters_mut().copy_from_slice(weights);
            network
        };
        let model = if widths.len() == 2 { Model::Logistic } else { Model::Perceptron };
        Ok(Self {
            model,
            train: train.with_classes(classes),
            test: test.with_classes(classes),
            networks: parameters.chunks_exact(got[1]).map(network).collect(),
            halves,
        })
    }
}

impl Halves {
    fn write(&self, folder: &Path, tests: usize) -> Result<(), BenchError> {
        let half = self.subsets.first().map_or(0, Vec::len);
        let rows = self.subsets.iter().flatten().map(|row| *row as i64);
        put(folder, "subsets", &[self.subsets.len(), half], rows)?;
        put(folder, "truth", &[self.subsets.len(), tests], self.truth.iter().copied())
    }

    fn read(folder: &Path, rows: usize, tests: usize) -> Result<Self, BenchError> {
        let (shape, numbers) = numbers(folder, "subsets", 2)?;
        if shape[1] == 0 || numbers.iter().any(|row| *row >= rows) {
            return Err(FilesError::Range { path: path(folder, "subsets") }.into());
        }
        let subsets: Vec<Vec<usize>> = numbers.chunks_exact(shape[1]).map(<[usize]>::to_vec).collect();
        let (got, truth) = get::<f64>(folder, "truth", 2)?;
        if got != [subsets.len(), tests] {
            return Err(FilesError::Shape { path: path(folder, "truth"), got }.into());
        }
        Ok(Self { subsets, truth, agreement: None })
    }
}

/// Writes documents, halves and truth, and the gradients of one checkpoint.
pub(super) fn keep(folder: &Path, documents: &Documents, halves: &Halves, problem: &Problem) -> Result<(), BenchError> {
    fs::create_dir_all(folder).map_err(failed("create the folder", folder))?;
    for (name, documents) in [("train_x", &documents.train), ("test_x", &documents.test)] {
        let symbols = documents.iter().flatten().map(|symbol| *symbol as i64);
        put(folder, name, &[documents.len(), documents.first().map_or(0, Vec::len)], symbols)?;
    }
    let gradients = [("train", &problem.rows), ("test", &problem.queries), ("fisher", &problem.fisher)];
    for (name, gradients) in gradients {
        let shape = [gradients.len(), gradients.dimension()];
        put(folder, &format!("{name}_gradients"), &shape, gradients.values().iter().copied())?;
    }
    // Last: whoever finds the truth finds the rest.
    halves.write(folder, documents.test.len())
}

/// The halves and truth of documents that [`keep`] wrote. None if there are none; halves of other documents are refused.
pub(super) fn kept(folder: &Path, documents: &Documents) -> Result<Option<Halves>, BenchError> {
    if !path(folder, "truth").exists() {
        return Ok(None);
    }
    for (name, documents) in [("train_x", &documents.train), ("test_x", &documents.test)] {
        let (shape, symbols) = numbers(folder, name, 2)?;
        if shape[0] != documents.len() || !symbols.iter().eq(documents.iter().flatten()) {
            return Err(FilesError::Others { path: path(folder, name) }.into());
        }
    }
    Halves::read(folder, documents.train.len(), documents.test.len()).map(Some)
}

/// Scores that another program wrote for so many rows and tests, as `NAME.npy` of f64, rows × tests.
pub fn read_scores(folder: &Path, name: &str, sizes: [usize; 2]) -> Result<Vec<f64>, BenchError> {
    let (got, scores) = get::<f64>(folder, name, 2)?;
    if got != sizes {
        return Err(FilesError::Shape { path: path(folder, name), got }.into());
    }
    Ok(scores)
}

/// Writes scores of so many rows and tests, as [`read_scores`] reads them.
pub fn write_scores(folder: &Path, name: &str, sizes: [usize; 2], scores: &[f64]) -> Result<(), BenchError> {
    put(folder, name, &sizes, scores.iter().copied())
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(name).with_extension("npy")
}

/// Writes one array.
pub(super) fn put<T: Number>(
    folder: &Path,
    name: &str,
    shape: &[usize],
    numbers: impl Iterator<Item = T>,
) -> Result<(), BenchError> {
    let path = path(folder, name);
    Ok(fs::write(&path, npy::write(shape, numbers)).map_err(failed("write", &path))?)
}

fn get<T: Number>(folder: &Path, name: &str, axes: usize) -> Result<(Vec<usize>, Vec<T>), BenchError> {
    let path = path(folder, name);
    let bytes = fs::read(&path).map_err(failed("read", &path))?;
    let (shape, numbers) = npy::read(&bytes).map_err(|source| FilesError::Array { path: path.clone(), source })?;
    if shape.len() != axes {
        return Err(FilesError::Shape { path, got: shape }.into());
    }
    Ok((shape, numbers))
}

fn numbers(folder: &Path, name: &str, axes: usize) -> Result<(Vec<usize>, Vec<usize>), BenchError> {
    let (shape, numbers) = get::<i64>(folder, name, axes)?;
    let numbers: Result<_, _> = numbers.into_iter().map(usize::try_from).collect();
    Ok((shape, numbers.map_err(|_| FilesError::Range { path: path(folder, name) })?))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    move |source| FilesError::Io { action, path: path.to_owned(), source }
}
