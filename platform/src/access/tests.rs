use http::HeaderValue;

use super::*;

/// A temporary key file, and the checks by it.
struct KeyFile {
    path: PathBuf,
    checks: KeyChecks,
}

impl KeyFile {
    fn new(keys: &Keys) -> Self {
        let path = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        keys.write(&path).unwrap();
        let file = path.clone();
        let keys = Reloading::open(vec![path.clone()], move || Keys::read(&file)).unwrap();
        let checks = KeyChecks {
            keys: keys.eager(),
            arrivals: Mutex::default(),
        };
        Self { path, checks }
    }

    fn check(&self, key: &str, role: Role) -> Result<(), Denied> {
        self.checks.check(&by_key(key), role, Instant::now())
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).unwrap();
    }
}

fn by_key(key: &str) -> HeaderMap {
    let value = HeaderValue::from_str(key).unwrap();
    HeaderMap::from_iter([(KEY_HEADER.parse().unwrap(), value)])
}

fn bearer(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))])
}

#[test]
fn a_key_allows_what_its_roles_allow() {
    let mut keys = Keys::default();
    let shop = keys.add("shop", &[Role::Recognize], None).unwrap();
    let admin = keys
        .add("admin", &[Role::Operate, Role::Recognize], None)
        .unwrap();
    let file = KeyFile::new(&keys);
    assert_eq!(file.check(shop.expose(), Role::Recognize), Ok(()));
    let refused = file.check(shop.expose(), Role::Operate).unwrap_err();
    assert_eq!(
        Status::from(refused.clone()).code(),
        tonic::Code::PermissionDenied
    );
    assert!(
        refused.to_string().contains("lacks the role operate"),
        "{refused}"
    );
    for role in [Role::Recognize, Role::Operate] {
        assert_eq!(file.check(admin.expose(), role), Ok(()));
    }
}

#[test]
fn a_wrong_key_is_refused() {
    let mut keys = Keys::default();
    let key = keys.add("shop", &[Role::Recognize], None).unwrap();
    let other = keys.add("other", &[Role::Recognize], None).unwrap();
    let file = KeyFile::new(&keys);
    let right = key.expose();
    let of_other = right.replace("_shop_", "_other_");
    for wrong in [
        &right[..right.len() - 1],
        &format!("{right}0"),
        &right.to_uppercase(),
        &of_other,
        &other.expose().replace("_other_", "_shop_"),
        "muster_shop_",
        "muster_nobody_0",
        "",
    ] {
        assert_eq!(
            file.check(wrong, Role::Recognize),
            Err(Denied::WrongKey),
            "{wrong}"
        );
    }
    let none = file
        .checks
        .check(&HeaderMap::new(), Role::Recognize, Instant::now());
    assert_eq!(none, Err(Denied::NoKey));
}

#[test]
fn a_key_is_read_from_either_header() {
    assert_eq!(presented_key(&by_key("k")), Some("k"));
    assert_eq!(presented_key(&bearer("Bearer k")), Some("k"));
    assert_eq!(presented_key(&bearer("bearer k")), Some("k"));
    assert_eq!(presented_key(&bearer("Basic k")), None);
    assert_eq!(presented_key(&bearer("k")), None);
    assert_eq!(presented_key(&HeaderMap::new()), None);
}

#[test]
fn added_and_removed_keys_take_effect_at_once_and_the_file_holds_no_secret() {
    let mut keys = Keys::default();
    let first = keys.add("first", &[Role::Recognize], None).unwrap();
    let file = KeyFile::new(&keys);
    let second = keys.add("second", &[Role::Recognize], Some(5.0)).unwrap();
    assert!(keys.add("second", &[Role::Recognize], None).is_err());
    assert_eq!(
        file.check(second.expose(), Role::Recognize),
        Err(Denied::WrongKey)
    );
    keys.write(&file.path).unwrap();
    assert_eq!(file.check(second.expose(), Role::Recognize), Ok(()));
    keys.0.remove("first");
    keys.write(&file.path).unwrap();
    assert_eq!(
        file.check(first.expose(), Role::Recognize),
        Err(Denied::WrongKey)
    );
    let text = std::fs::read_to_string(&file.path).unwrap();
    let secret = second.expose().rsplit('_').next().unwrap();
    assert!(!text.contains(secret), "{text}");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&file.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // While the file cannot be read, the last keys stay valid.
    std::fs::write(&file.path, "[second\n").unwrap();
    assert_eq!(file.check(second.expose(), Role::Recognize), Ok(()));
}

#[test]
fn a_key_is_used_no_more_often_than_its_rate() {
    let mut keys = Keys::default();
    let limited = keys.add("limited", &[Role::Recognize], Some(4.0)).unwrap();
    let rare = keys.add("rare", &[Role::Recognize], Some(0.1)).unwrap();
    let file = KeyFile::new(&keys);
    let start = Instant::now();
    let check = |key: &Token, milliseconds| {
        let now = start + Duration::from_millis(milliseconds);
        file.checks
            .check(&by_key(key.expose()), Role::Recognize, now)
    };
    for _ in 0..4 {
        assert_eq!(check(&limited, 0), Ok(()));
    }
    let refused = check(&limited, 0).unwrap_err();
    let name = "limited".to_owned();
    let retry_after = Duration::from_millis(250);
    assert_eq!(refused, Denied::TooOften { name, retry_after });
    let status = Status::from(refused);
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert_eq!(status.metadata().get("retry-after").unwrap(), "1");
    // Another key has a limit of its own.
    assert_eq!(check(&rare, 0), Ok(()));
    assert!(check(&rare, 9_000).is_err());
    assert_eq!(check(&rare, 10_000), Ok(()));
    assert_eq!(check(&limited, 250), Ok(()));
    assert!(check(&limited, 250).is_err());
    let accepted = (1_000..11_000)
        .filter(|at| check(&limited, *at).is_ok())
        .count();
    assert!((40..=44).contains(&accepted), "{accepted}");
}

#[test]
fn invalid_names_and_rates_are_refused() {
    let mut keys = Keys::default();
    for name in ["", "a_b", "A", "ü", "a b", &"a".repeat(41)] {
        assert!(
            keys.add(name, &[Role::Recognize], None).is_err(),
            "{name:?}"
        );
    }
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(
            keys.add("a", &[Role::Recognize], Some(rate)).is_err(),
            "{rate}"
        );
    }
}

#[test]
fn without_keys_a_service_listens_on_loopback_only() {
    let no_keys = AccessArgs::default();
    for own in ["127.0.0.1:0", "[::1]:0", "127.1.2.3:80"] {
        assert!(no_keys.open(own.parse().unwrap()).is_ok(), "{own}");
    }
    for open in [
        "0.0.0.0:80",
        "[::]:80",
        "192.0.2.1:80",
        "[::ffff:192.0.2.1]:80",
    ] {
        let refused = no_keys.open(open.parse().unwrap()).unwrap_err();
        assert!(refused.to_string().contains("--api-keys"), "{refused}");
    }
    let open_to_all = AccessArgs {
        allow_anybody: true,
        ..AccessArgs::default()
    };
    assert!(
        !open_to_all
            .open("0.0.0.0:80".parse().unwrap())
            .unwrap()
            .needs_key()
    );
    let mut keys = Keys::default();
    keys.add("shop", &[Role::Recognize], None).unwrap();
    let file = KeyFile::new(&keys);
    let by_keys = AccessArgs {
        api_keys: Some(file.path.clone()),
        ..AccessArgs::default()
    };
    assert!(
        by_keys
            .open("127.0.0.1:80".parse().unwrap())
            .unwrap()
            .needs_key()
    );
}
