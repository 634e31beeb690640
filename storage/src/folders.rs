//! Folders whose names survive a power cut.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes a folder, and those above it that are missing. When this returns all of them survive a power cut.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    // Nothing above a bare name is where the process is.
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(above)?;
    match fs::create_dir(folder) {
        // Unless another made it meanwhile.
        Err(error) if !folder.is_dir() => Err(error),
        _ => sync_folder(above),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
