use std::time::Duration;

/// Limits beyond which a clip is refused.
#[derive(Debug, Clone, Copy, PartialEq, clap::Args)]
pub struct ClipLimits {
    /// Largest clip, in bytes
    #[arg(long, env = "MUSTER_MAX_CLIP_BYTES", value_name = "BYTES", default_value_t = Self::default().max_clip_bytes)]
    pub max_clip_bytes: u64,
    /// Longest playing time of a clip
    #[arg(long, env = "MUSTER_MAX_CLIP_DURATION", value_name = "DURATION", value_parser = photo::positive_duration, default_value = "2h")]
    pub max_clip_duration: Duration,
    /// Most pixels of a frame, checked before decoding
    #[arg(long, env = "MUSTER_MAX_CLIP_PIXELS", value_name = "PIXELS", default_value_t = Self::default().max_clip_pixels)]
    pub max_clip_pixels: u64,
    /// Most frames that are looked at in a clip
    #[arg(long, env = "MUSTER_MAX_CLIP_FRAMES", value_name = "N", default_value_t = Self::default().max_clip_frames)]
    pub max_clip_frames: u32,
    /// Longest time for which FFmpeg works on a clip
    #[arg(long, env = "MUSTER_MAX_CLIP_TIME", value_name = "DURATION", value_parser = photo::positive_duration, default_value = "15m")]
    pub max_clip_time: Duration,
    /// Most memory of FFmpeg, in bytes
    #[arg(long, env = "MUSTER_MAX_CLIP_MEMORY", value_name = "BYTES", default_value_t = Self::default().max_clip_memory)]
    pub max_clip_memory: u64,
}

impl Default for ClipLimits {
    fn default() -> Self {
        Self {
            max_clip_bytes: 1 << 30,
            max_clip_duration: Duration::from_secs(2 * 3600),
            // 4K as cinemas have it, also upright.
            max_clip_pixels: 4096 * 2304,
            max_clip_frames: 10_000,
            max_clip_time: Duration::from_secs(15 * 60),
            max_clip_memory: 1 << 30,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    #[test]
    fn durations_are_seconds_or_have_units_and_zero_is_refused() {
        let parse = |text: &str| -> Result<Duration, clap::Error> {
            let command = ClipLimits::augment_args(Command::new("clips"));
            let matches = command.try_get_matches_from(["clips", "--max-clip-duration", text])?;
            Ok(ClipLimits::from_arg_matches(&matches)?.max_clip_duration)
        };
        assert_eq!(parse("2.5").unwrap(), Duration::from_millis(2500));
        assert_eq!(parse("1h 30m").unwrap(), Duration::from_secs(5400));
        assert!(parse("0s").is_err() && parse("soon").is_err());
    }
}
