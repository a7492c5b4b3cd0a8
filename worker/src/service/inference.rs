//! The OS threads that run the recognizer.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError, mpsc as sync_mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use platform::shutdown::CancellationToken;
use proto::v1::FrameFaces;
use tokio::sync::{mpsc, oneshot};

use crate::frames::recognize_frame;
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
    jobs: Option<mpsc::Sender<InferenceJob>>,
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
    /// A photo that was taken together with this one, or this one, took too long. As after [`Self::TooSlow`], the process
    /// must end.
    #[error("recognizing a batch with this photo took too long")]
    BatchTooSlow,
    /// The threads were ended.
    #[error("the inference threads have ended")]
    ThreadsEnded,
}

/// The jobs that no thread has taken.
#[derive(Debug)]
struct Waiting {
    jobs: mpsc::Receiver<InferenceJob>,
    /// A job that is to run alone and came behind a batch.
    held_back: Option<InferenceJob>,
}

/// All faces of a clip's frame.
#[derive(Debug)]
pub struct FoundFaces {
    pub faces: FrameFaces,
    pub decode: Duration,
    /// Time to find and name all of them.
    pub faces_took: Duration,
}

#[derive(Debug)]
enum InferenceJob {
    /// Threads take several at once.
    Photo(Task<Recognized>),
    Frame {
        task: Task<FoundFaces>,
        frame: u32,
        at_seconds: f64,
    },
}

#[derive(Debug)]
struct Task<T> {
    photo: Bytes,
    /// Whether it is the only job of its batch.
    is_alone: bool,
    /// Receives the size of the batch when a thread takes the job.
    taken: Option<oneshot::Sender<u32>>,
    reply: oneshot::Sender<Result<T, InferenceError>>,
}

/// What the threads run.
pub trait RecognizePhotos: Send + Sync + 'static {
    /// Makes the first photo as fast as later ones.
    fn warm_up(&self) {}

    /// Returns one result for each photo, in order.
    fn photos(&self, photos: &[Bytes]) -> Vec<Result<Recognized, VisionError>>;

    /// Finds and names all faces of a frame, given its file, its number and its time in seconds.
    ///
    /// # Errors
    /// When the file cannot be decoded.
    fn frame(&self, file: &Bytes, frame: u32, at_seconds: f64) -> Result<FoundFaces, VisionError>;
}

/// Loads what the threads run.
pub type Load = Box<dyn FnOnce() -> anyhow::Result<Box<dyn RecognizePhotos>> + Send>;

impl RecognizePhotos for Recognizer {
    fn warm_up(&self) {
        Recognizer::warm_up(self);
    }

    fn photos(&self, photos: &[Bytes]) -> Vec<Result<Recognized, VisionError>> {
        self.recognize_batch(photos)
    }

    fn frame(&self, file: &Bytes, frame: u32, at_seconds: f64) -> Result<FoundFaces, VisionError> {
        let started = Instant::now();
        let photo = self.decode(file)?;
        let decoded = Instant::now();
        Ok(FoundFaces {
            faces: recognize_frame(self, frame, at_seconds, &photo),
            decode: decoded - started,
            faces_took: decoded.elapsed(),
        })
    }
}

impl Inference {
    /// Loads the recognizer by `load`, warms it up and starts the threads; returns when they are ready.
    ///
    /// # Errors
    /// What `load` returns.
    pub async fn start(
        threads: NonZeroUsize,
        max_job_time: Duration,
        load: Load,
    ) -> anyhow::Result<Self> {
        let loading = tokio::task::spawn_blocking(move || load().inspect(|it| it.warm_up()));
        Self::over(threads, max_job_time, loading.await??)
    }

