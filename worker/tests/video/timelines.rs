//! Timelines beside the truth.

use std::path::Path;

use loadgen::clips::{ClipTruth, Shot};
use proto::v1::Timeline;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use video::{ClipLimits, Ffmpeg, Sampling};
use worker::video::{Watched, recognize_clip};
use worker::vision::Recognizer;

use crate::{common, make_clip, portrait, shot};

/// How far a track's ends may be from the truth, in seconds.
const TOLERANCE: f64 = 0.5;

/// Returns the timeline of a clip at two frames a second.
fn timeline(recognizer: &Recognizer, clip: &Path) -> Timeline {
    let runtime = Runtime::new().unwrap();
    let ffmpeg = Ffmpeg::find(ClipLimits::default()).unwrap();
    let info = runtime.block_on(ffmpeg.probe(clip)).unwrap();
    let sampling = Sampling::Timeline {
        frames_per_second: 2.0,
        scene_threshold: None,
    };
    let watched = Watched {
        ffmpeg: &ffmpeg,
        clip,
        info: &info,
        sampling: &sampling,
    };
    recognize_clip(&runtime, watched, recognizer, 2, || {}).unwrap()
}

/// Checks that each person of each shot has a track, with about the same ends, and that there is no other track.
fn check(truth: &ClipTruth, timeline: &Timeline) {
    let mut tracks: Vec<_> = timeline.tracks.iter().collect();
    for shot in &truth.shots {
        for name in &shot.people {
            let is_near = |found: f64, known: f64| (found - known).abs() <= TOLERANCE;
            let found = tracks.iter().position(|track| {
                track.name == *name
                    && is_near(track.from_seconds, shot.from_seconds)
                    && is_near(track.to_seconds, shot.to_seconds)
            });
            let found = found.unwrap_or_else(|| {
                let of = |it: &&proto::v1::Track| (it.name.clone(), it.from_seconds, it.to_seconds);
                let tracks: Vec<_> = tracks.iter().map(of).collect();
                panic!("{name} of {shot:?} is not among {tracks:?}")
            });
            tracks.remove(found);
        }
    }
    assert!(tracks.is_empty(), "{truth:?}: {tracks:?}");
}

#[test]
fn the_person_of_each_photo_is_named_in_a_clip_of_one_person() {
    let recognizer = common::enrolled_recognizer();
    let folder = TempDir::new().unwrap();
    let photos = testkit::samples::validation_photos();
    assert_eq!(photos.len(), 25);
    for (number, (name, photo)) in photos.into_iter().enumerate() {
        let person = loadgen::clips::Portrait { name, photo };
        let shots = [Shot {
            people: vec![person],
            seconds: 0.8,
        }];
        let clip = format!("{number}.mp4");
        let truth = make_clip(folder.path(), &clip, &shots);
        let found = timeline(&recognizer, &folder.path().join(&clip));
        assert_eq!((found.frames, found.frames_without_face), (2, 0));
        let names: Vec<_> = found.tracks.iter().map(|it| it.name.as_str()).collect();
        let known = truth.shots[0].people[0].as_str();
        assert!(names.contains(&known), "{known}: {names:?}");
        // Some photos have bystanders.
        let is_other = |name: &&str| *name != known && *name != "Unknown";
        assert!(!names.iter().any(is_other), "{known}: {names:?}");
    }
}

#[test]
fn cuts_gaps_pairs_and_nobody_have_their_times() {
    let recognizer = common::enrolled_recognizer();
    let folder = TempDir::new().unwrap();
    let clips: [(&str, Vec<Shot>); 5] = [
        (
            "cuts.mp4",
            vec![
                shot(&["ben_afflek"], 1.3),
                shot(&["madonna"], 1.9),
                shot(&["mindy_kaling"], 1.2),
            ],
        ),
        ("pair.mp4", vec![shot(&["elton_john", "mindy_kaling"], 1.6)]),
        ("nobody.mp4", vec![shot(&[], 1.0)]),
        (
            "gap.mp4",
            vec![
                shot(&["jerry_seinfeld"], 1.4),
                shot(&[], 1.4),
                shot(&["jerry_seinfeld"], 1.2),
            ],
        ),
        (
            "joined.mp4",
            vec![shot(&[], 0.9), shot(&["ben_afflek"], 1.5), shot(&[], 0.8)],
        ),
    ];
    for (clip, shots) in clips {
        let truth = make_clip(folder.path(), clip, &shots);
        let found = timeline(&recognizer, &folder.path().join(clip));
        check(&truth, &found);
        assert_eq!(found.clip, clip);
        assert_eq!(found.model, "facenet128");
        for track in &found.tracks {
            let best = track.best.as_ref().unwrap();
            assert_eq!(best.name, track.name);
            assert!((track.from_seconds..=track.to_seconds).contains(&best.at_seconds));
        }
    }
}

#[test]
fn a_person_who_is_not_enrolled_is_one_unknown_track() {
    let recognizer = common::recognizer();
    let folder = TempDir::new().unwrap();
    let shots = [Shot {
        people: vec![portrait("madonna", 1)],
        seconds: 1.6,
    }];
    make_clip(folder.path(), "stranger.mp4", &shots);
    let found = timeline(&recognizer, &folder.path().join("stranger.mp4"));
    let [track] = found.tracks.as_slice() else {
        panic!("{:?}", found.tracks);
    };
    assert_eq!(
        (track.name.as_str(), track.from_seconds, track.to_seconds),
        ("Unknown", 0.0, 1.6)
    );
    assert_eq!(track.sightings.len(), 4);
}
