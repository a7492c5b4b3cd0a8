//! One job, in the order of `worker::service::process`: fetch, check the digest, recognize, store if absent, reply, delete.

use std::time::{Duration, Instant};

use platform::queue::Message;
use proto::v1::recognition_result::Outcome as Reply;
use proto::v1::{FailureCode, Recognition, RecognitionResult};
use worker::service::pure::{
    Job, JobEnd, Subject, encode_reply, expired, extension_period, failure, result_keys,
};

use crate::clients::Photo;
use crate::event::{CloudResult, JobStep, PutResult, Stored, Unavailable, WorkerStep};
use crate::injected_bugs::InjectedBug;
use crate::objects::StoredResult;
use crate::queues::REQUESTS;
use crate::system::Simulation;

use super::link::id;

/// As in `process`.
const STORE_RETRY_TIME: Duration = Duration::from_secs(150);
const STORE_RETRY_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct JobRun {
    message: Message,
    began: Instant,
    job: Option<Job>,
    photo: usize,
    /// Until when the object store's failures are borne.
    give_up_at: Instant,
    /// Whether the visibility timeout is extended.
    has_lease: bool,
    keys: [String; 3],
}

impl Simulation {
    pub fn start_job(&mut self, instance: usize, message: Message) {
        let now = self.instant();
        if message.receive_count > 1 {
            self.counts.redeliveries += 1;
            if !self.scenario.redelivers {
                let what = format!("without a fault a job is received again: {message:?}");
                self.violated(what);
            }
        }
        let job = Job::parse(&message, now);
        let latest = now + STORE_RETRY_TIME;
        let Some(worker) = self.workers.get_mut(&instance) else {
            return;
        };
        let number = worker.next_job;
        worker.next_job += 1;
        let (job, first) = match job {
            Ok(job) if job.is_expired(now) => (Some(job), None),
            Ok(job) => (Some(job), Some(JobStep::Fetch)),
            Err(_) => (None, Some(JobStep::GiveBack)),
        };
        let give_up_at = job.as_ref().and_then(|job| job.expires_at);
        let run = JobRun {
            message,
            began: now,
            give_up_at: give_up_at.map_or(latest, |expiry| expiry.min(latest)),
            job,
            photo: 0,
            has_lease: true,
            keys: Default::default(),
        };
        worker.jobs.insert(number, run);
        let period = extension_period(self.scenario.visibility_timeout);
        self.worker_after(period, instance, WorkerStep::Extend(number));
        match first {
            Some(step) => self.next(instance, number, step),
            None => self.reply(instance, number, expired()),
        }
    }

    /// The next step of a job, after the time that a call takes.
    fn next(&mut self, instance: usize, job: u64, step: JobStep) {
        let wait = self.latency();
        self.worker_after(wait, instance, WorkerStep::Job { job, step });
    }

    fn later(&mut self, wait: Duration, instance: usize, job: u64, step: JobStep) {
        self.worker_after(wait, instance, WorkerStep::Job { job, step });
    }

    fn job_run(&mut self, instance: usize, job: u64) -> Option<&mut JobRun> {
        self.workers.get_mut(&instance)?.jobs.get_mut(&job)
    }

    fn job_of(&mut self, instance: usize, job: u64) -> Option<&Job> {
        self.job_run(instance, job)?.job.as_ref()
    }

    /// Keeps the message hidden from other workers.
    pub fn extend(&mut self, instance: usize, job: u64) {
        let timeout = self.scenario.visibility_timeout;
        let is_forgotten = self.breaks(InjectedBug::ForgetsLease);
        let run = self.job_run(instance, job).filter(|run| run.has_lease);
        let Some(run) = run.filter(|_| !is_forgotten) else {
            return;
        };
        let handle = run.message.receipt_handle.clone();
        self.change_visibility(REQUESTS, &handle, timeout);
        let period = extension_period(timeout);
        self.worker_after(period, instance, WorkerStep::Extend(job));
    }

