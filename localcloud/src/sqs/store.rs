//! The SQS state on disk: one key-value store in a folder, which is read once, at the start, and then only written.
//!
//! Each call's changes are one atomic batch. It reaches the operating system before the call is answered, so whatever
//! was answered outlives the process; what outlives the machine is a matter of [`SyncPolicy`].

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

use super::state::{Change, Place, Saved, SavedQueue};
use compact::Compactor;
use record::{Key, StoredContent};
pub use sync::SyncPolicy;
use sync::Syncer;

/// The version of what `record` writes. Stores of other versions are refused.
const FORMAT: u32 = 1;
/// What the store keeps in memory besides: the newest writes, and blocks of files that it reads at the start.
const MEMTABLE_BYTES: u64 = 8 << 20;
const CACHE_BYTES: u64 = 1 << 20;
/// Least that the journal may be told to keep to.
const JOURNAL_BYTES: u64 = 64 << 20;
/// So many messages are purged in one batch.
const PURGED_AT_ONCE: usize = 10_000;

/// Why a store cannot be opened or written.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("the SQS store {0} is in use by another localcloud")]
    InUse(PathBuf),
    #[error(
        "{0} is not an SQS store of localcloud, or one that is damaged: move it away to begin with no queues"
    )]
    Foreign(PathBuf),
    #[error(
        "the SQS store {folder} has format {found}, and this localcloud reads format {FORMAT} only"
    )]
    Version { folder: PathBuf, found: String },
    #[error("the SQS store {folder} is damaged ({reason}): move it away to begin with no queues")]
    Damaged { folder: PathBuf, reason: String },
    #[error("cannot use the SQS store {folder}: {error}")]
    Io { folder: PathBuf, error: io::Error },
}

