//! Forces writes to the disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use fjall::{Database, PersistMode};
use tokio::sync::watch;
use tracing::error;

use crate::config::SyncPolicy;
use crate::sqs::SqsError;

/// The thread that syncs.
#[derive(Debug)]
pub struct Syncer {
    /// The number of batches written.
    written: Arc<AtomicU64>,
    thread: Option<(SyncSender<()>, JoinHandle<()>)>,
    /// The number of batches on the disk, under the policy `Always`.
    synced: Option<watch::Receiver<u64>>,
}

/// Waits for the disk.
#[derive(Debug)]
pub struct SyncWait {
    wanted: u64,
    synced: watch::Receiver<u64>,
}

const PERIOD: Duration = Duration::from_secs(1);

impl Syncer {
    pub fn start(policy: SyncPolicy, database: Database) -> io::Result<Self> {
        let written = Arc::new(AtomicU64::new(0));
        let (sender, synced) = watch::channel(0);
        // Room for one: a pending wake-up serves all calls that follow it.
        let (wake, woken) = sync_channel(1);
        let thread_state = SyncThread {
            database,
            written: Arc::clone(&written),
            synced: sender,
        };
        let run: Option<fn(SyncThread, Receiver<()>)> = match policy {
            SyncPolicy::Never => None,
            SyncPolicy::EverySecond => Some(every_second),
            SyncPolicy::Always => Some(when_woken),
        };
        let thread = match run {
            Some(run) => Some((
                wake,
                std::thread::Builder::new()
                    .name("sqs-sync".to_owned())
                    .spawn(move || run(thread_state, woken))?,
            )),
            None => None,
        };
        Ok(Self {
            written,
            thread,
            synced: (policy == SyncPolicy::Always).then_some(synced),
        })
    }

    /// Counts a written batch.
    pub fn written(&self) {
        self.written.fetch_add(1, Ordering::Release);
        if let (Some((wake, _)), Some(_)) = (&self.thread, &self.synced) {
            // A full channel has already woken the thread.
            let _ = wake.try_send(());
        }
    }

    pub fn synced(&self) -> Option<SyncWait> {
        self.synced.as_ref().map(|synced| SyncWait {
            wanted: self.written.load(Ordering::Acquire),
            synced: synced.clone(),
        })
    }

    /// Stops the thread.
    pub fn stop(&mut self) {
        if let Some((wake, thread)) = self.thread.take() {
            drop(wake);
            // The store syncs once more when it closes.
            let _ = thread.join();
        }
    }
}

impl SyncWait {
    /// Completes when everything is on the disk.
    ///
    /// # Errors
    /// `InternalFailure` if a sync failed.
    pub async fn wait(mut self) -> Result<(), SqsError> {
        self.synced
            .wait_for(|synced| *synced >= self.wanted)
            .await
            .map(drop)
            .map_err(|_| SqsError::InternalFailure)
    }
}

struct SyncThread {
    database: Database,
    written: Arc<AtomicU64>,
    synced: watch::Sender<u64>,
}

impl SyncThread {
    /// Syncs unless nothing was written; returns false if that failed.
    fn sync(&self) -> bool {
        let written = self.written.load(Ordering::Acquire);
        if *self.synced.borrow() == written {
            return true;
        }
        if let Err(error) = self.database.persist(PersistMode::SyncData) {
            error!(%error, "could not sync the SQS store");
            return false;
        }
        self.synced.send_replace(written);
        true
    }
}

fn every_second(sync: SyncThread, stop: Receiver<()>) {
    while stop.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
        // A failed sync is logged and repeated after the next second.
        sync.sync();
    }
}

fn when_woken(sync: SyncThread, woken: Receiver<()>) {
    while woken.recv().is_ok() && sync.sync() {}
}
