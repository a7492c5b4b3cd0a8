//! Permissions, tags and accounts.

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};

use super::{attribute, cloud_with_queue};
use crate::cloud::code;

#[tokio::test]
async fn permissions_are_statements_of_the_policy() {
    let (cloud, sqs, url) = cloud_with_queue().await;
    let add = |label: &str, accounts: &[&str], actions: &[&str]| {
        let owned = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        sqs.add_permission()
            .queue_url(&url)
            .label(label)
            .set_aws_account_ids(owned(accounts))
            .set_actions(owned(actions))
            .send()
    };
    add("one", &["111122223333"], &["SendMessage"])
        .await
        .unwrap();
    add(
        "two",
        &["111122223333", "444455556666"],
        &["*", "PurgeQueue"],
    )
    .await
    .unwrap();
    let policy = attribute(&sqs, &url, QueueAttributeName::Policy).await;
    let policy: Value = serde_json::from_str(&policy).unwrap();
    let arn = attribute(&sqs, &url, QueueAttributeName::QueueArn).await;
    assert_eq!(
        policy["Statement"],
        json!([
            {
                "Sid": "one",
                "Effect": "Allow",
                "Principal": { "AWS": "arn:aws:iam::111122223333:root" },
                "Action": "SQS:SendMessage",
                "Resource": arn,
            },
            {
                "Sid": "two",
                "Effect": "Allow",
                "Principal": { "AWS": ["arn:aws:iam::111122223333:root", "arn:aws:iam::444455556666:root"] },
                "Action": ["SQS:*", "SQS:PurgeQueue"],
                "Resource": arn,
            },
        ])
    );
    for (label, accounts, actions) in [
        ("one", ["111122223333"], ["SendMessage"]),
        ("a b", ["111122223333"], ["SendMessage"]),
        ("three", ["unknown"], ["SendMessage"]),
        ("three", ["111122223333"], ["Unknown"]),
    ] {
        let refused = add(label, &accounts, &actions).await.unwrap_err();
        assert_eq!(code(refused), "InvalidParameterValue", "{label}");
    }
    for number in 3..=20 {
        let label = format!("label-{number}");
        add(&label, &["111122223333"], &["SendMessage"])
            .await
            .unwrap();
    }
    let refused = add("label-21", &["111122223333"], &["SendMessage"]).await;
    assert_eq!(code(refused.unwrap_err()), "OverLimit");
    let remove = |label: &str| sqs.remove_permission().queue_url(&url).label(label).send();
    remove("one").await.unwrap();
    let refused = remove("one").await.unwrap_err();
    assert_eq!(code(refused), "InvalidParameterValue");
    cloud.stop().await;
}

#[tokio::test]
async fn tags_beyond_the_limits_of_aws_are_refused() {
    let (cloud, sqs, url) = cloud_with_queue().await;
    for number in 0..50 {
        let tag = sqs.tag_queue().queue_url(&url);
        tag.tags(number.to_string(), "v").send().await.unwrap();
    }
    for (key, value) in [
        ("one more", "v"),
        ("aws:mine", "v"),
        (&"k".repeat(129), "v"),
        ("0", &"v".repeat(257)),
    ] {
        let tag = sqs.tag_queue().queue_url(&url).tags(key, value);
        let refused = tag.send().await;
        assert_eq!(code(refused.unwrap_err()), "InvalidParameterValue", "{key}");
    }
    let tags = sqs.list_queue_tags().queue_url(&url).send().await.unwrap();
    assert_eq!(tags.tags().unwrap().len(), 50);
    cloud.stop().await;
}

#[tokio::test]
async fn queues_of_other_accounts_do_not_exist() {
    let (cloud, sqs, _) = cloud_with_queue().await;
    let of = |account: &str| {
        sqs.get_queue_url()
            .queue_name("q")
            .queue_owner_aws_account_id(account)
            .send()
    };
    of("000000000000").await.unwrap();
    let refused = of("111122223333").await.unwrap_err().into_service_error();
    assert!(refused.is_queue_does_not_exist(), "{refused:?}");
    cloud.stop().await;
}
