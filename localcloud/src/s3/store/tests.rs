//! The store beside a plain map, across restarts and with concurrent writers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Barrier};

use proptest::prelude::*;
use s3s::S3Result;
use s3s::dto::{ETag, ETagCondition};

use super::listing::{ListQuery, list};
use super::{BucketSettings, Description, Object, Store, Tags};
use crate::clock::Clock;
use crate::s3::conditions::check_write;
use crate::s3::staging::StagedFile;

const BUCKET: &str = "bucket";

/// One operation on the store.
#[derive(Debug, Clone)]
enum Step {
    Put(String, Vec<u8>),
    PutIfAbsent(String, Vec<u8>),
    PutOver(String, Vec<u8>, Vec<u8>),
    Copy(String, String),
    Delete(String),
    Restart,
    List {
        prefix: String,
        delimiter: Option<String>,
        page: usize,
    },
}

fn keys() -> impl Strategy<Value = String> {
    "[ab/.é]{1,4}"
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0..3u8, 0..3)
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (keys(), bodies()).prop_map(|(key, body)| Step::Put(key, body)),
        2 => (keys(), bodies()).prop_map(|(key, body)| Step::PutIfAbsent(key, body)),
        2 => (keys(), bodies(), bodies()).prop_map(|(key, old, new)| Step::PutOver(key, old, new)),
        1 => (keys(), keys()).prop_map(|(from, to)| Step::Copy(from, to)),
        2 => keys().prop_map(Step::Delete),
        1 => Just(Step::Restart),
        2 => ("[ab/.]{0,2}", proptest::option::of("[ab/]{0,2}"), 1..5usize)
            .prop_map(|(prefix, delimiter, page)| Step::List { prefix, delimiter, page }),
    ]
}

fn etag(body: &[u8]) -> String {
    use md5::{Digest, Md5};
    hex::encode(Md5::digest(body))
}

fn new_store(folder: &std::path::Path) -> Store {
    let store = Store::open_folder(folder, Clock::start()).unwrap();
    let settings = BucketSettings {
        created: 0,
        region: "us-east-1".to_owned(),
        tags: Tags::new(),
        notifications: Vec::new(),
    };
    store.create_bucket(BUCKET, settings).unwrap();
    store
}

fn put(
    store: &Store,
    key: &str,
    body: &[u8],
    check: impl FnOnce(Option<&Object>) -> S3Result<()>,
) -> S3Result<u64> {
    let object = Object {
        key: key.to_owned(),
        number: store.number(),
        size: body.len() as u64,
        etag: etag(body),
        modified: store.now(),
        description: Description::default(),
        tags: Tags::new(),
        checksum: None,
        parts: Vec::new(),
    };
    let mut staged = StagedFile::default();
    staged.push_blocking(store, body).unwrap();
    let file = staged.seal(&object).unwrap();
    store.put(BUCKET, object, file, check)
}

fn body_of(store: &Store, key: &str) -> Option<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let (object, file) = store.open(BUCKET, key).ok()?;
    let mut body = vec![0; object.size as usize];
    file.read_exact_at(&mut body, 0).unwrap();
    assert_eq!(object.etag, etag(&body));
    Some(body)
}

/// Returns the names that a list holds, found without skipping ahead.
fn listed_plainly(keys: &BTreeSet<String>, prefix: &str, delimiter: Option<&str>) -> Vec<String> {
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
    let mut names: Vec<String> = keys
        .iter()
        .filter(|key| key.starts_with(prefix))
        .map(|key| {
            let rest = &key[prefix.len()..];
            match delimiter.and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len())) {
                Some(end) => key[..prefix.len() + end].to_owned(),
                None => key.clone(),
            }
        })
        .collect();
    names.dedup();
    names
}

