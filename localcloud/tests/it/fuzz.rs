//! Every request gets a reply in its own protocol.
//!
//! Valid requests of all protocols are mutated at random and sent over sockets. A panic would close the connection without
//! a reply. The replies must be JSON or XML. `PROPTEST_CASES=100000` tries more.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use quick_xml::events::Event;
use tokio::runtime::Runtime;

use crate::cloud::Cloud;

/// A valid request.
#[derive(Debug, Clone)]
struct Template {
    method: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
}

const JSON: &str = "application/x-amz-json-1.0";
const FORM: &str = "application/x-www-form-urlencoded";

const fn get(path: &'static str) -> Template {
    Template {
        method: "GET",
        path,
        headers: &[],
        body: "",
    }
}

macro_rules! sqs_json {
    ($action:literal, $body:literal) => {
        Template {
            method: "POST",
            path: "/",
            headers: &[
                ("content-type", JSON),
                ("x-amz-target", concat!("AmazonSQS.", $action)),
            ],
            body: $body,
        }
    };
}

macro_rules! form {
    ($body:literal) => {
        Template {
            method: "POST",
            path: "/",
            headers: &[("content-type", FORM)],
            body: $body,
        }
    };
}

macro_rules! s3 {
    ($method:literal, $path:literal, $body:literal) => {
        s3!($method, $path, $body, [])
    };
    ($method:literal, $path:literal, $body:literal, $headers:tt) => {
        Template {
            method: $method,
            path: $path,
            headers: &$headers,
            body: $body,
        }
    };
}

