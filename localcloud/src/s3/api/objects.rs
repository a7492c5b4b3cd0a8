//! Writing and deleting objects.

use http::{Extensions, Method};
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Result};

use super::input::{check_acl, check_encryption, check_key, check_version, description};
use super::{Api, access_denied};
use crate::iam::Caller;
use crate::s3::accesses::delete_object;
use crate::s3::checksums::{Algorithm, Checksum, declared_checksums, set_checksum};
use crate::s3::conditions::{check_version_of, check_write, to_etag};
use crate::s3::events::ObjectEvent;
use crate::s3::failure::failure;
use crate::s3::form::Form;
use crate::s3::receive::{DeclaredBody, Trailers};
use crate::s3::store::Object;
use crate::s3::tags;

const MAX_DELETED_KEYS: usize = 1000;

impl Api {
    pub(super) async fn do_put_object(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<PutObjectOutput> {
        // `s3s` hands over a browser's form as a PutObject.
        let event = match request.method {
            Method::POST => "ObjectCreated:Post",
            _ => "ObjectCreated:Put",
        };
        let input = &mut request.input;
        self.check_bucket(&input.bucket)?;
        check_key(&input.key)?;
        let grants = input.grant_full_control.is_some()
            || input.grant_read.is_some()
            || input.grant_read_acp.is_some()
            || input.grant_write_acp.is_some();
        check_acl(input.acl.as_ref().map(ObjectCannedACL::as_str), grants)?;
        check_encryption(
            input.sse_customer_key.is_some(),
            input.server_side_encryption.as_ref(),
        )?;
        let description = description!(input, &request.extensions)?;
        let tags = tags::from_header(input.tagging.as_deref())?;
        let requested = input.checksum_algorithm.as_ref().and_then(Algorithm::of);
        let declared = DeclaredBody {
            content_length: input.content_length,
            content_md5: input.content_md5.take(),
            checksums: declared_checksums!(input),
            trailer: DeclaredBody::announced_trailer(&request.headers)?,
            default_algorithm: requested.or(Some(Algorithm::Crc64nvme)),
        };
        let trailers = Trailers::of(request.trailing_headers.take(), &mut request.extensions);
        let received = declared
            .receive(&self.store, input.body.take(), trailers)
            .await?;
        let object = self.new_object(&input.key, &received, description, tags);
        let (if_match, if_none_match) = (input.if_match.as_ref(), input.if_none_match.as_ref());
        self.store_object(
            &input.bucket,
            &object,
            received.staged,
            event,
            &request.extensions,
            |file| {
                self.store
                    .put(&input.bucket, object.clone(), file, |present| {
                        check_write(if_match, if_none_match, present)
                    })
            },
        )
        .await?;
        if let Some(form) = request.extensions.get::<Form>() {
            form.note_stored(&object.key, &object.etag);
        }
        let mut output = PutObjectOutput {
            e_tag: Some(to_etag(&object)),
            checksum_type: object.checksum.as_ref().map(Checksum::type_dto),
            server_side_encryption: input.server_side_encryption.take(),
            ..Default::default()
        };
        set_checksum!(output, object.checksum.as_ref());
        Ok(output)
    }

    pub(super) async fn do_delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<DeleteObjectOutput> {
        let input = request.input;
        check_version(input.version_id.as_deref())?;
        let check = |present: Option<&Object>| {
            check_write(input.if_match.as_ref(), None, present)?;
            let time = input.if_match_last_modified_time.as_ref();
            check_version_of(present, input.if_match_size, time)
        };
        self.delete(&input.bucket, &input.key, &request.extensions, check)
            .await?;
        Ok(DeleteObjectOutput::default())
    }

    pub(super) async fn do_delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<DeleteObjectsOutput> {
        let input = request.input;
        let objects = input.delete.objects;
        if objects.is_empty() || objects.len() > MAX_DELETED_KEYS {
            return Err(failure(S3ErrorCode::MalformedXML));
        }
        let quiet = input.delete.quiet == Some(true);
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for wanted in objects {
            let condition = wanted.e_tag.map(ETagCondition::ETag);
            let check = |present: Option<&Object>| {
                check_version(wanted.version_id.as_deref())?;
                check_write(condition.as_ref(), None, present)?;
                check_version_of(present, wanted.size, wanted.last_modified_time.as_ref())
            };
            let result = match self.may_delete(&input.bucket, &wanted.key, &request.extensions) {
                Err(denied) => Err(denied),
                Ok(()) => {
                    self.delete(&input.bucket, &wanted.key, &request.extensions, check)
                        .await
                }
            };
            match result {
                Ok(()) if quiet => {}
                Ok(()) => deleted.push(DeletedObject {
                    key: Some(wanted.key),
                    ..Default::default()
                }),
                Err(error) if *error.code() == S3ErrorCode::NoSuchBucket => return Err(error),
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(wanted.key),
                    message: error.message().map(str::to_owned),
                    version_id: wanted.version_id,
                }),
            }
        }
        Ok(DeleteObjectsOutput {
            deleted: (!deleted.is_empty()).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            ..Default::default()
        })
    }

    /// Checks a key of DeleteObjects, which needs no permission of its own.
    fn may_delete(&self, bucket: &str, key: &str, extensions: &Extensions) -> S3Result<()> {
        let Some(caller) = extensions.get::<Caller>() else {
            return Ok(());
        };
        let access = [delete_object(bucket, key)];
        let allowed = self.iam.authorize(caller, &access);
        allowed.map_err(|denied| access_denied(&denied))
    }

    async fn delete(
        &self,
        bucket: &str,
        key: &str,
        extensions: &Extensions,
        check: impl FnOnce(Option<&Object>) -> S3Result<()>,
    ) -> S3Result<()> {
        let Some(sequencer) = self.store.delete(bucket, key, check)? else {
            return Ok(());
        };
        let event = ObjectEvent {
            name: "ObjectRemoved:Delete",
            bucket,
            key,
            object: None,
            sequencer,
        };
        self.notify(&event, extensions).await;
        Ok(())
    }
}
