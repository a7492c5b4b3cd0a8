//! Work that is shared by several threads.

use std::num::NonZero;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

/// More threads would only wait for memory.
const MAX_THREADS: usize = 8;

/// Returns the number of threads that this process may use, up to a limit. The system is asked once, since the call
/// takes longer than a search.
pub fn default_threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(MAX_THREADS)
    })
}

/// Runs `work` on the calling thread and on helpers, or on fewer if the system provides no more threads.
pub fn on_threads<R: Send>(threads: usize, work: impl Fn() -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads)
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, &work).ok())
            .collect();
        let mut results = vec![work()];
        for helper in helpers {
            results.push(
                helper
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        results
    })
}

/// Work items that threads take one after the other.
#[derive(Debug)]
pub struct WorkQueue<I>(Mutex<I>);

impl<I: Iterator> WorkQueue<I> {
    pub fn new(items: I) -> Self {
        Self(Mutex::new(items))
    }

    pub fn next(&self) -> Option<I::Item> {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items.next()
    }
}

/// Runs `work` on all items with the default number of threads. Each thread stops at its first error.
pub fn for_each_parallel<T, E: Send>(
    items: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let items = WorkQueue::new(items);
    on_threads(default_threads(), || {
        while let Some(item) = items.next() {
            work(item)?;
        }
        Ok(())
    })
    .into_iter()
    .collect()
}
