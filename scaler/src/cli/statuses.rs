//! Reads recordings of `scaler watch --every --json`.

use std::io::BufRead;

use anyhow::Context;
use proto::v1::ScalerStatus;

/// Returns the statuses of a recording, each with the number of its line, without reading ahead. The last line of a
/// recording that was interrupted may be cut off: after other statuses, a last line that is none is left out.
pub fn read(recording: impl BufRead) -> impl Iterator<Item = anyhow::Result<(u64, ScalerStatus)>> {
    let mut lines = recording.split(b'\n').zip(1..).peekable();
    let mut is_first = true;
    std::iter::from_fn(move || {
        loop {
            let (line, number) = lines.next()?;
            let line = match line {
                Ok(line) => line,
                Err(error) => return Some(Err(anyhow::Error::from(error))),
            };
            let line = String::from_utf8_lossy(&line);
            if line.trim().is_empty() {
                continue;
            }
            let status = proto::decode::<ScalerStatus>(&line);
            if status.is_err() && !is_first && lines.peek().is_none() {
                return None;
            }
            is_first = false;
            let status = status.with_context(|| format!("line {number} is not a ScalerStatus"));
            return Some(status.map(|status| (number, status)));
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    /// Recordings of days do not fit into memory.
    #[test]
    fn a_recording_is_read_line_by_line() {
        let endless = "{}\n{}\n".as_bytes().chain(std::io::repeat(b'{'));
        let mut statuses = read(BufReader::new(endless));
        for line in 1..=2 {
            assert_eq!(statuses.next().unwrap().unwrap().0, line);
        }
    }

    #[test]
    fn only_a_last_line_after_others_may_be_cut_off() {
        let lines = |text: &str| -> Result<Vec<u64>, String> {
            let statuses = read(text.as_bytes());
            let numbers = statuses.map(|status| status.map(|(line, _)| line));
            numbers
                .map(|it| it.map_err(|error| error.to_string()))
                .collect()
        };
        assert_eq!(lines(""), Ok(vec![]));
        assert_eq!(lines("{}\n\n{}"), Ok(vec![1, 3]));
        assert_eq!(lines("{}\n{\"sequ"), Ok(vec![1]));
        for (damaged, number) in [("{\"sequ", 1), ("{}\nsoon\n{}\n", 2)] {
            let error = format!("line {number} is not a ScalerStatus");
            assert_eq!(lines(damaged), Err(error));
        }
    }
}