/// An open store.
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
    /// Opens the store in a folder, or makes one there, and answers what it holds.
    ///
    /// # Errors
    /// When the folder holds something else, or is damaged, in use or out of reach.
    pub fn open(folder: &Path, policy: SyncPolicy) -> Result<(Self, Saved), StoreError> {
        if !folder.try_exists().map_err(|error| at(folder, error))? {
            create(folder)?;
        }
        let (database, records) = open(folder)?;
        check_format(folder, &records)?;
        let saved = load(folder, &records)?;
        let store = Self {
            folder: folder.to_owned(),
            syncer: Syncer::start(policy, database.clone()).map_err(|error| at(folder, error))?,
            compactor: Compactor::start(records.clone()).map_err(|error| at(folder, error))?,
            records,
            database,
        };
        Ok((store, saved))
    }

    /// Writes the changes of one call.
    ///
    /// # Errors
    /// When the disk is full or broken. Nothing more can be written then.
    pub fn write(&self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let failed = |error| at_fault(&self.folder, error);
        let mut rest = changes;
        while let Some(next) = rest.iter().position(|change| {
            matches!(change, Change::Purged { .. } | Change::QueueDeleted { .. })
        }) {
            self.write_batch(&rest[..next]).map_err(failed)?;
            self.purge(&rest[next]).map_err(failed)?;
            rest = &rest[next + 1..];
        }
        self.write_batch(rest).map_err(failed)?;
        self.syncer.written();
        Ok(())
    }

    /// Who waits for what was written so far to be on the disk itself; nobody, unless the policy is `Always`.
    pub fn synced(&self) -> Option<sync::Synced> {
        self.syncer.synced()
    }

    fn write_batch(&self, changes: &[Change]) -> fjall::Result<()> {
        let mut batch = self.database.batch();
        // A batch may write a key once only: the last change counts.
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
                    place,
                    content,
                    state,
                } => {
                    put(Key::Content(*place), &|| {
                        Some(record::encode(&StoredContent::of(content)))
                    });
                    put(Key::State(*place), &|| Some(record::encode(state)));
                }
                Change::State { place, state } => {
                    put(Key::State(*place), &|| Some(record::encode(state)));
                }
                Change::MessageRemoved { place } => {
                    put(Key::Content(*place), &|| None);
                    put(Key::State(*place), &|| None);
                }
                Change::Purged { .. } | Change::QueueDeleted { .. } => {
                    unreachable!("those have batches of their own")
                }
            }
        }
        if let Some(newest) = newest {
            let next = self.next_incarnation()?.max(newest + 1);
            put(Key::NextIncarnation, &|| Some(record::encode(&next)));
        }
        batch.commit()
    }

    /// Removes the messages of a queue, and then the queue itself if it is gone. A crash in between leaves a purge
    /// half done, which nobody was told was done.
    fn purge(&self, change: &Change) -> fjall::Result<()> {
        let (incarnation, queue_too) = match change {
            Change::Purged { incarnation } => (*incarnation, false),
            Change::QueueDeleted { incarnation } => (*incarnation, true),
            _ => return Ok(()),
        };
        let mut batch = self.database.batch();
        for guard in self.records.prefix(Key::states_of(incarnation)) {
            let Some(Key::State(place)) = Key::parse(&guard.key()?) else {
                continue;
            };
            batch.remove(&self.records, Key::State(place).bytes());
            batch.remove(&self.records, Key::Content(place).bytes());
            if batch.len() >= 2 * PURGED_AT_ONCE {
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
        // Their handles keep the database open.
        self.syncer.stop();
        self.compactor.stop();
        if let Err(error) = self.database.persist(PersistMode::SyncAll) {
            tracing::error!(%error, folder = %self.folder.display(), "the SQS store could not be synced");
        }
    }
}

/// Makes an empty store in one step: a folder is there with its format, or it is not.
fn create(folder: &Path) -> Result<(), StoreError> {
    let mut unfinished = folder.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    if unfinished.try_exists().map_err(|error| at(folder, error))? {
        fs::remove_dir_all(&unfinished).map_err(|error| at(folder, error))?;
    }
    fs::create_dir_all(&unfinished).map_err(|error| at(folder, error))?;
    {
        let (database, records) = open(&unfinished)?;
        records
            .insert(Key::Format.bytes(), record::encode(&FORMAT))
            .and_then(|()| database.persist(PersistMode::SyncAll))
            .map_err(|error| at_fault(folder, error))?;
    }
    fs::rename(&unfinished, folder).map_err(|error| at(folder, error))
}

fn open(folder: &Path) -> Result<(Database, Keyspace), StoreError> {
    let database = Database::builder(folder)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(JOURNAL_BYTES)
        // One alone can block itself: it tells its own full channel that there is something to flush.
        .worker_threads(2)
        .open()
        .map_err(|error| at_fault(folder, error))?;
    let records = database
        .keyspace("sqs", || {
            KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
        })
        .map_err(|error| at_fault(folder, error))?;
    Ok((database, records))
}

fn check_format(folder: &Path, records: &Keyspace) -> Result<(), StoreError> {
    let value = records
        .get(Key::Format.bytes())
        .map_err(|error| at_fault(folder, error))?
        .ok_or_else(|| StoreError::Foreign(folder.to_owned()))?;
    match record::decode::<u32>(&value) {
        Some(FORMAT) => Ok(()),
        found => Err(StoreError::Version {
            folder: folder.to_owned(),
            found: found.map_or_else(|| "unknown".to_owned(), |found| found.to_string()),
        }),
    }
}

/// Reads everything. A message's state and content lie apart, in the same order.
fn load(folder: &Path, records: &Keyspace) -> Result<Saved, StoreError> {
    let damaged = |reason: &str| StoreError::Damaged {
        folder: folder.to_owned(),
        reason: reason.to_owned(),
    };
    let failed = |error| at_fault(folder, error);
    let mut saved = Saved::default();
    if let Some(value) = records.get(Key::NextIncarnation.bytes()).map_err(failed)? {
        saved.next_incarnation =
            record::decode(&value).ok_or_else(|| damaged("its count of queues is unreadable"))?;
    }
    for guard in records.prefix(Key::QUEUES) {
        let (_, value) = guard.into_inner().map_err(failed)?;
        let record = record::decode(&value).ok_or_else(|| damaged("a queue is unreadable"))?;
        saved.queues.push(SavedQueue {
            record,
            messages: Vec::new(),
        });
    }
    for queue in &mut saved.queues {
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
                (Some(Key::State(place)), Some(state), Some((content_key, content)))
                    if Key::parse(&content_key) == Some(Key::Content(place)) =>
                {
                    let content = record::decode::<StoredContent>(&content)
                        .ok_or_else(|| damaged("a message is unreadable"))?;
                    queue
                        .messages
                        .push((place.sequence, content.into_content(), state));
                }
                _ => return Err(damaged("the parts of a message do not fit")),
            }
        }
        if contents.next().is_some() {
            return Err(damaged("a message has no state"));
        }
    }
    Ok(saved)
}

fn at(folder: &Path, error: io::Error) -> StoreError {
    StoreError::Io {
        folder: folder.to_owned(),
        error,
    }
}

fn at_fault(folder: &Path, error: fjall::Error) -> StoreError {
    let folder = folder.to_owned();
    match error {
        fjall::Error::Io(error) => StoreError::Io { folder, error },
        fjall::Error::Locked => StoreError::InUse(folder),
        fjall::Error::InvalidVersion(found) => StoreError::Version {
            folder,
            found: format!("{found:?} of its library"),
        },
        error => StoreError::Damaged {
            folder,
            reason: error.to_string(),
        },
    }
}
