//! `loadgen run --scaler`, with the real scaler and front, whose programs `make test` builds, on a local cloud.

use testkit::{LocalCloud, Services, eventually};

use super::open::{photos, run, service};

#[tokio::test(flavor = "multi_thread")]
async fn the_report_has_what_the_scaler_saw() {
    let cloud = LocalCloud::start(localcloud::Config::default()).await;
    let services = Services::new(&cloud.url, "load", &[]);
    let (_front, front_url) = services.listen("front", &[]).await;
    let arguments = ["--front", &front_url];
    let (_scaler, scaler_url) = services.listen("scaler", &arguments).await;

    let service = service(true).await;
    let folder = tempfile::tempdir().unwrap();
    photos(folder.path(), &[("a", "Ben", "")]);
    let load = format!("--rate 100 --num-request 20 --scaler {scaler_url} --idle-within 0s");
    let mut fleet = serde_json::Value::Null;
    // A scaler that has just started may have decided nothing yet.
    eventually("the scaler has decided with front's demand", async || {
        let (is_right, figures) = run(folder.path(), &service.url, &load).await;
        assert!(is_right, "{figures:#}");
        fleet = figures["fleet"].clone();
        fleet["points"][0]["unanswered"].is_number()
    })
    .await;
    assert_eq!(fleet["workers_max"], 0, "{fleet:#}");
    assert_eq!(fleet["first_worker_s"], serde_json::Value::Null);
    assert_eq!(fleet["points"][0]["unanswered"], 0, "{fleet:#}");
    assert_eq!(fleet["dollars"], 0.0);
}
