//! Operations on the tags of objects and buckets.

use http::Extensions;
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Result};

use super::Api;
use super::input::check_version;
use crate::s3::events::ObjectEvent;
use crate::s3::failure::{failure, internal};
use crate::s3::staging::{StagedFile, run_blocking};
use crate::s3::store::{Object, Tags};
use crate::s3::tags;

impl Api {
    pub(super) async fn do_get_object_tags(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<GetObjectTaggingOutput> {
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        let object = self.store.object(&input.bucket, &input.key)?;
        Ok(GetObjectTaggingOutput {
            tag_set: tags::to_tag_set(&object.tags),
            ..Default::default()
        })
    }

    pub(super) async fn do_put_object_tags(
        &self,
        request: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<PutObjectTaggingOutput> {
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        let tags = tags::of_object(input.tagging)?;
        let event = "ObjectTagging:Put";
        self.retag(&input.bucket, &input.key, tags, event, &request.extensions)
            .await?;
        Ok(PutObjectTaggingOutput::default())
    }

    pub(super) async fn do_delete_object_tags(
        &self,
        request: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<DeleteObjectTaggingOutput> {
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        let (tags, event) = (Tags::new(), "ObjectTagging:Delete");
        self.retag(&input.bucket, &input.key, tags, event, &request.extensions)
            .await?;
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
                tag_set: tags::to_tag_set(&bucket.settings.tags),
            })
        })
    }

    pub(super) async fn do_put_bucket_tags(
        &self,
        request: S3Request<PutBucketTaggingInput>,
    ) -> S3Result<PutBucketTaggingOutput> {
        let tags = tags::of_bucket(request.input.tagging)?;
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

    /// Rewrites the object with other tags, again if it is overwritten meanwhile, and notifies the bucket's queues.
    async fn retag(
        &self,
        bucket: &str,
        key: &str,
        tags: Tags,
        event: &'static str,
        extensions: &Extensions,
    ) -> S3Result<()> {
        let sequencer = loop {
            let (object, source) = self.store.open(bucket, key)?;
            let tagged = Object {
                tags: tags.clone(),
                ..Object::clone(&object)
            };
            let (store, written) = (self.store.clone(), tagged.clone());
            let file = run_blocking(move || {
                let mut staged = StagedFile::default();
                staged.push_file(&store, &source, 0..written.size, |_| {})?;
                staged.seal(&written)
            })
            .await
            .map_err(internal)?;
            let mut overwritten = false;
            let result = self.store.put(bucket, tagged, file, |present| {
                let present = present.ok_or_else(|| failure(S3ErrorCode::NoSuchKey))?;
                overwritten = present.number != object.number;
                match overwritten {
                    true => Err(failure(S3ErrorCode::PreconditionFailed)),
                    false => Ok(()),
                }
            });
            if !overwritten {
                break result?;
            }
        };
        let event = ObjectEvent {
            name: event,
            bucket,
            key,
            object: None,
            sequencer,
        };
        self.notify(&event, extensions).await;
        Ok(())
    }
}
