//! The times of frames, which FFmpeg's filter `showinfo` writes into its messages.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::mpsc;

/// The longest line that is looked at, in bytes.
const LONGEST_LINE: usize = 4096;
/// How many of the last lines are kept, for an error.
const KEPT_LINES: usize = 8;

/// Reads messages to their end. Sends the time of each frame, in seconds, and returns the last lines of the others.
pub async fn read_times(pipe: Option<impl AsyncRead + Unpin>, times: mpsc::Sender<f64>) -> String {
    let mut others: Vec<String> = Vec::new();
    let Some(pipe) = pipe else {
        return String::new();
    };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match read_line(&mut reader, &mut line).await {
            Ok(true) => {}
            Ok(false) | Err(_) => break,
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(time) = time_of(&text) {
            // Fails when the frames are no longer read.
            let _ = times.send(time).await;
        } else if !text.contains("showinfo") {
            if others.len() == KEPT_LINES {
                others.remove(0);
            }
            others.push(text.trim().to_owned());
        }
    }
    others.join("\n")
}

/// Reads a line, of which it keeps the first bytes. False at the end.
async fn read_line(
    reader: &mut BufReader<impl AsyncRead + Unpin>,
    line: &mut Vec<u8>,
) -> std::io::Result<bool> {
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        let room = LONGEST_LINE.saturating_sub(line.len()).min(part.len());
        line.extend_from_slice(&part[..room]);
        let used = end.map_or(part.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// `[Parsed_showinfo_1 @ 0x5] n:   3 pts:   1536 pts_time:0.12    duration: ...`
fn time_of(line: &str) -> Option<f64> {
    let (head, rest) = line.split_once(" pts_time:")?;
    if !head.contains("showinfo") {
        return None;
    }
    let time = rest.split_whitespace().next()?;
    // A frame without a time is taken to be at the beginning.
    Some(
        time.parse()
            .ok()
            .filter(|it: &f64| it.is_finite())
            .unwrap_or(0.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_from_the_filters_line_alone() {
        let line = "[Parsed_showinfo_2 @ 0x55d] n:   3 pts:   1536 pts_time:0.12    duration:    512 fmt:yuv420p";
        assert_eq!(time_of(line), Some(0.12));
        assert_eq!(
            time_of("[Parsed_showinfo_2 @ 0x55d] config in time_base: 1/12800"),
            None
        );
        assert_eq!(time_of("title: pts_time:7"), None);
    }
}
