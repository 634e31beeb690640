//! The store on disk: RocksDB, tuned for a small machine and for keeping promises.
//!
//! - A database is created beside its path and moved there when it is complete: what stands at a path is whole.
//! - One write-ahead log covers all families, and every write ends with a sync of it. On start, a torn end of the log
//!   is cut off (nobody was told of it); damage before the end is an error. Only one thing cannot be seen from inside:
//!   the newest part of the log taken away whole, which looks as if it had never been written. RocksDB's stricter mode,
//!   absolute consistency, would not see that either, and would refuse every database whose last write a power cut tore.
//!   What was decided is fetched again from peers; what must never be forgotten, the last signature, has a witness in
//!   a file of its own ([`crate::witness`]).
//! - The process holds a lock on the database as long as it is open.

use crate::error::StoreError;
use crate::folders::create_folder;
use crate::rows::{Change, Progress, Rows, Step, View, first_rows, restored_rows, set_rows, state_rows};
use crate::schema::{Family, Origin, SCHEMA_VERSION};
use crate::store::{Entry, Loaded, Snapshot, Store};
use crate::witness::Witness;
use protocol::block::Block;
use protocol::genesis::Genesis;
use protocol::ids::{Hash32, ManifestId};
use protocol::ledger::{self, Changes};
use protocol::light::LightBlock;
use protocol::node::Write;
use protocol::objects::Envelope;
use protocol::tree::Tree;
use protocol::{closed_record, signed_place};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Direction,
    IteratorMode, LogLevel, Options, WriteBatch, WriteOptions,
};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of uncompressed blocks of files that are kept in memory, over all families.
const BLOCK_CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of a family's newest rows in memory before they go to a file. A node holds its state in memory itself.
const WRITE_BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// The same for blocks, of which one alone may have 4 MiB.
const BLOCKS_WRITE_BUFFER_BYTES: usize = 16 * 1024 * 1024;
/// Write buffers of a family: one that fills and one that is being flushed.
const WRITE_BUFFERS: i32 = 2;
/// Bytes of write-ahead log after which the oldest family is flushed, which bounds the time that a start takes.
const WAL_BYTES: u64 = 64 * 1024 * 1024;
/// Files that are open at once: far below the limit of 1024 that most systems set for a process.
const OPEN_FILES: i32 = 256;
/// Threads that flush and compact.
const BACKGROUND_JOBS: i32 = 2;
/// RocksDB's own text logs, of which the latest are kept.
const LOG_FILES: usize = 2;
/// Bytes of one of them.
const LOG_FILE_BYTES: usize = 1024 * 1024;

/// Rows in one batch while a database is built.
const BUILD_ROWS: usize = 10_000;

/// The file that names a database's newest manifest: where it is, there is a database.
const CURRENT: &str = "CURRENT";

/// What a store begins with that takes over a state, verified by whoever fetched it.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The last block's header with its certificate and validator sets, as a light client trusts it.
    pub last: LightBlock,
    /// That block.
    pub block: Block,
    /// All entries of the state after it.
    pub state: Changes,
    /// The state's root.
    pub root: Hash32,
    /// Objects of earlier blocks that the state refers to. Where they were is not known: their place is height 0.
    pub kept: Vec<Envelope>,
}

/// A store in a folder on disk.
pub struct RocksStore {
    path: PathBuf,
    db: DB,
    progress: Mutex<Progress>,
    witness: Witness,
    /// The height of a signature that only the witness remembered when the store was opened.
    forgotten: Option<u64>,
}

impl RocksStore {
    /// Creates a store that holds a network's beginning, at a path where there is nothing or an empty folder.
    pub fn create(path: &Path, origin: &Origin, changes: &Changes, nodes: &[Entry]) -> Result<Self, StoreError> {
        Self::build(path, first_rows(origin, changes, nodes))?;
        Self::open(path, origin)
    }

    /// Opens the store of this network.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is none; anything else is for a person to look at.
    pub fn open(path: &Path, origin: &Origin) -> Result<Self, StoreError> {
        let store = Self::open_any(path)?;
        let found = store.view().origin()?;
        if found != *origin {
            return Err(StoreError::OtherNetwork { expected: origin.clone(), found });
        }
        Ok(store)
    }

