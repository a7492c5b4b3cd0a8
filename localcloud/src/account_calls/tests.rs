#![allow(clippy::unwrap_used)]

use super::*;

fn shared() -> Shared {
    let clock = Clock::start();
    Shared {
        iam: Iam::without_roles(clock, crate::config::Authentication::Any),
        metrics: Arc::new(Metrics::new(clock)),
        logs: Arc::new(Logs::new(clock, "us-east-1")),
    }
}

fn account(users: &[User], alarms: &[Value]) -> AccountCalls {
    AccountCalls::new(Clock::start(), "us-east-1", shared(), users, alarms).unwrap()
}

fn billing_alarm(name: &str) -> Value {
    json!({
        "AlarmName": name, "Namespace": "AWS/Billing", "MetricName": "EstimatedCharges", "Statistic": "Maximum",
        "Period": 21600, "EvaluationPeriods": 1, "Threshold": 5.0, "ComparisonOperator": "GreaterThanThreshold",
    })
}

#[test]
fn the_configuration_attaches_policies_by_their_names() {
    let grader = User {
        name: "grader".to_owned(),
        policies: vec![
            "AmazonSQSFullAccess".to_owned(),
            "AmazonS3FullAccess".to_owned(),
        ],
    };
    let account = account(&[grader], &[]);
    let list = |request: Value| {
        account.call(
            AwsService::Iam,
            "ListAttachedUserPolicies",
            &request,
            &Caller::Account,
        )
    };
    let attached = list(json!({ "UserName": "grader" })).unwrap();
    let expected = json!({
        "AttachedPolicies": [
            { "PolicyName": "AmazonS3FullAccess", "PolicyArn": "arn:aws:iam::aws:policy/AmazonS3FullAccess" },
            { "PolicyName": "AmazonSQSFullAccess", "PolicyArn": "arn:aws:iam::aws:policy/AmazonSQSFullAccess" },
        ],
        "IsTruncated": false,
    });
    assert_eq!(attached, expected);
    let first = list(json!({ "UserName": "grader", "MaxItems": "1" })).unwrap();
    assert_eq!(
        (&first["IsTruncated"], &first["Marker"]),
        (&json!(true), &json!("1"))
    );
    let second = list(json!({ "UserName": "grader", "MaxItems": "1", "Marker": "1" })).unwrap();
    assert_eq!(
        second["AttachedPolicies"][0],
        expected["AttachedPolicies"][1]
    );
    assert_eq!(
        list(json!({ "UserName": "other" })).unwrap_err().code,
        "NoSuchEntity"
    );
}

#[test]
fn a_configured_alarm_is_checked_as_a_call_is() {
    let described = |account: &AccountCalls, request: Value| {
        account
            .call(
                AwsService::CloudWatch,
                "DescribeAlarms",
                &request,
                &Caller::Account,
            )
            .unwrap()
    };
    let account = account(
        &[],
        &[billing_alarm("b"), billing_alarm("a"), billing_alarm("c")],
    );
    let page = described(&account, json!({ "MaxRecords": 2 }));
    let names = |page: &Value| -> Vec<String> {
        let alarms = page["MetricAlarms"].as_array().unwrap().iter();
        alarms
            .map(|alarm| alarm["AlarmName"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&page), ["a", "b"]);
    let rest = described(&account, json!({ "NextToken": page["NextToken"] }));
    assert_eq!(
        (names(&rest), &rest["NextToken"]),
        (vec!["c".to_owned()], &Value::Null)
    );
    let alarm = &rest["MetricAlarms"][0];
    assert_eq!(
        alarm["AlarmArn"],
        "arn:aws:cloudwatch:us-east-1:000000000000:alarm:c"
    );
    assert_eq!(alarm["StateValue"], "INSUFFICIENT_DATA");
    assert_eq!(alarm["Threshold"], json!(5.0));

    let mut wrong = billing_alarm("d");
    wrong["ComparisonOperator"] = json!("Above");
    let refused =
        AccountCalls::new(Clock::start(), "us-east-1", shared(), &[], &[wrong]).unwrap_err();
    assert_eq!(refused.code, "ValidationError");
}

#[test]
fn forms_are_read_and_replies_are_written_as_the_query_protocol_has_them() {
    let form =
        b"Action=DeleteAlarms&Version=2010-08-01&AlarmNames.member.2=b&AlarmNames.member.1=a\
        &Dimensions.member.1.Name=Currency&Dimensions.member.1.Value=USD";
    let request = request_of_form(form);
    assert_eq!(request["AlarmNames"], json!(["a", "b"]));
    assert_eq!(
        request["Dimensions"],
        json!([{ "Name": "Currency", "Value": "USD" }])
    );
    // Names that contradict each other, and deep ones, do no harm.
    request_of_form(b"a=1&a.b=2&c.d.e.f.g.h.i.j.k.l=3&member.1=4&.=5&..=6");

    let reply = json!({ "User": { "UserName": "a&b", "CreateDate": 1.5 }, "Names": ["x", "y"] });
    let document = document(Protocol::Iam, "GetUser", &reply, "id");
    for part in [
        "<GetUserResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><GetUserResult>",
        "<UserName>a&amp;b</UserName>",
        "<CreateDate>1970-01-01T00:00:01.500Z</CreateDate>",
        "<Names><member>x</member><member>y</member></Names>",
        "<ResponseMetadata><RequestId>id</RequestId></ResponseMetadata>",
    ] {
        assert!(document.contains(part), "{part} in {document}");
    }
}

#[test]
fn the_access_of_a_call_names_its_user_or_alarm() {
    let account = account(&[], &[]);
    let access = |service, action: &str, request: Value| {
        account
            .access(service, action, &request)
            .map(|access| (access.action, access.resource))
    };
    let expected = |action: &str, resource: &str| Some((action.to_owned(), resource.to_owned()));
    assert_eq!(
        access(AwsService::Iam, "GetUser", json!({ "UserName": "u" })),
        expected("iam:GetUser", "arn:aws:iam::000000000000:user/u")
    );
    assert_eq!(
        access(AwsService::CloudWatch, "PutMetricAlarm", billing_alarm("a")),
        expected(
            "cloudwatch:PutMetricAlarm",
            "arn:aws:cloudwatch:us-east-1:000000000000:alarm:a"
        )
    );
    assert_eq!(
        access(AwsService::Sts, "GetCallerIdentity", Value::Null),
        None
    );
}
