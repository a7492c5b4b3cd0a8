use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use platform::aws::Aws;
use platform::queue::{Message, Queue};
use proto::v1::recognition_result::Outcome;
use proto::v1::{Failure, FailureCode, Recognition, RecognitionJob, RecognitionResult, Timings};
use tokio::task::JoinHandle;

use crate::photos::photo;
use crate::stack::Stack;

/// How a simulated worker treats a job.
pub enum Behavior {
    /// Sends these messages to the reply queue and deletes the job.
    Send(Vec<String>),
    /// Returns the job to the queue, as a worker does that dies of it.
    Fail,
}

/// A simulated worker. It ends with its test.
pub struct Worker {
    task: JoinHandle<()>,
    jobs: Arc<AtomicUsize>,
}

impl Worker {
    pub async fn start(
        stack: &Stack,
        behave: impl Fn(&RecognitionJob) -> Behavior + Send + Sync + 'static,
    ) -> Self {
        let names = &stack.deployment.names;
        let requests = stack.queue(names.request_queue()).await;
        let aws = stack.deployment.aws.clone();
        let jobs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&jobs);
        let task = tokio::spawn(async move {
            loop {
                for message in requests.receive(10, Duration::from_secs(1)).await.unwrap() {
                    counted.fetch_add(1, Ordering::Relaxed);
                    take(&requests, &aws, message, &behave).await;
                }
            }
        });
        Self { task, jobs }
    }

    /// Recognizes every face as "somebody".
    pub async fn recognizing(stack: &Stack) -> Self {
        Self::start(stack, |job| {
            Behavior::Send(vec![recognized(job, "somebody")])
        })
        .await
    }

    pub async fn failing(stack: &Stack, code: FailureCode, message: &'static str) -> Self {
        Self::start(stack, move |job| {
            Behavior::Send(vec![failed(job, code, message)])
        })
        .await
    }

    /// Counts the jobs received, repetitions included.
    pub fn jobs(&self) -> usize {
        self.jobs.load(Ordering::Relaxed)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(
    requests: &Queue,
    aws: &Aws,
    message: Message,
    behave: &impl Fn(&RecognitionJob) -> Behavior,
) {
    assert!(message.body.len() <= 1024, "{}", message.body);
    let job: RecognitionJob = proto::decode(&message.body).unwrap();
    assert!(job.deadline.is_some());
    match behave(&job) {
        Behavior::Send(bodies) => {
            let replies = aws.queue(&job.reply_queue).await.unwrap();
            for body in bodies {
                replies.send(body).await.unwrap();
            }
            requests.delete(&message.receipt_handle).await.unwrap();
        }
        Behavior::Fail => {
            let at_once = Duration::ZERO;
            requests
                .change_visibility(&message.receipt_handle, at_once)
                .await
                .unwrap();
        }
    }
}

/// Posts a photo, which a [recognizing](Worker::recognizing) worker recognizes.
pub async fn recognize(stack: &Stack, file_name: &str, seed: u8) {
    let stem = file_name.trim_end_matches(".jpg");
    let answer = stack.post(file_name, &photo(seed)).await;
    answer.assert_recognized(&format!("{stem}:somebody"));
}

pub fn recognized(job: &RecognitionJob, name: &str) -> String {
    reply(
        job,
        Outcome::Recognition(Recognition {
            name: name.to_owned(),
            distance: 0.5,
            confidence: 0.75,
            r#box: Some(proto::v1::BoundingBox {
                left: 1.0,
                top: 2.0,
                right: 3.0,
                bottom: 4.0,
            }),
            landmarks: vec![proto::v1::Point { x: 1.5, y: 2.5 }; 5],
            model: "simulated".to_owned(),
            nearest_name: name.to_owned(),
            threshold: 1.0,
            candidates: vec![proto::v1::Candidate {
                name: name.to_owned(),
                distance: 0.5,
            }],
        }),
    )
}

pub fn failed(job: &RecognitionJob, code: FailureCode, message: &str) -> String {
    reply(
        job,
        Outcome::Failure(Failure {
            code: code.into(),
            message: message.to_owned(),
        }),
    )
}

fn reply(job: &RecognitionJob, outcome: Outcome) -> String {
    proto::encode(&RecognitionResult {
        job_id: job.job_id.clone(),
        outcome: Some(outcome),
        timings: Some(Timings {
            decode_ms: 1.0,
            ..Timings::default()
        }),
        instance_id: "i-simulated".to_owned(),
        stem: match job.file_name.as_str() {
            "" => job.object_key.clone(),
            name => name.to_owned(),
        }
        .trim_end_matches(".jpg")
        .to_owned(),
    })
}
