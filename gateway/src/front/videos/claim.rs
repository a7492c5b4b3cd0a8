//! Which front works on a clip: an object in the in-bucket that its owner rewrites from time to time.
//!
//! Another front takes a clip over when the object has not changed for the lease time, by its own clock, or when the owner
//! gave it up. No two clocks are compared. S3 decides between two fronts by the entity tag.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use platform::objects::{Condition, Objects, Swap};
use proto::v1::VideoClaim;
use proto::video::UNFINISHED;
use proto::{JobId, VideoKeys};
use tokio_util::sync::CancellationToken;

use super::store::refused;
use crate::error::{ErrorCode, RequestError};

/// A front's claim on a clip.
#[derive(Debug)]
pub struct Claim {
    objects: Objects,
    video: JobId,
    owner: String,
    renewals: u64,
    etag: String,
}

/// The claims of other fronts, as they were last seen: entity tag, and since when.
#[derive(Debug, Default)]
pub struct OtherClaims(HashMap<JobId, (String, Instant)>);

impl Claim {
    /// Claims a new clip.
    pub async fn make(objects: Objects, video: JobId, owner: &str) -> Result<Self, RequestError> {
        let mut claim = Self {
            objects,
            video,
            owner: owner.to_owned(),
            renewals: 0,
            etag: String::new(),
        };
        match claim.write(&Condition::Absent, owner).await? {
            true => Ok(claim),
            false => Err(RequestError::new(
                ErrorCode::Internal,
                "the clip's id is taken",
            )),
        }
    }

    /// Rewrites the object until another front has it, or `stop`. While the store fails, the claim is kept: others cannot
    /// take it either.
    pub async fn keep(&mut self, lease: Duration, stop: &CancellationToken) {
        let period = lease / 3;
        while stop
            .run_until_cancelled(tokio::time::sleep(period))
            .await
            .is_some()
        {
            match self.renew().await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(video_id = %self.video, "another front has taken the clip over");
                    return;
                }
                Err(error) => tracing::warn!(%error, "the claim on a clip cannot be renewed"),
            }
        }
    }

    /// Returns `false` when another front has the clip.
    async fn renew(&mut self) -> Result<bool, RequestError> {
        let owner = self.owner.clone();
        let unchanged = Condition::Unchanged(self.etag.clone());
        if self.write(&unchanged, &owner).await? {
            return Ok(true);
        }
        // The reply to an earlier write may have been lost.
        let found = self.objects.get_tagged(&self.key()).await;
        match found.map_err(|error| refused(&error))? {
            Some(found) if owner_of(&found.body) == self.owner => {
                self.etag = found.etag;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Gives the clip up, so that another front takes it over at once.
    pub async fn release(mut self) {
        let unchanged = Condition::Unchanged(self.etag.clone());
        if let Err(error) = self.write(&unchanged, "").await {
            tracing::warn!(%error, video_id = %self.video, "the claim on a clip stays until it is stale");
        }
    }

    /// Deletes the claim of a clip that is finished.
    pub async fn finish(&self) -> Result<(), RequestError> {
        let deleted = self.objects.delete(&self.key()).await;
        deleted.map_err(|error| refused(&error))
    }

    /// Returns whether the object was written.
    async fn write(&mut self, condition: &Condition, owner: &str) -> Result<bool, RequestError> {
        self.renewals += 1;
        let body = proto::encode(&VideoClaim {
            video_id: self.video.to_string(),
            owner: owner.to_owned(),
            renewals: self.renewals,
        });
        let key = self.key();
        let swapped = self.objects.swap(&key, body.into(), condition).await;
        match swapped.map_err(|error| refused(&error))? {
            Swap::Stored(etag) => {
                self.etag = etag;
                Ok(true)
            }
            Swap::Refused => Ok(false),
        }
    }

    fn key(&self) -> String {
        VideoKeys { video: self.video }.claim()
    }
}

impl OtherClaims {
    /// Claims up to `most` clips of fronts that are gone, except those that `is_own`. `owner` is this front.
    pub async fn take_over(
        &mut self,
        objects: &Objects,
        owner: &str,
        lease: Duration,
        most: usize,
        is_own: impl Fn(JobId) -> bool,
    ) -> Result<Vec<(JobId, Claim)>, RequestError> {
        let keys = objects.keys_under(UNFINISHED).await;
        let keys = keys.map_err(|error| refused(&error))?;
        let videos = keys.iter().filter_map(|key| key.strip_prefix(UNFINISHED));
        let videos: Vec<JobId> = videos.filter_map(|id| id.parse().ok()).collect();
        self.0.retain(|video, _| videos.contains(video));
        let mut taken = Vec::new();
        for video in videos.into_iter().filter(|video| !is_own(*video)) {
            if taken.len() >= most {
                break;
            }
            let found = objects.get_tagged(&VideoKeys { video }.claim()).await;
            let Some(found) = found.map_err(|error| refused(&error))? else {
                continue;
            };
            let now = Instant::now();
            let last = self.0.get(&video).filter(|(etag, _)| *etag == found.etag);
            let since = last.map_or(now, |(_, since)| *since);
            self.0.insert(video, (found.etag.clone(), since));
            let its_owner = owner_of(&found.body);
            // A front with a reply queue of its own name keeps its identity when it restarts.
            let is_free = its_owner.is_empty() || its_owner == owner;
            if !is_free && now.duration_since(since) < lease {
                continue;
            }
            let mut claim = Claim {
                objects: objects.clone(),
                video,
                owner: owner.to_owned(),
                renewals: 0,
                etag: found.etag.clone(),
            };
            if claim
                .write(&Condition::Unchanged(found.etag), owner)
                .await?
            {
                self.0.remove(&video);
                taken.push((video, claim));
            }
        }
        Ok(taken)
    }
}

fn owner_of(body: &[u8]) -> String {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let claim = proto::decode::<VideoClaim>(text);
    claim.map(|claim| claim.owner).unwrap_or_default()
}
