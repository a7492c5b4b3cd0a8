//! Work that several threads share while the caller waits.

use std::num::NonZero;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

/// More threads than this only wait for the same memory.
const MAX_THREADS: usize = 8;

/// As many threads as this process may use at a time, asked once because the answer takes longer than a search.
pub fn default_threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(MAX_THREADS)
    })
}

/// Runs `work` on the calling thread and on helpers; fewer if the system gives no more threads.
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

/// Hands out pieces of work to whichever thread is free.
#[derive(Debug)]
pub struct Pieces<I>(Mutex<I>);

impl<I: Iterator> Pieces<I> {
    pub fn new(pieces: I) -> Self {
        Self(Mutex::new(pieces))
    }

    pub fn next(&self) -> Option<I::Item> {
        let mut pieces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.next()
    }
}

/// Works on all pieces with the default number of threads; each thread stops at the first error it meets.
pub fn for_each_piece<T, E: Send>(
    pieces: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let pieces = Pieces::new(pieces);
    on_threads(default_threads(), || {
        while let Some(piece) = pieces.next() {
            work(piece)?;
        }
        Ok(())
    })
    .into_iter()
    .collect()
}
