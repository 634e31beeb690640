//! The artifact: a file of a model's rows, committed to by one root.
//!
//! | part | what it holds |
//! | --- | --- |
//! | header | [`Header`], whose last 32 bytes are the root |
//! | space | its length in bytes, `u32`, and its canonical bytes |
//! | rows | example and contribution of each, 64 bytes; then the scales, `u32`; then the codes |
//! | Fisher rows | the same |
//!
//! Numbers are in little endian, parts follow each other without gaps, and the file ends with the last one: its size
//! follows from the header and the space, and is compared before memory is taken. Reading checks every row and both trees
//! against the header, and the header against the root that the reader knows.
//!
//! A file is written under another name, synced, renamed, and its folder synced; so there is a whole one or none.

use super::layout::{LayoutError, Space};
use protocol::crypto;
use protocol::ids::{ContributionId, Hash32};
use protocol::influence::{
    Damping, Fisher, GramError, HEADER_BYTES, Header, HeaderError, RowError, Rows, Source, Tolerance,
};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes of a space in a file.
pub const MAX_LAYOUT_BYTES: u32 = 2 * 1024 * 1024;
/// Bytes that are read or written at once.
const BUFFER_BYTES: usize = 1 << 20;
const SOURCE_BYTES: u64 = 64;

/// What an artifact is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The parameters and their projection.
    pub space: Space,
    /// e: a code is worth its scale times 2^-e.
    pub exponent: i16,
    /// What λ is.
    pub damping: Damping,
    /// How far solutions may be off.
    pub tolerance: Tolerance,
    /// The digest of the checkpoint whose gradients these are.
    pub checkpoint: Hash32,
    /// The seed of projection and sampled labels.
    pub seed: [u8; 32],
    /// The gradients of the training examples.
    pub rows: Rows,
    /// The gradients that K is made of; none for gradient dot.
    pub fisher: Rows,
}

