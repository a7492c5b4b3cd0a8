//! The tags of objects and buckets.

use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Result};

use super::{Api, caller, check_version};
use crate::s3::events::Event;
use crate::s3::failure::{failure, failure_with, internal, invalid_argument};
use crate::s3::receive::on_other_thread;
use crate::s3::store::{Object, Tags};

const MOST_OBJECT_TAGS: usize = 10;
const MOST_BUCKET_TAGS: usize = 50;

impl Api {
    pub(super) async fn do_get_object_tags(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<GetObjectTaggingOutput> {
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        let object = self.store.object(&input.bucket, &input.key)?;
        Ok(GetObjectTaggingOutput {
            tag_set: shown(&object.tags),
            ..Default::default()
        })
    }

    pub(super) async fn do_put_object_tags(
        &self,
        request: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<PutObjectTaggingOutput> {
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        let tags = read(input.tagging, MOST_OBJECT_TAGS)?;
        let sequencer = self.retag(&input.bucket, &input.key, tags).await?;
        let event = Event {
            name: "ObjectTagging:Put",
            bucket: &input.bucket,
            key: &input.key,
            object: None,
            sequencer,
        };
        self.announce(&event, &caller(&request.extensions)).await;
        Ok(PutObjectTaggingOutput::default())
    }

    pub(super) async fn do_delete_object_tags(
        &self,
        request: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<DeleteObjectTaggingOutput> {
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        let sequencer = self.retag(&input.bucket, &input.key, Tags::new()).await?;
        let event = Event {
            name: "ObjectTagging:Delete",
            bucket: &input.bucket,
            key: &input.key,
            object: None,
            sequencer,
        };
        self.announce(&event, &caller(&request.extensions)).await;
        Ok(DeleteObjectTaggingOutput::default())
    }

    pub(super) async fn do_get_bucket_tags(
        &self,
        request: S3Request<GetBucketTaggingInput>,
    ) -> S3Result<GetBucketTaggingOutput> {
        self.store.with_bucket(&request.input.bucket, |bucket| {
            if bucket.settings.tags.is_empty() {
                return Err(failure(S3ErrorCode::NoSuchTagSet));
            }
            Ok(GetBucketTaggingOutput {
                tag_set: shown(&bucket.settings.tags),
            })
        })
    }

    pub(super) async fn do_put_bucket_tags(
        &self,
        request: S3Request<PutBucketTaggingInput>,
    ) -> S3Result<PutBucketTaggingOutput> {
        let tags = read(request.input.tagging, MOST_BUCKET_TAGS)?;
        self.store
            .change_settings(&request.input.bucket, |settings| settings.tags = tags)?;
        Ok(PutBucketTaggingOutput::default())
    }

    pub(super) async fn do_delete_bucket_tags(
        &self,
        request: S3Request<DeleteBucketTaggingInput>,
    ) -> S3Result<DeleteBucketTaggingOutput> {
        self.store
            .change_settings(&request.input.bucket, |settings| settings.tags.clear())?;
        Ok(DeleteBucketTaggingOutput::default())
    }

    /// Writes the object anew with other tags; again, when it was overwritten meanwhile.
    async fn retag(&self, bucket: &str, key: &str, tags: Tags) -> S3Result<u64> {
        loop {
            let (object, file) = self.store.open(bucket, key)?;
            let tagged = Object {
                tags: tags.clone(),
                ..Object::clone(&object)
            };
            let store = self.store.clone();
            let written = tagged.clone();
            let size = object.size;
            let file = on_other_thread(move || {
                let mut pending = crate::s3::receive::Pending::default();
                super::copies::read_through(&file, 0..size, |bytes| {
                    pending.push_here(&store, bytes)
                })?;
                pending.seal_here(&store, &written)
            })
            .await
            .map_err(internal)?;
            let number = object.number;
            let mut overwritten = false;
            let result = self.store.put(bucket, tagged, file, |present| {
                let present = present.ok_or_else(|| failure(S3ErrorCode::NoSuchKey))?;
                overwritten = present.number != number;
                match overwritten {
                    true => Err(failure(S3ErrorCode::PreconditionFailed)),
                    false => Ok(()),
                }
            });
            if !overwritten {
                return result;
            }
        }
    }
}

/// The tags in the header of an upload, which are written like a form.
pub(super) fn parse_tags(header: Option<&str>) -> S3Result<Tags> {
    let Some(header) = header else {
        return Ok(Tags::new());
    };
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(header).map_err(|_| {
        invalid_argument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
        )
    })?;
    collect(pairs, MOST_OBJECT_TAGS)
}

fn read(tagging: Tagging, most: usize) -> S3Result<Tags> {
    let pairs = tagging.tag_set.into_iter().map(|tag| {
        let key = tag.key.unwrap_or_default();
        (key, tag.value.unwrap_or_default())
    });
    collect(pairs, most)
}

fn collect(pairs: impl IntoIterator<Item = (String, String)>, most: usize) -> S3Result<Tags> {
    let invalid = |message| failure_with(S3ErrorCode::InvalidTag, message);
    let mut tags = Tags::new();
    for (key, value) in pairs {
        if key.is_empty() || key.chars().count() > 128 || key.starts_with("aws:") {
            return Err(invalid("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > 256 {
            return Err(invalid("The TagValue you have provided is invalid"));
        }
        if tags.insert(key, value).is_some() {
            return Err(invalid("Cannot provide multiple Tags with the same key"));
        }
    }
    if tags.len() > most {
        let message = if most == MOST_OBJECT_TAGS {
            "Object tags cannot be greater than 10"
        } else {
            "Bucket tags cannot be greater than 50"
        };
        return Err(failure_with(
            S3ErrorCode::Custom("BadRequest".into()),
            message,
        ));
    }
    Ok(tags)
}

fn shown(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag {
            key: Some(key.clone()),
            value: Some(value.clone()),
        })
        .collect()
}
