//! The clients, their photos, and what each of them is answered.

use std::time::Duration;

use chaos::light::name_of;
use gateway::error::ErrorCode;
use gateway::front::pure::parse;
use platform::kept_results::is_of_use;
use proto::FileName;
use proto::v1::recognition_result::Outcome;
use proto::v1::{FailureCode, Recognition};
use worker::service::pure::{digest, result_keys};

use crate::event::Event;
use crate::random::Random;
use crate::system::Simulation;

/// How many different photos there are.
const PHOTOS: usize = 6;

#[derive(Debug, Clone)]
pub struct Photo {
    pub sha256: String,
    /// What the right answer says; `None` if the photo has no face.
    pub name: Option<String>,
    /// How long a worker is occupied by it.
    pub service: Duration,
}

#[derive(Debug)]
pub struct Client {
    pub file_name: FileName,
    pub photo: usize,
    pub front: usize,
    pub answer: Option<Answer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Name {
        key: String,
        name: String,
    },
    Error {
        code: ErrorCode,
        message: String,
    },
    /// Its front died, or was down.
    Disconnected,
}

pub fn photos(random: &mut Random, visibility_timeout: Duration) -> Vec<Photo> {
    let photo = |_| {
        let bytes = random.number().to_le_bytes();
        let has_face = !random.chance(0.15);
        let is_slow = random.chance(0.1);
        Photo {
            sha256: digest(&bytes),
            name: has_face.then(|| name_of(&bytes)),
            service: if is_slow {
                visibility_timeout.mul_f64(1.7)
            } else {
                random.millis(20, 900)
            },
        }
    };
    (0..PHOTOS).map(photo).collect()
}

/// Names that collide: the same for several photos, with the same stem, and now and then the name that another photo
/// gets when its own name is in use.
pub fn client(random: &mut Random, photos: &[Photo], fronts: usize) -> Client {
    let parse = |name: &str| FileName::parse(name).expect("the name is valid");
    let name = random.pick(&["a.jpg", "a.jpg", "a.png", "b.jpg", "b", "c.jpg"]);
    let mut file_name = parse(name);
    if random.chance(0.03) {
        let other = &photos[random.below(photos.len())];
        file_name = file_name.derived(&other.sha256[..16]);
    }
    Client {
        file_name,
        photo: random.below(photos.len()),
        front: random.below(fronts),
        answer: None,
    }
}

impl Simulation {
    pub fn client_sends(&mut self, client: usize) {
        let wanted = self.clients[client].front;
        let fronts = (0..self.fronts.len()).map(|next| (wanted + next) % self.fronts.len());
        let up = fronts.into_iter().find(|front| self.fronts[*front].is_up);
        match up {
            Some(front) => {
                self.clients[client].front = front;
                self.accept(front, client);
            }
            None => self.answer(client, Answer::Disconnected),
        }
    }

    pub fn recognized(&mut self, client: usize, key: &str, recognition: Recognition) {
        let (key, name) = (key.to_owned(), recognition.name);
        self.answer(client, Answer::Name { key, name });
    }

    /// Answers a client, and checks that it is the first answer and the right one.
    pub fn answer(&mut self, client: usize, answer: Answer) {
        self.note(|| format!("client {client} is answered: {answer:?}"));
        let it = &mut self.clients[client];
        if let Some(before) = it.answer.replace(answer.clone()) {
            return self.violated(format!(
                "client {client} is answered twice: {before:?}, {answer:?}"
            ));
        }
        self.unanswered -= 1;
        let photo = &self.photos[self.clients[client].photo];
        let right = photo.name.as_ref();
        match &answer {
            Answer::Name { name, .. } if Some(name) != right => {
                let what = format!("client {client} is answered {name} instead of {right:?}");
                self.violated(what);
            }
            // The result is stored before the reply is sent.
            Answer::Name { key, .. } => {
                if let Err(what) = self.check_result(client, key) {
                    self.violated(what);
                }
            }
            Answer::Error { code, .. } if *code == ErrorCode::NoFace => {
                if let Some(name) = right {
                    let what = format!("client {client} is answered that {name} has no face");
                    self.violated(what);
                }
            }
            _ if self.scenario.has_faults => {}
            _ => self.check_excuse(client, &answer),
        }
    }

    /// The out-bucket has the result of an answered client's photo.
    pub fn check_result(&self, client: usize, key: &str) -> Result<(), String> {
        let it = &self.clients[client];
        let photo = &self.photos[it.photo];
        let key: FileName = key.parse().map_err(|error| format!("{key}: {error}"))?;
        let keys = result_keys(&key, &photo.sha256);
        let mut stored = keys.iter().filter_map(|key| self.s3.results.get(key));
        let own = stored.find(|stored| stored.photo_sha256 == photo.sha256);
        let name = photo.name.as_deref().unwrap_or_default();
        let is_right = own.is_some_and(|own| {
            let parts = own.body.split_once(':');
            parts.is_some_and(|(_, stored)| stored == name)
        });
        if is_right {
            Ok(())
        } else {
            Err(format!(
                "client {client} was answered {name}, and the out-bucket has {own:?}"
            ))
        }
    }

    /// What a worker replied reached the client, or is kept, unless the reply queue ended with its front. What is kept is
    /// about the client's own photo.
    pub fn check_replies(&self) -> Result<(), String> {
        for (queue, body) in &self.replies {
            let reply = parse(body)?;
            let is_known =
                self.delivered.contains(&reply.id) || self.s3.kept.contains_key(&reply.id);
            let mut fronts = self.fronts.iter();
            let has_front = fronts.any(|front| front.is_up && front.reply_queue == *queue);
            if has_front && !is_known && is_of_use(&reply.result) {
                return Err(format!("the reply {body} is gone"));
            }
        }
        for (id, result) in &self.s3.kept {
            let client = self.senders[id];
            let name = self.photos[self.clients[client].photo].name.as_ref();
            let is_own = match &result.outcome {
                Some(Outcome::Recognition(recognition)) => Some(&recognition.name) == name,
                Some(Outcome::Failure(failure)) => {
                    failure.code() != FailureCode::NoFace || name.is_none()
                }
                Some(Outcome::Frame(_)) | None => false,
            };
            if !is_own {
                return Err(format!(
                    "for client {client} with {name:?} is kept: {result:?}"
                ));
            }
        }
        Ok(())
    }

    /// Without faults a photo with a face is answered by its name, unless its file name is that of another photo by
    /// design, or its message comes so often that it is given up.
    fn check_excuse(&mut self, client: usize, answer: &Answer) {
        let Answer::Error { code, message } = answer else {
            return self.violated(format!("client {client} got {answer:?} without a fault"));
        };
        let has_face = self.photos[self.clients[client].photo].name.is_some();
        let mut names = self.clients.iter().map(|it| it.file_name.as_str());
        let is_given_up = message.starts_with("gave up after");
        let is_excused = match code {
            // The same photo without a face was sent through another front, which deleted it.
            ErrorCode::PhotoVanished => !has_face,
            ErrorCode::Internal if is_given_up => self.scenario.redelivers,
            ErrorCode::Internal => names.any(|name| name.contains('~')),
            _ => false,
        };
        if !is_excused {
            self.violated(format!("client {client} got {answer:?} without a fault"));
        }
    }

    pub fn schedule_clients(&mut self) {
        for (client, at) in self.scenario.arrivals.clone().into_iter().enumerate() {
            self.after(at, Event::Client(client));
        }
    }
}
