//! What a web page gets from localcloud by the browser of whoever reads it: nothing. The requests are those of a real HTTP
//! client, and what a page would sign is signed by the real SDK with the credentials that everybody knows.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use localcloud::Config;

use crate::cloud::{Cloud, image};
use crate::ec2::{launched, run};
use crate::metadata::{TELLS, endpoint_of};

const PAGE: (&str, &str) = ("origin", "http://evil.example");

/// A request with further headers: its status and body.
async fn ask(method: Method, url: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn no_service_answers_a_page_of_another_site_however_well_it_signs() {
    let cloud = Cloud::start().await;
    let ec2 = cloud.ec2();
    let called = |call: Result<(), String>| assert_eq!(call, Err("refused".to_owned()));
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
        called(call!(ec2.describe_instances(), page));
        called(call!(cloud.sqs().create_queue().queue_name("theirs"), page));
        called(call!(cloud.s3().create_bucket().bucket("theirs"), page));
    }
    // The same without a page.
    let none = ("sec-fetch-site", "none");
    assert_eq!(call!(ec2.describe_instances(), none), Ok(()));
    let queues = cloud.sqs().list_queues().send().await.unwrap();
    assert_eq!(queues.queue_urls().len(), 0);
    let buckets = cloud.s3().list_buckets().send().await.unwrap();
    assert_eq!(buckets.buckets().len(), 0);
}

#[tokio::test]
async fn what_needs_no_signature_does_not_answer_a_page_of_another_site() {
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
        // An image on the page, say, has no origin.
        for header in [PAGE, ("sec-fetch-site", "cross-site")] {
            let refused = ask(Method::GET, &url, &[header]).await;
            assert_eq!(refused.0, StatusCode::FORBIDDEN, "{path}: {}", refused.1);
        }
        // Its own page is none of another site.
        let answered = ask(Method::GET, &url, &[("origin", own)]).await;
        assert_ne!(answered.0, StatusCode::FORBIDDEN, "{path}: {}", answered.1);
    }
    let faults = format!("{}/_localcloud/faults", cloud.endpoint);
    let refused = ask(Method::DELETE, &faults, &[PAGE]).await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN);
    // A site whose name means this machine sends no header that gives it away.
    let health = format!("{}/healthz", cloud.endpoint);
    let refused = ask(Method::GET, &health, &[("host", "evil.example")]).await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN);
    let answered = ask(Method::GET, &health, &[("host", "localhost")]).await;
    assert_eq!(answered, (StatusCode::OK, "ok\n".to_owned()));
}

#[tokio::test]
async fn the_metadata_service_does_not_answer_a_page_of_another_site() {
    let cloud = Cloud::with(Config {
        images: vec![image("ami-test", TELLS)],
        ..Config::default()
    })
    .await;
    let id = launched(run(&cloud.ec2(), 1)).await.remove(0);
    let url = format!("{}/latest/api/token", endpoint_of(&cloud, &id).await);
    let lifetime = ("x-aws-ec2-metadata-token-ttl-seconds", "60");
    let refused = ask(Method::PUT, &url, &[lifetime, PAGE]).await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN);
    let answered = ask(Method::PUT, &url, &[lifetime]).await;
    assert_eq!(answered.0, StatusCode::OK);
}
