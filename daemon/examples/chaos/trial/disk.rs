//! A disk that is really full: one node's data on a file system of its own, in memory, which is filled almost to its last
//! byte.
//! Needs the right to mount (root, or a user namespace of its own: scripts/chaos asks for one).

use daemon::devnet::Devnet;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Size of the file system, in MiB: the database of a whole run fits with room to spare.
const SIZE_MIB: u32 = 1024;
/// The file that takes up the room.
const BALLAST: &str = "ballast";
/// What is left: enough to start with, and used up within seconds under load.
const LEFT: u64 = 6 << 20;

/// A node's data folder as a file system of its own.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    pub(crate) node: usize,
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts it, before the node has started; none where that is not allowed.
    pub(crate) fn mount(devnet: &Devnet, node: usize) -> anyhow::Result<Option<Self>> {
        let folder = devnet.home(node).join("data");
        std::fs::create_dir_all(&folder)?;
        let size = format!("size={SIZE_MIB}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tributary-chaos"])
            .arg(&folder)
            .stderr(Stdio::null())
            .status();
        Ok(mounted.is_ok_and(|status| status.success()).then_some(Self { node, folder }))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a node may just be ending. In a mount namespace of its own it would go anyway.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

/// Takes almost all the room that is left. The node must have been stopped in order: its database takes room ahead for its
/// log, which only an orderly end gives back, and would live on that for minutes.
pub(crate) fn fill(disk: &SmallDisk) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(disk.folder.join(BALLAST))?;
    let chunk = vec![0_u8; 1 << 20];
    loop {
        match file.write(&chunk) {
            Ok(1..) => {}
            Ok(0) => break,
            Err(error) if error.kind() == ErrorKind::StorageFull => break,
            Err(error) => return Err(error.into()),
        }
    }
    let taken = file.metadata()?.len();
    Ok(file.set_len(taken.saturating_sub(LEFT))?)
}

/// Gives the room back.
pub(crate) fn make_room(disk: &SmallDisk) -> anyhow::Result<()> {
    Ok(std::fs::remove_file(disk.folder.join(BALLAST))?)
}
