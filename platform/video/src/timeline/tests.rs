use proptest::prelude::*;

use super::*;

/// Returns a face of one of four people at a place; person 3 is in no gallery.
fn face(person: usize, left: f32) -> FrameFace {
    let mut embedding = vec![0.0; 4];
    embedding[person] = 1.0;
    FrameFace {
        recognition: Some(Recognition {
            name: ["ann", "bob", "eve", UNKNOWN][person].to_owned(),
            distance: if person == 3 { 1.3 } else { 0.5 },
            threshold: 1.0,
            confidence: 0.99,
            r#box: Some(BoundingBox {
                left,
                top: 0.0,
                right: left + 50.0,
                bottom: 60.0,
            }),
            ..Recognition::default()
        }),
        embedding,
    }
}

/// Returns a frame of a clip that has two a second.
fn frame(number: u32, faces: &[(usize, f32)]) -> FrameFaces {
    FrameFaces {
        frame: number,
        at_seconds: f64::from(number) / 2.0,
        faces: faces
            .iter()
            .map(|(person, left)| face(*person, *left))
            .collect(),
        model: "model".to_owned(),
    }
}

fn timeline(frames: Vec<FrameFaces>) -> Timeline {
    let last = frames.iter().map(|frame| frame.frame).max();
    let duration_seconds = last.map_or(0.0, |last| f64::from(last + 1) / 2.0);
    let info = ClipInfo {
        duration_seconds,
        ..ClipInfo::default()
    };
    assemble("clip.mp4", &info, frames, &TrackOptions::default())
}