const TEMPLATES: [Template; 47] = [
    sqs_json!(
        "CreateQueue",
        r#"{"QueueName":"q","Attributes":{"DelaySeconds":"0","RedrivePolicy":"{\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:d\",\"maxReceiveCount\":5}"},"tags":{"k":"v"}}"#
    ),
    sqs_json!(
        "SendMessage",
        r#"{"QueueUrl":"q","MessageBody":"hello","DelaySeconds":0,"MessageAttributes":{"n":{"DataType":"Number","StringValue":"12"},"b":{"DataType":"Binary","BinaryValue":"AAEC"}}}"#
    ),
    sqs_json!(
        "SendMessageBatch",
        r#"{"QueueUrl":"q","Entries":[{"Id":"a","MessageBody":"x"},{"Id":"b","MessageBody":"y","DelaySeconds":3}]}"#
    ),
    sqs_json!(
        "ReceiveMessage",
        r#"{"QueueUrl":"q","MaxNumberOfMessages":10,"VisibilityTimeout":0,"WaitTimeSeconds":0,"AttributeNames":["All"],"MessageAttributeNames":["n.*","All"]}"#
    ),
    sqs_json!(
        "DeleteMessage",
        r#"{"QueueUrl":"q","ReceiptHandle":"cmNwdAAAAAAAAAABAAAAAAAAAAAAAAABAAAAAAAAAAA"}"#
    ),
    sqs_json!(
        "DeleteMessageBatch",
        r#"{"QueueUrl":"q","Entries":[{"Id":"a","ReceiptHandle":"cmNwdAAAAAAAAAABAAAAAAAAAAAAAAABAAAAAAAAAAA"}]}"#
    ),
    sqs_json!(
        "ChangeMessageVisibility",
        r#"{"QueueUrl":"q","ReceiptHandle":"cmNwdAAAAAAAAAABAAAAAAAAAAAAAAABAAAAAAAAAAA","VisibilityTimeout":5}"#
    ),
    sqs_json!(
        "ChangeMessageVisibilityBatch",
        r#"{"QueueUrl":"q","Entries":[{"Id":"a","ReceiptHandle":"x","VisibilityTimeout":5}]}"#
    ),
    sqs_json!(
        "GetQueueAttributes",
        r#"{"QueueUrl":"http://x/000000000000/q","AttributeNames":["All"]}"#
    ),
    sqs_json!(
        "SetQueueAttributes",
        r#"{"QueueUrl":"q","Attributes":{"VisibilityTimeout":"30","Policy":"{}","RedriveAllowPolicy":"{\"redrivePermission\":\"byQueue\",\"sourceQueueArns\":[\"arn:aws:sqs:us-east-1:000000000000:q\"]}"}}"#
    ),
    sqs_json!(
        "ListQueues",
        r#"{"QueueNamePrefix":"q","MaxResults":10,"NextToken":"a"}"#
    ),
    sqs_json!("GetQueueUrl", r#"{"QueueName":"q"}"#),
    sqs_json!("TagQueue", r#"{"QueueUrl":"q","Tags":{"a":"b"}}"#),
    sqs_json!("UntagQueue", r#"{"QueueUrl":"q","TagKeys":["a"]}"#),
    sqs_json!(
        "ListDeadLetterSourceQueues",
        r#"{"QueueUrl":"q","MaxResults":3}"#
    ),
    sqs_json!(
        "StartMessageMoveTask",
        r#"{"SourceArn":"arn:aws:sqs:us-east-1:000000000000:q","MaxNumberOfMessagesPerSecond":5}"#
    ),
    sqs_json!(
        "AddPermission",
        r#"{"QueueUrl":"q","Label":"l","AWSAccountIds":["000000000000"],"Actions":["SendMessage"]}"#
    ),
    form!(
        "Action=CreateQueue&Version=2012-11-05&QueueName=q&Attribute.1.Name=DelaySeconds&Attribute.1.Value=0"
    ),
    form!(
        "Action=SendMessage&Version=2012-11-05&QueueUrl=q&MessageBody=a%20b&MessageAttribute.1.Name=n&MessageAttribute.1.Value.DataType=String&MessageAttribute.1.Value.StringValue=v"
    ),
    form!(
        "Action=ReceiveMessage&Version=2012-11-05&QueueUrl=q&MaxNumberOfMessages=3&AttributeName.1=All&VisibilityTimeout=0&WaitTimeSeconds=0"
    ),
    form!(
        "Action=SendMessageBatch&Version=2012-11-05&QueueUrl=q&SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.MessageBody=x"
    ),
    form!(
        "Action=DeleteMessageBatch&Version=2012-11-05&QueueUrl=q&DeleteMessageBatchRequestEntry.1.Id=a&DeleteMessageBatchRequestEntry.1.ReceiptHandle=x"
    ),
    form!("Action=GetQueueAttributes&Version=2012-11-05&QueueUrl=q&AttributeName.1=All"),
    form!(
        "Action=DescribeInstances&Version=2016-11-15&InstanceId.1=i-0123456789abcdef0&Filter.1.Name=tag:Name&Filter.1.Value.1=a*&MaxResults=5&NextToken=x"
    ),
    form!(
        "Action=RunInstances&Version=2016-11-15&ImageId=ami-1&MinCount=1&MaxCount=2&UserData=QQ%3D%3D&ClientToken=t&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=k&TagSpecification.1.Tag.1.Value=v"
    ),
    form!("Action=StartInstances&Version=2016-11-15&InstanceId.1=i-0123456789abcdef0"),
    form!("Action=StopInstances&Version=2016-11-15&InstanceId.1=i-0123456789abcdef0&Force=true"),
    form!(
        "Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-0123456789abcdef0&DryRun=true"
    ),
    form!(
        "Action=CreateTags&Version=2016-11-15&ResourceId.1=i-0123456789abcdef0&Tag.1.Key=k&Tag.1.Value=v"
    ),
    form!(
        "Action=DescribeTags&Version=2016-11-15&Filter.1.Name=resource-type&Filter.1.Value.1=instance"
    ),
    form!("Action=DescribeInstanceStatus&Version=2016-11-15&IncludeAllInstances=true"),
    form!("Action=DescribeImages&Version=2016-11-15&Owner.1=self"),
    form!("Action=GetConsoleOutput&Version=2016-11-15&InstanceId=i-0123456789abcdef0"),
    get("/?Action=DescribeInstances&Version=2016-11-15"),
    s3!(
        "PUT",
        "/bucket",
        "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>"
    ),
    s3!(
        "PUT",
        "/bucket/some/key%20x",
        "hello",
        [
            ("x-amz-meta-a", "b"),
            ("if-none-match", "*"),
            ("content-md5", "XUFAKrxLKna5cZ2REBfFkg==")
        ]
    ),
    s3!(
        "PUT",
        "/bucket/sum",
        "hello",
        [("x-amz-checksum-crc32", "NhCmhg==")]
    ),
    s3!(
        "PUT",
        "/bucket/copy",
        "",
        [("x-amz-copy-source", "/bucket/some/key%20x")]
    ),
    s3!(
        "GET",
        "/bucket/some/key%20x?response-content-type=text/plain&partNumber=1",
        "",
        [("range", "bytes=1-3"), ("if-match", "\"x\"")]
    ),
    s3!(
        "GET",
        "/bucket?list-type=2&prefix=s&delimiter=/&max-keys=2&start-after=a&encoding-type=url",
        ""
    ),
    s3!("GET", "/bucket?prefix=s&marker=a", ""),
    s3!(
        "POST",
        "/bucket?delete",
        "<Delete><Object><Key>some/key x</Key></Object><Object><Key>b</Key></Object><Quiet>false</Quiet></Delete>"
    ),
    s3!("POST", "/bucket/multi?uploads", ""),
    s3!(
        "PUT",
        "/bucket/multi?partNumber=1&uploadId=0c6f8e4e-5d7f-4b3c-9a70-5fd4d5a3d9e1",
        "part"
    ),
    s3!(
        "POST",
        "/bucket/multi?uploadId=0c6f8e4e-5d7f-4b3c-9a70-5fd4d5a3d9e1",
        "<CompleteMultipartUpload><Part><ETag>\"x\"</ETag><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>"
    ),
    s3!(
        "PUT",
        "/bucket?notification",
        "<NotificationConfiguration><QueueConfiguration><Id>n</Id><Queue>arn:aws:sqs:us-east-1:000000000000:q</Queue><Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>some/</Value></FilterRule></S3Key></Filter></QueueConfiguration></NotificationConfiguration>"
    ),
    s3!(
        "PUT",
        "/bucket/some/key%20x?tagging",
        "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    ),
];

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

fn mutated(text: &str, mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
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
    let path = String::from_utf8(mutated(&template.path[1..], path)).ok()?;
    let uri: Uri = format!("{endpoint}/{path}").parse().ok()?;
    let mut request = Request::new(Full::new(Bytes::from(mutated(template.body, body))));
    *request.method_mut() = Method::from_bytes(template.method.as_bytes()).ok()?;
    *request.uri_mut() = uri;
    for (index, (name, value)) in template.headers.iter().enumerate() {
        let value = match &header {
            Some((which, mutation)) if which % template.headers.len() == index => {
                mutated(value, std::slice::from_ref(mutation))
            }
            _ => value.as_bytes().to_vec(),
        };
        request.headers_mut().insert(
            HeaderName::from_static(name),
            HeaderValue::from_bytes(&value).ok()?,
        );
    }
    Some(request)
}

/// A server, and a client that reuses its connections.
struct Served {
    runtime: Runtime,
    cloud: Cloud,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Served {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let cloud = runtime.block_on(Cloud::for_everybody());
        Self {
            runtime,
            cloud,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Sends many random requests and stops the server.
    fn send_all<S: Strategy>(
        self,
        cases: &S,
        request: impl Fn(&str, S::Value) -> Option<Request<Full<Bytes>>>,
    ) {
        let mut runner = TestRunner::new(ProptestConfig {
            failure_persistence: None,
            cases: case_count(),
            ..ProptestConfig::default()
        });
        let result = runner.run(cases, |case| match request(&self.cloud.endpoint, case) {
            Some(request) => self.check(request),
            None => Ok(()),
        });
        if let Err(failure) = result {
            panic!("{failure}");
        }
        self.runtime.block_on(self.cloud.stop());
    }

    fn check(&self, request: Request<Full<Bytes>>) -> Result<(), TestCaseError> {
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
        let body_text = String::from_utf8_lossy(&body);
        let status = parts.status.as_u16();
        // 501 is the status of S3's calls that localcloud does not implement.
        prop_assert!(
            status < 500 || status == 501,
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
        Ok(())
    }
}

fn is_well_formed(xml: &str) -> bool {
    let mut reader = quick_xml::Reader::from_str(xml);
    loop {
        match reader.read_event() {
            Ok(Event::Eof) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

fn case_count() -> u32 {
    let count = std::env::var("PROPTEST_CASES").ok();
    count.and_then(|cases| cases.parse().ok()).unwrap_or(10_000)
}

#[test]
fn valid_requests_get_replies() {
    let served = Served::start();
    for template in &TEMPLATES {
        let request = request(&served.cloud.endpoint, template, &[], &[], None);
        served.check(request.unwrap()).unwrap();
    }
    served.runtime.block_on(served.cloud.stop());
}

#[test]
fn mutated_requests_get_replies() {
    let cases = (
        0..TEMPLATES.len(),
        prop::collection::vec(mutation(), 0..4),
        prop::collection::vec(mutation(), 0..3),
        prop::option::of((any::<usize>(), mutation())),
    );
    Served::start().send_all(&cases, |endpoint, (template, body, path, header)| {
        request(endpoint, &TEMPLATES[template], &body, &path, header)
    });
}

#[test]
fn random_bodies_get_replies() {
    let cases = (
        0..TEMPLATES.len(),
        prop::collection::vec(any::<u8>(), 0..300),
    );
    Served::start().send_all(&cases, |endpoint, (template, body)| {
        let mut request = request(endpoint, &TEMPLATES[template], &[], &[], None)?;
        *request.body_mut() = Full::new(Bytes::from(body));
        Some(request)
    });
}
