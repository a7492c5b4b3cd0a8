//! When what was written is forced to the disk itself.

use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use fjall::{Database, PersistMode};
use tokio::sync::watch;
use tracing::error;

use crate::sqs::SqsError;

/// What outlives a failure of the machine. The end of the process alone loses nothing, whatever the policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Whatever the operating system has written by then.
    Never,
    /// All but the last second or so.
    #[default]
    EverySecond,
    /// Everything that was answered: calls wait for the disk, several of them for one sync.
    Always,
}

impl FromStr for SyncPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            "second" => Ok(Self::EverySecond),
            "always" => Ok(Self::Always),
            other => Err(format!("{other:?} is not never, second or always")),
        }
    }
}

/// The thread that syncs.
#[derive(Debug)]
pub struct Syncer {
    /// How many batches were written.
    written: Arc<AtomicU64>,
    thread: Option<(SyncSender<()>, JoinHandle<()>)>,
    /// How many batches are on the disk, when somebody wants to know.
    synced: Option<watch::Receiver<u64>>,
}

/// A wait for the disk.
#[derive(Debug)]
pub struct Synced {
    wanted: u64,
    synced: watch::Receiver<u64>,
}

const PERIOD: Duration = Duration::from_secs(1);

impl Syncer {
    pub fn start(policy: SyncPolicy, database: Database) -> io::Result<Self> {
        let written = Arc::new(AtomicU64::new(0));
        let (sender, synced) = watch::channel(0);
        // Room for one: whoever comes while a sync is asked for is served by it.
        let (wake, woken) = sync_channel(1);
        let work = Work {
            database,
            written: Arc::clone(&written),
            synced: sender,
        };
        let run: Option<fn(Work, Receiver<()>)> = match policy {
            SyncPolicy::Never => None,
            SyncPolicy::EverySecond => Some(every_second),
            SyncPolicy::Always => Some(when_woken),
        };
        let thread = match run {
            Some(run) => Some((
                wake,
                std::thread::Builder::new()
                    .name("sqs-sync".to_owned())
                    .spawn(move || run(work, woken))?,
            )),
            None => None,
        };
        Ok(Self {
            written,
            thread,
            synced: (policy == SyncPolicy::Always).then_some(synced),
        })
    }

    /// Tells that a batch was written.
    pub fn written(&self) {
        self.written.fetch_add(1, Ordering::Release);
        if let (Some((wake, _)), Some(_)) = (&self.thread, &self.synced) {
            // A full channel wakes the thread as well.
            let _ = wake.try_send(());
        }
    }

    pub fn synced(&self) -> Option<Synced> {
        self.synced.as_ref().map(|synced| Synced {
            wanted: self.written.load(Ordering::Acquire),
            synced: synced.clone(),
        })
    }

    /// Ends the thread.
    pub fn stop(&mut self) {
        if let Some((wake, thread)) = self.thread.take() {
            drop(wake);
            // A panic there was a failed sync at worst, and the store is synced once more when it closes.
            let _ = thread.join();
        }
    }
}

impl Synced {
    /// Completes when everything is on the disk.
    ///
    /// # Errors
    /// `InternalFailure` when it will never be.
    pub async fn wait(mut self) -> Result<(), SqsError> {
        self.synced
            .wait_for(|synced| *synced >= self.wanted)
            .await
            .map(drop)
            .map_err(|_| SqsError::InternalFailure)
    }
}

struct Work {
    database: Database,
    written: Arc<AtomicU64>,
    synced: watch::Sender<u64>,
}

impl Work {
    /// Syncs if there is anything to sync; `false` if that failed.
    fn sync(&self) -> bool {
        let written = self.written.load(Ordering::Acquire);
        if *self.synced.borrow() == written {
            return true;
        }
        if let Err(error) = self.database.persist(PersistMode::SyncData) {
            error!(%error, "the SQS store could not be synced");
            return false;
        }
        self.synced.send_replace(written);
        true
    }
}

fn every_second(work: Work, stop: Receiver<()>) {
    while stop.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
        // One that failed was said so, and the next second has another.
        work.sync();
    }
}

fn when_woken(work: Work, woken: Receiver<()>) {
    while woken.recv().is_ok() && work.sync() {}
}
