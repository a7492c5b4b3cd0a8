use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::vision::{Recognised, Recogniser, VisionError};

/// The recogniser on an OS thread of its own: libtorch's memory grows with every thread that ever ran a network, so
/// async tasks hand their photos over. Dropping this ends and joins the thread.
#[derive(Debug)]
pub struct Inference {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// The photo is at fault.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// The inference thread panicked; this process cannot go on.
    #[error("the inference thread has ended")]
    ThreadEnded,
}

#[derive(Debug)]
struct Job {
    photo: Bytes,
    reply: oneshot::Sender<Result<Recognised, VisionError>>,
}

impl Inference {
    /// Starts the thread, which loads the recogniser by `load` and warms it up; returns when it is ready.
    ///
    /// # Errors
    /// What `load` returns.
    pub async fn start(
        load: impl FnOnce() -> anyhow::Result<Recogniser> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (jobs, mut queue) = mpsc::channel::<Job>(1);
        let (ready, loaded) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("inference".to_owned())
            .spawn(move || {
                let recogniser = match load() {
                    Ok(recogniser) => recogniser,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                recogniser.warm_up();
                if ready.send(Ok(())).is_err() {
                    return;
                }
                while let Some(job) = queue.blocking_recv() {
                    // Nobody waits for a job whose task was dropped.
                    if !job.reply.is_closed() {
                        drop(job.reply.send(recogniser.recognise(&job.photo)));
                    }
                }
            })?;
        let inference = Self {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        loaded.await??;
        Ok(inference)
    }

    /// # Errors
    /// [`InferenceError::Vision`] when the photo is at fault.
    pub async fn recognise(&self, photo: Bytes) -> Result<Recognised, InferenceError> {
        let jobs = self.jobs.as_ref().ok_or(InferenceError::ThreadEnded)?;
        let (reply, answer) = oneshot::channel();
        jobs.send(Job { photo, reply })
            .await
            .map_err(|_| InferenceError::ThreadEnded)?;
        Ok(answer.await.map_err(|_| InferenceError::ThreadEnded)??)
    }
}

impl Drop for Inference {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the inference thread panicked");
        }
    }
}
