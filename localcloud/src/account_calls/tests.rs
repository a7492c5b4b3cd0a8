#![allow(clippy::unwrap_used)]

use super::*;
use crate::protocol::Protocol;

fn dependencies() -> AccountDependencies {
    let clock = Clock::start();
    let any = crate::config::Authentication::Any;
    let hour = std::time::Duration::from_secs(3600);
    let iam = Iam::new(clock, "us-east-1", any, &[], hour).unwrap();
    AccountDependencies {
        iam: Arc::new(iam),
        metrics: Arc::new(Metrics::new(clock)),
        logs: Arc::new(Logs::new(clock, "us-east-1")),
    }
}

fn account(users: &[UserConfig], alarms: &[Value]) -> AccountCalls {
    AccountCalls::new(Clock::start(), "us-east-1", dependencies(), users, alarms).unwrap()
}

fn billing_alarm(name: &str) -> Value {
    json!({
        "AlarmName": name, "Namespace": "AWS/Billing", "MetricName": "EstimatedCharges", "Statistic": "Maximum",
        "Period": 21600, "EvaluationPeriods": 1, "Threshold": 5.0, "ComparisonOperator": "GreaterThanThreshold",
    })
}

#[test]
fn the_configuration_attaches_policies_by_their_names() {
    let grader = UserConfig {
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
        AccountCalls::new(Clock::start(), "us-east-1", dependencies(), &[], &[wrong]).unwrap_err();
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
    let deep = b"MetricDataQueries.member.1.MetricStat.Metric.Dimensions.member.1.Name=a";
    let query = &request_of_form(deep)["MetricDataQueries"][0];
    assert_eq!(query["MetricStat"]["Metric"]["Dimensions"][0]["Name"], "a");
    // Names that contradict each other, and deep ones, do no harm.
    request_of_form(b"a=1&a.b=2&c.d.e.f.g.h.i.j.k.l=3&member.1=4&.=5&..=6");

    let reply = json!({ "User": { "UserName": "a&b", "CreateDate": 1.5 }, "Names": ["x", "y"] });
    let percentiles = json!({ "ExtendedStatistics": { "p50": 1.5 }, "Timestamps": [1.0] });
    let statistics = document(
        Protocol::CloudWatchQuery,
        "GetMetricStatistics",
        &percentiles,
        "id",
    );
    for part in [
        "<ExtendedStatistics><entry><key>p50</key><value>1.5</value></entry></ExtendedStatistics>",
        "<Timestamps><member>1970-01-01T00:00:01.000Z</member></Timestamps>",
    ] {
        assert!(statistics.contains(part), "{part} in {statistics}");
    }
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
        let accesses = account.accesses(service, action, &request).into_iter();
        let named = accesses.map(|access| (access.action, access.resource));
        named.collect::<Vec<_>>()
    };
    let expected = |action: &str, resource: &str| vec![(action.to_owned(), resource.to_owned())];
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
    assert!(access(AwsService::Sts, "GetCallerIdentity", Value::Null).is_empty());
    // Each alarm of a call needs the right to delete it.
    let alarm = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:";
    let both =
        ["a", "b"].map(|name| expected("cloudwatch:DeleteAlarms", &format!("{alarm}{name}")));
    assert_eq!(
        access(
            AwsService::CloudWatch,
            "DeleteAlarms",
            json!({ "AlarmNames": ["a", "b"] })
        ),
        both.concat()
    );
}

fn iam_call(account: &AccountCalls, action: &str, request: Value) -> AccountResult {
    account.call(AwsService::Iam, action, &request, &Caller::Account)
}

const TRUST: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
    "Principal": {"Service": "lambda.amazonaws.com"}}]}"#;

