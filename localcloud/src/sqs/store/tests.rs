use std::collections::BTreeMap;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::sqs::state::change::{MessageState, Phase};
use crate::sqs::state::{
    AttributeMap, AttributeValue, MessageAttribute, MessageContent, NewMessage, Queues,
};

const START: u64 = 1_700_000_000_000;

/// Queues over a store, as the service has them.
struct Kept {
    queues: Queues,
    store: Store,
}

impl Kept {
    fn open(folder: &Path) -> Self {
        let (store, saved) = Store::open(folder, SyncPolicy::Never).unwrap();
        let queues = Queues::restore("us-east-1", saved).unwrap();
        Self { queues, store }
    }

    fn write(&self) {
        self.store.write(&self.queues.take_changes()).unwrap();
    }

    fn create_queue(&mut self, name: &str) {
        self.queues
            .create_queue(name, &AttributeMap::new(), AttributeMap::new(), START)
            .unwrap();
    }

    fn send(&mut self, name: &str, body: &str) {
        let message = NewMessage::new(body, body);
        self.queues.queue(name).unwrap().send(message, None, START);
    }
}

fn folder() -> (TempDir, PathBuf) {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("sqs");
    (data, folder)
}

#[test]
fn several_changes_of_a_message_in_one_call_leave_the_last() {
    let (_data, folder) = folder();
    let mut kept = Kept::open(&folder);
    kept.create_queue("q");
    for body in ["kept", "removed"] {
        kept.send("q", body);
    }
    let received = kept.queues.receive("q", 2, Some(60), START).unwrap();
    let handles: Vec<String> = received
        .deliveries
        .into_iter()
        .map(|delivery| delivery.receipt_handle)
        .collect();
    let queue = kept.queues.queue("q").unwrap();
    queue.change_visibility(&handles[0], 20, START).unwrap();
    queue.change_visibility(&handles[0], 40, START).unwrap();
    queue.delete(&handles[1], START).unwrap();
    kept.write();
    let before = kept.queues.saved();
    assert_eq!(before.queues[0].messages.len(), 1);
    drop(kept);
    assert_eq!(Kept::open(&folder).queues.saved(), before);
}

#[test]
fn purged_and_deleted_queues_take_their_messages_and_no_others() {
    let (_data, folder) = folder();
    let mut kept = Kept::open(&folder);
    for name in ["kept", "purged", "deleted"] {
        kept.create_queue(name);
        for number in 0..25_000 {
            kept.send(name, &number.to_string());
        }
        kept.write();
    }
    kept.queues
        .queue("purged")
        .unwrap()
        .purge("purged", START)
        .unwrap();
    kept.send("purged", "after the purge");
    kept.queues.delete_queue("deleted").unwrap();
    kept.create_queue("deleted");
    kept.write();
    let before = kept.queues.saved();
    drop(kept);
    let kept = Kept::open(&folder);
    let after = kept.queues.saved();
    assert_eq!(after, before);
    let sizes: BTreeMap<&str, usize> = after
        .queues
        .iter()
        .map(|queue| (queue.record.name.as_str(), queue.messages.len()))
        .collect();
    assert_eq!(
        sizes,
        BTreeMap::from([("deleted", 0), ("kept", 25_000), ("purged", 1)])
    );
}

#[test]
fn a_handle_of_a_deleted_queue_does_not_fit_after_a_restart() {
    let (_data, folder) = folder();
    let mut kept = Kept::open(&folder);
    kept.create_queue("q");
    kept.send("q", "a");
    let received = kept.queues.receive("q", 1, None, START).unwrap();
    kept.queues.delete_queue("q").unwrap();
    kept.write();
    drop(kept);
    let mut kept = Kept::open(&folder);
    kept.create_queue("q");
    kept.send("q", "b");
    let refused = kept
        .queues
        .queue("q")
        .unwrap()
        .delete(&received.deliveries[0].receipt_handle, START);
    assert_eq!(refused, Err(crate::sqs::SqsError::ReceiptHandleIsInvalid));
}

#[test]
fn a_store_is_opened_once_at_a_time() {
    let (_data, folder) = folder();
    let kept = Kept::open(&folder);
    let second = Store::open(&folder, SyncPolicy::Never);
    assert!(matches!(second, Err(StoreError::InUse(_))), "{second:?}");
    drop(kept);
    Kept::open(&folder);
}

#[test]
fn a_store_of_another_format_is_refused() {
    let (_data, folder) = folder();
    drop(Kept::open(&folder));
    let (database, records) = open(&folder).unwrap();
    records
        .insert(Key::Format.bytes(), record::encode(&(FORMAT + 1)))
        .unwrap();
    drop((records, database));
    let refused = Store::open(&folder, SyncPolicy::Never).unwrap_err();
    assert!(refused.to_string().contains("has format 2"), "{refused}");
}

#[test]
fn a_store_whose_making_was_cut_short_is_made_anew() {
    let (data, folder) = folder();
    std::fs::create_dir(data.path().join("sqs.new")).unwrap();
    std::fs::write(data.path().join("sqs.new/lock"), "").unwrap();
    Kept::open(&folder);
    assert!(!data.path().join("sqs.new").exists());
}