fn apply(
    store: &mut Store,
    model: &mut BTreeMap<String, Vec<u8>>,
    folder: &std::path::Path,
    step: Step,
) {
    match step {
        Step::Put(key, body) => {
            put(store, &key, &body, |_| Ok(())).unwrap();
            model.insert(key, body);
        }
        Step::PutIfAbsent(key, body) => {
            let result = put(store, &key, &body, |present| {
                check_write(None, Some(&ETagCondition::Any), present)
            });
            assert_eq!(result.is_ok(), !model.contains_key(&key));
            model.entry(key).or_insert(body);
        }
        Step::PutOver(key, old, new) => {
            let condition = ETagCondition::ETag(ETag::Strong(etag(&old)));
            let result = put(store, &key, &new, |present| {
                check_write(Some(&condition), None, present)
            });
            let expected = model.get(&key) == Some(&old);
            assert_eq!(result.is_ok(), expected);
            if expected {
                model.insert(key, new);
            }
        }
        Step::Copy(from, to) => {
            let body = body_of(store, &from);
            assert_eq!(body.as_ref(), model.get(&from));
            if let Some(body) = body {
                put(store, &to, &body, |_| Ok(())).unwrap();
                model.insert(to, body);
            }
        }
        Step::Delete(key) => {
            let deleted = store.delete(BUCKET, &key, |_| Ok(())).unwrap();
            assert_eq!(deleted.is_some(), model.remove(&key).is_some());
        }
        Step::Restart => *store = Store::open_folder(folder, Clock::start()).unwrap(),
        Step::List {
            prefix,
            delimiter,
            page,
        } => {
            let mut names = Vec::new();
            let mut after = String::new();
            loop {
                let query = ListQuery {
                    prefix: &prefix,
                    delimiter: delimiter.as_deref(),
                    after: &after,
                    size: page,
                };
                let listed = store
                    .with_bucket(BUCKET, |bucket| Ok(list(&bucket.objects, &query)))
                    .unwrap();
                assert!(listed.entries.len() <= page);
                names.extend(listed.entries.iter().map(|entry| entry.name().to_owned()));
                if !listed.truncated {
                    break;
                }
                after = names.last().unwrap().clone();
            }
            let keys = model.keys().cloned().collect();
            assert_eq!(names, listed_plainly(&keys, &prefix, delimiter.as_deref()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_store_behaves_like_a_map(steps in proptest::collection::vec(steps(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = new_store(folder.path());
        let mut model = BTreeMap::new();
        for step in steps {
            apply(&mut store, &mut model, folder.path(), step);
        }
        for (key, body) in &model {
            prop_assert_eq!(body_of(&store, key), Some(body.clone()));
        }
    }
}

#[test]
fn one_of_several_conditional_writers_wins() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(new_store(folder.path()));
    put(&store, "lease", b"0", |_| Ok(())).unwrap();
    for round in 0..50u32 {
        let condition = ETagCondition::ETag(ETag::Strong(etag(round.to_string().as_bytes())));
        let barrier = Arc::new(Barrier::new(8));
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let (store, barrier) = (Arc::clone(&store), Arc::clone(&barrier));
                let condition = condition.clone();
                std::thread::spawn(move || {
                    barrier.wait();
                    let body = (round + 1).to_string();
                    put(&store, "lease", body.as_bytes(), |present| {
                        check_write(Some(&condition), None, present)
                    })
                    .is_ok()
                })
            })
            .collect();
        let won = writers.into_iter().map(|writer| writer.join().unwrap());
        assert_eq!(won.filter(|won| *won).count(), 1);
    }
}

#[test]
fn a_truncated_file_is_not_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path());
    put(&store, "whole", b"body", |_| Ok(())).unwrap();
    put(&store, "cut", b"body", |_| Ok(())).unwrap();
    let cut = std::fs::File::options()
        .write(true)
        .open(store.object_file(BUCKET, "cut"))
        .unwrap();
    cut.set_len(20).unwrap();
    std::fs::write(folder.path().join("temporary/left"), "over").unwrap();
    let store = Store::open_folder(folder.path(), Clock::start()).unwrap();
    assert_eq!(body_of(&store, "whole"), Some(b"body".to_vec()));
    assert_eq!(body_of(&store, "cut"), None);
    put(&store, "cut", b"again", |_| Ok(())).unwrap();
    assert_eq!(body_of(&store, "cut"), Some(b"again".to_vec()));
    assert_eq!(
        std::fs::read_dir(folder.path().join("temporary"))
            .unwrap()
            .count(),
        0
    );
}
