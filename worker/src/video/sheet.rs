//! The contact sheet: a cell for each person of a clip, with their best picture and when they are seen.

use image::{Rgb, RgbImage, imageops};
use proto::v1::Timeline;

use super::font::{fill, fitted, write};
use super::portraits::Portrait;
use crate::vision::UNKNOWN;

/// Side of a picture, in pixels.
pub const PICTURE: u32 = 192;

/// People beyond these are counted only.
const MOST_CELLS: usize = 200;
const COLUMNS: u32 = 5;
const PADDING: u32 = 12;
const GAP: u32 = 16;
const MARGIN: u32 = 24;
const HEADER: u32 = 90;
const LINE: u32 = 22;
const BAR: u32 = 8;
/// Times that a cell lists.
const TIMES: usize = 2;

const CELL_WIDTH: u32 = PICTURE + 2 * PADDING;
const CELL_HEIGHT: u32 = PADDING + PICTURE + 10 + (2 + TIMES as u32) * LINE + BAR + PADDING;

const PAGE: Rgb<u8> = Rgb([243, 244, 246]);
const CELL: Rgb<u8> = Rgb([255, 255, 255]);
const EDGE: Rgb<u8> = Rgb([209, 213, 219]);
const INK: Rgb<u8> = Rgb([17, 24, 39]);
const FAINT: Rgb<u8> = Rgb([107, 114, 128]);
const TRACK: Rgb<u8> = Rgb([229, 231, 235]);
const NAMED: Rgb<u8> = Rgb([37, 99, 235]);
const STRANGER: Rgb<u8> = Rgb([156, 163, 175]);

/// Draws the sheet. The pictures are `PICTURE` x `PICTURE` pixels.
pub fn draw(timeline: &Timeline, people: &[Portrait]) -> RgbImage {
    let shown = &people[..people.len().min(MOST_CELLS)];
    let columns = (shown.len() as u32).clamp(2, COLUMNS);
    let rows = (shown.len() as u32).div_ceil(columns);
    let width = 2 * MARGIN + columns * (CELL_WIDTH + GAP) - GAP;
    let height = MARGIN + HEADER + rows * (CELL_HEIGHT + GAP);
    let mut sheet = RgbImage::from_pixel(width, height, PAGE);
    draw_header(&mut sheet, timeline, people.len());
    let clip_end = duration(timeline);
    for (index, person) in (0..).zip(shown) {
        let left = MARGIN + index % columns * (CELL_WIDTH + GAP);
        let top = MARGIN + HEADER + index / columns * (CELL_HEIGHT + GAP);
        draw_cell(&mut sheet, (left, top), person, clip_end);
    }
    sheet
}

fn draw_header(sheet: &mut RgbImage, timeline: &Timeline, people: usize) {
    let room = sheet.width() - 2 * MARGIN;
    let clip = fitted(&timeline.clip, 3, room);
    write(sheet, (MARGIN, MARGIN), 3, INK, &clip);
    let info = timeline.info.clone().unwrap_or_default();
    let lines = [
        format!(
            "{} x {}, {:.1} s",
            info.width, info.height, info.duration_seconds
        ),
        match (people, people.saturating_sub(MOST_CELLS)) {
            (0, _) => format!("no face in {} frames", timeline.frames),
            (_, 0) => format!("faces: {people}, frames: {}", timeline.frames),
            (_, more) => format!("faces: {people}, {more} not shown"),
        },
    ];
    for (index, line) in (0..).zip(lines) {
        let top = MARGIN + 34 + index * LINE;
        write(sheet, (MARGIN, top), 2, FAINT, &fitted(&line, 2, room));
    }
}

