//! A request from its acceptance until its job is on the queue: the order of `gateway::front::accepted` and `photo_store`.

use std::time::{Duration, Instant};

use gateway::error::{ErrorCode, RequestError};
use gateway::front::pure::{Reply, derived, job};
use proto::JobId;

use crate::event::{CloudResult, FrontStep, PutResult, Stored};
use crate::queues::REQUESTS;
use crate::system::Simulation;

/// Attempts at a key that is neither free nor readable.
const ATTEMPTS: u32 = 6;

#[derive(Debug)]
pub struct Request {
    pub client: usize,
    /// The key that is being tried, or has the photo.
    pub key: String,
    pub deadline: Instant,
    pub reply: Option<Reply>,
    pub is_submitting: bool,
    /// Whether it is counted among the users of `key`.
    pub has_reference: bool,
    /// Whether a put of `key` is under way.
    is_sharing: bool,
    put: u64,
    attempts: u32,
}

impl Simulation {
    pub fn accept(&mut self, index: usize, client: usize) {
        let digits = (u128::from(self.random.number()) << 64) | u128::from(self.random.number());
        let id: JobId = format!("{digits:032x}").parse().expect("32 digits");
        let (now, wait) = (self.instant(), self.scenario.deadline);
        let key = self.clients[client].file_name.to_string();
        let front = &mut self.fronts[index];
        let accepted = front.pending.accept(id, id, now, now + wait);
        accepted.expect("ids are drawn at random");
        let request = Request {
            client,
            key,
            deadline: now + wait,
            reply: None,
            is_submitting: true,
            has_reference: false,
            is_sharing: false,
            put: 0,
            attempts: 0,
        };
        front.requests.insert(id, request);
        self.senders.insert(id, client);
        self.note(|| format!("front {index} accepts client {client} as {id}"));
        self.schedule_expiry(index, self.now + wait);
        self.front_after(Duration::ZERO, index, FrontStep::Put(id));
        self.demand_changed();
    }

    pub fn put(&mut self, index: usize, id: JobId) {
        let put = self.random.number();
        let front = &mut self.fronts[index];
        let Some(request) = front.requests.get_mut(&id).filter(|it| it.is_submitting) else {
            return;
        };
        if front.deleting.contains(&request.key) {
            return self.front_after(Duration::from_millis(5), index, FrontStep::Put(id));
        }
        *front.sharing.entry(request.key.clone()).or_default() += 1;
        front.keys.take(&request.key);
        (request.is_sharing, request.has_reference, request.put) = (true, true, put);
        let (key, photo) = (request.key.clone(), self.clients[request.client].photo);
        let result = self.put_photo(&key, photo, put);
        let wait = self.latency();
        self.front_after(wait, index, FrontStep::PutDone(id, result));
    }

    pub fn put_done(&mut self, index: usize, id: JobId, put: CloudResult<PutResult>) {
        let front = &mut self.fronts[index];
        let Some(request) = front.requests.get(&id).filter(|it| it.is_submitting) else {
            return;
        };
        match put {
            Err(_) => self.refuse(index, id, unavailable("the object store cannot be reached")),
            Ok(PutResult::Stored) => {
                let key = request.key.clone();
                front.keys.stored(&key);
                self.is_stored(index, id);
            }
            Ok(PutResult::Exists) => {
                let key = request.key.clone();
                let (found, wait) = (self.look_at_photo(&key), self.latency());
                self.front_after(wait, index, FrontStep::Looked(id, found));
            }
        }
    }

