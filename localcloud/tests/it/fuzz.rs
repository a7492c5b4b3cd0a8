//! Every request gets a reply in its own protocol.
//!
//! Valid requests of all protocols are mutated at random and sent over sockets. A panic would close the connection without
//! a reply. The replies must be JSON or XML. `PROPTEST_CASES=100000` tries more.

mod ec2;
mod xml;

use std::path::Path;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use localcloud::{Authentication, Config};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use crate::cloud::Cloud;
use xml::is_well_formed;

/// A valid request.
struct Template {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// Seeds of the fuzz targets. Each line is a call: a form, or an action of SQS and its JSON.
const SEEDS: [&str; 8] = [
    "ec2/calls-1",
    "ec2/calls-2",
    "ec2/describe",
    "ec2/launch",
    "sqs/json-messages",
    "sqs/json-queues",
    "sqs/json-redrive",
    "sqs/query",
];

/// More requests: a line with method and path, lines with headers, an empty line, the body.
const REQUESTS: [&str; 15] = [
    "POST /\ncontent-type: application/x-amz-json-1.0\nx-amz-target: AmazonSQS.StartMessageMoveTask\n\n{\"SourceArn\":\"arn:aws:sqs:us-east-1:000000000000:q\",\"MaxNumberOfMessagesPerSecond\":5}",
    "GET /?Action=DescribeInstances&Version=2016-11-15",
    "PUT /bucket\n\n<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>",
    "PUT /bucket/some/key%20x\nx-amz-meta-a: b\nif-none-match: *\ncontent-md5: XUFAKrxLKna5cZ2REBfFkg==\n\nhello",
    "PUT /bucket/sum\nx-amz-checksum-crc32: NhCmhg==\n\nhello",
    "PUT /bucket/copy\nx-amz-copy-source: /bucket/some/key%20x",
    "GET /bucket/some/key%20x?response-content-type=text/plain&partNumber=1\nrange: bytes=1-3\nif-match: \"x\"",
    "GET /bucket?list-type=2&prefix=s&delimiter=/&max-keys=2&start-after=a&encoding-type=url",
    "GET /bucket?prefix=s&marker=a",
    "POST /bucket?delete\n\n<Delete><Object><Key>some/key x</Key></Object><Object><Key>b</Key></Object><Quiet>false</Quiet></Delete>",
    "POST /bucket/multi?uploads",
    "PUT /bucket/multi?partNumber=1&uploadId=0c6f8e4e-5d7f-4b3c-9a70-5fd4d5a3d9e1\n\npart",
    "POST /bucket/multi?uploadId=0c6f8e4e-5d7f-4b3c-9a70-5fd4d5a3d9e1\n\n<CompleteMultipartUpload><Part><ETag>\"x\"</ETag><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
    "PUT /bucket?notification\n\n<NotificationConfiguration><QueueConfiguration><Id>n</Id><Queue>arn:aws:sqs:us-east-1:000000000000:q</Queue><Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>some/</Value></FilterRule></S3Key></Filter></QueueConfiguration></NotificationConfiguration>",
    "PUT /bucket/some/key%20x?tagging\n\n<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
];

static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let mut templates: Vec<Template> = REQUESTS.map(Template::of).into();
    for seed in SEEDS {
        let calls = std::fs::read_to_string(seeds.join(seed)).unwrap();
        templates.extend(calls.lines().map(Template::of_call));
    }
    templates
});

impl Template {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let (method, path) = lines.next().unwrap().split_once(' ').unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }

    fn of_call(call: &str) -> Self {
        let (headers, body) = match call.split_once(' ') {
            None => ("x-www-form-urlencoded".to_owned(), call),
            Some((action, json)) => (
                format!("x-amz-json-1.0\nx-amz-target: AmazonSQS.{action}"),
                json,
            ),
        };
        Self::of(&format!(
            "POST /\ncontent-type: application/{headers}\n\n{body}"
        ))
    }
}

/// A change of some bytes; positions are taken modulo the length.
#[derive(Debug, Clone)]
enum Mutation {
    Delete {
        at: usize,
        length: usize,
    },
    Insert {
        at: usize,
        bytes: Vec<u8>,
    },
    Duplicate {
        at: usize,
        length: usize,
    },
    Swap {
        at: usize,
        with: usize,
    },
    /// Inserts text that has broken parsers.
    InsertNasty {
        at: usize,
        which: usize,
    },
}

