//! Small files, read with a bound and written so that a crash leaves the old file or the new one, never half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file aside that is older is not being written any more.
const LEFT_AFTER: Duration = Duration::from_secs(60);

/// The text of a file that must not be larger than `limit` bytes.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    if read as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes")));
    }
    Ok(text)
}

/// Writes a file with these access rights that must not exist yet; if it does, nothing happens to it and the error
/// is [`io::ErrorKind::AlreadyExists`].
pub fn create_new(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let temporary = write_beside(path, contents, mode)?;
    // A hard link is the one way to give a file its name that fails if the name is taken.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    linked?;
    sync_folder(path)
}

/// Writes a file, in the place of an older one if there is one.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let temporary = write_beside(path, contents, mode)?;
    fs::rename(&temporary, path)?;
    sync_folder(path)
}

/// Removes what processes that crashed left beside a file: it may be a second copy of a key.
pub fn sweep(path: &Path) -> io::Result<()> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let prefix = format!(".{}.", name.to_string_lossy());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let left = entry.file_name();
        let left = left.to_string_lossy();
        let process = left.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".new"));
        if process.is_none_or(|process| process.parse::<u32>().is_err()) {
            continue;
        }
        // One that is being written is young.
        let age = entry.metadata().and_then(|found| found.modified()).map(|since| since.elapsed());
        if matches!(age, Ok(Ok(age)) if age > LEFT_AFTER) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn write_beside(path: &Path, contents: &[u8], mode: u32) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let temporary = path.with_file_name(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    // Left by a crash of a process with our number.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(contents)?;
    file.sync_all()?;
    Ok(temporary)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_a_crash_left_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ada.key");
        let make = |name: &str, age: u64| {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).unwrap();
        };
        make(".ada.key.17.new", 3600);
        for (name, age) in
            [("ada.key", 3600), (".ada.key.18.new", 0), (".ada.key.x.new", 3600), (".ben.key.1.new", 3600)]
        {
            make(name, age);
        }
        sweep(&path).unwrap();
        assert!(!folder.path().join(".ada.key.17.new").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_new_file_has_its_rights_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        create_new(&path, b"first", 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = create_new(&path, b"second", 0o600).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_text(&path, 5).unwrap(), "first");
        assert_eq!(read_text(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        replace(&path, b"third", 0o644).unwrap();
        assert_eq!(read_text(&path, 5).unwrap(), "third");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
