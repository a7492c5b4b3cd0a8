//! Random requests to the service: each gets a response, and each error has S3's form.

use std::sync::Arc;

use http::{Method, Request};
use http_body_util::BodyExt;
use proptest::prelude::*;
use s3s::Body;

use super::{S3, Target};
use crate::clock::Clock;
use crate::config::Authentication;
use crate::iam::Iam;
use crate::sqs::Sqs;

struct Reply {
    status: u16,
    body: Vec<u8>,
}

fn service(folder: &std::path::Path) -> S3 {
    let clock = Clock::start();
    let sqs = Arc::new(Sqs::new(clock, "us-east-1"));
    let iam = Iam::without_roles(clock, Authentication::Any);
    S3::new(folder, iam, "us-east-1", clock, sqs, None).unwrap()
}

/// Sends a request; `None` if it is not valid HTTP or the router refuses it.
async fn send(
    s3: &S3,
    method: Method,
    uri: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Option<Reply> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(body.to_vec())).ok()?;
    let target = Target::of(&request)?;
    let response = s3.call(&target, request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await;
    Some(Reply {
        status,
        body: body
            .map(|body| body.to_bytes().to_vec())
            .unwrap_or_default(),
    })
}

fn methods() -> impl Strategy<Value = Method> {
    prop_oneof![
        Just(Method::GET),
        Just(Method::PUT),
        Just(Method::POST),
        Just(Method::DELETE),
        Just(Method::HEAD),
        Just(Method::OPTIONS),
        Just(Method::PATCH),
    ]
}

fn paths() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("/bucket/key".to_owned()),
        2 => Just("/bucket".to_owned()),
        1 => Just("/".to_owned()),
        1 => "/[a-zA-Z0-9/.%_~-]{0,12}",
        1 => "/bucket/[ -~]{0,12}",
    ]
}

/// Returns one of the words of a text.
fn one_of(words: &str) -> impl Strategy<Value = String> + use<> {
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    proptest::sample::select(words)
}

fn queries() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        one_of(
            "uploads uploadId partNumber list-type delimiter prefix max-keys tagging acl delete notification \
             versioning versionId attributes location continuation-token encoding-type policy cors lifecycle \
             versions torrent restore select website logging x-id X-Amz-Signature X-Amz-Credential \
             response-expires",
        ),
        "[a-zA-Z%&=-]{0,6}",
    ];
    let value = prop_oneof![Just(String::new()), Just("=1".to_owned()), "=[ -~]{0,8}"];
    proptest::collection::vec((name, value), 0..3).prop_map(|pairs| {
        let pairs: Vec<_> = pairs
            .into_iter()
            .map(|(name, value)| name + &value)
            .collect();
        pairs.join("&")
    })
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = one_of(
        "range if-match if-none-match if-modified-since content-md5 content-type content-length \
         x-amz-copy-source x-amz-copy-source-range x-amz-tagging x-amz-checksum-crc32 x-amz-sdk-checksum-algorithm \
         x-amz-trailer x-amz-content-sha256 x-amz-decoded-content-length x-amz-metadata-directive \
         x-amz-storage-class x-amz-meta-a x-amz-acl x-amz-object-attributes x-amz-expected-bucket-owner \
         authorization expires host",
    );
    let value = prop_oneof![
        "[ -~]{0,10}",
        proptest::sample::select(vec![
            "*",
            "\"x\"",
            "bytes=0-",
            "bytes=-1",
            "bytes=5-2",
            "1",
            "0",
            "-1",
            "/bucket/key",
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "x-amz-checksum-crc32",
            "CRC32",
            "REPLACE",
            "ETag,Checksum,ObjectParts",
            "multipart/form-data; boundary=x",
            "application/xml",
            "AAAAAA==",
            "Wed, 21 Oct 2015 07:28:00 GMT",
            "18446744073709551615",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec((name, value), 0..4)
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let xml = proptest::sample::select(vec![
        "<Delete><Object><Key>key</Key></Object></Delete>",
        "<Delete><Object/></Delete>",
        "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
        "<NotificationConfiguration><QueueConfiguration><Queue>q</Queue><Event>s3:ObjectCreated:*</Event></QueueConfiguration></NotificationConfiguration>",
        "<CreateBucketConfiguration><LocationConstraint>x</LocationConstraint></CreateBucketConfiguration>",
        "4\r\nbody\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        "4;chunk-signature=0\r\nbody\r\n0;chunk-signature=0\r\n\r\n",
        "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--x--\r\n",
    ]);
    prop_oneof![
        2 => xml.clone().prop_map(|text| text.as_bytes().to_vec()),
        // Truncated documents.
        1 => (xml, 0..200usize).prop_map(|(text, end)| text.as_bytes()[..end.min(text.len())].to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_requests_get_s3_responses(
        requests in proptest::collection::vec((methods(), paths(), queries(), headers(), bodies()), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let s3 = service(folder.path());
        runtime.block_on(async {
            send(&s3, Method::PUT, "/bucket", &[], b"").await.unwrap();
            send(&s3, Method::PUT, "/bucket/key", &[], b"body").await.unwrap();
            for (method, path, query, headers, body) in requests {
                let uri = format!("{path}?{query}");
                let Some(reply) = send(&s3, method.clone(), &uri, &headers, &body).await else {
                    continue;
                };
                assert!(reply.status < 500 || reply.status == 501, "{method} {uri}: {}", reply.status);
                if reply.status >= 400 {
                    let text = String::from_utf8_lossy(&reply.body);
                    assert!(text.contains("<Code>") && text.contains("<RequestId>"), "{uri}: {text}");
                }
            }
        });
    }

    #[test]
    fn a_target_is_parsed_or_refused(method in methods(), path in "/[ -~]{0,30}", query in "[ -~]{0,20}") {
        let request = Request::builder().method(method).uri(format!("{path}?{query}")).body(());
        if let Some(target) = request.ok().as_ref().and_then(Target::of) {
            prop_assert!(!target.bucket.contains('/'));
            prop_assert!(!target.action.is_empty());
        }
    }
}
