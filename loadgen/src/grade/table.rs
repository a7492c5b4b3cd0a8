//! The table that `loadgen grade` prints.

use std::fmt;
use std::time::Duration;

use super::cloud::Contents;

/// The table's head. The columns are those of existing graders, with the time and the responses.
pub const HEADER: &str = "time s   requests    replies    workers     photos    results   answered\n\
     \u{20}          queued     queued    running  in-bucket out-bucket           ";

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Since the first request.
    pub time: Duration,
    /// `None`: they could not be read.
    pub contents: Option<Contents>,
    pub workers_running: usize,
    pub answered: u64,
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |pick: fn(Contents) -> u64| {
            self.contents
                .map_or("?".to_owned(), |contents| pick(contents).to_string())
        };
        write!(
            formatter,
            "{:>6.1} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            self.time.as_secs_f64(),
            cell(|contents| contents.requests),
            cell(|contents| contents.replies),
            self.workers_running,
            cell(|contents| contents.photos),
            cell(|contents| contents.results),
            self.answered,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_aligned_with_the_head() {
        let contents = Contents {
            requests: 85,
            replies: 2,
            in_flight: 15,
            photos: 100,
            results: 7,
        };
        let row = Row {
            time: Duration::from_millis(2040),
            contents: Some(contents),
            workers_running: 15,
            answered: 5,
        };
        let text = row.to_string();
        assert_eq!(
            text,
            "   2.0         85          2         15        100          7          5"
        );
        for line in HEADER.lines() {
            assert_eq!(line.len(), text.len());
        }
        let unread = Row {
            contents: None,
            ..row
        }
        .to_string();
        assert_eq!(
            unread,
            "   2.0          ?          ?         15          ?          ?          5"
        );
    }
}
