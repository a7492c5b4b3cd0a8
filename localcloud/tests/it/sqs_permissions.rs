//! The queue policy, tags, and what belongs to whom.

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};

use crate::cloud::{Cloud, code};
use crate::sqs::{attribute, queue};

#[tokio::test]
async fn permissions_are_statements_of_the_policy() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs, "q").await;
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
        ("three", ["nobody"], ["SendMessage"]),
        ("three", ["111122223333"], ["Dance"]),
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
    assert_eq!(
        code(remove("one").await.unwrap_err()),
        "InvalidParameterValue"
    );
    cloud.stop().await;
}

#[tokio::test]
async fn tags_have_awss_limits() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs, "q").await;
    for number in 0..50 {
        let tag = sqs
            .tag_queue()
            .queue_url(&url)
            .tags(number.to_string(), "v");
        tag.send().await.unwrap();
    }
    for (key, value) in [
        ("one more", "v"),
        ("aws:mine", "v"),
        (&"k".repeat(129), "v"),
        ("0", &"v".repeat(257)),
    ] {
        let refused = sqs
            .tag_queue()
            .queue_url(&url)
            .tags(key, value)
            .send()
            .await;
        assert_eq!(code(refused.unwrap_err()), "InvalidParameterValue", "{key}");
    }
    let tags = sqs.list_queue_tags().queue_url(&url).send().await.unwrap();
    assert_eq!(tags.tags().unwrap().len(), 50);
    cloud.stop().await;
}

#[tokio::test]
async fn queues_of_other_accounts_do_not_exist() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    queue(&sqs, "q").await;
    let of = |account: &str| {
        sqs.get_queue_url()
            .queue_name("q")
            .queue_owner_aws_account_id(account)
            .send()
    };
    of("000000000000").await.unwrap();
    assert!(
        of("111122223333")
            .await
            .unwrap_err()
            .into_service_error()
            .is_queue_does_not_exist()
    );
    cloud.stop().await;
}
