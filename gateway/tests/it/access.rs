use gateway::{front, http};
use platform::access::{Keys, Role, called_with};
use platform::token::Token;
use proto::v1::demand_client::DemandClient;
use proto::v1::{RecognizeRequest, WatchDemandRequest};
use testkit::{Authority, LocalCloud, eventually};
use tonic::Code;

use crate::photos::photo;
use crate::stack::{Answer, Stack};
use crate::worker::Worker;

/// Posts a photo with these headers.
async fn post(stack: &Stack, name: &str, headers: &[(&str, &str)]) -> Answer {
    let part = reqwest::multipart::Part::bytes(photo(1)).file_name(name.to_owned());
    let form = reqwest::multipart::Form::new().part("inputFile", part);
    let mut request = stack.client.post(&stack.url).multipart(form);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request).await
}

#[tokio::test]
async fn keys_are_asked_for_over_http_and_over_grpc() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut keys = Keys::default();
    let shop = keys.add("shop", &[Role::Recognize], None).unwrap();
    let slow = keys.add("slow", &[Role::Recognize], Some(0.001)).unwrap();
    let operator = keys.add("operator", &[Role::Operate], None).unwrap();
    keys.write(file.path()).unwrap();
    let stack = Stack::configured(|front: &mut front::Config, http: &mut http::Config| {
        front.door.access.api_keys = Some(file.path().to_owned());
        http.access.api_keys = Some(file.path().to_owned());
    })
    .await;
    let _worker = Worker::recognizing(&stack).await;

    let by_key = [("x-api-key", shop.expose())];
    post(&stack, "a.jpg", &by_key)
        .await
        .assert_recognized("a:somebody");
    let bearer = format!("Bearer {}", shop.expose());
    let by_bearer = [("authorization", bearer.as_str())];
    post(&stack, "b.jpg", &by_bearer)
        .await
        .assert_recognized("b:somebody");

    let nobody = post(&stack, "c.jpg", &[]).await;
    nobody.assert_refused(401, "an API key is needed");
    assert_eq!(nobody.header("www-authenticate"), "Bearer");
    let wrong = post(&stack, "c.jpg", &[("x-api-key", "muster_shop_0")]).await;
    wrong.assert_refused(401, "not valid");
    let other = post(&stack, "c.jpg", &[("x-api-key", operator.expose())]).await;
    other.assert_refused(403, "lacks the role recognize");
    let by_slow = [("x-api-key", slow.expose())];
    post(&stack, "d.jpg", &by_slow)
        .await
        .assert_recognized("d:somebody");
    let too_often = post(&stack, "e.jpg", &by_slow).await;
    too_often.assert_refused(429, "more often than its limit");
    let retry_after: u64 = too_often.header("retry-after").parse().unwrap();
    assert!((900..=1_000).contains(&retry_after), "{retry_after}");

    let recognize = async |key: Option<&Token>| {
        let message = RecognizeRequest {
            file_name: "f.jpg".to_owned(),
            image: photo(1).into(),
        };
        let answer = stack
            .recognizer()
            .recognize(called_with(key, message))
            .await;
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    };
    assert_eq!(recognize(Some(&shop)).await, Code::Ok);
    assert_eq!(recognize(None).await, Code::Unauthenticated);
    assert_eq!(recognize(Some(&operator)).await, Code::PermissionDenied);
    let watch = async |key: Option<&Token>| {
        let mut client = DemandClient::new(stack.front.clone());
        let answer = client
            .watch_demand(called_with(key, WatchDemandRequest {}))
            .await;
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    };
    assert_eq!(watch(Some(&operator)).await, Code::Ok);
    assert_eq!(watch(None).await, Code::Unauthenticated);
    assert_eq!(watch(Some(&shop)).await, Code::PermissionDenied);
}

#[tokio::test]
async fn what_a_front_says_of_a_key_reaches_the_client() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut keys = Keys::default();
    let shop = keys.add("shop", &[Role::Recognize], None).unwrap();
    let operator = keys.add("operator", &[Role::Operate], None).unwrap();
    keys.write(file.path()).unwrap();
    let stack = Stack::configured(|front, _| {
        front.door.access.api_keys = Some(file.path().to_owned());
    })
    .await;
    let _worker = Worker::recognizing(&stack).await;
    let by_key = [("x-api-key", shop.expose())];
    post(&stack, "a.jpg", &by_key)
        .await
        .assert_recognized("a:somebody");
    post(&stack, "b.jpg", &[])
        .await
        .assert_refused(401, "an API key is needed");
    let other = post(&stack, "b.jpg", &[("x-api-key", operator.expose())]).await;
    other.assert_refused(403, "lacks the role recognize");
}

#[tokio::test]
async fn https_in_front_and_mutual_tls_behind() {
    let (public, ours) = (Authority::generate(), Authority::generate());
    let cloud = LocalCloud::start(localcloud::Config::default()).await;
    let mut stack = Stack::in_cloud(&cloud.url, |front, http| {
        front.door.tls = ours.server();
        front.door.client_ca.tls_client_ca = Some(ours.ca());
        http.front = http.front.replace("http", "https");
        http.peer_tls = ours.client();
        http.tls = public.server();
    })
    .await;
    stack.url = stack.url.replace("http", "https");
    let plain = stack.client.get(format!("{}/healthz", stack.url));
    assert!(plain.send().await.is_err(), "its authority is not trusted");
    let pem = std::fs::read(public.ca()).unwrap();
    let authorities = [reqwest::Certificate::from_pem(&pem).unwrap()];
    let builder = reqwest::Client::builder().no_proxy();
    stack.client = builder.tls_certs_only(authorities).build().unwrap();
    eventually("front is reached", || async {
        stack.status_of("/readyz").await == 200
    })
    .await;
    let _worker = Worker::recognizing(&stack).await;
    stack
        .post("a.jpg", &photo(1))
        .await
        .assert_recognized("a:somebody");
}

#[tokio::test]
async fn a_service_without_keys_does_not_listen_to_other_machines() {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let refused = http::run(testkit::parse(&[]), listener, stop).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("--api-keys FILE"), "{refused}");
}