#[test]
fn the_policies_of_a_created_role_are_in_force_at_once() {
    let account = account(&[], &[]);
    let iam = Arc::clone(&account.dependencies.iam);
    let role = json!({ "RoleName": "f", "Path": "/service-role/", "AssumeRolePolicyDocument": TRUST, "Tags": [{ "Key": "bucket", "Value": "b" }] });
    let created = iam_call(&account, "CreateRole", role.clone()).unwrap();
    assert_eq!(
        created["Role"]["Arn"],
        "arn:aws:iam::000000000000:role/service-role/f"
    );
    let again = iam_call(&account, "CreateRole", role).unwrap_err();
    assert_eq!(again.code, "EntityAlreadyExists");

    let of_arn = iam
        .role_named("arn:aws:iam::000000000000:role/service-role/f")
        .unwrap();
    let credentials = iam.credentials(&of_arn, "function");
    let identity = iam.identify(&credentials.access_key, Some(&credentials.token));
    let session = identity.unwrap().caller;
    let allowed = |action: &str, resource: &str| {
        let accesses = [Access::new(action, resource)];
        iam.authorize(&session, &accesses).is_ok()
    };
    let object = "arn:aws:s3:::b/k";
    assert!(!allowed("s3:GetObject", object));
    let policy = |document: Value| json!({ "RoleName": "f", "PolicyName": "p", "PolicyDocument": document.to_string() });
    let statement = json!({ "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::${aws:PrincipalTag/bucket}/*" });
    let good = policy(json!({ "Version": "2012-10-17", "Statement": [statement] }));
    iam_call(&account, "PutRolePolicy", good.clone()).unwrap();
    assert!(allowed("s3:GetObject", object));
    let bad = policy(json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Perhaps" }] }));
    let error = iam_call(&account, "PutRolePolicy", bad).unwrap_err();
    assert_eq!(error.code, "MalformedPolicyDocument");
    assert!(allowed("s3:GetObject", object));

    let basic = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole";
    let attach = json!({ "RoleName": "f", "PolicyArn": basic });
    iam_call(&account, "AttachRolePolicy", attach.clone()).unwrap();
    let group = "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/f:log-stream:s";
    assert!(allowed("logs:PutLogEvents", group));
    let described = iam_call(&account, "GetPolicy", json!({ "PolicyArn": basic })).unwrap();
    assert_eq!(described["Policy"]["AttachmentCount"], 1);
    let name = json!({ "RoleName": "f" });
    assert_eq!(
        iam_call(&account, "DeleteRole", name.clone())
            .unwrap_err()
            .code,
        "DeleteConflict"
    );
    iam_call(&account, "DetachRolePolicy", attach).unwrap();
    assert!(!allowed("logs:PutLogEvents", group));
    assert_eq!(
        iam_call(&account, "DeleteRole", name.clone())
            .unwrap_err()
            .code,
        "DeleteConflict"
    );
    assert!(allowed("s3:GetObject", object));
    iam_call(&account, "DeleteRolePolicy", good).unwrap();
    iam_call(&account, "DeleteRole", name).unwrap();
    assert!(!allowed("s3:GetObject", object));
    assert!(iam.role_named("f").is_none());
}

#[test]
fn an_alarm_follows_its_metric() {
    let account = account(&[], &[]);
    let call = |action: &str, request: Value| {
        account.call(AwsService::CloudWatch, action, &request, &Caller::Account)
    };
    let state =
        || call("DescribeAlarms", json!({})).unwrap()["MetricAlarms"][0]["StateValue"].clone();
    let put = |value: f64| {
        let at = account.clock.now() / 1000 - 120;
        let datum = json!({ "MetricName": "m", "Value": value, "Timestamp": at });
        call(
            "PutMetricData",
            json!({ "Namespace": "n", "MetricData": [datum] }),
        )
        .unwrap();
    };
    let mut alarm = billing_alarm("a");
    for (field, value) in [
        ("Namespace", json!("n")),
        ("MetricName", json!("m")),
        ("Period", json!(300)),
    ] {
        alarm[field] = value;
    }
    call("PutMetricAlarm", alarm).unwrap();
    assert_eq!(state(), "INSUFFICIENT_DATA");
    put(5.0);
    assert_eq!(state(), "OK");
    put(5.5);
    assert_eq!(state(), "ALARM");
    let set = json!({ "AlarmName": "a", "StateValue": "OK", "StateReason": "a test" });
    call("SetAlarmState", set).unwrap();
    assert_eq!(state(), "OK");
    let of_metric = json!({ "Namespace": "n", "MetricName": "m" });
    let found = call("DescribeAlarmsForMetric", of_metric).unwrap();
    assert_eq!(found["MetricAlarms"][0]["AlarmName"], "a");
}

#[test]
fn an_assumed_role_has_credentials_until_they_expire() {
    let account = account(&[], &[]);
    let iam = &account.dependencies.iam;
    let call = |service, action: &str, request: Value, caller: &Caller| {
        account.call(service, action, &request, caller)
    };
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Principal": { "AWS": "*" }, "Action": "sts:AssumeRole" }],
    });
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*" }],
    });
    let create = json!({ "RoleName": "reader", "AssumeRolePolicyDocument": trust.to_string() });
    call(AwsService::Iam, "CreateRole", create, &Caller::Account).unwrap();
    let put =
        json!({ "RoleName": "reader", "PolicyName": "p", "PolicyDocument": policy.to_string() });
    call(AwsService::Iam, "PutRolePolicy", put, &Caller::Account).unwrap();
    let arn = iam_arn("role", "reader");
    let assume = |name: &str, seconds: u64, caller: &Caller| {
        let request =
            json!({ "RoleArn": arn, "RoleSessionName": name, "DurationSeconds": seconds });
        call(AwsService::Sts, "AssumeRole", request, caller)
    };
    let assumed = assume("me", 900, &Caller::Account).unwrap();
    let session = "arn:aws:sts::000000000000:assumed-role/reader/me";
    assert_eq!(assumed["AssumedRoleUser"]["Arn"], session);
    let text = |name: &str| assumed["Credentials"][name].as_str().unwrap().to_owned();
    let (key, token) = (text("AccessKeyId"), text("SessionToken"));
    assert_eq!(iam.secret_of(&key), Some(text("SecretAccessKey")));
    let expires = assumed["Credentials"]["Expiration"].as_f64().unwrap();
    let left = expires - epoch_seconds(account.clock.now());
    assert!((0.0..=900.5).contains(&left), "{left}");
    let document = document(Protocol::Sts, "AssumeRole", &assumed, "id");
    assert!(document.contains("Z</Expiration>"), "{document}");

    assert!(iam.identify(&key, Some("other")).is_err());
    let caller = iam.identify(&key, Some(&token)).unwrap().caller;
    let own = call(AwsService::Sts, "GetCallerIdentity", json!({}), &caller).unwrap();
    assert_eq!(own["Arn"], session);
    let get = |key: &str| [Access::new("s3:GetObject", format!("arn:aws:s3:::{key}"))];
    assert!(iam.authorize(&caller, &get("b/k")).is_ok());
    assert!(iam.authorize(&caller, &get("c/k")).is_err());
    // Its policies do not allow it to assume a role.
    let request = json!({ "RoleArn": arn });
    let accesses = account.accesses(AwsService::Sts, "AssumeRole", &request);
    assert!(iam.authorize(&caller, &accesses).is_err());

    for (refused, expected) in [
        (assume("me", 899, &Caller::Account), "ValidationError"),
        (assume("me", 3601, &Caller::Account), "ValidationError"),
        (assume("a b", 900, &Caller::Account), "ValidationError"),
        (
            call(
                AwsService::Sts,
                "AssumeRole",
                json!({ "RoleArn": iam_arn("role", "other"), "RoleSessionName": "me" }),
                &Caller::Account,
            ),
            "AccessDenied",
        ),
        (
            call(
                AwsService::Sts,
                "AssumeRole",
                json!({ "RoleArn": arn, "RoleSessionName": "me", "Policy": "{}" }),
                &Caller::Account,
            ),
            "ValidationError",
        ),
    ] {
        assert_eq!(refused.unwrap_err().code, expected);
    }
}

#[test]
fn names_within_the_values_of_an_alarm_do_not_become_elements() {
    let account = account(&[], &[]);
    let call = |action: &str, request: &Value| {
        account.call(AwsService::CloudWatch, action, request, &Caller::Account)
    };
    let mut alarm = billing_alarm("a");
    alarm["AlarmDescription"] = json!({ "<x>": "y" });
    alarm["AlarmActions"] = json!(["arn", { "<x>": "y" }]);
    alarm["Dimensions"] = json!([{ "Name": "n", "Value": "v", "<x>": "y" }]);
    call("PutMetricAlarm", &alarm).unwrap();
    let described = call("DescribeAlarms", &json!({})).unwrap();
    let document = document(
        Protocol::CloudWatchQuery,
        "DescribeAlarms",
        &described,
        "id",
    );
    assert!(!document.contains("<<"), "{document}");
    let shown = &described["MetricAlarms"][0];
    assert_eq!(shown["AlarmActions"], json!(["arn"]));
    assert_eq!(shown["Dimensions"], json!([{ "Name": "n", "Value": "v" }]));
}
