//! The SQS state on disk: a key-value store in a folder. It is read at the start and only written afterwards.
//!
//! Each call's changes are one atomic batch. The batch reaches the operating system before the response is sent, so
//! acknowledged changes survive the process. What survives the machine depends on [`SyncPolicy`].

mod compact;
mod record;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use thiserror::Error;

use super::state::{Change, MessageKey, QueueSnapshot, Snapshot};
use crate::config::SyncPolicy;
use compact::Compactor;
use record::Key;
use sync::Syncer;

/// The version of the format of `record`. Other versions are refused.
const FORMAT: u32 = 1;
/// Memory for the newest writes, and for blocks of files that are read at the start.
const MEMTABLE_BYTES: u64 = 2 << 20;
const CACHE_BYTES: u64 = 1 << 20;
/// The smallest limit that fjall accepts for its journal.
const JOURNAL_BYTES: u64 = 64 << 20;
/// The messages that one batch of a purge removes.
const PURGE_BATCH: usize = 10_000;

/// Why a store cannot be opened or written.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error(
        "the SQS store {0} is in use by another localcloud: stop that process or choose another data folder"
    )]
    InUse(PathBuf),
    #[error(
        "{0} is not an SQS store of localcloud, or is damaged: move it away to start without queues"
    )]
    Foreign(PathBuf),
    #[error(
        "the SQS store {folder} has format {found}, and this localcloud reads format {FORMAT} only: move it away to start without queues"
    )]
    Version { folder: PathBuf, found: String },
    #[error("the SQS store {folder} is damaged ({reason}): move it away to start without queues")]
    Damaged { folder: PathBuf, reason: String },
    #[error("cannot use the SQS store {folder}: {error}")]
    Io { folder: PathBuf, error: io::Error },
}

pub struct Store {
    folder: PathBuf,
    syncer: Syncer,
    compactor: Compactor,
    records: Keyspace,
    database: Database,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Store")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or creates the store in a folder. Returns it with its content.
    ///
    /// # Errors
    /// When the folder holds anything else, is damaged, in use or inaccessible.
    pub fn open(folder: &Path, policy: SyncPolicy) -> Result<(Self, Snapshot), StoreError> {
        if !folder
            .try_exists()
            .map_err(|error| io_error(folder, error))?
        {
            create(folder)?;
        }
        let (database, records) = open(folder)?;
        check_format(folder, &records)?;
        let snapshot = load(folder, &records)?;
        let store = Self {
            folder: folder.to_owned(),
            syncer: Syncer::start(policy, database.clone())
                .map_err(|error| io_error(folder, error))?,
            compactor: Compactor::start(records.clone())
                .map_err(|error| io_error(folder, error))?,
            records,
            database,
        };
        Ok((store, snapshot))
    }

    /// Writes the changes of one call.
    ///
    /// # Errors
    /// When the disk is full or broken. The store cannot be written afterwards.
    pub fn write(&self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let failed = |error| store_error(&self.folder, error);
        let mut rest = changes;
        while let Some(next) = rest.iter().position(Change::is_bulk) {
            self.write_batch(&rest[..next]).map_err(failed)?;
            self.purge(&rest[next]).map_err(failed)?;
            rest = &rest[next + 1..];
        }
        self.write_batch(rest).map_err(failed)?;
        self.syncer.written();
        Ok(())
    }

    /// Waits until all changes so far are on the disk; `None` unless the policy is `Always`.
    pub fn synced(&self) -> Option<sync::SyncWait> {
        self.syncer.synced()
    }

    fn write_batch(&self, changes: &[Change]) -> fjall::Result<()> {
        let mut batch = self.database.batch();
        // A batch can write a key only once, so the last change of each key is written.
        let mut seen = HashSet::new();
        let mut put = |key: Key, value: &dyn Fn() -> Option<Vec<u8>>| {
            if seen.insert(key) {
                match value() {
                    Some(value) => batch.insert(&self.records, key.bytes(), value),
                    None => batch.remove(&self.records, key.bytes()),
                }
            }
        };
        let mut newest = None;
        for change in changes.iter().rev() {
            match change {
                Change::Queue(queue) => {
                    newest = newest.max(Some(queue.incarnation));
                    put(Key::Queue(queue.incarnation), &|| {
                        Some(record::encode(queue))
                    });
                }
                Change::Message {
                    key,
                    content,
                    state,
                } => {
                    put(Key::Content(*key), &|| {
                        Some(record::encode_content(content))
                    });
                    put(Key::State(*key), &|| Some(record::encode(state)));
                }
                Change::State { key, state } => {
                    put(Key::State(*key), &|| Some(record::encode(state)));
                }
                Change::MessageRemoved { key } => {
                    put(Key::Content(*key), &|| None);
                    put(Key::State(*key), &|| None);
                }
                Change::Purged { .. } | Change::QueueDeleted { .. } => {
                    unreachable!("purges have batches of their own")
                }
            }
        }
        if let Some(newest) = newest {
            let next = self.next_incarnation()?.max(newest + 1);
            put(Key::NextIncarnation, &|| Some(record::encode(&next)));
        }
        batch.commit()
    }

