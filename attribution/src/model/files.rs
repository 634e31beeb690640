//! Files: small ones read whole, safetensors tensor by tensor, and all of them written whole or not
//! at all.
//!
//! A file may come from a stranger. Its length is compared with a limit before it is read, a
//! safetensors header must lie within [`MAX_HEADER_BYTES`] and account for every byte of the file,
//! and a tensor is read only if it has the shape that the model needs. Every value must be finite.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::error::{LoadError, SaveError};

/// A header, of GGUF or safetensors, must end within this many bytes of the file's start.
/// SmolLM2's takes 1.8 MB. A parsed value takes up to 32 times its bytes, which this bounds too.
pub const MAX_HEADER_BYTES: u64 = 16 << 20;
/// Largest configuration or tokenizer that is read, in bytes.
pub const MAX_TEXT_BYTES: u64 = 16 << 20;
/// The one key of ours in a safetensors header's metadata; its value is JSON.
const NOTE: &str = "tributary";

/// A whole file, if it is no longer than `limit`.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_path_buf(), source };
    let file = open_bounded(path, limit)?;
    let mut bytes = Vec::new();
    // The file may have grown since it was measured.
    file.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Opens a file that is no longer than `limit`.
pub(super) fn open_bounded(path: &Path, limit: u64) -> Result<File, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    match bytes <= limit {
        true => Ok(file),
        false => Err(LoadError::TooLarge { path: path.to_path_buf(), bytes, limit }),
    }
}

/// The BLAKE3 of a whole file, in hexadecimal.
pub(super) fn file_digest(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// An opened safetensors file: its checked header, and the file to read tensors from.
pub(super) struct TensorFile {
    path: PathBuf,
    file: File,
    start: u64,
    header: Metadata,
}

impl TensorFile {
    pub(super) fn open(path: &Path, limit: u64) -> Result<Self, LoadError> {
        let unreadable = |source| LoadError::Unreadable { path: path.to_path_buf(), source };
        let damaged = |reason: &str| LoadError::NotSafetensors { path: path.to_path_buf(), reason: reason.to_owned() };
        let mut file = open_bounded(path, limit)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| damaged("it has no header"))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES {
            return Err(damaged(&format!("its header claims {length} bytes; at most {MAX_HEADER_BYTES} are allowed")));
        }
        if length > bytes.saturating_sub(8) {
            return Err(damaged("it ends within its header"));
        }
        let mut header = Vec::new();
        Read::by_ref(&mut file).take(length).read_to_end(&mut header).map_err(unreadable)?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|error| damaged(&error.to_string()))?;
        let start = length + 8;
        if start.checked_add(header.data_len() as u64) != Some(bytes) {
            return Err(damaged("its header does not account for every byte"));
        }
        Ok(Self { path: path.to_path_buf(), file, start, header })
    }

    /// The names of all tensors, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = self.header.offset_keys();
        names.sort();
        names
    }

    /// What stands under our own key.
    pub(super) fn note(&self) -> Option<&str> {
        self.header.metadata().as_ref()?.get(NOTE).map(String::as_str)
    }

    /// The tensor of that name as floats, if it has exactly this shape and only finite values.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let info = self.header.info(name).ok_or_else(|| LoadError::MissingTensor { name: name.to_owned() })?;
        if info.shape != shape {
            let (wanted, found) = (shape.to_vec(), info.shape.clone());
            return Err(LoadError::TensorShape { name: name.to_owned(), wanted, found });
        }
        let stored = match info.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => return Err(LoadError::TensorType { name: name.to_owned(), found: format!("{other:?}") }),
        };
        let unreadable = |source| LoadError::Unreadable { path: self.path.clone(), source };
        let (start, end) = info.data_offsets;
        self.file.seek(SeekFrom::Start(self.start + start as u64)).map_err(unreadable)?;
        let mut bytes = vec![0; end - start];
        self.file.read_exact(&mut bytes).map_err(unreadable)?;
        let tensor = Tensor::from_raw_buffer(&bytes, stored, shape, &Device::Cpu)?.to_dtype(DType::F32)?;
        finite(tensor, name)
    }
}

/// The tensor, if all its values are finite numbers.
pub(super) fn finite(tensor: Tensor, name: &str) -> Result<Tensor, LoadError> {
    match all_finite(&tensor)? {
        true => Ok(tensor),
        false => Err(LoadError::NotFinite { name: name.to_owned() }),
    }
}

pub(super) fn all_finite(tensor: &Tensor) -> candle_core::Result<bool> {
    Ok(values(tensor)?.iter().all(|value| value.is_finite()))
}

/// The values of a tensor, row by row.
pub(super) fn values(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
}

/// Writes tensors as a safetensors file, in the order of their names, and returns the file's digest.
pub(super) fn write_tensors(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    note: Option<String>,
) -> Result<String, SaveError> {
    let unwritable = |source| SaveError::Unwritable { path: path.to_path_buf(), source };
    for (name, tensor) in tensors {
        if !all_finite(tensor)? {
            return Err(SaveError::NotFinite { name: name.clone() });
        }
    }
    let mut at = 0;
    let mut infos = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let end = at + 4 * tensor.elem_count();
        let info = TensorInfo { dtype: Dtype::F32, shape: tensor.dims().to_vec(), data_offsets: (at, end) };
        infos.push((name.clone(), info));
        at = end;
    }
    // One key only: more would stand in the order of a hash map, and change the file each time.
    let metadata = match note {
        Some(note) => (NOTE.to_owned(), note),
        None => ("format".to_owned(), "pt".to_owned()),
    };
    let broken = |error: &dyn std::fmt::Display| unwritable(io::Error::other(error.to_string()));
    let header = Metadata::new(Some([metadata].into()), infos).map_err(|error| broken(&error))?;
    let mut header = serde_json::to_vec(&header).map_err(|error| broken(&error))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut hasher = blake3::Hasher::new();
    write_whole(path, |file| {
        let mut out = |bytes: &[u8]| {
            hasher.update(bytes);
            file.write_all(bytes)
        };
        out(&(header.len() as u64).to_le_bytes())?;
        out(&header)?;
        for tensor in tensors.values() {
            let values = values(tensor).map_err(io::Error::other)?;
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            out(&bytes)?;
        }
        Ok(())
    })?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Writes a file under a temporary name beside it, makes that durable, and gives it its name: who
/// looks sees the old file or the new one.
pub(super) fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), SaveError> {
    let unwritable = |source| SaveError::Unwritable { path: path.to_path_buf(), source };
    let name = path.file_name().ok_or_else(|| unwritable(io::Error::other("the path names no file")))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = folder.join(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let write = || {
        let mut file = BufWriter::new(File::create(&temporary)?);
        fill(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&temporary, path)?;
        // The name itself becomes durable with its folder.
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| {
        // It may not exist, and a leftover under this name harms nobody.
        let _ = fs::remove_file(&temporary);
        unwritable(error)
    })
}