    /// Opens the store of a network, which is created when there is none yet.
    pub fn open_or_create(path: &Path, genesis: &Genesis) -> Result<Self, StoreError> {
        let origin = Origin::of(genesis);
        match Self::open(path, &origin) {
            Err(StoreError::Missing { .. }) => {
                let changes = ledger::genesis_changes(genesis);
                let update = Tree::default().update(0, &changes).map_err(|error| StoreError::tree(&error))?;
                Self::create(path, &origin, &changes, &update.nodes)
            }
            opened => opened,
        }
    }

    /// Opens the store of whichever network: for tools that take the network from it.
    pub fn open_any(path: &Path) -> Result<Self, StoreError> {
        look_before_opening(path)?;
        let db = open_db(path, false)?;
        let rows = View(RocksRows::new(&db, path));
        let found = rows.schema()?;
        check_schema(path, found)?;
        let progress = rows.progress()?;
        let witness = Witness::beside(path, rows.origin()?.genesis);
        let (seen, known) = (witness.read()?, rows.sign_record()?);
        drop(rows);
        let mut store = Self { path: path.to_owned(), db, progress: Mutex::new(progress), witness, forgotten: None };
        store.agree_with_witness(seen, known)?;
        Ok(store)
    }

    /// The later of database and witness counts. Where the database is behind, it lost what it had been told to keep,
    /// and with the signature the log of its height: this validator no longer knows what it locked on there, and signs
    /// nothing at that height or below.
    fn agree_with_witness(&mut self, seen: Option<Vec<u8>>, known: Option<Vec<u8>>) -> Result<(), StoreError> {
        let place = |record: &Option<Vec<u8>>| record.as_deref().and_then(signed_place);
        match (place(&seen), place(&known)) {
            (Some(seen), known) if known.is_none_or(|known| known < seen) => {
                self.forgotten = Some(seen.0);
                self.write(&[Write::SignRecord(closed_record(seen.0))])
            }
            (seen, Some(known_at)) if seen != Some(known_at) => self.witness.write(&known.unwrap_or_default()),
            _ => Ok(()),
        }
    }

    /// The height of a signature that the database had lost when it was opened: nothing is signed up to there. It was
    /// deleted, restored from a backup or damaged; whoever runs the node should know.
    pub fn forgotten_signature(&self) -> Option<u64> {
        self.forgotten
    }

    /// A store that begins with a height instead of the genesis. Whatever happens, at `path` is all of it or nothing.
    ///
    /// # Errors
    /// There is something at `path`, or the state does not have the root that it should have.
    pub fn restore(path: &Path, origin: &Origin, beginning: &Beginning) -> Result<(), StoreError> {
        let Beginning { last, block, state, root, kept } = beginning;
        let (_, update) = Tree::begin_at(last.header.height, state).map_err(|error| StoreError::tree(&error))?;
        if update.root != *root {
            let reason = format!("its entries have the root {}, not {root}", update.root);
            return Err(StoreError::Snapshot { path: path.to_owned(), reason });
        }
        let mut rows = restored_rows(origin, last, block, kept);
        rows.extend(set_rows(state));
        rows.extend(state_rows(state, &update.nodes, &[]));
        Self::build(path, rows)
    }

    /// A database with these rows, complete at `path` or not there at all.
    pub(crate) fn build(path: &Path, rows: Vec<Change>) -> Result<(), StoreError> {
        refuse_occupied(path)?;
        let (parent, name) = parent_and_name(path)?;
        create_folder(&parent).map_err(StoreError::io("create the folder", &parent))?;
        let unfinished = parent.join(format!("{name}.unfinished"));
        remove_unfinished(&unfinished)?;
        let db = open_db(&unfinished, true)?;
        // In parts, because RocksDB holds a batch in memory twice. Before the move nothing of it counts.
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            write_rows(&db, &unfinished, rows.by_ref().take(BUILD_ROWS).collect())?;
        }
        drop(db);
        fs::rename(&unfinished, path).map_err(StoreError::io("move the new database to", path))?;
        sync_folder(&parent)
    }

    fn view(&self) -> View<RocksRows<'_>> {
        View(RocksRows::new(&self.db, &self.path))
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // What it guards is replaced in one step, after the write.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for RocksStore {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.view().load()
    }

    fn write(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut progress = self.lock();
        let (rows, next) = progress.rows(writes)?;
        write_rows(&self.db, &self.path, rows)?;
        *progress = next;
        // After the database, so that a crash in between leaves a witness that is behind, which means nothing; and
        // before the caller goes on, so that no signature leaves without it.
        let signed = writes.iter().rev().find_map(|write| match write {
            Write::SignRecord(record) => Some(record),
            _ => None,
        });
        signed.map_or(Ok(()), |record| self.witness.write(record))
    }

    fn prune(&self, keep_from: u64, most: u64) -> Result<u64, StoreError> {
        let view = self.view();
        let Some((pruning, lowest)) = view.prunable(keep_from, most)? else { return view.lowest() };
        drop(view);
        let mut progress = self.lock();
        let (rows, next) = progress.pruned(pruning);
        write_rows(&self.db, &self.path, rows)?;
        *progress = next;
        Ok(lowest)
    }

    fn mark_indexed(&self, manifest: ManifestId) -> Result<(), StoreError> {
        let mut progress = self.lock();
        let (rows, next) = progress.indexed(manifest);
        write_rows(&self.db, &self.path, rows)?;
        *progress = next;
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        Box::new(self.view())
    }

    fn checkpoint(&self, path: &Path) -> Result<(), StoreError> {
        refuse_occupied(path)?;
        let (parent, _) = parent_and_name(path)?;
        create_folder(&parent).map_err(StoreError::io("create the folder", &parent))?;
        if path.exists() {
            // RocksDB makes the folder itself, and so that it is complete or not there.
            fs::remove_dir(path).map_err(StoreError::io("replace the empty folder", path))?;
        }
        let of_rocksdb = |error: rocksdb::Error| StoreError::of_rocksdb(path, error.as_ref());
        Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(path)).map_err(of_rocksdb)?;
        sync_folder(&parent)
    }
}

