//! S3: multipart uploads.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
};

use super::{BUCKET, bytes_of, cloud_with_bucket, get, head, put};
use crate::cloud::code;

const PART: usize = 5 * 1024 * 1024;

struct Uploading {
    s3: Client,
    key: &'static str,
    id: String,
}

impl Uploading {
    async fn begin(s3: &Client, key: &'static str, algorithm: ChecksumAlgorithm) -> Self {
        let begun = s3.create_multipart_upload().bucket(BUCKET).key(key);
        let begun = begun.checksum_algorithm(algorithm).metadata("by", "ada");
        Self {
            s3: s3.clone(),
            key,
            id: begun.send().await.unwrap().upload_id.unwrap(),
        }
    }

    async fn part(
        &self,
        number: i32,
        body: Vec<u8>,
        algorithm: ChecksumAlgorithm,
    ) -> CompletedPart {
        let part = self.s3.upload_part().bucket(BUCKET).key(self.key);
        let part = part.upload_id(&self.id).part_number(number);
        let part = part.checksum_algorithm(algorithm);
        let part = part.body(ByteStream::from(body)).send().await.unwrap();
        CompletedPart::builder()
            .part_number(number)
            .set_e_tag(part.e_tag)
            .set_checksum_crc32(part.checksum_crc32)
            .set_checksum_crc64_nvme(part.checksum_crc64_nvme)
            .build()
    }

    fn complete(&self, parts: Vec<CompletedPart>) -> CompleteMultipartUploadFluentBuilder {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts));
        let complete = self.s3.complete_multipart_upload().bucket(BUCKET);
        let complete = complete.key(self.key).upload_id(&self.id);
        complete.multipart_upload(parts.build())
    }
}

#[tokio::test]
async fn a_completed_upload_is_an_object() {
    let (_cloud, s3) = cloud_with_bucket().await;
    let bytes: Vec<u8> = (0..PART + 1000)
        .map(|number| (number % 253) as u8)
        .collect();
    for (algorithm, composite) in [
        (ChecksumAlgorithm::Crc32, true),
        (ChecksumAlgorithm::Crc64Nvme, false),
    ] {
        let upload = Uploading::begin(&s3, "a", algorithm.clone()).await;
        // Parts may come in any order and overwrite each other.
        let part = |number, body: &[u8]| upload.part(number, body.to_vec(), algorithm.clone());
        let second = part(7, &bytes[PART..]).await;
        part(2, b"other").await;
        let first = part(2, &bytes[..PART]).await;
        let parts = s3.list_parts().bucket(BUCKET).key("a");
        let parts = parts.upload_id(&upload.id).max_parts(1).send().await;
        let parts = parts.unwrap();
        assert_eq!(parts.parts()[0].part_number(), Some(2));
        assert_eq!(parts.is_truncated(), Some(true));
        let unfinished = s3.head_object().bucket(BUCKET).key("a").send().await;
        if composite {
            assert!(unfinished.unwrap_err().into_service_error().is_not_found());
        }
        let done = upload.complete(vec![first, second]).send().await.unwrap();
        assert!(done.e_tag().unwrap().ends_with("-2\""));
        let expected = match composite {
            true => ChecksumType::Composite,
            false => ChecksumType::FullObject,
        };
        assert_eq!(done.checksum_type(), Some(&expected));
        let got = s3.get_object().bucket(BUCKET).key("a");
        let got = got.checksum_mode(ChecksumMode::Enabled).send().await;
        let got = got.unwrap();
        assert_eq!(got.metadata().unwrap()["by"], "ada");
        assert_eq!(got.e_tag(), done.e_tag());
        assert!(bytes_of(got.body).await == bytes);
        let part = s3.get_object().bucket(BUCKET).key("a").part_number(7);
        let part = part.send().await.unwrap();
        assert_eq!(part.parts_count(), Some(2));
        assert!(bytes_of(part.body).await == bytes[PART..]);
        let absent = s3.get_object().bucket(BUCKET).key("a").part_number(1);
        assert_eq!(code(absent.send().await.unwrap_err()), "InvalidPartNumber");
        let again = upload.complete(Vec::new()).send().await;
        assert_eq!(code(again.unwrap_err()), "NoSuchUpload");
    }
}

