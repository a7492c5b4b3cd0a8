//! Clips for tests, and a simulated worker that takes one job at a time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use platform::objects::{Metadata, Objects};
use proto::v1::recognition_result::Outcome;
use proto::v1::{
    BoundingBox, FrameDone, FrameFace, FrameFaces, Recognition, RecognitionJob, RecognitionResult,
};
use serde_json::Value;
use testkit::{eventually, samples, upload};
use tokio::task::JoinHandle;

use crate::stack::{Answer, Stack};
use crate::worker::recognized;

/// A clip of so many seconds, ten frames each.
pub fn clip(seconds: u32) -> Vec<u8> {
    samples::clip(&format!("testsrc=duration={seconds}:size=160x120:rate=10"))
}

/// A clip without pictures.
pub fn sound() -> Vec<u8> {
    samples::clip("sine=duration=1")
}

impl Stack {
    /// Posts a clip with these query parameters.
    pub async fn post_clip(&self, query: &str, file_name: &str, clip: Vec<u8>) -> Answer {
        self.post_clip_with(query, file_name, clip, &[]).await
    }

    pub async fn post_clip_with(
        &self,
        query: &str,
        file_name: &str,
        clip: Vec<u8>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let form = upload(file_name, clip);
        let url = format!("{}/v1/videos{query}", self.url);
        let mut request = self.client.post(url).multipart(form);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request).await
    }

    pub async fn video(&self, id: &str) -> Value {
        let url = format!("{}/v1/videos/{id}", self.url);
        let answer = Answer::of(self.client.get(url)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Waits until the clip has this state, and returns it.
    pub async fn until_video(&self, id: &str, state: &str) -> Value {
        eventually(&format!("the clip is {state}"), || async {
            let found = self.video(id).await;
            let now = found["state"].as_str().unwrap().to_owned();
            assert!(now != "failed" || state == now, "{found}");
            now == state
        })
        .await;
        self.video(id).await
    }

    pub fn out_bucket(&self) -> Objects {
        let names = &self.deployment.names;
        self.deployment.aws.objects(names.out_bucket())
    }

    /// The keys of a clip's objects in the in-bucket, without its folder.
    pub async fn files_of(&self, id: &str) -> Vec<String> {
        let keys = self.photos().await;
        let folder = format!("videos/{id}/");
        let files = keys.iter().filter_map(|key| key.strip_prefix(&folder));
        files.map(str::to_owned).collect()
    }
}

/// The id of an accepted clip.
#[track_caller]
pub fn accepted(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{}", answer.body);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let id = body["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), format!("/v1/videos/{id}"));
    assert_eq!(body["state"], "splitting");
    id
}

/// A worker that does one job at a time. Ada is on the frames of the first two and a half seconds, then Ben.
pub struct OneAtATime {
    /// In order: the frame's number, or nothing for a photo.
    jobs: Arc<Mutex<Vec<Option<u32>>>>,
    task: JoinHandle<()>,
}

impl OneAtATime {
    /// Ends after `most` jobs.
    pub async fn start(stack: &Stack, most: usize) -> Self {
        let requests = stack.queue(stack.deployment.names.request_queue()).await;
        let (aws, results) = (stack.deployment.aws.clone(), stack.out_bucket());
        let jobs = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&jobs);
        let task = tokio::spawn(async move {
            let mut done = 0;
            while done < most {
                let wait = Duration::from_secs(1);
                let Some(message) = requests.receive(1, wait).await.unwrap().pop() else {
                    continue;
                };
                done += 1;
                let job: RecognitionJob = proto::decode(&message.body).unwrap();
                assert!(message.body.len() <= 1024, "{}", message.body);
                let frame = job.frame.as_ref().map(|frame| frame.frame);
                log.lock().unwrap().push(frame);
                let reply = match &job.frame {
                    None => recognized(&job, "somebody"),
                    Some(_) => see(&job, &results).await,
                };
                // The front of the job may be gone, with its queue.
                if let Ok(replies) = aws.queue(&job.reply_queue).await {
                    replies.send(reply).await.unwrap();
                }
                requests.delete(&message.receipt_handle).await.unwrap();
            }
        });
        Self { jobs, task }
    }

    pub fn jobs(&self) -> Vec<Option<u32>> {
        self.jobs.lock().unwrap().clone()
    }
}

impl Drop for OneAtATime {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Stores the faces of a frame, and returns the reply.
async fn see(job: &RecognitionJob, results: &Objects) -> String {
    let frame = job.frame.as_ref().unwrap();
    let (name, embedding) = if frame.at_seconds < 2.5 {
        ("ada", vec![1.0, 0.0])
    } else {
        ("ben", vec![0.0, 1.0])
    };
    let faces = FrameFaces {
        frame: frame.frame,
        at_seconds: frame.at_seconds,
        faces: vec![FrameFace {
            recognition: Some(Recognition {
                name: name.to_owned(),
                nearest_name: name.to_owned(),
                distance: 0.4,
                threshold: 1.0,
                confidence: 0.99,
                r#box: Some(BoundingBox {
                    left: 40.0,
                    top: 30.0,
                    right: 100.0,
                    bottom: 90.0,
                }),
                ..Recognition::default()
            }),
            embedding,
        }],
        model: "simulated".to_owned(),
    };
    let body = proto::encode(&faces).into();
    let put = results.put(&frame.faces_key, body, Metadata::new());
    put.await.unwrap();
    proto::encode(&RecognitionResult {
        job_id: job.job_id.clone(),
        outcome: Some(Outcome::Frame(FrameDone { faces: 1 })),
        timings: None,
        instance_id: "i-simulated".to_owned(),
        stem: String::new(),
    })
}

/// The tracks of a timeline as name, from, to.
pub fn tracks(video: &Value) -> Vec<(String, f64, f64)> {
    let tracks = video["timeline"]["tracks"].as_array().unwrap().iter();
    let seconds = |track: &Value, key| track[key].as_f64().unwrap_or_default();
    tracks
        .map(|track| {
            let name = track["name"].as_str().unwrap().to_owned();
            let (from, to) = (seconds(track, "fromSeconds"), seconds(track, "toSeconds"));
            (name, from, to)
        })
        .collect()
}

#[track_caller]
pub fn assert_ada_then_ben(video: &Value) {
    let tracks = tracks(video);
    assert_eq!(tracks.len(), 2, "{video}");
    let (ada, ben) = (&tracks[0], &tracks[1]);
    assert_eq!((ada.0.as_str(), ben.0.as_str()), ("ada", "ben"));
    for (found, expected) in [(ada.1, 0.0), (ada.2, 2.5), (ben.1, 2.5), (ben.2, 5.0)] {
        assert!(
            (found - expected).abs() <= 0.5,
            "{found} {expected} {video}"
        );
    }
}
