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

use crate::vision::{Recognised, Recogniser, VisionError};

/// Photos that a thread takes together at most: the embedder gains nothing from more.
const LARGEST_BATCH: usize = 8;
/// How long the threads may take to end.
const JOIN_DEADLINE: Duration = Duration::from_secs(5);

/// One recogniser shared by a fixed number of OS threads: whatever the number of async tasks that ask, memory and
/// threads stay the same. Dropping this ends and joins the threads, but for those that hang.
#[derive(Debug)]
pub struct Inference {
    /// Room for a full batch for each thread; who finds no room waits for it.
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
    /// Recognising the photo panicked, which is our fault; the thread goes on with others.
    #[error("recognising the photo failed")]
    Panicked,
    /// No answer came in time. A thread cannot be stopped, so that the process must end.
    #[error("recognising the photo took longer than {} s", .0.as_secs_f32())]
    TooSlow(Duration),
    /// The threads were ended.
    #[error("the inference threads have ended")]
    ThreadsEnded,
}

type Answer = Result<Recognised, VisionError>;

#[derive(Debug)]
struct Job {
    photo: Bytes,
    /// Told with how many jobs a thread takes this one.
    taken: Option<oneshot::Sender<u32>>,
    reply: oneshot::Sender<Result<Recognised, InferenceError>>,
}

impl Inference {
    /// Loads the recogniser by `load`, warms it up and starts the threads; returns when they are ready.
    ///
    /// # Errors
    /// What `load` returns.
    pub async fn start(
        threads: NonZeroUsize,
        max_job_time: Duration,
        load: impl FnOnce() -> anyhow::Result<Recogniser> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let loading = tokio::task::spawn_blocking(move || load().inspect(Recogniser::warm_up));
        let recogniser = loading.await??;
        Self::over(threads, max_job_time, move |photos| {
            recogniser.recognise_batch(photos)
        })
    }

    /// `recognise` gives one answer for each photo, in order.
    fn over(
        threads: NonZeroUsize,
        max_job_time: Duration,
        recognise: impl Fn(&[Bytes]) -> Vec<Answer> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let threads = threads.get();
        let (jobs, queue) = mpsc::channel(threads * LARGEST_BATCH);
        let shared = Arc::new((Mutex::new(queue), recognise));
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
                    let (queue, recognise) = &*shared;
                    while let Some(batch) = take(queue, threads) {
                        answer(batch, recognise);
                    }
                    drop(living);
                })?;
            inference.threads.push(thread);
        }
        Ok(inference)
    }

    /// # Errors
    /// [`InferenceError::Vision`] when the photo is at fault.
    pub async fn recognise(&self, photo: Bytes) -> Result<Recognised, InferenceError> {
        let jobs = self.jobs.as_ref().ok_or(InferenceError::ThreadsEnded)?;
        let ((taken, is_taken), (reply, answer)) = (oneshot::channel(), oneshot::channel());
        let job = Job {
            photo,
            taken: Some(taken),
            reply,
        };
        let taking = async {
            jobs.send(job).await.ok()?;
            is_taken.await.ok()
        };
        // Nobody may come for a job that waits behind one that hangs. Another worker takes it.
        let taken = self.hung.run_until_cancelled(taking).await.flatten();
        let together = taken.ok_or(InferenceError::ThreadsEnded)?;
        match tokio::time::timeout(self.max_job_time * together, answer).await {
            Ok(answer) => answer.map_err(|_| InferenceError::ThreadsEnded)?,
            Err(_) => {
                self.hung.cancel();
                Err(InferenceError::TooSlow(self.max_job_time))
            }
        }
    }

    /// Whether a photo took too long, so that a thread may hang.
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

/// Waits for a job and takes a fair share of those that wait behind it at that moment, never waiting for more; `None`
/// when no more can come. One free thread waits in here, the others for the lock.
fn take(queue: &Mutex<mpsc::Receiver<Job>>, threads: usize) -> Option<Vec<Job>> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    let first = queue.blocking_recv()?;
    let share = fair_share(1 + queue.len(), threads);
    let waiting = iter::from_fn(|| queue.try_recv().ok());
    Some(iter::once(first).chain(waiting.take(share - 1)).collect())
}

/// How many of the `waiting` jobs a thread takes, so that the other threads get as many when they are free.
fn fair_share(waiting: usize, threads: usize) -> usize {
    waiting.div_ceil(threads).min(LARGEST_BATCH)
}

/// A photo that makes `recognise` panic is tried once more alone, so that it costs no other its answer.
fn answer(mut batch: Vec<Job>, recognise: &impl Fn(&[Bytes]) -> Vec<Answer>) {
    // Nobody waits for a job whose task was dropped.
    batch.retain(|job| !job.reply.is_closed());
    let together = batch.len() as u32;
    for taken in batch.iter_mut().filter_map(|job| job.taken.take()) {
        let _ = taken.send(together);
    }
    let photos: Vec<Bytes> = batch.iter().map(|job| job.photo.clone()).collect();
    match catch_unwind(AssertUnwindSafe(|| recognise(&photos))) {
        Ok(answers) => {
            for (job, answer) in batch.into_iter().zip(answers) {
                drop(job.reply.send(answer.map_err(InferenceError::from)));
            }
        }
        Err(_) if batch.len() > 1 => {
            for job in batch {
                answer(vec![job], recognise);
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