const NASTY: [&str; 16] = [
    "99999999999999999999999999",
    "-1",
    "1e308",
    "\0",
    "%00",
    "%",
    "%ff%fe",
    "\u{FEFF}\u{202E}",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "<!DOCTYPE x [<!ENTITY a \"aaaaaaaa\">]>",
    "<![CDATA[",
    "&#0;",
    "/../",
    "\"},{\"",
    "null",
    "&&==..1..2",
];

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<usize>;
    prop_oneof![
        (at(), 1..20usize).prop_map(|(at, length)| Mutation::Delete { at, length }),
        (at(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
        (at(), 1..200usize).prop_map(|(at, length)| Mutation::Duplicate { at, length }),
        (at(), at()).prop_map(|(at, with)| Mutation::Swap { at, with }),
        (at(), 0..NASTY.len()).prop_map(|(at, which)| Mutation::InsertNasty { at, which }),
    ]
}

fn mutated(bytes: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for mutation in mutations {
        let end = bytes.len();
        let position = |at: usize| at % (end + 1);
        match mutation {
            Mutation::Delete { at, length } => {
                let at = position(*at);
                bytes.drain(at..(at + length).min(end));
            }
            Mutation::Insert { at, bytes: added } => {
                let at = position(*at);
                bytes.splice(at..at, added.iter().copied());
            }
            Mutation::Duplicate { at, length } => {
                let at = position(*at);
                let piece = bytes[at..(at + length).min(end)].to_vec();
                bytes.splice(at..at, piece);
            }
            Mutation::Swap { at, with } if end > 0 => bytes.swap(at % end, with % end),
            Mutation::Swap { .. } => {}
            Mutation::InsertNasty { at, which } => {
                let at = position(*at);
                bytes.splice(at..at, NASTY[*which].bytes());
            }
        }
    }
    bytes
}

/// Returns a mutated request, if HTTP can carry it.
fn request(
    endpoint: &str,
    template: &Template,
    body: &[Mutation],
    path: &[Mutation],
    header: Option<(usize, Mutation)>,
) -> Option<Request<Full<Bytes>>> {
    // Without the first slash the request would go to another server.
    let path = String::from_utf8(mutated(&template.path.as_bytes()[1..], path)).ok()?;
    let mut request = Request::builder()
        .method(template.method.as_str())
        .uri(format!("{endpoint}/{path}"));
    for (index, (name, value)) in template.headers.iter().enumerate() {
        let mutations = match &header {
            Some((which, mutation)) if which % template.headers.len() == index => {
                std::slice::from_ref(mutation)
            }
            _ => &[],
        };
        request = request.header(name.as_str(), mutated(value.as_bytes(), mutations));
    }
    let body = mutated(template.body.as_bytes(), body);
    request.body(Full::new(Bytes::from(body))).ok()
}

/// A server, and a client that reuses its connections.
struct Served {
    runtime: Runtime,
    cloud: Cloud,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Served {
    /// Starts a server that accepts unsigned requests.
    fn start(config: Config) -> Self {
        let runtime = Runtime::new().unwrap();
        let cloud = runtime.block_on(Cloud::with(Config {
            authentication: Authentication::Any,
            ..config
        }));
        Self {
            runtime,
            cloud,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    fn stop(self) {
        self.runtime.block_on(self.cloud.stop());
    }

    /// Checks many random cases.
    fn check_all<S: Strategy>(
        &self,
        cases: &S,
        check: impl Fn(S::Value) -> Result<(), TestCaseError>,
    ) {
        let mut runner = TestRunner::new(ProptestConfig {
            failure_persistence: None,
            cases: case_count(),
            ..ProptestConfig::default()
        });
        if let Err(failure) = runner.run(cases, check) {
            panic!("{failure}");
        }
    }

    /// Sends a request and checks the reply, whose body it returns.
    fn check(&self, request: Request<Full<Bytes>>) -> Result<String, TestCaseError> {
        let is_object =
            request.method() == Method::GET && !request.uri().path().ends_with("bucket");
        let text = format!("{request:?}");
        let reply = self.runtime.block_on(async {
            let response = self.client.request(request).await;
            let (parts, body) = response.map_err(|error| format!("{error:?}"))?.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?;
            Ok::<_, String>((parts, body.to_bytes()))
        });
        let (parts, body) =
            reply.map_err(|error| TestCaseError::fail(format!("no reply to {text}: {error}")))?;
        let body_text = String::from_utf8_lossy(&body).into_owned();
        let status = parts.status.as_u16();
        let is_limited = body_text.contains("<Code>RequestLimitExceeded</Code>");
        // 501 is the status of S3's calls that localcloud does not implement.
        prop_assert!(
            status < 500 || status == 501 || is_limited,
            "{text}\n{status} {body_text}"
        );
        let kind = parts
            .headers
            .get("content-type")
            .map_or("", |kind| kind.to_str().unwrap_or_default());
        if kind.contains("json") {
            let json = serde_json::from_slice::<serde_json::Value>(&body);
            prop_assert!(json.is_ok(), "{text}\n{body_text}");
        } else if kind.contains("xml") && !is_object {
            prop_assert!(is_well_formed(&body_text), "{text}\n{body_text}");
        }
        Ok(body_text)
    }
}

fn case_count() -> u32 {
    let count = std::env::var("PROPTEST_CASES").ok();
    count.and_then(|cases| cases.parse().ok()).unwrap_or(10_000)
}

#[test]
fn valid_requests_get_replies() {
    let served = Served::start(Config::default());
    for template in TEMPLATES.iter() {
        let request = request(&served.cloud.endpoint, template, &[], &[], None);
        served.check(request.unwrap()).unwrap();
    }
    served.stop();
}

#[test]
fn mutated_requests_get_replies() {
    let cases = (
        0..TEMPLATES.len(),
        prop::collection::vec(mutation(), 0..4),
        prop::collection::vec(mutation(), 0..3),
        prop::option::of((any::<usize>(), mutation())),
    );
    let served = Served::start(Config::default());
    served.check_all(&cases, |(template, body, path, header)| {
        let template = &TEMPLATES[template];
        match request(&served.cloud.endpoint, template, &body, &path, header) {
            Some(request) => served.check(request).map(drop),
            None => Ok(()),
        }
    });
    served.stop();
}

#[test]
fn random_bodies_get_replies() {
    let cases = (
        0..TEMPLATES.len(),
        prop::collection::vec(any::<u8>(), 0..300),
    );
    let served = Served::start(Config::default());
    served.check_all(&cases, |(template, body)| {
        let template = &TEMPLATES[template];
        let mut request = request(&served.cloud.endpoint, template, &[], &[], None).unwrap();
        *request.body_mut() = Full::new(Bytes::from(body));
        served.check(request).map(drop)
    });
    served.stop();
}