/// Whatever byte of whatever file is damaged: the store says so, or nothing of it is missing or changed.
#[test]
fn damage_never_goes_unnoticed_among_what_was_flushed() {
    let (_data, folder) = folder();
    let mut kept = Kept::open(&folder);
    kept.create_queue("q");
    for number in 0..200 {
        kept.send("q", &format!("message {number}"));
    }
    kept.write();
    kept.store.records.rotate_memtable_and_wait().unwrap();
    let before = kept.queues.saved();
    drop(kept);
    let tables: Vec<PathBuf> = files_in(&folder)
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("/tables/"))
        .collect();
    assert!(!tables.is_empty(), "{:?}", files_in(&folder));
    let mut noticed = 0;
    for table in &tables {
        let sound = std::fs::read(table).unwrap();
        for place in (0..sound.len()).step_by(sound.len() / 20 + 1) {
            let mut damaged = sound.clone();
            damaged[place] ^= 0x55;
            std::fs::write(table, damaged).unwrap();
            match Store::open(&folder, SyncPolicy::Never) {
                Ok((_, saved)) => assert_eq!(saved, before, "byte {place} of {table:?}"),
                Err(StoreError::Damaged { .. } | StoreError::Io { .. }) => noticed += 1,
                Err(error) => panic!("{error}"),
            }
            std::fs::write(table, &sound).unwrap();
        }
    }
    assert!(noticed > 10, "{noticed}");
}

/// A store written by an earlier localcloud must be read by a later one, or have another `FORMAT`.
#[test]
fn the_bytes_of_format_1_stay_as_they_are() {
    let mut message = NewMessage::new("id", "body");
    message.body_md5 = "md5".to_owned();
    message.trace_header = Some("trace".to_owned());
    message.attributes.insert(
        "raw".to_owned(),
        MessageAttribute {
            data_type: "Binary".to_owned(),
            value: AttributeValue::Binary(vec![7, 255]),
        },
    );
    let content = MessageContent {
        message: Arc::new(message),
        sent: 300,
        dead_letter_source_arn: Some("arn".into()),
    };
    assert_eq!(
        record::encode(&StoredContent::of(&content)),
        b"\x02id\x04body\x03md5\x01\x03raw\x06Binary\x01\x02\x07\xff\x01\x05trace\xac\x02\x01\x03arn"
    );
    let state = |phase| MessageState {
        phase,
        first_received: 1,
        receive_count: 2,
        returned: true,
    };
    for (phase, bytes) in [
        (Phase::Available, b"\x00\x01\x02\x01".as_slice()),
        (Phase::Delayed { until: 9 }, b"\x01\x09\x01\x02\x01"),
        (
            Phase::InFlight {
                until: 9,
                duplicate: true,
            },
            b"\x02\x09\x01\x01\x02\x01",
        ),
        (Phase::Deleted { until: 9 }, b"\x03\x09\x01\x02\x01"),
    ] {
        assert_eq!(record::encode(&state(phase)), bytes);
    }
    let place = Place {
        incarnation: 1,
        sequence: 258,
    };
    assert_eq!(
        Key::Content(place).bytes(),
        b"m\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01\x02"
    );
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// `cargo test --release -p localcloud --lib -- --ignored --nocapture millions`
#[test]
#[ignore = "a measurement"]
fn millions_of_messages_leave_the_store_flat() {
    use std::os::unix::fs::MetadataExt;
    let (_data, folder) = folder();
    let mut kept = Kept::open(&folder);
    kept.create_queue("q");
    let body = "x".repeat(300);
    let mut most_disk = 0;
    let started = std::time::Instant::now();
    for turn in 1..=3_000_000_u64 {
        kept.send("q", &body);
        kept.write();
        let received = kept.queues.receive("q", 1, None, START).unwrap();
        kept.write();
        let handle = &received.deliveries[0].receipt_handle;
        kept.queues
            .queue("q")
            .unwrap()
            .delete(handle, START)
            .unwrap();
        kept.write();
        if turn.is_multiple_of(50_000) {
            let blocks: u64 = files_in(&folder)
                .iter()
                .filter_map(|path| path.metadata().ok())
                .map(|metadata| metadata.blocks())
                .sum();
            most_disk = most_disk.max(blocks * 512);
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let resident = status
                .lines()
                .find(|line| line.starts_with("VmRSS"))
                .unwrap();
            println!("turn={turn} disk_mib={} {resident}", (blocks * 512) >> 20);
        }
    }
    println!(
        "us_per_turn={:.1} most_disk_mib={}",
        started.elapsed().as_micros() as f64 / 3e6,
        most_disk >> 20
    );
    drop(kept);
    let opening = std::time::Instant::now();
    let kept = Kept::open(&folder);
    println!("opened_in_ms={}", opening.elapsed().as_millis());
    assert!(kept.queues.saved().queues[0].messages.is_empty());
    assert!(most_disk < 128 << 20);
}