#[tokio::test]
async fn invalid_parts_are_refused() {
    let (_cloud, s3) = cloud_with_bucket().await;
    let crc = ChecksumAlgorithm::Crc32;
    let upload = Uploading::begin(&s3, "a", crc.clone()).await;
    let small = upload.part(1, b"small".to_vec(), crc.clone()).await;
    let last = upload.part(2, b"last".to_vec(), crc.clone()).await;
    let part = |number, etag: &str| {
        let part = CompletedPart::builder().part_number(number);
        part.e_tag(etag).build()
    };
    let without_checksum = part(1, small.e_tag().unwrap());
    for (parts, expected) in [
        (vec![small.clone(), last.clone()], "EntityTooSmall"),
        (vec![last.clone(), small.clone()], "InvalidPartOrder"),
        (vec![part(1, "\"other\"")], "InvalidPart"),
        (vec![part(3, "\"absent\"")], "InvalidPart"),
        (vec![without_checksum], "InvalidRequest"),
        (vec![], "MalformedXML"),
    ] {
        let refused = upload.complete(parts).send().await;
        assert_eq!(code(refused.unwrap_err()), expected);
    }
    let upload_part = |number| {
        let part = s3.upload_part().bucket(BUCKET).key("a");
        part.upload_id(&upload.id).part_number(number)
    };
    let number = upload_part(10_001).send().await;
    assert_eq!(code(number.unwrap_err()), "InvalidArgument");
    let other = upload_part(1).checksum_algorithm(ChecksumAlgorithm::Sha1);
    assert_eq!(code(other.send().await.unwrap_err()), "InvalidRequest");

    put(&s3, "a", "").await;
    let conditional = upload.complete(vec![small.clone()]).if_none_match("*");
    let refused = conditional.send().await.unwrap_err();
    assert_eq!(code(refused), "PreconditionFailed");
    upload.complete(vec![small]).send().await.unwrap();
    assert_eq!(head(&s3, "a").await.content_length(), Some(5));
}

#[tokio::test]
async fn parts_are_copied_and_uploads_listed_and_aborted() {
    let (_cloud, s3) = cloud_with_bucket().await;
    put(&s3, "source", "0123456789").await;
    let crc = ChecksumAlgorithm::Crc64Nvme;
    let upload = Uploading::begin(&s3, "a/1", crc.clone()).await;
    let other = Uploading::begin(&s3, "b", crc).await;
    let copy = |range: &str| {
        let copy = s3.upload_part_copy().bucket(BUCKET).key("a/1");
        let copy = copy.upload_id(&upload.id).part_number(1);
        let copy = copy.copy_source(format!("{BUCKET}/source"));
        copy.copy_source_range(range).send()
    };
    for range in ["bytes=5-10", "bytes=5-"] {
        assert_eq!(code(copy(range).await.unwrap_err()), "InvalidArgument");
    }
    let copied = copy("bytes=2-4").await.unwrap();
    let etag = copied.copy_part_result.unwrap().e_tag;
    let list = || s3.list_multipart_uploads().bucket(BUCKET);
    let listed = list().send().await.unwrap();
    let keys = listed.uploads().iter().map(|one| one.key().unwrap());
    assert_eq!(keys.collect::<Vec<_>>(), ["a/1", "b"]);
    let page = list().max_uploads(1).send().await.unwrap();
    assert_eq!(page.next_key_marker(), Some("a/1"));
    let rest = list()
        .key_marker("a/1")
        .upload_id_marker(page.next_upload_id_marker().unwrap());
    assert_eq!(rest.send().await.unwrap().uploads()[0].key(), Some("b"));
    let rolled = list().delimiter("/").send().await.unwrap();
    assert_eq!(rolled.common_prefixes()[0].prefix(), Some("a/"));
    let part = CompletedPart::builder().part_number(1).set_e_tag(etag);
    upload.complete(vec![part.build()]).send().await.unwrap();
    assert_eq!(get(&s3, "a/1").await, b"234");
    let abort = || {
        let abort = s3.abort_multipart_upload().bucket(BUCKET).key("b");
        abort.upload_id(&other.id).send()
    };
    abort().await.unwrap();
    assert_eq!(code(abort().await.unwrap_err()), "NoSuchUpload");
    assert!(list().send().await.unwrap().uploads().is_empty());
}
