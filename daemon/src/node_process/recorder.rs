//! The input log: all that a node was given, so that `tributary debug replay` can find out what it did and why.
//!
//! Layout: the magic line, then frames of a little-endian u32 length and Borsh bytes. The first frame is what the node
//! started from (`Opening`); each other one is `(now_ms, Input)`. Replaying gives the BLAKE3 digest of all effects.

use protocol::crypto::SecretKey;
use protocol::genesis::{Genesis, canonical};
use protocol::node::{Effect, Input, Node, Restored};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

const MAGIC: &[u8] = b"tributary input log 1\n";
/// Bytes of one frame; the opening holds a whole ledger.
const MAX_FRAME_BYTES: u32 = 1 << 30;

/// What the node started from. The key is not in it: it is given again to replay.
type Opening = (Genesis, Restored);

/// Writes an input log.
pub struct Recorder {
    file: BufWriter<File>,
}

impl Recorder {
    /// Begins a log. An existing file is refused: a log is evidence.
    pub fn create(path: &Path, genesis: &Genesis, restored: &Restored) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create_new(path)?);
        file.write_all(MAGIC)?;
        let mut recorder = Self { file };
        recorder.frame(&canonical(&(genesis, restored)))?;
        recorder.flush()?;
        Ok(recorder)
    }

    pub(super) fn input(&mut self, now_ms: u64, input: &Input) -> io::Result<()> {
        self.frame(&canonical(&(now_ms, input)))
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn frame(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= MAX_FRAME_BYTES);
        let length = length.ok_or_else(|| io::Error::other("a frame of the input log would pass 1 GiB"))?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(bytes)
    }
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Replay {
    /// Inputs in the log.
    pub inputs: u64,
    /// Effects that they gave.
    pub effects: u64,
    /// The height reached.
    pub height: u64,
    /// The state root reached.
    pub state_root: String,
    /// BLAKE3 over all effects in order.
    pub digest: String,
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("the input log cannot be read")]
    Io(#[from] io::Error),
    /// It is something else, or of another version.
    #[error("this is no input log of this version")]
    Magic,
    /// A frame is damaged.
    #[error("frame {0} of the input log is damaged")]
    Frame(u64),
    /// The node cannot start from what the log opens with.
    #[error("the node cannot start from the log's opening")]
    Restore(#[source] protocol::node::RestoreError),
}

/// Runs a node over a log.
pub fn replay(path: &Path, key: SecretKey) -> Result<Replay, ReplayError> {
    let mut file = BufReader::new(File::open(path)?);
    let mut magic = vec![0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(ReplayError::Magic);
    }
    let opening = frame(&mut file, 0)?.ok_or(ReplayError::Frame(0))?;
    let (genesis, restored): Opening = borsh::from_slice(&opening).map_err(|_| ReplayError::Frame(0))?;
    let mut node = Node::new(genesis, key, restored).map_err(ReplayError::Restore)?;
    let (mut inputs, mut effects, mut digest) = (0, 0, blake3::Hasher::new());
    while let Some(bytes) = frame(&mut file, inputs + 1)? {
        let (now_ms, input): (u64, Input) = borsh::from_slice(&bytes).map_err(|_| ReplayError::Frame(inputs + 1))?;
        let out: Vec<Effect> = node.handle(now_ms, input);
        inputs += 1;
        effects += out.len() as u64;
        for effect in out {
            digest.update(&canonical(&effect));
        }
    }
    Ok(Replay {
        inputs,
        effects,
        height: node.height(),
        state_root: node.state_root().to_string(),
        digest: digest.finalize().to_hex().to_string(),
    })
}

/// The next frame; none at the end. A last frame that a crash cut short ends the log.
fn frame(file: &mut impl Read, index: u64) -> Result<Option<Vec<u8>>, ReplayError> {
    let mut length = [0; 4];
    if file.read_exact(&mut length).is_err() {
        return Ok(None);
    }
    let length = u32::from_le_bytes(length);
    if length > MAX_FRAME_BYTES {
        return Err(ReplayError::Frame(index));
    }
    let mut bytes = Vec::new();
    file.take(u64::from(length)).read_to_end(&mut bytes)?;
    if bytes.len() < length as usize {
        return Ok(None);
    }
    Ok(Some(bytes))
}