/// People and their places on each frame.
type Frames<'a> = &'a [&'a [(usize, f32)]];
/// Name, beginning and end of each track.
type Tracks = Vec<(String, f64, f64)>;

fn tracks(frames: Frames) -> Tracks {
    let frames = (0..)
        .zip(frames)
        .map(|(number, faces)| frame(number, faces))
        .collect();
    let found = timeline(frames).tracks.into_iter();
    found
        .map(|it| (it.name, it.from_seconds, it.to_seconds))
        .collect()
}

fn track(name: &str, from: f64, to: f64) -> (String, f64, f64) {
    (name.to_owned(), from, to)
}

#[test]
fn faces_are_followed() {
    let cases: [(&str, Frames, Tracks); 7] = [
        ("nobody", &[&[], &[]], vec![]),
        (
            "one person who moves",
            &[&[(0, 0.0)], &[(0, 90.0)], &[(0, 200.0)]],
            vec![track("ann", 0.0, 1.5)],
        ),
        (
            "a cut",
            &[&[(0, 0.0)], &[(0, 0.0)], &[(1, 0.0)]],
            vec![track("ann", 0.0, 0.75), track("bob", 0.75, 1.5)],
        ),
        (
            "two people who change places",
            &[&[(0, 0.0), (1, 100.0)], &[(1, 0.0), (0, 100.0)]],
            vec![track("ann", 0.0, 1.0), track("bob", 0.0, 1.0)],
        ),
        (
            "a missed frame",
            &[&[(0, 0.0)], &[], &[(0, 0.0)]],
            vec![track("ann", 0.0, 1.5)],
        ),
        (
            "a person who comes back",
            &[&[(0, 0.0)], &[], &[], &[(0, 0.0)]],
            vec![track("ann", 0.0, 0.25), track("ann", 1.25, 2.0)],
        ),
        (
            "an unknown person",
            &[&[], &[(3, 0.0)], &[(3, 9.0)]],
            vec![track("Unknown", 0.25, 1.5)],
        ),
    ];
    for (what, frames, expected) in cases {
        assert_eq!(tracks(frames), expected, "{what}");
    }
}

#[test]
fn a_track_has_the_name_of_most_sightings_and_the_largest_of_these_as_its_best() {
    let mut frames: Vec<_> = (0..4).map(|number| frame(number, &[(0, 0.0)])).collect();
    let recognition = |frame: &mut FrameFaces, change: fn(&mut Recognition)| {
        change(frame.faces[0].recognition.as_mut().unwrap());
    };
    recognition(&mut frames[1], |it| it.name = UNKNOWN.to_owned());
    recognition(&mut frames[2], |it| it.r#box.as_mut().unwrap().right = 80.0);
    // Larger, but the detector is not sure.
    recognition(&mut frames[3], |it| {
        it.r#box.as_mut().unwrap().right = 120.0;
        it.confidence = 0.7;
    });
    let found = timeline(frames);
    let [track] = found.tracks.as_slice() else {
        panic!("{:?}", found.tracks);
    };
    assert_eq!((track.name.as_str(), track.sightings.len()), ("ann", 4));
    assert_eq!(track.best.as_ref().unwrap().frame, 2);
    assert_eq!(
        (
            found.frames,
            found.frames_without_face,
            found.model.as_str()
        ),
        (4, 0, "model")
    );
}

/// Returns the beginning and the end of the only track of a person on these frames of two a second.
fn seen(frames: &[u32], duration_seconds: f64) -> (f64, f64) {
    let info = ClipInfo {
        duration_seconds,
        ..ClipInfo::default()
    };
    let frames = frames.iter().map(|number| frame(*number, &[(0, 0.0)]));
    let found = assemble("c", &info, frames.collect(), &TrackOptions::default());
    let [track] = found.tracks.as_slice() else {
        panic!("{:?}", found.tracks);
    };
    (track.from_seconds, track.to_seconds)
}

#[test]
fn a_track_reaches_no_further_than_the_frames_tell() {
    assert_eq!(seen(&[0, 1, 2, 3], 2.2), (0.0, 2.2));
    // Frames at the ends are missing, or the clip breaks off.
    assert_eq!(seen(&[4, 5, 6], 9.0), (1.75, 3.25));
    // A frame in the middle is missing.
    assert_eq!(seen(&[0, 2, 3], 2.0), (0.0, 2.0));
    // The clip does not say how long it is.
    assert_eq!(seen(&[0, 1, 2], 0.0), (0.0, 1.25));
    assert_eq!(seen(&[0], 0.0), (0.0, 0.0));
    assert_eq!(seen(&[0], 0.4), (0.0, 0.4));
}

#[test]
fn a_name_needs_one_in_four_sightings() {
    let name = |named: u32, unknown: u32| {
        let frames = (0..named + unknown).map(|number| {
            let mut frame = frame(number, &[(0, 0.0)]);
            if number >= named {
                frame.faces[0].recognition.as_mut().unwrap().name = UNKNOWN.to_owned();
            }
            frame
        });
        let found = timeline(frames.collect());
        assert_eq!(found.tracks.len(), 1);
        let track = &found.tracks[0];
        assert_eq!(track.best.as_ref().unwrap().name, track.name);
        track.name.clone()
    };
    assert_eq!(name(1, 3), "ann");
    assert_eq!(name(1, 4), UNKNOWN);
}

#[test]
fn of_two_names_equally_frequent_the_nearer_one_counts() {
    let mut frames: Vec<_> = (0..2).map(|number| frame(number, &[(0, 0.0)])).collect();
    let other = frames[1].faces[0].recognition.as_mut().unwrap();
    (other.name, other.distance) = ("bob".to_owned(), 0.4);
    let found = timeline(frames);
    assert_eq!(
        (found.tracks.len(), found.tracks[0].name.as_str()),
        (1, "bob")
    );
}

proptest! {
    #[test]
    fn each_face_is_in_one_track_in_any_order_of_the_frames(
        people in prop::collection::vec(prop::collection::vec((0..4_usize, 0.0..500_f32), 0..4), 1..12),
        rotation in 0..12_usize,
    ) {
        let frames: Vec<_> = (0..).zip(&people).map(|(number, faces)| frame(number, faces)).collect();
        let whole = timeline(frames.clone());
        let seen: usize = whole.tracks.iter().map(|track| track.sightings.len()).sum();
        prop_assert_eq!(seen, people.iter().map(Vec::len).sum::<usize>());
        for track in &whole.tracks {
            let times: Vec<_> = track.sightings.iter().map(|it| it.at_seconds).collect();
            prop_assert!(times.is_sorted_by(|a, b| a < b), "one face of a frame: {:?}", times);
            prop_assert!(track.from_seconds <= times[0] && times[times.len() - 1] <= track.to_seconds);
            prop_assert!(track.from_seconds >= 0.0 && track.to_seconds <= people.len() as f64 / 2.0);
            prop_assert!(track.best.is_some());
        }
        // In another order, and one of them twice.
        let mut shuffled = frames;
        let middle = rotation % shuffled.len();
        shuffled.rotate_left(middle);
        shuffled.push(shuffled[0].clone());
        prop_assert_eq!(timeline(shuffled).tracks, whole.tracks);
    }
}
