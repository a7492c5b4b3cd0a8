use super::*;
use crate::config::Config;
use crate::plan::Smoothed;

fn at(seconds: u64) -> Timestamp {
    Timestamp::after_epoch(Duration::from_secs(seconds))
}

fn kind(arguments: &[&str]) -> WorkerKind {
    let arguments = ["scaler"].iter().chain(arguments);
    let cli = <crate::cli::Cli as clap::Parser>::try_parse_from(arguments).unwrap();
    let config: Config = cli.serve.config().unwrap();
    WorkerKind::of(&config.executor)
}

fn measured(mean: f64) -> Smoothed {
    let mut measured = Smoothed::assumed(Duration::from_secs(1));
    measured.add(mean);
    measured
}

fn service(mean: f64) -> Learned {
    Learned {
        service: Some(measured(mean)),
        ..Learned::default()
    }
}

fn estimates(service: f64) -> Estimates {
    let mut estimates = Estimates::default();
    estimates.service = Some(measured(service));
    estimates
}

#[test]
fn a_kind_of_worker_is_its_types_image_and_engine() {
    let user_data = tempfile::NamedTempFile::new().unwrap();
    let text = "A=b\n  export MUSTER_ENGINE=torch\nMUSTER_FLEET_TOKEN=@MUSTER_FLEET_TOKEN@\n";
    std::fs::write(user_data.path(), text).unwrap();
    let user_data = format!("--user-data-file={}", user_data.path().display());
    let torch = kind(&[&user_data, "--instance-type=m7i.large,c7i.large"]);
    assert_eq!(torch.instance_types, ["c7i.large", "m7i.large"]);
    assert_eq!(torch.engine, "torch");
    assert_eq!(torch.image, "ami-muster-worker");
    let by_default = kind(&[]);
    assert_eq!(by_default.engine, "");
    assert_ne!(by_default, kind(&["--image-id=ami-2"]));
    // Neither changes the speed.
    assert_eq!(
        by_default,
        kind(&["--security-group-id=sg-1", "--disk-gb=20"])
    );
}

#[test]
fn a_record_remembers_the_newest_kinds() {
    let mut record = LearnedRecord::default();
    for number in 0..40 {
        let image = format!("--image-id=ami-{number}");
        record.learn(&kind(&[&image]), service(f64::from(number)), at(7));
    }
    record.learn(&kind(&["--image-id=ami-39"]), service(0.5), at(8));
    let read = LearnedRecord::decode(&record.encode()).unwrap();
    assert_eq!(read, record);
    assert_eq!(read.find(&kind(&["--image-id=ami-7"])), None);
    assert!(read.find(&kind(&["--image-id=ami-8"])).is_some());
    let newest = read.find(&kind(&["--image-id=ami-39"])).unwrap();
    assert_eq!((newest.times, newest.at_s), (service(0.5), 8));
}

#[test]
fn damaged_and_foreign_objects_are_no_records() {
    let mut record = LearnedRecord::default();
    record.learn(&kind(&["--image-id=ami-2"]), service(0.1), at(1));
    let sound = record.clone();
    record.learn(&kind(&[]), service(f64::NAN), at(1));
    let nan = String::from_utf8(record.encode()).unwrap();
    let cut = &nan[..nan.len() / 2];
    for wrong in ["", "{}", "[1]", "hello", cut] {
        let decoded = LearnedRecord::decode(wrong.as_bytes());
        assert!(matches!(decoded, Err(DecodeError::Damaged(_))), "{wrong}");
    }
    let newer = LearnedRecord::decode(br#"{"version":2,"workers":{}}"#);
    assert!(matches!(newer, Err(DecodeError::Newer(2))), "{newer:?}");
    assert!(LearnedRecord::decode(br#"{"version":1,"workers":[]}"#).is_ok());
    // The other entries stay.
    assert_eq!(LearnedRecord::decode(nan.as_bytes()).unwrap(), sound);
}

#[test]
fn the_leader_writes_notable_changes_once_a_minute_and_the_rest_when_it_ends() {
    let mut schedule = LearnedSchedule::default();
    schedule.reads(at(0));
    schedule.read(service(0.1));
    assert_eq!(schedule.last_write(&estimates(0.3)), None, "it never led");
    assert!(!schedule.is_read_due(true, at(1)), "it has just read");
    assert_eq!(schedule.next_write(&estimates(0.105), at(2)), None);
    assert!(schedule.last_write(&estimates(0.105)).is_some());
    let first = schedule.next_write(&estimates(0.2), at(3)).unwrap();
    assert_eq!(first.service.unwrap().mean, 0.2);
    schedule.wrote(Some(first));
    assert_eq!(schedule.next_write(&estimates(0.4), at(62)), None);
    let second = schedule.next_write(&estimates(0.4), at(63)).unwrap();
    // One write at a time.
    assert_eq!(schedule.next_write(&estimates(0.8), at(200)), None);
    schedule.wrote(None);
    assert_eq!(schedule.next_write(&estimates(0.4), at(200)), Some(second));
    schedule.wrote(Some(second));
    assert_eq!(schedule.last_write(&estimates(0.4)), None);
    assert_eq!(schedule.last_write(&Estimates::default()), None);
}

#[test]
fn a_standby_reads_again_when_it_begins_to_lead() {
    let mut schedule = LearnedSchedule::default();
    schedule.reads(at(0));
    assert!(!schedule.is_read_due(false, at(500)));
    assert!(schedule.is_read_due(true, at(501)));
    schedule.reads(at(501));
    assert!(!schedule.is_read_due(true, at(900)));
}

#[test]
fn a_leader_that_stood_by_reads_again() {
    let mut schedule = LearnedSchedule::default();
    schedule.reads(at(0));
    assert!(schedule.is_read_due(true, at(500)));
    schedule.reads(at(500));
    assert!(schedule.last_write(&estimates(0.3)).is_some());
    assert!(!schedule.is_read_due(false, at(600)));
    // What the scaler that leads now has measured is newer.
    assert_eq!(schedule.last_write(&estimates(0.3)), None);
    assert!(schedule.is_read_due(true, at(700)));
}