    /// Removes the messages of a queue, and the record of a deleted queue. A crash in between leaves part of the messages;
    /// the purge has not been acknowledged then.
    fn purge(&self, change: &Change) -> fjall::Result<()> {
        let (incarnation, queue_too) = match change {
            Change::Purged { incarnation } => (*incarnation, false),
            Change::QueueDeleted { incarnation } => (*incarnation, true),
            _ => return Ok(()),
        };
        let mut batch = self.database.batch();
        for guard in self.records.prefix(Key::states_of(incarnation)) {
            let Some(Key::State(key)) = Key::parse(&guard.key()?) else {
                continue;
            };
            batch.remove(&self.records, Key::State(key).bytes());
            batch.remove(&self.records, Key::Content(key).bytes());
            if batch.len() >= 2 * PURGE_BATCH {
                std::mem::replace(&mut batch, self.database.batch()).commit()?;
            }
        }
        if queue_too {
            batch.remove(&self.records, Key::Queue(incarnation).bytes());
        }
        batch.commit()
    }

    fn next_incarnation(&self) -> fjall::Result<u64> {
        let value = self.records.get(Key::NextIncarnation.bytes())?;
        Ok(value
            .and_then(|value| record::decode(&value))
            .unwrap_or_default())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Their threads hold handles that keep the database open.
        self.syncer.stop();
        self.compactor.stop();
        if let Err(error) = self.database.persist(PersistMode::SyncAll) {
            tracing::error!(%error, folder = %self.folder.display(), "could not sync the SQS store");
        }
    }
}

/// Creates an empty store in one step: the folder appears only with its format record.
fn create(folder: &Path) -> Result<(), StoreError> {
    let mut unfinished = folder.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    if unfinished
        .try_exists()
        .map_err(|error| io_error(folder, error))?
    {
        fs::remove_dir_all(&unfinished).map_err(|error| io_error(folder, error))?;
    }
    fs::create_dir_all(&unfinished).map_err(|error| io_error(folder, error))?;
    {
        let (database, records) = open(&unfinished)?;
        records
            .insert(Key::Format.bytes(), record::encode(&FORMAT))
            .and_then(|()| database.persist(PersistMode::SyncAll))
            .map_err(|error| store_error(folder, error))?;
    }
    fs::rename(&unfinished, folder).map_err(|error| io_error(folder, error))
}

fn open(folder: &Path) -> Result<(Database, Keyspace), StoreError> {
    let database = Database::builder(folder)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(JOURNAL_BYTES)
        // A single worker can deadlock: it sends to its own full channel.
        .worker_threads(2)
        .open()
        .map_err(|error| store_error(folder, error))?;
    let records = database
        .keyspace("sqs", || {
            KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
        })
        .map_err(|error| store_error(folder, error))?;
    Ok((database, records))
}

fn check_format(folder: &Path, records: &Keyspace) -> Result<(), StoreError> {
    let value = records
        .get(Key::Format.bytes())
        .map_err(|error| store_error(folder, error))?
        .ok_or_else(|| StoreError::Foreign(folder.to_owned()))?;
    match record::decode::<u32>(&value) {
        Some(FORMAT) => Ok(()),
        found => Err(StoreError::Version {
            folder: folder.to_owned(),
            found: found.map_or_else(|| "unknown".to_owned(), |found| found.to_string()),
        }),
    }
}

/// Reads everything. The states and the contents of messages are two key ranges in the same order.
fn load(folder: &Path, records: &Keyspace) -> Result<Snapshot, StoreError> {
    let damaged = |reason: &str| StoreError::Damaged {
        folder: folder.to_owned(),
        reason: reason.to_owned(),
    };
    let failed = |error| store_error(folder, error);
    let mut snapshot = Snapshot::default();
    if let Some(value) = records.get(Key::NextIncarnation.bytes()).map_err(failed)? {
        snapshot.next_incarnation =
            record::decode(&value).ok_or_else(|| damaged("the counter of queues is unreadable"))?;
    }
    for guard in records.prefix(Key::QUEUES) {
        let (_, value) = guard.into_inner().map_err(failed)?;
        let record = record::decode(&value).ok_or_else(|| damaged("a queue is unreadable"))?;
        snapshot.queues.push(QueueSnapshot {
            record,
            messages: Vec::new(),
        });
    }
    for queue in &mut snapshot.queues {
        let incarnation = queue.record.incarnation;
        let mut contents = records.prefix(Key::contents_of(incarnation));
        for guard in records.prefix(Key::states_of(incarnation)) {
            let (key, value) = guard.into_inner().map_err(failed)?;
            let state = record::decode(&value);
            let content = match contents.next() {
                Some(guard) => Some(guard.into_inner().map_err(failed)?),
                None => None,
            };
            match (Key::parse(&key), state, content) {
                (Some(Key::State(key)), Some(state), Some((content_key, content)))
                    if Key::parse(&content_key) == Some(Key::Content(key)) =>
                {
                    let content = record::decode_content(&content)
                        .ok_or_else(|| damaged("a message is unreadable"))?;
                    queue.messages.push((key.sequence, content, state));
                }
                _ => {
                    return Err(damaged(
                        "the state and the content of a message do not match",
                    ));
                }
            }
        }
        if contents.next().is_some() {
            return Err(damaged("a message has no state"));
        }
    }
    Ok(snapshot)
}

fn io_error(folder: &Path, error: io::Error) -> StoreError {
    StoreError::Io {
        folder: folder.to_owned(),
        error,
    }
}

fn store_error(folder: &Path, error: fjall::Error) -> StoreError {
    let folder = folder.to_owned();
    match error {
        fjall::Error::Io(error) => StoreError::Io { folder, error },
        fjall::Error::Locked => StoreError::InUse(folder),
        fjall::Error::InvalidVersion(found) => StoreError::Version {
            folder,
            found: format!("{found:?} of fjall"),
        },
        error => StoreError::Damaged {
            folder,
            reason: error.to_string(),
        },
    }
}
