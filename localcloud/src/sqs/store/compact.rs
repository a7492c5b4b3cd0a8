//! Keeping the store small. Messages come and go in order, so the library's own compaction finds no overlap to merge and
//! carries the marks of removed messages along for ever; a compaction of everything drops them.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use fjall::Keyspace;
use tracing::{debug, warn};

/// How often the size is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// A store smaller than this is left alone.
const SMALL_BYTES: u64 = 16 << 20;

/// The thread that compacts.
#[derive(Debug)]
pub struct Compactor {
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Compactor {
    pub fn start(records: Keyspace) -> io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("sqs-compact".to_owned())
            .spawn(move || run(&records, &stopped))?;
        Ok(Self {
            thread: Some((stop, thread)),
        })
    }

    /// Ends the thread, after a compaction that is under way.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // What a panic there leaves undone is only a smaller store.
            let _ = thread.join();
        }
    }
}

fn run(records: &Keyspace, stopped: &Receiver<()>) {
    let mut after_last = 0;
    while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
        let before = records.disk_space();
        if !is_worthwhile(before, after_last) {
            continue;
        }
        if let Err(error) = records.major_compact() {
            warn!(%error, "the SQS store could not be compacted");
            return;
        }
        after_last = records.disk_space();
        debug!(before, after = after_last, "compacted the SQS store");
    }
}

/// A store that doubled is compacted, so that all compactions together write at most about as much again as was
/// written.
fn is_worthwhile(bytes: u64, after_last: u64) -> bool {
    bytes > 2 * after_last + SMALL_BYTES
}
