use proptest::prelude::*;
use proto::v1::Timings;

use super::*;
use crate::vision::{BoundingBox, Candidate, Point, UNKNOWN};

/// A result whose numbers have all digits that a float can have.
fn result(name: &str, candidates: [&str; 3]) -> RecognitionResult {
    let digits = |index: usize| 1_234.567_8 + index as f32 * 97.531;
    let point = |index: usize| Point {
        x: digits(index),
        y: digits(index + 7),
    };
    let recognized = Recognized {
        name: name.to_owned(),
        nearest_name: Some(candidates[0].to_owned()),
        distance: 0.474_683_97,
        threshold: 0.925_331_1,
        candidates: candidates
            .iter()
            .map(|name| Candidate {
                name: (*name).to_owned(),
                distance: 0.987_654_3,
            })
            .collect(),
        bounding_box: BoundingBox {
            left: digits(1),
            top: digits(2),
            right: digits(3),
            bottom: digits(4),
        },
        face_probability: 0.913_433_43,
        landmarks: std::array::from_fn(point),
        timings: crate::vision::Timings::default(),
        model: "facenet128".to_owned(),
    };
    RecognitionResult {
        job_id: "0123456789abcdef".repeat(2),
        outcome: Some(Reply::Recognition(recognition(recognized))),
        timings: Some(Timings {
            decode_ms: 1.234_567_8,
            detect_ms: 12.345_678,
            embed_ms: 23.456_789,
            match_ms: 0.012_345_67,
            fetch_ms: 1.234_567_8,
            store_ms: 1.234_567_8,
            total_ms: 0.0,
        }),
        instance_id: "i-0123456789abcdef0".to_owned(),
    }
}

fn decoded(text: &str) -> RecognitionResult {
    assert!(text.len() <= REPLY_MAX_BYTES, "{} bytes", text.len());
    proto::decode(text).unwrap()
}

fn recognition_in(text: &str) -> Recognition {
    match decoded(text).outcome {
        Some(Reply::Recognition(recognition)) => recognition,
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_of_ordinary_length_leave_room_for_all_candidates() {
    let names = [
        "bartholomew_fitzgerald",
        "wolfeschlegelsteinhausen",
        "leonardo_dicaprio",
    ];
    let all = result(names[0], names);
    let sent = recognition_in(&encode(all.clone()));
    assert_eq!(sent.candidates.len(), 3);
    assert_eq!(sent.candidates[2].name, names[2]);
    assert_eq!((sent.threshold, sent.distance), (0.925_331_1, 0.474_683_97));
    let Some(Reply::Recognition(before)) = all.outcome else {
        panic!("it is a recognition");
    };
    let moved = before.landmarks[4].x - sent.landmarks[4].x;
    assert!(moved.abs() <= 0.006, "{moved}");
}

#[test]
fn a_reply_that_fits_is_not_changed() {
    let mut short = result("a", ["a", "b", "c"]);
    short.timings = None;
    if let Some(Reply::Recognition(recognition)) = &mut short.outcome {
        recognition.landmarks.clear();
    }
    assert_eq!(encode(short.clone()), proto::encode(&short));
}

#[test]
fn the_farthest_candidates_are_left_out_first() {
    let long = "n".repeat(500);
    let sent = recognition_in(&encode(result("a", ["a", "b", &long])));
    let names: Vec<_> = sent.candidates.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

/// The names of folders, from which galleries are made, have up to 255 bytes.
#[test]
fn the_longest_names_of_folders_fit_whole() {
    for longest in ["x".repeat(255), "é".repeat(127), "\"".repeat(255)] {
        let sent = recognition_in(&encode(result(&longest, [longest.as_str(); 3])));
        assert_eq!(sent.name, longest);
        let sent = recognition_in(&encode(result(UNKNOWN, [longest.as_str(); 3])));
        assert_eq!(sent.name, UNKNOWN);
        let cut = sent.nearest_name.trim_end_matches('…');
        assert!(longest.starts_with(cut) && cut.len() >= 22, "{cut}");
    }
}

#[test]
fn a_name_that_does_not_fit_is_a_failure_with_a_reason() {
    for name in ["x".repeat(1024), "\u{1}".repeat(255)] {
        match decoded(&encode(result(&name, [name.as_str(); 3]))).outcome {
            Some(Reply::Failure(failure)) => {
                assert_eq!(failure.code(), FailureCode::Internal);
                assert!(failure.message.contains("too long"), "{}", failure.message);
            }
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn every_reply_fits_and_names_are_whole(name in "\\PC{0,400}", other in "(?s).{0,400}") {
        let text = encode(result(&name, [&name, &other, &name]));
        if let Some(Reply::Recognition(sent)) = decoded(&text).outcome {
            prop_assert_eq!(sent.name, name);
        }
    }

    #[test]
    fn every_failure_fits(message in "(?s).{0,2000}") {
        let mut failed = result("a", ["a"; 3]);
        failed.outcome = Some(failure(FailureCode::DamagedImage, &message));
        decoded(&encode(failed));
    }
}
