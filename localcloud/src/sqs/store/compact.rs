//! Keeps the store small. Messages come and go in order, so fjall's own compaction finds no overlap to merge and keeps the
//! tombstones of removed messages forever. A full compaction drops them.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use fjall::Keyspace;
use tracing::{debug, warn};

/// How often the size is checked.
const PERIOD: Duration = Duration::from_secs(1);
/// Smaller stores are not compacted.
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

    /// Stops the thread after a running compaction.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // A panic there only leaves the store larger.
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
            warn!(%error, "could not compact the SQS store");
            return;
        }
        after_last = records.disk_space();
        debug!(before, after = after_last, "compacted the SQS store");
    }
}

/// Returns whether the store has doubled. All compactions together thus write about as much as the calls do.
fn is_worthwhile(bytes: u64, after_last: u64) -> bool {
    bytes > 2 * after_last + SMALL_BYTES
}