    pub fn looked(&mut self, index: usize, id: JobId, found: CloudResult<Option<Stored>>) {
        let front = &mut self.fronts[index];
        let Some(request) = front.requests.get_mut(&id).filter(|it| it.is_submitting) else {
            return;
        };
        let client = &self.clients[request.client];
        let sha256 = &self.photos[client.photo].sha256;
        let found = match found {
            Ok(Some(found)) if found.photo_sha256 == *sha256 => {
                if found.put == request.put {
                    front.keys.stored(&request.key);
                }
                return self.is_stored(index, id);
            }
            found => found,
        };
        // This request did not use the photo. If its last user found it bad meanwhile, it is deleted.
        let derived = derived(&client.file_name, sha256).to_string();
        let was_derived = request.key == derived;
        request.attempts += 1;
        let attempts = request.attempts;
        self.stop_sharing(index, id);
        self.discard_reference(index, id);
        match found {
            Err(_) => self.refuse(index, id, unavailable("the object store cannot be reached")),
            Ok(None) if attempts < ATTEMPTS => {
                let pause = Duration::from_millis(20 << attempts);
                self.front_after(pause, index, FrontStep::Put(id));
            }
            Ok(None) => self.refuse(index, id, unavailable("the object store is busy")),
            Ok(Some(_)) if was_derived => {
                let error = RequestError::new(ErrorCode::Internal, "the file name is taken");
                self.refuse(index, id, error);
            }
            Ok(Some(_)) => {
                if let Some(request) = self.fronts[index].requests.get_mut(&id) {
                    (request.key, request.attempts) = (derived, 0);
                }
                self.front_after(Duration::ZERO, index, FrontStep::Put(id));
            }
        }
    }

    fn is_stored(&mut self, index: usize, id: JobId) {
        self.stop_sharing(index, id);
        let wait = self.latency();
        self.front_after(wait, index, FrontStep::Send(id));
    }

    pub fn send_job(&mut self, index: usize, id: JobId) {
        let now = self.instant();
        let front = &self.fronts[index];
        let Some(request) = front.requests.get(&id).filter(|it| it.is_submitting) else {
            return;
        };
        let client = &self.clients[request.client];
        let job = job(
            id,
            &client.file_name,
            &request.key,
            &self.photos[client.photo].sha256,
            &front.reply_queue,
            request.deadline.saturating_duration_since(now),
        );
        let sent = self.send(REQUESTS, &proto::encode(&job)).map(|_| ());
        let wait = self.latency();
        self.front_after(wait, index, FrontStep::Sent(id, sent));
    }

    pub fn sent(&mut self, index: usize, id: JobId, sent: CloudResult<()>) {
        let front = &self.fronts[index];
        if !front.requests.get(&id).is_some_and(|it| it.is_submitting) {
            return;
        }
        match sent {
            Ok(()) => {
                self.queued.insert(id);
                if let Some(request) = self.fronts[index].requests.get_mut(&id) {
                    request.is_submitting = false;
                }
                self.complete(index, id);
            }
            Err(_) => self.refuse(
                index,
                id,
                unavailable("the request queue cannot be reached"),
            ),
        }
    }

    /// The submission failed. A reply that came meanwhile stands.
    fn refuse(&mut self, index: usize, id: JobId, error: RequestError) {
        self.end_submission(index, id);
        self.finish(index, id, Err(error));
        self.complete(index, id);
    }

    /// Ends the submission before it is done. It keeps the photo, and no longer uses it.
    pub fn end_submission(&mut self, index: usize, id: JobId) {
        self.stop_sharing(index, id);
        let front = &mut self.fronts[index];
        if let Some(request) = front.requests.get_mut(&id)
            && std::mem::replace(&mut request.is_submitting, false)
            && std::mem::replace(&mut request.has_reference, false)
        {
            front.keys.release(&request.key, true);
        }
    }

    fn stop_sharing(&mut self, index: usize, id: JobId) {
        let front = &mut self.fronts[index];
        let Some(request) = front.requests.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut request.is_sharing, false)
            && let Some(count) = front.sharing.get_mut(&request.key)
        {
            *count -= 1;
            if *count == 0 {
                front.sharing.remove(&request.key);
            }
        }
    }

    fn discard_reference(&mut self, index: usize, id: JobId) {
        let front = &mut self.fronts[index];
        if let Some(request) = front.requests.get_mut(&id)
            && std::mem::replace(&mut request.has_reference, false)
        {
            let key = request.key.clone();
            self.discard(index, key);
        }
    }
}

fn unavailable(message: &str) -> RequestError {
    RequestError::new(ErrorCode::Unavailable, message)
}
