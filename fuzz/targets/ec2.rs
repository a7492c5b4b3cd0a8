//! localcloud's EC2 and the user data of its instances. An input's lines are calls to one account, in order; no instance
//! gets a process. The whole input is user data as well.

#![no_main]

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use localcloud::fuzzing::{Clock, Ec2, Ec2Config, Iam, Params, Xml, read_user_data};
use localcloud::{Authentication, Ec2Faults, Image, RateLimits};
use muster_fuzz::is_xml;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const MOST_CALLS: usize = 20;
/// Inputs for one account: each account has a process that watches over it.
const ACCOUNT_LIVES_FOR: usize = 500;

struct Account {
    inputs: usize,
    ec2: Arc<Ec2>,
    _folder: TempDir,
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    static ACCOUNT: std::cell::RefCell<Option<Account>> = const { std::cell::RefCell::new(None) };
}

fuzz_target!(|input: &[u8]| {
    user_data(input);
    RUNTIME.with(|runtime| {
        ACCOUNT.with_borrow_mut(|account| {
            runtime.block_on(async {
                let account = match account {
                    Some(account) if account.inputs < ACCOUNT_LIVES_FOR => account,
                    used => used.insert(open_account()),
                };
                account.inputs += 1;
                for line in input.split(|&byte| byte == b'\n').take(MOST_CALLS) {
                    let document = answer(&account.ec2, line);
                    assert!(is_xml(&document), "{document}");
                    tokio::task::yield_now().await;
                }
            });
        });
    });
});

fn open_account() -> Account {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let config = Ec2Config {
        region: "us-east-1",
        images: vec![Image {
            id: "ami-1".to_owned(),
            name: None,
            command: vec!["true".to_owned()],
            env: Default::default(),
            user_data_env: Vec::new(),
        }],
        instances_folder: folder.path(),
        stop_grace: Duration::ZERO,
        max_instances: 20,
        start_interval: Duration::ZERO,
        faults: Ec2Faults {
            fail_boot_every: 1,
            limits: RateLimits::default(),
            ..Ec2Faults::default()
        },
        seed: 0,
    };
    let iam = Iam::without_roles(Clock::start(), Authentication::Any);
    Account {
        inputs: 0,
        ec2: Ec2::new(Clock::start(), iam, config).expect("sh can be started"),
        _folder: folder,
    }
}

fn answer(ec2: &Arc<Ec2>, form: &[u8]) -> String {
    let result = Params::parse(form).and_then(|params| {
        let action = params.owned("Action").unwrap_or_default();
        ec2.call(&action, &params, "id")
    });
    result.unwrap_or_else(|error| Xml::error(error.code(), &error.to_string(), "id"))
}

fn user_data(input: &[u8]) {
    let (variables, _) = read_user_data(input, &["MUSTER_".to_owned()]);
    for (name, value) in variables {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        assert!(name.starts_with("MUSTER_") && name.bytes().all(is_word));
        assert!(!value.contains(['\0', '\n']));
    }
}