/// Tells a missing, a foreign and a damaged database apart before RocksDB touches anything.
fn look_before_opening(path: &Path) -> Result<(), StoreError> {
    let foreign = |reason: &str| StoreError::Foreign { path: path.to_owned(), reason: reason.to_owned() };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Missing { path: path.to_owned() });
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(foreign("it is a file")),
        Err(error) => return Err(StoreError::io("read the folder", path)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::io("read the folder", path))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    if names.iter().any(|name| name == CURRENT) {
        return Ok(());
    }
    let of_rocksdb = |name: &String| name.starts_with("MANIFEST-") || name.ends_with(".sst") || name.ends_with(".log");
    if names.iter().any(of_rocksdb) {
        let reason = format!("its file {CURRENT} is missing");
        return Err(StoreError::DamagedFiles { path: path.to_owned(), reason });
    }
    match names.is_empty() {
        true => Err(StoreError::Missing { path: path.to_owned() }),
        false => Err(foreign("the folder holds other files")),
    }
}

fn check_schema(path: &Path, found: Option<u32>) -> Result<(), StoreError> {
    match found {
        Some(SCHEMA_VERSION) => Ok(()),
        Some(found) if found > SCHEMA_VERSION => Err(StoreError::Newer { found, known: SCHEMA_VERSION }),
        Some(found) if found > 0 => Err(StoreError::Older { found, known: SCHEMA_VERSION }),
        Some(found) => {
            Err(StoreError::DamagedFiles { path: path.to_owned(), reason: format!("schema {found} never was") })
        }
        None => {
            let reason = "it does not say which schema it has".to_owned();
            Err(StoreError::DamagedFiles { path: path.to_owned(), reason })
        }
    }
}

/// Opens RocksDB with exactly our families.
fn open_db(path: &Path, create: bool) -> Result<DB, StoreError> {
    let of_rocksdb = |error: rocksdb::Error| StoreError::of_rocksdb(path, error.as_ref());
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    let mut options = database_options();
    if create {
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_error_if_exists(true);
    } else {
        let names = DB::list_cf(&options, path).map_err(of_rocksdb)?;
        check_families(path, &names)?;
    }
    let families =
        Family::ALL.map(|family| ColumnFamilyDescriptor::new(family.as_str(), family_options(family, &cache)));
    DB::open_cf_descriptors(&options, path, families).map_err(of_rocksdb)
}

