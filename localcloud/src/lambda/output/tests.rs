#![allow(clippy::unwrap_used)]

use super::*;

fn kept(count: usize, length: usize) -> Vec<String> {
    let mut lines = Lines::default();
    for number in 0..count {
        let digits = number.to_string();
        let zeros = "0".repeat(length.saturating_sub(digits.len()));
        lines.extend(vec![zeros + &digits]);
    }
    lines.into_lines()
}

#[test]
fn output_within_the_bound_is_kept() {
    let lines = kept(1000, 10);
    assert_eq!(lines.len(), 1000);
    assert_eq!(lines[999], "0000000999");
}

#[test]
fn of_more_output_the_beginning_and_the_end_are_kept() {
    let count = 100_000;
    let lines = kept(count, 100);
    let bytes: usize = lines.iter().map(String::len).sum();
    assert!(bytes <= MAX_FIRST + MAX_LAST + 200, "{bytes}");
    assert_eq!(lines[0], format!("{:0100}", 0));
    assert_eq!(lines[lines.len() - 1], format!("{:0100}", count - 1));
    let notice = lines.iter().find(|line| line.contains("omitted")).unwrap();
    let omitted = count - (lines.len() - 1);
    assert!(notice.contains(&format!("omitted {omitted} lines")));
}

#[test]
fn many_short_lines_and_long_ones_are_bounded() {
    assert!(kept(1_000_000, 0).len() < 100_000);
    let long: usize = kept(100, MAX_LINE).iter().map(String::len).sum();
    assert!(long <= MAX_FIRST + MAX_LINE + 200, "{long}");
}