    pub fn job_step(&mut self, instance: usize, job: u64, step: JobStep) {
        if self.is_doomed_job_step() {
            self.note(|| format!("worker {instance} dies before {step:?}"));
            return self.kill_worker(instance);
        }
        match step {
            JobStep::Fetch => {
                if let Some(Subject::Photo { object_key, .. }) =
                    self.job_of(instance, job).map(|job| &job.subject)
                {
                    let key = object_key.to_string();
                    let photo = self.get_photo(&key);
                    self.next(instance, job, JobStep::Fetched(photo));
                }
            }
            JobStep::Fetched(photo) => self.fetched(instance, job, photo),
            JobStep::Recognized(photo) => self.named(instance, job, photo),
            JobStep::Store(key) => self.store(instance, job, key),
            JobStep::Taken(key, stored) => self.taken(instance, job, key, stored),
            JobStep::Replace(key) => {
                let Some((name, result)) = self.result(instance, job, key) else {
                    return;
                };
                match self.put_result(&name, result, false) {
                    Ok(_) => self.reply_name(instance, job),
                    Err(_) => self.try_again(instance, job, JobStep::Store(0), None),
                }
            }
            JobStep::Reply(body) => {
                let of_job = self.job_of(instance, job);
                let Some((id, queue)) = of_job.map(|it| (it.id, it.reply_queue.clone())) else {
                    return;
                };
                // A queue that is gone ended with its front.
                let replied = self.send(&queue, &body);
                if replied.is_ok() {
                    self.replied.insert(id);
                }
                if replied == Ok(true) {
                    self.replies.push((queue, body));
                }
                self.next(instance, job, JobStep::Replied(replied.map(|_| ())));
            }
            JobStep::Replied(replied) => {
                if let Some(run) = self.job_run(instance, job) {
                    run.has_lease = false;
                }
                match replied {
                    Ok(()) => self.next(instance, job, JobStep::Delete),
                    Err(_) => self.end_job(instance, job, JobEnd::Abandoned),
                }
            }
            JobStep::Delete => {
                if let Some(run) = self.job_run(instance, job) {
                    let handle = run.message.receipt_handle.clone();
                    // If the message stays, it is processed again, and front drops the second reply.
                    let _ = self.delete(REQUESTS, &[handle]);
                    self.next(instance, job, JobStep::Ended(JobEnd::Answered));
                }
            }
            JobStep::GiveBack => {
                if let Some(run) = self.job_run(instance, job) {
                    run.has_lease = false;
                    let handle = run.message.receipt_handle.clone();
                    self.change_visibility(REQUESTS, &handle, Duration::ZERO);
                    self.next(instance, job, JobStep::Ended(JobEnd::Rejected));
                }
            }
            JobStep::Ended(end) => self.end_job(instance, job, end),
        }
    }

    fn fetched(&mut self, instance: usize, job: u64, photo: CloudResult<Option<usize>>) {
        let now = self.instant();
        let Some(it) = self.job_of(instance, job) else {
            return;
        };
        let (is_expired, expires_at) = (it.is_expired(now), it.expires_at);
        let photo = match photo {
            // Retries may have taken long.
            _ if is_expired => return self.reply(instance, job, expired()),
            Err(Unavailable) => return self.try_again(instance, job, JobStep::Fetch, expires_at),
            Ok(None) => {
                let gone = failure(FailureCode::ObjectMissing, "the photo is no longer stored");
                return self.reply(instance, job, gone);
            }
            Ok(Some(photo)) => photo,
        };
        let (sha256, service) = (
            self.photos[photo].sha256.clone(),
            self.photos[photo].service,
        );
        let is_ignored = self.breaks(InjectedBug::IgnoresDigest);
        let is_right = self
            .job_of(instance, job)
            .is_some_and(|job| is_ignored || job.is_for(&sha256));
        if is_right {
            self.later(service, instance, job, JobStep::Recognized(photo));
        } else {
            let why = "another photo is stored in the place of this one";
            self.reply(instance, job, failure(FailureCode::ObjectMissing, why));
        }
    }

    fn named(&mut self, instance: usize, job: u64, photo: usize) {
        let Photo { sha256, name, .. } = &self.photos[photo];
        if name.is_none() {
            let no_face = failure(FailureCode::NoFace, "no face");
            return self.reply(instance, job, no_face);
        }
        let sha256 = sha256.clone();
        let latest = self.instant() + STORE_RETRY_TIME;
        if let Some(run) = self.job_run(instance, job) {
            (run.photo, run.give_up_at) = (photo, latest);
            if let Some(Subject::Photo { object_key, .. }) = run.job.as_ref().map(|it| &it.subject)
            {
                run.keys = result_keys(object_key, &sha256);
            }
        }
        self.next(instance, job, JobStep::Store(0));
    }

