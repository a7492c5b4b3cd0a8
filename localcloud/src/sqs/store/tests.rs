use std::collections::BTreeMap;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::sqs::state::change_log::{MessageState, Phase};
use crate::sqs::state::{
    AttributeMap, AttributeValue, Message, MessageAttribute, MessageContent, Queues,
};

const START: u64 = 1_700_000_000_000;

/// Queues and their store.
struct StoredQueues {
    queues: Queues,
    store: Store,
}

impl StoredQueues {
    fn open(folder: &Path) -> Self {
        let (store, snapshot) = Store::open(folder, SyncPolicy::Never).unwrap();
        let queues = Queues::restore("us-east-1", snapshot).unwrap();
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
        let message = Message::new(body, body);
        self.queues.queue(name).unwrap().send(message, None, START);
    }
}

fn folder() -> (TempDir, PathBuf) {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("sqs");
    (data, folder)
}

#[test]
fn the_last_of_several_changes_of_a_message_is_stored() {
    let (_data, folder) = folder();
    let mut stored = StoredQueues::open(&folder);
    stored.create_queue("q");
    for body in ["stored", "removed"] {
        stored.send("q", body);
    }
    let received = stored.queues.receive("q", 2, Some(60), START).unwrap();
    let handles: Vec<String> = received
        .deliveries
        .into_iter()
        .map(|delivery| delivery.receipt_handle)
        .collect();
    let queue = stored.queues.queue("q").unwrap();
    queue.change_visibility(&handles[0], 20, START).unwrap();
    queue.change_visibility(&handles[0], 40, START).unwrap();
    queue.delete(&handles[1], START).unwrap();
    stored.write();
    let before = stored.queues.snapshot();
    assert_eq!(before.queues[0].messages.len(), 1);
    drop(stored);
    assert_eq!(StoredQueues::open(&folder).queues.snapshot(), before);
}

#[test]
fn purges_and_deletes_leave_other_queues() {
    let (_data, folder) = folder();
    let mut stored = StoredQueues::open(&folder);
    for name in ["stored", "purged", "deleted"] {
        stored.create_queue(name);
        for number in 0..25_000 {
            stored.send(name, &number.to_string());
        }
        stored.write();
    }
    stored.queues.queue("purged").unwrap().purge(START).unwrap();
    stored.send("purged", "after the purge");
    stored.queues.delete_queue("deleted").unwrap();
    stored.create_queue("deleted");
    stored.write();
    let before = stored.queues.snapshot();
    drop(stored);
    let stored = StoredQueues::open(&folder);
    let after = stored.queues.snapshot();
    assert_eq!(after, before);
    let sizes: BTreeMap<&str, usize> = after
        .queues
        .iter()
        .map(|queue| (queue.record.name.as_str(), queue.messages.len()))
        .collect();
    assert_eq!(
        sizes,
        BTreeMap::from([("deleted", 0), ("stored", 25_000), ("purged", 1)])
    );
}

#[test]
fn a_receipt_handle_of_a_deleted_queue_is_invalid_after_a_restart() {
    let (_data, folder) = folder();
    let mut stored = StoredQueues::open(&folder);
    stored.create_queue("q");
    stored.send("q", "a");
    let received = stored.queues.receive("q", 1, None, START).unwrap();
    stored.queues.delete_queue("q").unwrap();
    stored.write();
    drop(stored);
    let mut stored = StoredQueues::open(&folder);
    stored.create_queue("q");
    stored.send("q", "b");
    let refused = stored
        .queues
        .queue("q")
        .unwrap()
        .delete(&received.deliveries[0].receipt_handle, START);
    assert_eq!(refused, Err(crate::sqs::SqsError::ReceiptHandleIsInvalid));
}

#[test]
fn the_group_of_a_message_survives_a_restart() {
    let (_data, folder) = folder();
    let mut stored = StoredQueues::open(&folder);
    stored.create_queue("q");
    for group_id in [None, Some("tenant-1".to_owned())] {
        let mut message = Message::new("id", "body");
        message.group_id = group_id;
        stored.queues.queue("q").unwrap().send(message, None, START);
    }
    stored.write();
    let before = stored.queues.snapshot();
    drop(stored);
    assert_eq!(StoredQueues::open(&folder).queues.snapshot(), before);
}

