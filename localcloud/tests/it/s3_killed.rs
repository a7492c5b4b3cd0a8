//! S3: what outlives the process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::ByteStream;
use tokio::task::JoinSet;

use crate::cloud::{eventually, sdk};

const BUCKET: &str = "a-bucket";

/// The binary over a data folder; it is killed when dropped.
struct Process {
    process: Child,
    endpoint: String,
}

impl Process {
    fn start(data: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_localcloud"))
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let line = log
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains("address="))
            .expect("it says its address");
        let (_, address) = line.split_once("address=").unwrap();
        let endpoint = format!("http://{}", address.split(' ').next().unwrap());
        std::thread::spawn(move || log.for_each(drop));
        Self { process, endpoint }
    }

    fn s3(&self) -> Client {
        let config = aws_sdk_s3::config::Builder::from(&sdk(&self.endpoint, "test"))
            .retry_config(RetryConfig::disabled())
            .force_path_style(true);
        Client::from_conf(config.build())
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Every byte of an object's body tells which one it is.
fn body(writer: u8, size: usize) -> Vec<u8> {
    vec![writer; size]
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_in_the_middle_of_writes_leaves_whole_objects_and_loses_none() {
    let data = tempfile::tempdir().unwrap();
    let mut process = Process::start(data.path());
    process
        .s3()
        .create_bucket()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let (stored, count) = (
        Arc::new(Mutex::new(Vec::new())),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut writers = JoinSet::new();
    for writer in 0..8u8 {
        let (s3, stored, count) = (process.s3(), Arc::clone(&stored), Arc::clone(&count));
        writers.spawn(async move {
            for turn in 0.. {
                // Some are written at once, others piece by piece, and some over others.
                let size = if turn % 3 == 0 { 1_000_000 } else { 2_000 };
                let key = format!("{writer}/{}", turn % 40);
                let put = s3.put_object().bucket(BUCKET).key(&key);
                let put = put.body(ByteStream::from(body(writer, size)));
                if put.send().await.is_err() {
                    return;
                }
                stored.lock().unwrap().push(key);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    eventually("some objects are stored", || async {
        (count.load(Ordering::Relaxed) > 100).then_some(())
    })
    .await;
    process.kill();
    writers.join_all().await;

    let process = Process::start(data.path());
    let s3 = process.s3();
    let listed = s3.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    let keys: Vec<_> = listed
        .contents()
        .iter()
        .map(|one| one.key().unwrap())
        .collect();
    for key in stored.lock().unwrap().iter() {
        assert!(keys.contains(&key.as_str()), "{key} was lost");
    }
    for object in listed.contents() {
        let key = object.key().unwrap();
        let got = s3
            .get_object()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await
            .unwrap();
        let bytes = got.body.collect().await.unwrap().to_vec();
        let writer: u8 = key.split('/').next().unwrap().parse().unwrap();
        assert!([2_000, 1_000_000].contains(&bytes.len()), "{key}");
        assert!(bytes == body(writer, bytes.len()), "{key}");
    }
}

#[tokio::test]
async fn buckets_with_all_that_is_known_of_them_outlive_the_process() {
    let data = tempfile::tempdir().unwrap();
    let mut process = Process::start(data.path());
    let s3 = process.s3();
    s3.create_bucket().bucket(BUCKET).send().await.unwrap();
    let put = s3
        .put_object()
        .bucket(BUCKET)
        .key("a")
        .metadata("by", "ada");
    let put = put.tagging("k=v").body(ByteStream::from_static(b"body"));
    let etag = put.send().await.unwrap().e_tag.unwrap();
    let upload = s3
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("b")
        .send()
        .await;
    let upload = upload.unwrap().upload_id.unwrap();
    let part = s3
        .upload_part()
        .bucket(BUCKET)
        .key("b")
        .upload_id(&upload)
        .part_number(1);
    part.body(ByteStream::from_static(b"part"))
        .send()
        .await
        .unwrap();
    process.kill();

    let process = Process::start(data.path());
    let s3 = process.s3();
    let head = s3
        .head_object()
        .bucket(BUCKET)
        .key("a")
        .send()
        .await
        .unwrap();
    assert_eq!(head.e_tag(), Some(&*etag));
    assert_eq!(head.metadata().unwrap()["by"], "ada");
    let tags = s3
        .get_object_tagging()
        .bucket(BUCKET)
        .key("a")
        .send()
        .await
        .unwrap();
    assert_eq!(tags.tag_set()[0].value(), "v");
    let parts = s3
        .list_parts()
        .bucket(BUCKET)
        .key("b")
        .upload_id(&upload)
        .send()
        .await;
    assert_eq!(parts.unwrap().parts()[0].size(), Some(4));
    let over = s3.put_object().bucket(BUCKET).key("a").if_match(&etag);
    over.send().await.unwrap();
}
