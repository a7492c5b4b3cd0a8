//! The OS threads that run the recognizer.

use std::iter;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError, mpsc as sync_mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use platform::shutdown::CancellationToken;
use tokio::sync::{mpsc, oneshot};

use crate::vision::{Recognized, Recognizer, VisionError};

/// Most photos that a thread takes together: the embedder gains nothing from more.
const LARGEST_BATCH: usize = 8;
/// How long dropping [`Inference`] waits for the threads.
const JOIN_DEADLINE: Duration = Duration::from_secs(5);

/// One recognizer shared by a fixed number of OS threads, so that memory and threads do not grow with the number of
/// callers. Dropping this ends and joins the threads, except those that hang.
#[derive(Debug)]
pub struct Inference {
    /// Holds a full batch for each thread. Callers wait for room.
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    /// Disconnected when all threads have ended.
    alive: Mutex<sync_mpsc::Receiver<()>>,
    max_job_time: Duration,
    /// Cancelled when a photo took too long.
    hung: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// The photo is at fault.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// Recognizing the photo panicked. The thread goes on with other photos.
    #[error("recognizing the photo failed")]
    Panicked,
    /// The photo took too long. A thread cannot be stopped, so the process must end.
    #[error("recognizing the photo took longer than {} s", .0.as_secs_f32())]
    TooSlow(Duration),
    /// The threads were ended.
    #[error("the inference threads have ended")]
    ThreadsEnded,
}

#[derive(Debug)]
struct Job {
    photo: Bytes,
    /// Receives the size of the batch when a thread takes the job.
    taken: Option<oneshot::Sender<u32>>,
    reply: oneshot::Sender<Result<Recognized, InferenceError>>,
}

impl Inference {
    /// Loads the recognizer by `load`, warms it up and starts the threads; returns when they are ready.
    ///
    /// # Errors
    /// What `load` returns.
    pub async fn start(
        threads: NonZeroUsize,
        max_job_time: Duration,
        load: impl FnOnce() -> anyhow::Result<Recognizer> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let loading = tokio::task::spawn_blocking(move || load().inspect(Recognizer::warm_up));
        let recognizer = loading.await??;
        Self::over(threads, max_job_time, move |photos| {
            recognizer.recognize_batch(photos)
        })
    }

    /// Starts threads that call `recognize`, which returns one result for each photo, in order.
    fn over(
        threads: NonZeroUsize,
        max_job_time: Duration,
        recognize: impl Fn(&[Bytes]) -> Vec<Result<Recognized, VisionError>> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let threads = threads.get();
        let (jobs, queue) = mpsc::channel(threads * LARGEST_BATCH);
        let shared = Arc::new((Mutex::new(queue), recognize));
        let (living, alive) = sync_mpsc::channel::<()>();
        let mut inference = Self {
            jobs: Some(jobs),
            threads: Vec::with_capacity(threads),
            alive: Mutex::new(alive),
            max_job_time,
            hung: CancellationToken::new(),
        };
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            let living = living.clone();
            let thread = std::thread::Builder::new()
                .name(format!("inference-{number}"))
                .spawn(move || {
                    let (queue, recognize) = &*shared;
                    while let Some(batch) = take(queue, threads) {
                        run_batch(batch, recognize);
                    }
                    drop(living);
                })?;
            inference.threads.push(thread);
        }
        Ok(inference)
    }

    /// # Errors
    /// [`InferenceError::Vision`] when the photo is at fault.
    pub async fn recognize(&self, photo: Bytes) -> Result<Recognized, InferenceError> {
        let jobs = self.jobs.as_ref().ok_or(InferenceError::ThreadsEnded)?;
        let ((taken, is_taken), (reply, result)) = (oneshot::channel(), oneshot::channel());
        let job = Job {
            photo,
            taken: Some(taken),
            reply,
        };
        let taking = async {
            jobs.send(job).await.ok()?;
            is_taken.await.ok()
        };
        // No thread may be free for a job behind one that hangs. Another worker takes it.
        let taken = self.hung.run_until_cancelled(taking).await.flatten();
        let together = taken.ok_or(InferenceError::ThreadsEnded)?;
        match tokio::time::timeout(self.max_job_time * together, result).await {
            Ok(result) => result.map_err(|_| InferenceError::ThreadsEnded)?,
            Err(_) => {
                self.hung.cancel();
                Err(InferenceError::TooSlow(self.max_job_time))
            }
        }
    }

    /// Whether a photo took too long: its thread may hang.
    pub fn hangs(&self) -> bool {
        self.hung.is_cancelled()
    }
}

impl Drop for Inference {
    fn drop(&mut self) {
        self.jobs = None;
        let alive = self.alive.get_mut().unwrap_or_else(PoisonError::into_inner);
        if alive.recv_timeout(JOIN_DEADLINE) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("an inference thread hangs; it ends with the process");
            return;
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("an inference thread panicked");
            }
        }
    }
}

/// Waits for a job and takes a fair share of those already queued behind it. Returns `None` when no more can come. One
/// free thread waits here, the others for the lock.
fn take(queue: &Mutex<mpsc::Receiver<Job>>, threads: usize) -> Option<Vec<Job>> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    let first = queue.blocking_recv()?;
    let share = fair_share(1 + queue.len(), threads);
    let waiting = iter::from_fn(|| queue.try_recv().ok());
    Some(iter::once(first).chain(waiting.take(share - 1)).collect())
}

/// Returns how many of the `waiting` jobs a thread takes, so that each other thread gets as many.
fn fair_share(waiting: usize, threads: usize) -> usize {
    waiting.div_ceil(threads).min(LARGEST_BATCH)
}

/// Runs a batch and sends the results. After a panic each photo is tried alone, so that only the faulty one fails.
fn run_batch(
    mut batch: Vec<Job>,
    recognize: &impl Fn(&[Bytes]) -> Vec<Result<Recognized, VisionError>>,
) {
    // The task that waits for a result may have been dropped.
    batch.retain(|job| !job.reply.is_closed());
    let together = batch.len() as u32;
    for taken in batch.iter_mut().filter_map(|job| job.taken.take()) {
        let _ = taken.send(together);
    }
    let photos: Vec<Bytes> = batch.iter().map(|job| job.photo.clone()).collect();
    match catch_unwind(AssertUnwindSafe(|| recognize(&photos))) {
        Ok(results) => {
            for (job, result) in batch.into_iter().zip(results) {
                drop(job.reply.send(result.map_err(InferenceError::from)));
            }
        }
        Err(_) if batch.len() > 1 => {
            for job in batch {
                run_batch(vec![job], recognize);
            }
        }
        Err(_) => {
            for job in batch {
                drop(job.reply.send(Err(InferenceError::Panicked)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
