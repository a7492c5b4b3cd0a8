//! localcloud's IAM, STS, CloudWatch and CloudWatch Logs. The whole input is a policy document. Its lines are calls to one
//! account as well, in order: `iam`, `sts` or `cloudwatch` and a form, or `metrics` or `logs`, an action and JSON.

#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use localcloud::fuzzing::{
    Access, AccountCalls, AccountDependencies, Caller, Clock, CreatedRole, Iam, Logs, Metrics,
    Protocol, document, error_document, request_of_form,
};
use localcloud::{Authentication, AwsService};
use muster_fuzz::is_xml;
use serde_json::Value;

const MOST_CALLS: usize = 20;

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        policy(text);
    }
    let account = open_account();
    for line in input.split(|&byte| byte == b'\n').take(MOST_CALLS) {
        let (service, call) = words(line);
        match service {
            b"iam" => form(&account, Protocol::Iam, call),
            b"sts" => form(&account, Protocol::Sts, call),
            b"cloudwatch" => form(&account, Protocol::CloudWatchQuery, call),
            b"metrics" => json(&account, AwsService::CloudWatch, call),
            b"logs" => json(&account, AwsService::Logs, call),
            _ => {}
        }
    }
});

/// Parses a document for a role, and decides by it.
fn policy(text: &str) {
    let tags = BTreeMap::from([("team".to_owned(), "faces".to_owned())]);
    let mut role = CreatedRole::new("r", &tags);
    if role.policy("p", text).is_err() {
        return;
    }
    let iam = Iam::without_roles(Clock::start(), Authentication::Any);
    iam.put_role(role);
    let role = iam.role_named("r").expect("it was put");
    for (action, resource) in [
        ("s3:GetObject", "arn:aws:s3:::bucket/a/key"),
        ("ec2:RunInstances", "*"),
    ] {
        role.allows(&Access::new(action, resource).with("aws:RequestTag/team", "faces"));
    }
}

fn open_account() -> AccountCalls {
    let clock = Clock::start();
    let dependencies = AccountDependencies {
        iam: Iam::without_roles(clock, Authentication::Any),
        metrics: Arc::new(Metrics::new(clock)),
        logs: Arc::new(Logs::new(clock, "us-east-1")),
    };
    AccountCalls::new(clock, "us-east-1", dependencies, &[], &[]).expect("nothing is configured")
}

/// Returns what is before the first space, and what is after it.
fn words(line: &[u8]) -> (&[u8], &[u8]) {
    let mut words = line.splitn(2, |&byte| byte == b' ');
    let first = words.next().unwrap_or_default();
    (first, words.next().unwrap_or_default())
}

fn form(account: &AccountCalls, protocol: Protocol, form: &[u8]) {
    let request = request_of_form(form);
    let action = request["Action"].as_str().unwrap_or_default();
    let service = protocol.service();
    account.accesses(service, action, &request);
    let document = match account.call(service, action, &request, &Caller::Account) {
        Ok(reply) => document(protocol, action, &reply, "id"),
        Err(error) => error_document(protocol, "Sender", &error.code, &error.message, "id"),
    };
    assert!(is_xml(&document), "{document}");
}

fn json(account: &AccountCalls, service: AwsService, call: &[u8]) {
    let (action, body) = words(call);
    let action = String::from_utf8_lossy(action);
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    account.accesses(service, &action, &request);
    if let Err(error) = account.call(service, &action, &request, &Caller::Account) {
        assert!(!error.status.is_server_error(), "{error:?}");
    }
}
