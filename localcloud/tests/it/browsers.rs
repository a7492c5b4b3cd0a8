//! Requests that a web page of another site makes a browser send are refused. A real HTTP client sends them; the SDK signs
//! those of services with the public default credentials.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::cloud::Cloud;
use crate::instances::launch;
use crate::lambda::{create, invoke};
use crate::metadata::{LOGS_ENDPOINT, endpoint_of};

const PAGE: (&str, &str) = ("origin", "http://evil.example");

/// Sends a request with headers.
async fn respond(method: Method, url: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    client.request(request).await.unwrap()
}

/// Sends a request with headers. Returns status and body.
async fn send(method: Method, url: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
    let response = respond(method, url, headers).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn services_refuse_signed_requests_of_other_sites() {
    let cloud = Cloud::start().await;
    let ec2 = cloud.ec2();
    let assert_refused = |call: Result<(), String>| assert_eq!(call, Err("refused".to_owned()));
    macro_rules! call {
        ($call:expr, $header:expr) => {{
            let (name, value) = $header;
            let call = $call.customize().mutate_request(move |request| {
                request.headers_mut().insert(name, value);
            });
            match call.send().await {
                Ok(_) => Ok(()),
                Err(error) => {
                    let status = error.raw_response().map(|it| it.status().as_u16());
                    assert_eq!(status, Some(403), "{error:?}");
                    Err("refused".to_owned())
                }
            }
        }};
    }
    for page in [PAGE, ("sec-fetch-site", "cross-site")] {
        assert_refused(call!(ec2.describe_instances(), page));
        assert_refused(call!(cloud.sqs().create_queue().queue_name("theirs"), page));
        assert_refused(call!(cloud.s3().create_bucket().bucket("theirs"), page));
    }
    // A request without a page is accepted.
    let none = ("sec-fetch-site", "none");
    assert_eq!(call!(ec2.describe_instances(), none), Ok(()));
    let queues = cloud.sqs().list_queues().send().await.unwrap();
    assert_eq!(queues.queue_urls().len(), 0);
    let buckets = cloud.s3().list_buckets().send().await.unwrap();
    assert_eq!(buckets.buckets().len(), 0);
}

#[tokio::test]
async fn unsigned_requests_of_other_sites_are_refused() {
    let cloud = Cloud::for_everybody().await;
    let own = cloud.endpoint.as_str();
    let form = "/?Action=DescribeInstances&Version=2016-11-15";
    for path in [
        "/healthz",
        "/metrics",
        "/_localcloud/faults",
        "/bucket/key",
        form,
    ] {
        let url = format!("{}{path}", cloud.endpoint);
        // A request for an image has no origin.
        for header in [PAGE, ("sec-fetch-site", "cross-site")] {
            let refused = send(Method::GET, &url, &[header]).await;
            assert_eq!(refused.0, StatusCode::FORBIDDEN, "{path}: {}", refused.1);
        }
        // A page of its own is accepted.
        let accepted = send(Method::GET, &url, &[("origin", own)]).await;
        assert_ne!(accepted.0, StatusCode::FORBIDDEN, "{path}: {}", accepted.1);
    }
    let faults = format!("{}/_localcloud/faults", cloud.endpoint);
    let refused = send(Method::DELETE, &faults, &[PAGE]).await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN);
    // A public name for this machine gives itself away only as the host.
    let health = format!("{}/healthz", cloud.endpoint);
    let refused = send(Method::GET, &health, &[("host", "evil.example")]).await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN);
    let accepted = send(Method::GET, &health, &[("host", "localhost")]).await;
    assert_eq!(accepted, (StatusCode::OK, "ok\n".to_owned()));
}

#[tokio::test]
async fn the_metadata_service_refuses_requests_of_other_sites() {
    let cloud = Cloud::with_image(LOGS_ENDPOINT).await;
    let id = launch(&cloud.ec2()).await;
    let url = format!("{}/latest/api/token", endpoint_of(&cloud, &id).await);
    let lifetime = ("x-aws-ec2-metadata-token-ttl-seconds", "60");
    let refused = send(Method::PUT, &url, &[lifetime, PAGE]).await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN);
    let accepted = send(Method::PUT, &url, &[lifetime]).await;
    assert_eq!(accepted.0, StatusCode::OK);
}

#[tokio::test]
async fn the_runtime_api_refuses_requests_of_other_sites() {
    let cloud = Cloud::start().await;
    let lambda = cloud.lambda();
    let script = "def handle(event, request_id):\n    return os.environ['AWS_LAMBDA_RUNTIME_API']";
    create(&lambda, "f", script).send().await.unwrap();
    let address = invoke(&lambda, "f", "{}").await.unwrap();
    let address = address.as_str().unwrap();
    let next = format!("http://{address}/2018-06-01/runtime/invocation/next");
    for header in [PAGE, ("host", "evil.example")] {
        let refused = send(Method::GET, &next, &[header]).await;
        assert_eq!(refused.0, StatusCode::FORBIDDEN);
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_page_in_s3_is_shown_without_its_scripts() {
    let cloud = Cloud::for_everybody().await;
    let s3 = cloud.s3();
    s3.create_bucket().bucket("pages").send().await.unwrap();
    let put = s3.put_object().bucket("pages").key("page.html");
    put.content_type("text/html").send().await.unwrap();
    let url = format!("{}/pages/page.html", cloud.endpoint);
    let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
    for (header, expected) in [
        (("sec-fetch-mode", "navigate"), Some("sandbox")),
        (("sec-fetch-dest", "iframe"), Some("sandbox")),
        (("accept", accept), Some("sandbox")),
        (("accept", "*/*"), None),
        (("sec-fetch-dest", "image"), None),
    ] {
        let response = respond(Method::GET, &url, &[header]).await;
        assert_eq!(response.status(), StatusCode::OK);
        let value = |name: &str| {
            let value = response.headers().get(name);
            value.map(|value| value.to_str().unwrap())
        };
        assert_eq!(value("content-security-policy"), expected, "{header:?}");
        let sniffing = expected.map(|_| "nosniff");
        assert_eq!(value("x-content-type-options"), sniffing, "{header:?}");
    }
    cloud.stop().await;
}
