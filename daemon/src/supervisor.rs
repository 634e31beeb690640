//! Processes of nodes: one at a time in each home, and child processes that a devnet starts and ends.
//!
//! - A running node holds a lock on `tributary.lock` in its home, and the lock's file holds its process number. The
//!   system drops the lock when the process ends, however it ends: so the number is never a stale one, and a second
//!   node in the same home is refused.
//! - A child is on a leash: its standard input is a pipe, and a node started with `--exit-with-parent` stops when
//!   that pipe closes. So no child outlives its parent, even one that was killed.
//! - A child is stopped by closing its leash, and killed if it does not end in time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The lock's file in a home.
pub const LOCK_FILE: &str = "tributary.lock";
/// How often a condition is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(20);
/// How long a starting node waits for the lock: whoever only asks whether a node runs holds it for an instant.
const CLAIM_WAIT: Duration = Duration::from_secs(1);
/// Bytes of a child's log that are quoted when it ended too soon.
const LOG_TAIL_BYTES: u64 = 2048;

/// Why a home's node could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// It runs already.
    #[error("the node in {} runs already{}", home.display(), pid.map(|pid| format!(", as process {pid}")).unwrap_or_default())]
    Busy {
        /// Where.
        home: PathBuf,
        /// Its process.
        pid: Option<u32>,
    },
    /// It does not run.
    #[error("the node in {} is not running", home.display())]
    NotRunning {
        /// Where.
        home: PathBuf,
    },
    /// It was asked to stop and did not.
    #[error("process {pid}, the node in {}, was asked to stop and still runs after {} s", home.display(), after.as_secs())]
    Stuck {
        /// Where.
        home: PathBuf,
        /// Its process.
        pid: u32,
        /// How long it was waited for.
        after: Duration,
    },
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl HomeError {
    /// One word.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "running",
            Self::NotRunning { .. } => "notrunning",
            Self::Stuck { .. } => "stuck",
            Self::Io { .. } => "file",
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Busy { home, .. } => Some(format!("tributary stop --home {}", home.display())),
            Self::NotRunning { home } => Some(format!("tributary start --home {}", home.display())),
            Self::Stuck { pid, .. } => Some(format!(
                "its log says what it waits for; `kill -9 {pid}` ends it, and loses nothing that was acknowledged"
            )),
            Self::Io { .. } => None,
        }
    }
}

/// A home's lock, held as long as this lives.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
}

/// Takes the home for this process.
pub fn claim(home: &Path) -> Result<Claim, HomeError> {
    let path = home.join(LOCK_FILE);
    let failed = |source| HomeError::Io { action: "lock", path: path.clone(), source };
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    let deadline = Instant::now() + CLAIM_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(POLL),
            Err(TryLockError::WouldBlock) => {
                return Err(HomeError::Busy { home: home.to_owned(), pid: pid_in(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
    file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(failed)?;
    Ok(Claim { _lock: file })
}

/// The process of the node that runs in this home; `None` if none does.
pub fn running(home: &Path) -> Result<Option<u32>, HomeError> {
    let path = home.join(LOCK_FILE);
    let failed = |source| HomeError::Io { action: "read", path: path.clone(), source };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let deadline = Instant::now() + CLAIM_WAIT;
    let mut before = None;
    loop {
        match file.try_lock_shared() {
            Ok(()) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) => {}
        }
        // Whoever has the lock may not have written its number yet, and what stands there is its predecessor's: it counts when
        // it stands there twice.
        match pid_in(&mut file) {
            Some(pid) if before == Some(pid) => return Ok(Some(pid)),
            _ if Instant::now() >= deadline => return Err(HomeError::Busy { home: home.to_owned(), pid: None }),
            read => before = read,
        }
        sleep(POLL);
    }
}

/// Asks the node in this home to stop, and waits until it has.
pub fn stop(home: &Path, within: Duration) -> Result<(), HomeError> {
    let Some(pid) = running(home)? else { return Err(HomeError::NotRunning { home: home.to_owned() }) };
    let asked = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid.to_string()]).stderr(Stdio::null()).status();
    asked.map_err(|source| HomeError::Io { action: "signal the node in", path: home.to_owned(), source })?;
    let deadline = Instant::now() + within;
    // Another process number would be another node, started since.
    while running(home)? == Some(pid) {
        if Instant::now() >= deadline {
            return Err(HomeError::Stuck { home: home.to_owned(), pid, after: within });
        }
        sleep(POLL);
    }
    Ok(())
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with its last word said.
    Gracefully,
    /// By itself, with a failure.
    Failed,
    /// We killed it, because it did not end in time.
    Killed,
}

/// A node as a child process. Dropped, it is killed.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
    leash: Option<ChildStdin>,
    log: PathBuf,
}

impl NodeProcess {
    /// Starts `program start` for the node in `home`, with its output added to the file `log`.
    ///
    /// On a leash it stops with this process; off it, it stays. Signals from the terminal do not reach it: they are
    /// for the parent, who stops its children in order.
    pub fn spawn(program: &Path, home: &Path, log: &Path, leashed: bool) -> Result<Self, HomeError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| HomeError::Io { action: "start a node with", path, source }
        };
        let output = OpenOptions::new().create(true).append(true).open(log).map_err(failed(log))?;
        let errors = output.try_clone().map_err(failed(log))?;
        let mut command = Command::new(program);
        command.arg("start").arg("--home").arg(home).stdout(output).stderr(errors).process_group(0);
        if leashed {
            command.arg("--exit-with-parent").stdin(Stdio::piped());
        } else {
            command.stdin(Stdio::null());
        }
        // What configures this process must not configure each of its children alike.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("TRIBUTARY_")) {
                command.env_remove(&name);
            }
        }
        let mut child = command.spawn().map_err(failed(program))?;
        let leash = child.stdin.take();
        Ok(Self { child, leash, log: log.to_owned() })
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills it as a power cut would: nothing of it runs any more when this returns.
    pub fn kill9(mut self) {
        self.kill();
    }

    /// Asks it to stop, by letting go of its leash.
    pub fn ask_to_stop(&mut self) {
        self.leash = None;
    }

    /// Asks it to stop, and kills it if it has not ended by `deadline`.
    pub fn stop(mut self, deadline: Instant) -> Ended {
        self.ask_to_stop();
        loop {
            match self.ended() {
                Some(status) if status.success() => return Ended::Gracefully,
                Some(_) => return Ended::Failed,
                None if Instant::now() >= deadline => {
                    self.kill();
                    return Ended::Killed;
                }
                None => sleep(POLL),
            }
        }
    }

    /// Lets it go on when this process ends. Only one that was started off the leash will.
    pub fn detach(self) {
        std::mem::forget(self);
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }

    fn kill(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log file.
fn log_tail(path: &Path) -> String {
    let tail = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // The first line is cut unless the file is short.
        let whole_lines =
            if length > LOG_TAIL_BYTES { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
        Ok(whole_lines.trim_end().to_owned())
    };
    tail().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_belongs_to_one_process_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(running(home.path()).unwrap(), None);
        let first = claim(home.path()).unwrap();
        assert_eq!(running(home.path()).unwrap(), Some(std::process::id()));
        let HomeError::Busy { pid, .. } = claim(home.path()).unwrap_err() else { panic!("it must be busy") };
        assert_eq!(pid, Some(std::process::id()));
        drop(first);
        assert_eq!(running(home.path()).unwrap(), None);
        assert_eq!(stop(home.path(), Duration::ZERO).unwrap_err().code(), "notrunning");
        claim(home.path()).unwrap();
    }
}
