//! `loadgen run --scaler`, with the real scaler and front on a local cloud.

use gateway::front;
use gateway::front::Deployment;
use platform::shutdown::CancellationToken;
use proto::Names;
use testkit::{LocalCloud, eventually, listen, parse};

use super::open::{photos, run, service};

#[tokio::test(flavor = "multi_thread")]
async fn the_report_has_what_the_scaler_saw() {
    const PREFIX: &str = "load";
    let shutdown = CancellationToken::new();
    let _stop = shutdown.clone().drop_guard();
    let (cloud, _) = listen().await;
    let (front_listener, front_url) = listen().await;
    let (scaler_listener, scaler_url) = listen().await;
    let cloud = LocalCloud::serve(localcloud::Config::default(), cloud);
    let aws = cloud.aws(PREFIX).await;
    let deployment = Deployment {
        aws: aws.clone(),
        names: Names::new(PREFIX),
    };
    tokio::spawn(front::run(
        parse::<front::Config>(&[]),
        deployment,
        front_listener,
        shutdown.clone(),
    ));
    let arguments = ["--front", &front_url, "--prefix", PREFIX];
    let scaler_args: scaler::config::ServeArgs = parse(&arguments);
    let config = scaler_args.config().unwrap();
    tokio::spawn(scaler::run(config, aws, scaler_listener, shutdown.clone()));

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