#[test]
fn an_open_store_cannot_be_opened_again() {
    let (_data, folder) = folder();
    let stored = StoredQueues::open(&folder);
    let second = Store::open(&folder, SyncPolicy::Never);
    assert!(matches!(second, Err(StoreError::InUse(_))), "{second:?}");
    drop(stored);
    StoredQueues::open(&folder);
}

#[test]
fn a_store_of_another_format_is_refused() {
    let (_data, folder) = folder();
    drop(StoredQueues::open(&folder));
    let (database, records) = open(&folder).unwrap();
    records
        .insert(Key::Format.bytes(), record::encode(&(FORMAT + 1)))
        .unwrap();
    drop((records, database));
    let refused = Store::open(&folder, SyncPolicy::Never).unwrap_err();
    assert!(refused.to_string().contains("has format 2"), "{refused}");
}

#[test]
fn an_incomplete_store_is_created_again() {
    let (data, folder) = folder();
    std::fs::create_dir(data.path().join("sqs.new")).unwrap();
    std::fs::write(data.path().join("sqs.new/lock"), "").unwrap();
    StoredQueues::open(&folder);
    assert!(!data.path().join("sqs.new").exists());
}

/// After damage to any byte of a table, opening the store fails or returns all messages unchanged.
#[test]
fn damage_to_flushed_tables_is_detected() {
    let (_data, folder) = folder();
    let mut stored = StoredQueues::open(&folder);
    stored.create_queue("q");
    for number in 0..200 {
        stored.send("q", &format!("message {number}"));
    }
    stored.write();
    stored.store.records.rotate_memtable_and_wait().unwrap();
    let before = stored.queues.snapshot();
    drop(stored);
    let tables: Vec<PathBuf> = files_in(&folder)
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("/tables/"))
        .collect();
    assert!(!tables.is_empty(), "{:?}", files_in(&folder));
    let mut detected = 0;
    for table in &tables {
        let intact = std::fs::read(table).unwrap();
        for offset in (0..intact.len()).step_by(intact.len() / 20 + 1) {
            let mut damaged = intact.clone();
            damaged[offset] ^= 0x55;
            std::fs::write(table, damaged).unwrap();
            match Store::open(&folder, SyncPolicy::Never) {
                Ok((_, snapshot)) => assert_eq!(snapshot, before, "byte {offset} of {table:?}"),
                Err(StoreError::Damaged { .. } | StoreError::Io { .. }) => detected += 1,
                Err(error) => panic!("{error}"),
            }
            std::fs::write(table, &intact).unwrap();
        }
    }
    assert!(detected > 10, "{detected}");
}

/// A later localcloud reads the stores of an earlier one, unless `FORMAT` changes.
#[test]
fn the_bytes_of_format_1_stay_the_same() {
    let mut message = Message::new("id", "body");
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
        record::encode_content(&content),
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
    let key = MessageKey {
        incarnation: 1,
        sequence: 258,
    };
    assert_eq!(
        Key::Content(key).bytes(),
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
fn the_store_stays_small_after_millions_of_messages() {
    use std::os::unix::fs::MetadataExt;
    let (_data, folder) = folder();
    let mut stored = StoredQueues::open(&folder);
    stored.create_queue("q");
    let body = "x".repeat(300);
    let mut most_disk = 0;
    let started = std::time::Instant::now();
    for round in 1..=3_000_000_u64 {
        stored.send("q", &body);
        stored.write();
        let received = stored.queues.receive("q", 1, None, START).unwrap();
        stored.write();
        let handle = &received.deliveries[0].receipt_handle;
        stored
            .queues
            .queue("q")
            .unwrap()
            .delete(handle, START)
            .unwrap();
        stored.write();
        if round.is_multiple_of(50_000) {
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
            println!("round={round} disk_mib={} {resident}", (blocks * 512) >> 20);
        }
    }
    println!(
        "us_per_round={:.1} most_disk_mib={}",
        started.elapsed().as_micros() as f64 / 3e6,
        most_disk >> 20
    );
    drop(stored);
    let opening = std::time::Instant::now();
    let stored = StoredQueues::open(&folder);
    println!("opened_in_ms={}", opening.elapsed().as_millis());
    assert!(stored.queues.snapshot().queues[0].messages.is_empty());
    assert!(most_disk < 128 << 20);
}