    /// Starts threads that share a recognizer.
    fn over(
        threads: NonZeroUsize,
        max_job_time: Duration,
        recognizer: Box<dyn RecognizePhotos>,
    ) -> anyhow::Result<Self> {
        let threads = threads.get();
        let (jobs, queue) = mpsc::channel(threads * LARGEST_BATCH);
        let waiting = Waiting {
            jobs: queue,
            held_back: None,
        };
        let shared = Arc::new((Mutex::new(waiting), recognizer));
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
                    let (waiting, recognizer) = &*shared;
                    while let Some(batch) = take(waiting, threads) {
                        run_batch(batch, &**recognizer);
                    }
                    drop(living);
                })?;
            inference.threads.push(thread);
        }
        Ok(inference)
    }

    /// Names the face on a photo. Photos that may hang are to run alone: of a batch none has a result then.
    ///
    /// # Errors
    /// [`InferenceError::Vision`] when the photo is at fault.
    pub async fn recognize(
        &self,
        photo: Bytes,
        is_alone: bool,
    ) -> Result<Recognized, InferenceError> {
        self.run(photo, is_alone, InferenceJob::Photo).await
    }

    /// Recognizes all faces of a clip's frame, alone as in [`Self::recognize`].
    ///
    /// # Errors
    /// [`InferenceError::Vision`] when the file cannot be decoded.
    pub async fn recognize_frame(
        &self,
        photo: Bytes,
        is_alone: bool,
        frame: u32,
        at_seconds: f64,
    ) -> Result<FoundFaces, InferenceError> {
        let job = |task| InferenceJob::Frame {
            task,
            frame,
            at_seconds,
        };
        self.run(photo, is_alone, job).await
    }

    async fn run<T>(
        &self,
        photo: Bytes,
        is_alone: bool,
        job: impl FnOnce(Task<T>) -> InferenceJob,
    ) -> Result<T, InferenceError> {
        let jobs = self.jobs.as_ref().ok_or(InferenceError::ThreadsEnded)?;
        let ((taken, is_taken), (reply, result)) = (oneshot::channel(), oneshot::channel());
        let job = job(Task {
            photo,
            is_alone,
            taken: Some(taken),
            reply,
        });
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
                // Which of several hangs is unknown.
                Err(match together {
                    1 => InferenceError::TooSlow(self.max_job_time),
                    _ => InferenceError::BatchTooSlow,
                })
            }
        }
    }

    /// Returns whether a photo took too long: its thread may hang.
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

/// Waits for a job and takes a fair share of those already queued behind it, up to one that is to run alone. Returns `None`
/// when no more can come. One free thread waits here, the others for the lock.
fn take(waiting: &Mutex<Waiting>, threads: usize) -> Option<Vec<InferenceJob>> {
    let mut locked = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let Waiting { jobs, held_back } = &mut *locked;
    let first = held_back.take().or_else(|| jobs.blocking_recv())?;
    if first.is_alone() {
        return Some(vec![first]);
    }
    let share = fair_share(1 + jobs.len(), threads);
    let mut batch = vec![first];
    while batch.len() < share
        && let Ok(job) = jobs.try_recv()
    {
        if job.is_alone() {
            *held_back = Some(job);
            break;
        }
        batch.push(job);
    }
    Some(batch)
}

/// Returns how many of the `waiting` jobs a thread takes, so that each other thread gets as many.
fn fair_share(waiting: usize, threads: usize) -> usize {
    waiting.div_ceil(threads).min(LARGEST_BATCH)
}

impl InferenceJob {
    /// Returns whether nothing waits for the result any more: the task that did may have been dropped.
    fn is_unwanted(&self) -> bool {
        match self {
            Self::Photo(task) => task.reply.is_closed(),
            Self::Frame { task, .. } => task.reply.is_closed(),
        }
    }

    fn is_alone(&self) -> bool {
        match self {
            Self::Photo(task) => task.is_alone,
            Self::Frame { task, .. } => task.is_alone,
        }
    }

    fn take_notice(&mut self) -> Option<oneshot::Sender<u32>> {
        match self {
            Self::Photo(task) => task.taken.take(),
            Self::Frame { task, .. } => task.taken.take(),
        }
    }
}

/// Runs a batch and sends the results: the photos together, then the frames.
fn run_batch(mut batch: Vec<InferenceJob>, recognizer: &dyn RecognizePhotos) {
    batch.retain(|job| !job.is_unwanted());
    let together = batch.len() as u32;
    for taken in batch.iter_mut().filter_map(InferenceJob::take_notice) {
        let _ = taken.send(together);
    }
    let (mut photos, mut frames) = (Vec::new(), Vec::new());
    for job in batch {
        match job {
            InferenceJob::Photo(task) => photos.push(task),
            InferenceJob::Frame {
                task,
                frame,
                at_seconds,
            } => frames.push((task, frame, at_seconds)),
        }
    }
    run_photos(photos, recognizer);
    for (task, frame, at_seconds) in frames {
        let find = || recognizer.frame(&task.photo, frame, at_seconds);
        let found = catch_unwind(AssertUnwindSafe(find));
        let found = found.map_err(|_| InferenceError::Panicked);
        let found = found.and_then(|found| found.map_err(InferenceError::from));
        drop(task.reply.send(found));
    }
}

/// After a panic each photo is tried alone, so that only the faulty one fails.
fn run_photos(batch: Vec<Task<Recognized>>, recognizer: &dyn RecognizePhotos) {
    if batch.is_empty() {
        return;
    }
    let photos: Vec<Bytes> = batch.iter().map(|task| task.photo.clone()).collect();
    match catch_unwind(AssertUnwindSafe(|| recognizer.photos(&photos))) {
        Ok(results) => {
            for (task, result) in batch.into_iter().zip(results) {
                drop(task.reply.send(result.map_err(InferenceError::from)));
            }
        }
        Err(_) if batch.len() > 1 => {
            for task in batch {
                run_photos(vec![task], recognizer);
            }
        }
        Err(_) => {
            for task in batch {
                drop(task.reply.send(Err(InferenceError::Panicked)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