/// A model's rows, all of them sound and under one root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    header: Header,
    space: Space,
    rows: Rows,
    fisher: Fisher,
}

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum ArtifactError {
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the disk that holds {} is full; make room", path.display())]
    Full { path: PathBuf },
    #[error("{} has {got} bytes, where {expected} belong to what its header says; fetch it again", path.display())]
    Length { path: PathBuf, expected: u128, got: u64 },
    #[error("{} has the root {got}, not {expected}: it is another model's, or another version's", path.display())]
    Root { path: PathBuf, expected: Hash32, got: Hash32 },
    #[error("the {part} of {} were altered: they do not belong to its header; fetch it again", path.display())]
    Altered { path: PathBuf, part: &'static str },
    #[error("a space of {got} bytes; at most {MAX_LAYOUT_BYTES} are allowed")]
    Space { got: u64 },
    #[error("{part} of {got} dimensions for a space of {expected}")]
    Dimension { part: &'static str, got: usize, expected: usize },
    #[error("the header is not one")]
    Header(#[from] HeaderError),
    #[error("the layout is not one")]
    Layout(#[from] LayoutError),
    #[error("the rows are unsound")]
    Row(#[from] RowError),
    #[error("the Fisher rows are unsound")]
    Fisher(#[from] GramError),
}

impl Artifact {
    /// Commits to rows.
    pub fn new(parts: Parts) -> Result<Self, ArtifactError> {
        let Parts { space, exponent, damping, tolerance, checkpoint, seed, rows, fisher } = parts;
        let expected = space.dimension();
        for (part, got) in [("rows", rows.dimension()), ("Fisher rows", fisher.dimension())] {
            if got != expected {
                return Err(ArtifactError::Dimension { part, got, expected });
            }
        }
        let length = space.to_bytes().len() as u64;
        if length > MAX_LAYOUT_BYTES.into() {
            return Err(ArtifactError::Space { got: length });
        }
        let header = Header {
            // Rows have at most 2^24 dimensions.
            dimension: u32::try_from(expected).unwrap_or(u32::MAX),
            exponent,
            rows: rows.len() as u64,
            fisher_rows: fisher.len() as u64,
            damping,
            tolerance,
            checkpoint,
            layout: space.hash(),
            seed,
            rows_root: rows.root(),
            fisher_root: fisher.root(),
        };
        // What cannot be read is not written either.
        let header = Header::from_bytes(&header.to_bytes())?;
        Ok(Self { header, space, rows, fisher: Fisher::new(fisher)? })
    }

    /// What a manifest says to commit to it.
    pub fn root(&self) -> Hash32 {
        self.header.root()
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the entries of rows are.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The gradients of the training examples.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The gradients that K is made of.
    pub fn fisher(&self) -> &Fisher {
        &self.fisher
    }

    /// Writes the file. When this returns it survives a power cut; when it fails there is none, or the one before.
    pub fn write(&self, path: &Path) -> Result<(), ArtifactError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        let written = self.write_new(&new).and_then(|()| {
            fs::rename(&new, path).map_err(failed("rename", &new))?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder", folder))
        });
        if written.is_err() {
            // It is in nobody's way if this fails: the next writer begins it anew.
            let _ = fs::remove_file(&new);
        }
        written
    }

    fn write_new(&self, path: &Path) -> Result<(), ArtifactError> {
        let file = File::create(path).map_err(failed("create", path))?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, &file);
        self.write_into(&mut out).and_then(|()| out.flush()).map_err(failed("write", path))?;
        drop(out);
        file.sync_all().map_err(failed("sync", path))
    }

    fn write_into(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.header.to_bytes())?;
        let space = self.space.to_bytes();
        out.write_all(&u32::try_from(space.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        out.write_all(&space)?;
        for rows in [&self.rows, self.fisher.rows()] {
            for source in rows.sources() {
                out.write_all(&source.example.0)?;
                out.write_all(&source.contribution.0)?;
            }
            for scale in rows.scales() {
                out.write_all(&scale.to_le_bytes())?;
            }
            let mut bytes = Vec::with_capacity(BUFFER_BYTES);
            for codes in rows.codes().chunks(BUFFER_BYTES) {
                bytes.clear();
                bytes.extend(codes.iter().map(|code| code.cast_unsigned()));
                out.write_all(&bytes)?;
            }
        }
        Ok(())
    }

    /// Reads a file, all of which must belong to `root`.
    pub fn read(path: &Path, root: &Hash32) -> Result<Self, ArtifactError> {
        let file = File::open(path).map_err(failed("open", path))?;
        let got = file.metadata().map_err(failed("look at", path))?.len();
        let mut input = Input { input: BufReader::with_capacity(BUFFER_BYTES, file), path };
        let start = HEADER_BYTES as u128 + 4;
        if u128::from(got) < start {
            return Err(ArtifactError::Length { path: path.to_owned(), expected: start, got });
        }
        let header = Header::from_bytes(&input.take(HEADER_BYTES)?)?;
        if header.root() != *root {
            return Err(ArtifactError::Root { path: path.to_owned(), expected: *root, got: header.root() });
        }
        let length = input.number()?;
        if length > MAX_LAYOUT_BYTES {
            return Err(ArtifactError::Space { got: length.into() });
        }
        let row_bytes = u128::from(SOURCE_BYTES + 4 + u64::from(header.dimension));
        let rows = u128::from(header.rows + header.fisher_rows);
        let expected = start + u128::from(length) + rows * row_bytes;
        if u128::from(got) != expected {
            return Err(ArtifactError::Length { path: path.to_owned(), expected, got });
        }
        let space = input.take(length as usize)?;
        if crypto::influence_layout(&space) != header.layout {
            return Err(ArtifactError::Altered { path: path.to_owned(), part: "parameters" });
        }
        let space = Space::from_bytes(&space)?;
        let (dimension, expected) = (header.dimension as usize, space.dimension());
        if dimension != expected {
            return Err(ArtifactError::Dimension { part: "rows", got: dimension, expected });
        }
        let rows = input.rows("rows", header.rows, dimension, &header.rows_root)?;
        let fisher = input.rows("Fisher rows", header.fisher_rows, dimension, &header.fisher_root)?;
        Ok(Self { header, space, rows, fisher: Fisher::new(fisher)? })
    }
}

/// A file whose size was found to be what its header says.
struct Input<'a> {
    input: BufReader<File>,
    path: &'a Path,
}

impl Input<'_> {
    fn take(&mut self, count: usize) -> Result<Vec<u8>, ArtifactError> {
        let mut bytes = vec![0; count];
        self.input.read_exact(&mut bytes).map_err(failed("read", self.path))?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u32, ArtifactError> {
        let mut bytes = [0; 4];
        self.input.read_exact(&mut bytes).map_err(failed("read", self.path))?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn rows(&mut self, part: &'static str, count: u64, dimension: usize, root: &Hash32) -> Result<Rows, ArtifactError> {
        // The file has more bytes than this, so it is a number of memory too, where files can be held in memory.
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut sources = Vec::with_capacity(count);
        for _ in 0..count {
            let mut hashes = [[0; 32]; 2];
            self.input.read_exact(hashes.as_flattened_mut()).map_err(failed("read", self.path))?;
            let [example, contribution] = hashes;
            sources.push(Source { example: Hash32(example), contribution: ContributionId(contribution) });
        }
        let mut scales = Vec::with_capacity(count);
        for _ in 0..count {
            scales.push(self.number()?);
        }
        let codes = self.take(count.saturating_mul(dimension))?;
        let codes = codes.into_iter().map(u8::cast_signed).collect();
        let rows = Rows::from_parts(dimension, sources, scales, codes)?;
        match rows.root() == *root {
            true => Ok(rows),
            false => Err(ArtifactError::Altered { path: self.path.to_owned(), part }),
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArtifactError {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull => ArtifactError::Full { path: path.to_owned() },
        _ => ArtifactError::Io { action, path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{Block, Layout, Projection};
    use super::*;
    use protocol::influence::Row;

    fn rows(count: u8) -> Rows {
        let mut rows = Rows::new(6).unwrap();
        for number in 0..count {
            let source = Source { example: Hash32([number; 32]), contribution: ContributionId([number / 2; 32]) };
            let codes = [127, -3, number.cast_signed(), 0, 5, -127];
            rows.push(Row { source, scale: 1_000 + u32::from(number), codes: &codes }).unwrap();
        }
        rows
    }

    fn parts() -> Parts {
        let layout = Layout::new(vec![Block { name: "layer".to_owned(), inputs: 3, outputs: 2 }]).unwrap();
        Parts {
            space: Space::new(layout, Projection::None).unwrap(),
            exponent: 20,
            damping: Damping::ONE,
            tolerance: Tolerance::DEFAULT,
            checkpoint: Hash32([8; 32]),
            seed: [9; 32],
            rows: rows(5),
            fisher: rows(3),
        }
    }

    #[test]
    fn an_artifact_comes_back_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.influence");
        let artifact = Artifact::new(parts()).unwrap();
        artifact.write(&path).unwrap();
        assert_eq!(Artifact::read(&path, &artifact.root()).unwrap(), artifact);
        // Once more over the one that is there, with no Fisher rows.
        let without = Artifact::new(Parts { fisher: Rows::new(6).unwrap(), ..parts() }).unwrap();
        without.write(&path).unwrap();
        assert_eq!(Artifact::read(&path, &without.root()).unwrap(), without);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = Artifact::read(&path, &artifact.root()).unwrap_err();
        assert!(matches!(error, ArtifactError::Root { .. }), "{error}");
        // A row of it is shown by the root of its tree.
        let proof = without.rows().prove(3).unwrap();
        let row = without.rows().get(3).unwrap();
        assert_eq!(proof.verify(&row, without.header().rows, &without.header().rows_root), Ok(()));
    }

    #[test]
    fn a_file_that_was_cut_off_or_altered_anywhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.influence");
        let artifact = Artifact::new(parts()).unwrap();
        artifact.write(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            Artifact::read(&path, &artifact.root())
        };
        assert!(read(&bytes).is_ok());
        for end in 0..bytes.len() {
            let error = read(&bytes[..end]).unwrap_err();
            assert!(matches!(error, ArtifactError::Length { .. }), "{end}: {error}");
        }
        assert!(matches!(read(&[&bytes[..], &[0]].concat()), Err(ArtifactError::Length { .. })));
        for at in 0..bytes.len() {
            for bit in [1, 0x80] {
                let mut altered = bytes.clone();
                altered[at] ^= bit;
                assert!(read(&altered).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn hostile_sizes_take_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.influence");
        let artifact = Artifact::new(parts()).unwrap();
        let refused = |header: Header, rest: &[u8]| {
            fs::write(&path, [&header.to_bytes()[..], rest].concat()).unwrap();
            Artifact::read(&path, &header.root()).unwrap_err()
        };
        // As many rows and dimensions as may be: 2^52 bytes.
        let most = Header { rows: 1 << 28, fisher_rows: 1 << 24, dimension: 1 << 24, ..artifact.header.clone() };
        let error = refused(most.clone(), &[0; 100]);
        assert!(matches!(error, ArtifactError::Length { expected, .. } if expected > 1 << 52), "{error}");
        let error = refused(Header { rows: u64::MAX, ..most.clone() }, &[0; 100]);
        assert!(matches!(error, ArtifactError::Header(HeaderError::Bound { .. })), "{error}");
        assert!(matches!(refused(most, &[0xff; 100]), ArtifactError::Space { .. }));
        let error = Artifact::read(&folder.path().join("none"), &artifact.root()).unwrap_err();
        assert!(error.to_string().starts_with("cannot open"), "{error}");
    }

    #[test]
    fn parts_that_do_not_belong_together_make_no_artifact() {
        let refused = |change: fn(&mut Parts)| {
            let mut parts = parts();
            change(&mut parts);
            Artifact::new(parts).unwrap_err()
        };
        let error = refused(|parts| parts.rows = Rows::new(5).unwrap());
        assert!(matches!(error, ArtifactError::Dimension { part: "rows", got: 5, expected: 6 }));
        let error = refused(|parts| parts.fisher = Rows::new(7).unwrap());
        assert!(matches!(error, ArtifactError::Dimension { part: "Fisher rows", .. }));
        let error = refused(|parts| parts.rows = Rows::new(6).unwrap());
        assert!(matches!(error, ArtifactError::Header(HeaderError::Bound { what: "number of rows", .. })));
        assert!(matches!(refused(|parts| parts.exponent = i16::MAX), ArtifactError::Header(_)));
    }
}
