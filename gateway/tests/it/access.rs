use gateway::http;
use platform::access::{Keys, Role, called_with};
use platform::token::Token;
use proto::v1::demand_client::DemandClient;
use proto::v1::{RecognizeRequest, WatchDemandRequest};
use testkit::{Authority, LocalCloud, TIMEOUT, eventually};
use tonic::{Code, Status};

use crate::photos::photo;
use crate::stack::{Answer, Stack};
use crate::worker::{Worker, recognize};

/// Posts a photo with headers.
async fn post(stack: &Stack, name: &str, headers: &[(&str, &str)]) -> Answer {
    let form = testkit::upload(name, photo(1));
    let mut request = stack.client.post(&stack.url).multipart(form);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request).await
}

/// Services with an API key file.
#[derive(Clone, Copy, PartialEq)]
enum Keyed {
    Front,
    FrontAndGateway,
}

/// A stack with API keys, and a worker.
struct KeyedStack {
    stack: Stack,
    /// Role `recognize`.
    shop: Token,
    /// Role `recognize`, once in 1,000 s.
    slow: Token,
    /// Role `operate`.
    operator: Token,
    _worker: Worker,
    file: tempfile::NamedTempFile,
}

impl KeyedStack {
    async fn start(keyed: Keyed) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut keys = Keys::default();
        let shop = keys.add("shop", &[Role::Recognize], None).unwrap();
        let slow = keys.add("slow", &[Role::Recognize], Some(0.001)).unwrap();
        let operator = keys.add("operator", &[Role::Operate], None).unwrap();
        keys.write(file.path()).unwrap();
        let stack = Stack::configured(|front, http| {
            front.server.access.api_keys = Some(file.path().to_owned());
            if keyed == Keyed::FrontAndGateway {
                http.access.api_keys = Some(file.path().to_owned());
            }
        })
        .await;
        Self {
            _worker: Worker::recognizing(&stack).await,
            stack,
            shop,
            slow,
            operator,
            file,
        }
    }

    /// Uses the slow key up, and checks the response to its next use.
    async fn assert_rate_limited(&self) {
        let by_slow = [("x-api-key", self.slow.expose())];
        post(&self.stack, "d.jpg", &by_slow)
            .await
            .assert_recognized("d:somebody");
        let refused = post(&self.stack, "e.jpg", &by_slow).await;
        refused.assert_refused(429, "more often than its limit");
        let retry_after: u64 = refused.header("retry-after").parse().unwrap();
        assert!((900..=1_000).contains(&retry_after), "{retry_after}");
    }
}

#[tokio::test]
async fn http_and_grpc_need_keys() {
    let keyed = KeyedStack::start(Keyed::FrontAndGateway).await;
    let (stack, shop, operator) = (&keyed.stack, &keyed.shop, &keyed.operator);

    let by_key = [("x-api-key", shop.expose())];
    post(stack, "a.jpg", &by_key)
        .await
        .assert_recognized("a:somebody");
    let bearer = format!("Bearer {}", shop.expose());
    let by_bearer = [("authorization", bearer.as_str())];
    post(stack, "b.jpg", &by_bearer)
        .await
        .assert_recognized("b:somebody");

    let without = post(stack, "c.jpg", &[]).await;
    without.assert_refused(401, "an API key is needed");
    assert_eq!(without.header("www-authenticate"), "Bearer");
    let wrong = post(stack, "c.jpg", &[("x-api-key", "muster_shop_0")]).await;
    wrong.assert_refused(401, "not valid");
    let other = post(stack, "c.jpg", &[("x-api-key", operator.expose())]).await;
    other.assert_refused(403, "lacks the role recognize");
    keyed.assert_rate_limited().await;

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
    assert_eq!(recognize(Some(shop)).await, Code::Ok);
    assert_eq!(recognize(None).await, Code::Unauthenticated);
    assert_eq!(recognize(Some(operator)).await, Code::PermissionDenied);
    let watch = async |key: Option<&Token>| {
        let mut client = DemandClient::new(stack.front.clone());
        let answer = client
            .watch_demand(called_with(key, WatchDemandRequest {}))
            .await;
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    };
    assert_eq!(watch(Some(operator)).await, Code::Ok);
    assert_eq!(watch(None).await, Code::Unauthenticated);
    assert_eq!(watch(Some(shop)).await, Code::PermissionDenied);
}

#[tokio::test]
async fn a_stream_of_front_ends_when_its_key_is_removed() {
    let keyed = KeyedStack::start(Keyed::Front).await;
    let mut client = DemandClient::new(keyed.stack.front.clone());
    let call = called_with(Some(&keyed.operator), WatchDemandRequest {});
    let mut updates = client.watch_demand(call).await.unwrap().into_inner();
    let mut keys = Keys::read(keyed.file.path()).unwrap();
    keys.0.remove("operator");
    keys.write(keyed.file.path()).unwrap();
    let reading = async {
        while updates.message().await?.is_some() {}
        Ok::<_, Status>(())
    };
    let ended = tokio::time::timeout(TIMEOUT, reading).await;
    let status = ended.expect("the stream ends").unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
}

#[tokio::test]
async fn errors_of_front_about_a_key_reach_the_http_client() {
    let keyed = KeyedStack::start(Keyed::Front).await;
    let (stack, shop, operator) = (&keyed.stack, &keyed.shop, &keyed.operator);
    post(stack, "a.jpg", &[("x-api-key", shop.expose())])
        .await
        .assert_recognized("a:somebody");
    post(stack, "b.jpg", &[])
        .await
        .assert_refused(401, "an API key is needed");
    let other = post(stack, "b.jpg", &[("x-api-key", operator.expose())]).await;
    other.assert_refused(403, "lacks the role recognize");
}

/// The gateway took it for overload, without front's `Retry-After`.
#[tokio::test]
async fn a_rate_limit_of_front_reaches_the_http_client_with_its_retry_after() {
    let keyed = KeyedStack::start(Keyed::Front).await;
    keyed.assert_rate_limited().await;
}

#[tokio::test]
async fn https_for_clients_and_mutual_tls_between_services() {
    let (public, internal) = (Authority::generate(), Authority::generate());
    let cloud = LocalCloud::start(localcloud::Config::default()).await;
    let mut stack = Stack::in_cloud(&cloud.url, |front, http| {
        front.server.tls = internal.server();
        front.server.client_ca.tls_client_ca = Some(internal.ca());
        http.front = http.front.replace("http", "https");
        http.peer_tls = internal.client();
        http.tls = public.server();
    })
    .await;
    stack.url = stack.url.replace("http", "https");
    let plain = stack.client.get(format!("{}/healthz", stack.url));
    assert!(plain.send().await.is_err(), "the authority is not trusted");
    let pem = std::fs::read(public.ca()).unwrap();
    let authorities = [reqwest::Certificate::from_pem(&pem).unwrap()];
    let builder = reqwest::Client::builder().no_proxy();
    stack.client = builder.tls_certs_only(authorities).build().unwrap();
    eventually("front is reached", || async {
        stack.status_of("/readyz").await == 200
    })
    .await;
    let _worker = Worker::recognizing(&stack).await;
    recognize(&stack, "a.jpg", 1).await;
}

#[tokio::test]
async fn a_service_without_keys_listens_on_loopback_only() {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let refused = http::run(testkit::parse(&[]), listener, stop).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("--api-keys FILE"), "{refused}");
}
