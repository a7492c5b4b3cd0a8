//! Front in a person's AWS account.

use localcloud::{Config, Faults};
use testkit::LocalCloud;

#[tokio::test]
async fn a_bucket_name_that_another_account_has_taken_is_an_error_that_says_what_to_do() {
    let taken = r#"{"call": [{"action": "*Bucket", "error": {"code": "BucketAlreadyExists", "status": 409}}]}"#;
    let cloud = LocalCloud::start(Config {
        faults: serde_json::from_str::<Faults>(taken).unwrap(),
        ..Config::default()
    })
    .await;
    let bucket = cloud.aws("faces").await.objects("faces-in-bucket");
    let error = bucket.ensure().await.unwrap_err().to_string();
    assert!(
        error.contains("faces-in-bucket belongs to another AWS account")
            && error.contains("MUSTER_PREFIX"),
        "{error}"
    );
}
