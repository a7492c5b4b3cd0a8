//! localcloud's Lambda. The whole input is a zip file with code. It is requests as well, ended by NUL, as in `s3`: they are
//! made in order, to one account with a queue `q`. No invocation gets a process.

#![no_main]

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use localcloud::fuzzing::{
    Clock, Iam, Lambda, LambdaCall, LambdaDependencies, Logs, Metrics, Sqs, unpack_code,
};
use localcloud::{Authentication, LambdaConfig};
use muster_fuzz::request;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const MOST_REQUESTS: usize = 8;
/// Inputs for one account: each account has a process that watches over it.
const ACCOUNT_LIVES_FOR: usize = 500;

struct Account {
    inputs: usize,
    lambda: Arc<Lambda>,
    _folder: TempDir,
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    static ACCOUNT: std::cell::RefCell<Option<Account>> = const { std::cell::RefCell::new(None) };
}

fuzz_target!(|input: &[u8]| {
    unpack(input);
    RUNTIME.with(|runtime| {
        ACCOUNT.with_borrow_mut(|account| {
            runtime.block_on(async {
                let account = match account {
                    Some(account) if account.inputs < ACCOUNT_LIVES_FOR => account,
                    used => used.insert(open_account().await),
                };
                account.inputs += 1;
                for bytes in input.split(|&byte| byte == 0).take(MOST_REQUESTS) {
                    call(&account.lambda, bytes).await;
                }
            });
        });
    });
});

/// Unpacks a zip file. It leaves nothing beside its folder.
fn unpack(zip: &[u8]) {
    let around = tempfile::tempdir().expect("a folder for temporary files");
    let folder = around.path().join("code");
    let unpacked = unpack_code(zip, &folder, true);
    assert_eq!(unpacked.is_ok(), folder.exists());
    let entries = around.path().read_dir().expect("the folder is there");
    assert_eq!(entries.count(), usize::from(unpacked.is_ok()));
}

async fn open_account() -> Account {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let clock = Clock::start();
    let sqs = Arc::new(Sqs::new(clock, "us-east-1"));
    let queue = sqs.call("CreateQueue", br#"{"QueueName":"q"}"#, "");
    assert!(queue.await.is_ok());
    let dependencies = LambdaDependencies {
        clock,
        region: "us-east-1".to_owned(),
        address: ([127, 0, 0, 1], 4566).into(),
        iam: Iam::without_roles(clock, Authentication::Any),
        sqs,
        logs: Arc::new(Logs::new(clock, "us-east-1")),
        metrics: Arc::new(Metrics::new(clock)),
    };
    let config = LambdaConfig {
        // Every invocation is throttled, and every event waits.
        concurrency: 0,
        retry_delay: Duration::from_secs(60),
        idle_time: Duration::from_secs(60),
    };
    Account {
        inputs: 0,
        lambda: Lambda::new(dependencies, folder.path(), config).expect("sh can be started"),
        _folder: folder,
    }
}

async fn call(lambda: &Arc<Lambda>, bytes: &[u8]) {
    let Some(request) = request(bytes) else {
        return;
    };
    let (parts, body) = request.into_parts();
    let call = LambdaCall::of(&parts, &body);
    lambda.accesses(&call);
    let _ = lambda.check_grants(&call);
    let url = lambda.call_url(&parts, body.clone()).await;
    assert!(!url.status().is_success(), "{:?}", url.status());
    match lambda.call(&parts, body).await {
        Ok(reply) if reply.body.is_empty() => {}
        Ok(reply) => {
            drop(serde_json::from_slice::<serde_json::Value>(&reply.body).expect("a reply is JSON"))
        }
        Err(error) => assert!(!error.common().status.is_server_error(), "{error}"),
    }
}
