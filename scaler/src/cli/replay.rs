use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

use anyhow::Context;

use super::paint::Paint;
use super::{statuses, text};
use crate::config::PolicyFlags;
use crate::decision_log::replay::{Replay, Replayed, Summary};
use crate::plan::{Plan, Policy};

#[derive(Debug, Clone, clap::Args)]
pub struct ReplayArgs {
    /// Output of `scaler watch --every --json`; `-` for standard input
    file: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
}

/// Flags that are not given keep the recorded policy.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Policy, where it differs from the recorded one")]
struct Overrides {
    #[command(flatten)]
    policy: PolicyFlags,
    /// Plan also where the recorded scaler was paused
    #[arg(long)]
    ignore_pauses: bool,
}

impl ReplayArgs {
    /// Prints where the replay differs, and a summary. A differing plan is not an error.
    ///
    /// # Errors
    /// When the file cannot be read or is not a recording.
    pub fn run(&self, output: &mut impl Write, paint: Paint) -> anyhow::Result<()> {
        let name = self.file.display();
        if self.file.as_os_str() == "-" {
            self.replay(std::io::stdin().lock(), output, paint)
        } else {
            let file = File::open(&self.file).with_context(|| format!("cannot read {name}"))?;
            self.replay(BufReader::new(file), output, paint)
        }
        .with_context(|| format!("replaying {name}"))
    }

    fn replay(
        &self,
        recording: impl BufRead,
        output: &mut impl Write,
        paint: Paint,
    ) -> anyhow::Result<()> {
        self.overrides.policy.bounds.check()?;
        let mut replay = Replay::default();
        // A difference often lasts. It is printed once.
        let mut printed = None;
        for status in statuses::read(recording) {
            let (number, status) = status?;
            let replayed = replay
                .next(&status, |policy| self.overrides.apply(policy))
                .with_context(|| format!("line {number}"))?;
            let Some(replayed) = replayed else { continue };
            let actions = replayed
                .differs()
                .then(|| (actions(&replayed.recorded), actions(&replayed.replayed)));
            if actions.is_some() && actions != printed {
                output.write_all(difference(&replayed, paint).as_bytes())?;
            }
            printed = actions;
        }
        output.write_all(summary(&replay.summary()).as_bytes())?;
        Ok(())
    }
}

impl Overrides {
    fn apply(&self, policy: &mut Policy) {
        self.policy.apply(policy);
        if self.ignore_pauses {
            policy.paused_by = None;
        }
    }
}

/// Returns the plan without its explanations.
fn actions(plan: &Plan) -> Plan {
    Plan {
        reason: String::new(),
        rejected: Vec::new(),
        completes_in: None,
        wake_at: None,
        ..plan.clone()
    }
}

fn difference(replayed: &Replayed, paint: Paint) -> String {
    let line = |who: &str, plan: &Plan| {
        format!(
            "    {who} {} wanted: {}\n",
            plan.desired_workers, plan.reason
        )
    };
    format!(
        "{}\n{}{}",
        paint.bold(&text::timestamp(replayed.at)),
        line("recorded", &replayed.recorded),
        line("replayed", &replayed.replayed)
    )
}

fn summary(summary: &Summary) -> String {
    let Some((begin, end)) = summary.period else {
        return "the recording holds no decision\n".to_owned();
    };
    let gaps = match summary.gaps {
        0 => String::new(),
        gaps => format!(
            "{gaps} gaps in the recording: the scaler's memory is missing there, which may explain differences\n"
        ),
    };
    format!(
        "{} decisions in {:.1} s, {} of them different\n{gaps}recorded: {:.1} worker-seconds wanted, {} workers at most\n\
         replayed: {:.1} worker-seconds wanted, {} workers at most\n",
        summary.decisions,
        end.since(begin).as_secs_f64(),
        summary.different,
        summary.recorded_seconds,
        summary.recorded_most,
        summary.replayed_seconds,
        summary.replayed_most,
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::decision_log::Decision;
    use crate::rpc::wire;

    fn replayed(arguments: &[&str]) -> anyhow::Result<String> {
        replayed_from("", arguments)
    }

    fn replayed_from(recording: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), recording)?;
        let name = file.path().to_str().context("a plain name")?;
        let arguments = ["scaler", "replay", name]
            .into_iter()
            .chain(arguments.iter().copied());
        let mut output = Vec::new();
        match Cli::try_parse_from(arguments)?.command {
            Some(Command::Replay(args)) => args.run(&mut output, Paint::plain())?,
            other => anyhow::bail!("another command: {other:?}"),
        }
        Ok(String::from_utf8(output)?)
    }

    #[test]
    fn a_replay_takes_the_flags_of_the_service_and_refuses_the_same_values() {
        let taken = [
            "--budget=0.5",
            "--price-per-hour=0.1",
            "--latency-target=3s",
            "--min-workers=1",
            "--max-workers=4",
            "--keep-idle=0s",
        ];
        assert!(replayed(&taken).unwrap().contains("no decision"));
        for wrong in [
            &["--budget=0"][..],
            &["--budget=NaN"],
            &["--price-per-hour=-1"],
            &["--price-per-hour=0"],
            &["--latency-target=0s"],
            &["--min-workers=5", "--max-workers=4"],
        ] {
            assert!(replayed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_recording_that_was_cut_off_is_summed_up() {
        let decided = Decision {
            sequence: 1,
            before: Some(Arc::default()),
            ..Decision::default()
        };
        let line = proto::encode(&wire::record(&decided, true));
        let cut_off = format!("{line}\n{}", &line[..line.len() / 2]);
        let printed = replayed_from(&cut_off, &[]).unwrap();
        assert!(printed.contains("1 decisions in 0.0 s"), "{printed}");
        assert!(replayed_from("soon", &[]).is_err());
    }

    #[test]
    fn bounds_are_changed_by_the_flags_of_the_service() {
        let parsed = |flag: &str| {
            let words = ["scaler", "bounds", flag];
            Cli::try_parse_from(words).map(drop)
        };
        for word in ["--min-workers=1", "--max-workers=4", "--budget=0.5"] {
            assert!(parsed(word).is_ok(), "{word}");
        }
        for word in ["--budget=0", "--budget=inf"] {
            assert!(parsed(word).is_err(), "{word}");
        }
    }
}