    /// Returns a key for the result, and the result.
    fn result(&mut self, instance: usize, job: u64, key: usize) -> Option<(String, StoredResult)> {
        let run = self.job_run(instance, job)?;
        let (key, photo) = (run.keys[key].clone(), run.photo);
        let Some(Subject::Photo { file_name, .. }) = run.job.as_ref().map(|it| &it.subject) else {
            return None;
        };
        let stem = file_name.stem().to_owned();
        let photo = &self.photos[photo];
        let name = photo.name.as_deref().unwrap_or_default();
        let result = StoredResult {
            photo_sha256: photo.sha256.clone(),
            body: format!("{stem}:{name}"),
        };
        Some((key, result))
    }

    fn store(&mut self, instance: usize, job: u64, key: usize) {
        let Some((name, result)) = self.result(instance, job, key) else {
            return;
        };
        let if_absent = !self.breaks(InjectedBug::ReplacesResults);
        match self.put_result(&name, result, if_absent) {
            Ok(PutResult::Stored) => self.reply_name(instance, job),
            Ok(PutResult::Exists) => {
                let stored = self.look_at_result(&name);
                self.next(instance, job, JobStep::Taken(key, stored));
            }
            Err(_) => self.try_again(instance, job, JobStep::Store(0), None),
        }
    }

    fn taken(
        &mut self,
        instance: usize,
        job: u64,
        key: usize,
        stored: CloudResult<Option<Stored>>,
    ) {
        let Ok(stored) = stored else {
            return self.try_again(instance, job, JobStep::Store(0), None);
        };
        let Some(photo) = self.job_run(instance, job).map(|run| run.photo) else {
            return;
        };
        let sha256 = &self.photos[photo].sha256;
        if stored.is_some_and(|stored| stored.photo_sha256 == *sha256) {
            self.next(instance, job, JobStep::Replace(key));
        } else if key + 1 < 3 {
            self.next(instance, job, JobStep::Store(key + 1));
        } else {
            let why = "other photos' results have the names for this one";
            self.reply(instance, job, failure(FailureCode::Internal, why));
        }
    }

    /// Tries again after a pause, until `expires_at`, the longest time or the shutdown.
    fn try_again(&mut self, instance: usize, job: u64, step: JobStep, expires_at: Option<Instant>) {
        let now = self.instant();
        let Some(worker) = self.workers.get(&instance) else {
            return;
        };
        let Some(run) = worker.jobs.get(&job) else {
            return;
        };
        let latest = expires_at.map_or(run.give_up_at, |it| it.min(run.give_up_at));
        if now >= latest || worker.is_ending {
            if let Some(run) = self.job_run(instance, job) {
                run.has_lease = false;
            }
            return self.end_job(instance, job, JobEnd::Abandoned);
        }
        self.later(STORE_RETRY_PAUSE, instance, job, step);
    }

    fn reply_name(&mut self, instance: usize, job: u64) {
        let Some(photo) = self.job_run(instance, job).map(|run| run.photo) else {
            return;
        };
        let recognition = Recognition {
            name: self.photos[photo].name.clone().unwrap_or_default(),
            ..Recognition::default()
        };
        self.reply(instance, job, Reply::Recognition(recognition));
    }

    fn reply(&mut self, instance: usize, job: u64, reply: Reply) {
        let Some(mut job_id) = self.job_of(instance, job).map(|it| it.id) else {
            return;
        };
        if self.breaks(InjectedBug::RepliesToAnother)
            && let Some(first) = self.senders.iter().find(|(_, client)| **client == 0)
        {
            job_id = *first.0;
        }
        if self.breaks(InjectedBug::DeletesBeforeReply)
            && let Some(run) = self.job_run(instance, job)
        {
            let handle = run.message.receipt_handle.clone();
            let _ = self.delete(REQUESTS, &[handle]);
        }
        let body = encode_reply(&RecognitionResult {
            job_id: job_id.to_string(),
            outcome: Some(reply),
            timings: None,
            instance_id: id(instance),
            stem: String::new(),
        });
        self.next(instance, job, JobStep::Reply(body));
    }

    fn end_job(&mut self, instance: usize, job: u64, end: JobEnd) {
        let now = self.instant();
        let Some(worker) = self.workers.get_mut(&instance) else {
            return;
        };
        let Some(run) = worker.jobs.remove(&job) else {
            return;
        };
        worker.intake.job_ended(end, now - run.began, now);
        self.pause_and_turn(instance);
    }
}