/// Refuses another program's database, and a newer one of ours, before they are opened for writing.
fn check_families(path: &Path, names: &[String]) -> Result<(), StoreError> {
    let ours = |name: &str| Family::ALL.iter().any(|family| family.as_str() == name);
    let has = |family: Family| names.iter().any(|name| name == family.as_str());
    if !has(Family::Meta) {
        // An empty manifest names no family either.
        let reason = "it is another program's RocksDB database, or its manifest is damaged".to_owned();
        return Err(StoreError::Foreign { path: path.to_owned(), reason });
    }
    let unknown = names.iter().find(|name| !ours(name) && *name != rocksdb::DEFAULT_COLUMN_FAMILY_NAME);
    let missing = Family::ALL.into_iter().find(|family| !has(*family));
    let reason = match (unknown, missing) {
        (Some(unknown), _) => format!("it has an unknown family `{unknown}`"),
        (None, Some(missing)) => format!("its family `{}` is missing", missing.as_str()),
        (None, None) => return Ok(()),
    };
    let of_rocksdb = |error: rocksdb::Error| StoreError::of_rocksdb(path, error.as_ref());
    let db =
        DB::open_cf_for_read_only(&database_options(), path, [Family::Meta.as_str()], false).map_err(of_rocksdb)?;
    check_schema(path, View(RocksRows::new(&db, path)).schema()?)?;
    Err(StoreError::DamagedFiles { path: path.to_owned(), reason })
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_max_open_files(OPEN_FILES);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_keep_log_file_num(LOG_FILES);
    options.set_max_log_file_size(LOG_FILE_BYTES);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options
}

fn family_options(family: Family, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_max_write_buffer_number(WRITE_BUFFERS);
    options.set_write_buffer_size(match family {
        Family::Blocks => BLOCKS_WRITE_BUFFER_BYTES,
        _ => WRITE_BUFFER_BYTES,
    });
    options
}

/// One batch, on the disk when this returns.
fn write_rows(db: &DB, path: &Path, rows: Vec<Change>) -> Result<(), StoreError> {
    let mut batch = WriteBatch::default();
    for row in rows {
        match row {
            Change::Put(family, key, value) => batch.put_cf(handle(db, path, family)?, key, value),
            Change::Delete(family, key) => batch.delete_cf(handle(db, path, family)?, key),
            Change::DeleteRange(family, from, to) => batch.delete_range_cf(handle(db, path, family)?, from, to),
        }
    }
    let mut options = WriteOptions::default();
    options.set_sync(true);
    db.write_opt(batch, &options).map_err(|error| StoreError::of_rocksdb(path, error.as_ref()))
}

fn handle<'a>(db: &'a DB, path: &Path, family: Family) -> Result<&'a ColumnFamily, StoreError> {
    db.cf_handle(family.as_str()).ok_or_else(|| StoreError::Database {
        path: path.to_owned(),
        reason: format!("its family `{}` is not open", family.as_str()),
    })
}

struct RocksRows<'a> {
    db: &'a DB,
    snapshot: rocksdb::Snapshot<'a>,
    path: &'a Path,
}

impl<'a> RocksRows<'a> {
    fn new(db: &'a DB, path: &'a Path) -> Self {
        Self { db, snapshot: db.snapshot(), path }
    }

    fn error(&self, error: &rocksdb::Error) -> StoreError {
        StoreError::of_rocksdb(self.path, error.as_ref())
    }
}

impl Rows for RocksRows<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let handle = handle(self.db, self.path, family)?;
        self.snapshot.get_cf(handle, key).map_err(|error| self.error(&error))
    }

    fn scan(&self, family: Family, from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Step) -> Result<(), StoreError> {
        let handle = handle(self.db, self.path, family)?;
        for row in self.snapshot.iterator_cf(handle, IteratorMode::From(from, Direction::Forward)) {
            let (key, value) = row.map_err(|error| self.error(&error))?;
            if visit(&key, &value)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn refuse_occupied(path: &Path) -> Result<(), StoreError> {
    let exists = || StoreError::Exists { path: path.to_owned() };
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().map_or(Ok(()), |_| Err(exists())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(exists()),
        Err(error) => Err(StoreError::io("read the folder", path)(error)),
    }
}

pub(crate) fn parent_and_name(path: &Path) -> Result<(PathBuf, String), StoreError> {
    let no_name = || StoreError::io("create a database at", path)(io::Error::from(io::ErrorKind::InvalidInput));
    let name = path.file_name().ok_or_else(no_name)?.to_string_lossy().into_owned();
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    Ok((parent.to_owned(), name))
}

/// What a creation left that was cut short. RocksDB's own removal takes its lock first, so that a creation that is
/// still running is not harmed.
fn remove_unfinished(path: &Path) -> Result<(), StoreError> {
    if !path.exists() {
        return Ok(());
    }
    DB::destroy(&Options::default(), path).map_err(|error| StoreError::of_rocksdb(path, error.as_ref()))?;
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// A name in a folder is durable when the folder is synced.
pub(crate) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(StoreError::io("sync the folder", path))
}
