#![allow(clippy::unwrap_used)]

use super::*;

const FORM: (&str, &str) = (
    "content-type",
    "application/x-www-form-urlencoded; charset=utf-8",
);
const JSON: (&str, &str) = ("x-amz-target", "AmazonSQS.SendMessage");

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn signed(service: &str) -> (&'static str, String) {
    let scope = format!("test/20260101/us-east-1/{service}/aws4_request");
    let value = format!("AWS4-HMAC-SHA256 Credential={scope}, Signature=x");
    ("authorization", value)
}

fn operation(protocol: Protocol, action: &'static str) -> Operation {
    Operation { protocol, action }
}

#[test]
fn unsigned_requests_are_routed_by_path_header_and_form() {
    let send = Route::Json(operation(Protocol::SqsJson, "SendMessage"));
    for (method, uri, headers, expected) in [
        ("GET", "/healthz", &[][..], Route::Health),
        ("GET", "/metrics", &[], Route::Metrics),
        ("DELETE", "/_localcloud/faults", &[], Route::Admin),
        ("POST", "/", &[JSON], send),
        ("POST", "/", &[FORM], Route::Query(None)),
        ("POST", "/000000000000/q", &[FORM], Route::Query(None)),
        ("GET", "/?Version=1&Action=X", &[], Route::Query(None)),
    ] {
        let request = request(method, uri, headers);
        assert_eq!(route(&request, None), expected, "{method} {uri}");
    }
    for (method, uri, action) in [
        ("GET", "/", "ListBuckets"),
        ("PUT", "/healthz", "CreateBucket"),
        ("POST", "/bucket", "PostObject"),
        ("GET", "/000000000000", "ListObjects"),
    ] {
        match route(&request(method, uri, &[]), None) {
            Route::S3(Some(target)) => assert_eq!(target.action, action, "{method} {uri}"),
            other => panic!("{method} {uri}: {other:?}"),
        }
    }
    assert_eq!(route(&request("GET", "/a%ff", &[]), None), Route::S3(None));
}

#[test]
fn a_signature_names_the_service() {
    let routed = |service: &str, uri: &str, only: Option<AwsService>| {
        let (name, value) = signed(service);
        route(&request("POST", uri, &[(name, &value)]), only)
    };
    assert_eq!(
        routed("ec2", "/", None),
        Route::Query(Some(AwsService::Ec2))
    );
    assert_eq!(
        routed("sqs", "/", None),
        Route::Query(Some(AwsService::Sqs))
    );
    assert!(matches!(routed("s3", "/metrics", None), Route::S3(Some(_))));
    let (name, value) = signed("logs");
    let target = ("x-amz-target", "Logs_20140328.GetLogEvents");
    let logs = request("POST", "/", &[(name, &value), target]);
    let expected = Route::Json(operation(Protocol::LogsJson, "GetLogEvents"));
    assert_eq!(route(&logs, None), expected);
    let unknown = Route::UnknownService("dynamodb".to_owned());
    assert_eq!(routed("dynamodb", "/", None), unknown);
    let only = Some(AwsService::Ec2);
    assert_eq!(routed("s3", "/", only), Route::Query(only));
}

#[test]
fn a_port_of_one_service_routes_every_call_to_it() {
    let get = request("GET", "/", &[]);
    let only = Some(AwsService::Sqs);
    assert_eq!(route(&get, only), Route::Query(only));
    let json = request("POST", "/", &[JSON]);
    assert!(matches!(route(&json, Some(AwsService::S3)), Route::S3(_)));
    let health = request("GET", "/healthz", &[]);
    assert_eq!(route(&health, Some(AwsService::S3)), Route::Health);
}

#[test]
fn a_form_names_its_action_and_service() {
    for (form, path, service, protocol, action) in [
        (
            "Action=ListQueues&Version=2012-11-05",
            "/",
            None,
            Protocol::SqsQuery,
            "ListQueues",
        ),
        (
            "Action=ListQueues",
            "/000000000000/q",
            None,
            Protocol::SqsQuery,
            "ListQueues",
        ),
        (
            "Action=ListQueues",
            "/",
            Some(AwsService::Sqs),
            Protocol::SqsQuery,
            "ListQueues",
        ),
        (
            "Version=x&Action=RunInstances",
            "/",
            None,
            Protocol::Ec2,
            "RunInstances",
        ),
        ("Action=ListQueues", "/", None, Protocol::Ec2, "Unknown"),
        ("", "/", None, Protocol::Ec2, "Unknown"),
    ] {
        let found = Operation::of_form(form.as_bytes(), path, service);
        assert_eq!(found, operation(protocol, action), "{form} {path}");
    }
}

#[test]
fn a_get_has_its_form_in_the_url() {
    let parts = |method| request(method, "/?Action=A", &[]).into_parts().0;
    assert_eq!(form(&parts("GET"), b"Action=B"), b"Action=A");
    assert_eq!(form(&parts("POST"), b"Action=B"), b"Action=B");
}