fn draw_cell(sheet: &mut RgbImage, (left, top): (u32, u32), person: &Portrait, clip_end: f64) {
    fill(sheet, (left, top), (CELL_WIDTH, CELL_HEIGHT), EDGE);
    fill(
        sheet,
        (left + 1, top + 1),
        (CELL_WIDTH - 2, CELL_HEIGHT - 2),
        CELL,
    );
    let (left, top) = (left + PADDING, top + PADDING);
    let picture = person.picture.as_ref().and_then(|picture| {
        let side = picture.size as u32;
        RgbImage::from_raw(side, side, picture.pixels.clone())
    });
    match picture {
        Some(picture) => imageops::replace(sheet, &picture, left.into(), top.into()),
        None => fill(sheet, (left, top), (PICTURE, PICTURE), TRACK),
    }
    let is_named = person.name != UNKNOWN;
    let mut line = top + PICTURE + 10;
    let mut text = |color, text: &str| {
        write(sheet, (left, line), 2, color, &fitted(text, 2, PICTURE));
        line += LINE;
    };
    text(if is_named { INK } else { FAINT }, &person.name);
    text(FAINT, &format!("distance {:.2}", person.best.distance));
    for (from, to) in person.seen.iter().take(TIMES) {
        let more = person.seen.len().saturating_sub(TIMES);
        let is_last = person.seen.get(TIMES - 1) == Some(&(*from, *to));
        match more {
            1.. if is_last => text(FAINT, &format!("{} +{more}", times(*from, *to))),
            _ => text(FAINT, &times(*from, *to)),
        }
    }
    // Where in the clip the person is seen.
    let bar_top = top + PICTURE + 10 + (2 + TIMES as u32) * LINE;
    fill(sheet, (left, bar_top), (PICTURE, BAR), TRACK);
    let color = if is_named { NAMED } else { STRANGER };
    for (from, to) in &person.seen {
        let at = |seconds: f64| (seconds / clip_end * f64::from(PICTURE)).round() as u32;
        let (from, to) = (at(*from).min(PICTURE - 2), at(*to).min(PICTURE));
        let wide = to.saturating_sub(from).max(2);
        fill(sheet, (left + from, bar_top), (wide, BAR), color);
    }
}

/// Returns the end of the clip or of its last track, in seconds; never 0.
fn duration(timeline: &Timeline) -> f64 {
    let ends = timeline.tracks.iter().map(|track| track.to_seconds);
    let stated = timeline.info.as_ref().map(|info| info.duration_seconds);
    ends.chain(stated).fold(0.001, f64::max)
}

/// Returns `0.0-2.5 s` or, beyond a minute, `1:00-12:05`.
fn times(from: f64, to: f64) -> String {
    if to < 60.0 {
        return format!("{from:.1}-{to:.1} s");
    }
    let clock = |seconds: f64| {
        let whole = seconds.round() as u64;
        match whole / 3600 {
            0 => format!("{}:{:02}", whole / 60, whole % 60),
            hours => format!("{hours}:{:02}:{:02}", whole / 60 % 60, whole % 60),
        }
    };
    format!("{}-{}", clock(from), clock(to))
}

#[cfg(test)]
mod tests {
    use proto::v1::ClipInfo;

    use super::*;

    #[test]
    fn a_sheet_of_nobody_and_of_a_crowd_has_a_bounded_size() {
        let timeline = Timeline {
            clip: "a clip with a name that is far too long for the sheet ünd not ASCII.mp4"
                .to_owned(),
            info: Some(ClipInfo::default()),
            ..Timeline::default()
        };
        let empty = draw(&timeline, &[]);
        assert!(empty.width() > 200 && empty.height() < 200);
        let person = Portrait {
            name: "somebody with a long name".to_owned(),
            seen: vec![(0.0, 0.0), (5.0, 7000.0), (7000.0, 7001.0)],
            best: proto::v1::Sighting::default(),
            picture: None,
        };
        let crowd = draw(&timeline, &vec![person; 10_000]);
        assert!(crowd.width() < 2000 && crowd.height() < 20_000);
    }

    #[test]
    fn times_are_short() {
        assert_eq!(times(0.0, 2.26), "0.0-2.3 s");
        assert_eq!(times(59.6, 725.2), "1:00-12:05");
        assert_eq!(times(3599.0, 3661.0), "59:59-1:01:01");
    }
}
