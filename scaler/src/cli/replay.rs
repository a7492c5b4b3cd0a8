use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use proto::v1::ScalerStatus;

use super::paint::Paint;
use super::text;
use crate::config::{dollars, duration, keep_idle, policy_kind, positive_duration};
use crate::plan::{KeepIdle, Plan, Policy, PolicyKind};
use crate::replay::{Replay, Replayed, Summary};

#[derive(Debug, Clone, clap::Args)]
pub struct ReplayArgs {
    /// What `scaler watch --every --json` printed; `-` for standard input
    file: PathBuf,
    #[command(flatten)]
    policy: Overrides,
}

/// What is not given stays as recorded.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Policy, where not as recorded")]
struct Overrides {
    /// The rule that turns demand into a number of workers
    #[arg(long, value_name = "NAME", value_parser = policy_kind())]
    policy: Option<PolicyKind>,
    /// Workers that are always kept
    #[arg(long, value_name = "COUNT")]
    min_workers: Option<u32>,
    /// The most workers there may be
    #[arg(long, value_name = "COUNT")]
    max_workers: Option<u32>,
    /// What the workers may cost, in dollars an hour
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    budget: Option<f64>,
    /// Dollars for one instance and hour
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    price_per_hour: Option<f64>,
    /// How long a request may take from its acceptance to its answer
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    latency_target: Option<Duration>,
    /// How many stopped instances are kept ready
    #[arg(long, value_name = "COUNT")]
    warm_pool: Option<u32>,
    /// How long after workers were added others may be added
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    scale_out_cooldown: Option<Duration>,
    /// How long after workers were added or withdrawn others may be withdrawn
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    scale_in_cooldown: Option<Duration>,
    /// How long a worker that is not needed stays idle before it goes, where the policy counts that: see `scaler --help`
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    idle_time: Option<Duration>,
    /// How long demand has to stay at zero to be believed
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    settle: Option<Duration>,
    /// The longest that a worker is kept that is not needed
    #[arg(long, value_name = "auto|DURATION", value_parser = keep_idle)]
    keep_idle: Option<KeepIdle>,
    /// Plan also where the recorded scaler was paused
    #[arg(long)]
    ignore_pauses: bool,
}

impl ReplayArgs {
    /// Prints where the replay begins to differ, and a summary.
    ///
    /// # Errors
    /// When the file cannot be read or is no recording. A difference is none.
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
        self.policy.check()?;
        let mut replay = Replay::default();
        // A difference often lasts; it is printed once.
        let mut printed = None;
        for (line, number) in recording.lines().zip(1..) {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let status: ScalerStatus = proto::decode(&line)
                .with_context(|| format!("line {number} is not a ScalerStatus"))?;
            let replayed = replay
                .next(&status, |policy| self.policy.apply(policy))
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
    fn check(&self) -> anyhow::Result<()> {
        if let (Some(min), Some(max)) = (self.min_workers, self.max_workers) {
            anyhow::ensure!(
                min <= max,
                "--min-workers {min} exceeds --max-workers {max}"
            );
        }
        Ok(())
    }

    fn apply(&self, policy: &mut Policy) {
        fn set<T: Clone>(place: &mut T, given: &Option<T>) {
            if let Some(given) = given {
                place.clone_from(given);
            }
        }
        set(&mut policy.kind, &self.policy);
        let bounds = &mut policy.bounds;
        set(&mut bounds.min_workers, &self.min_workers);
        set(&mut bounds.max_workers, &self.max_workers);
        set(&mut bounds.warm_pool, &self.warm_pool);
        set(&mut bounds.scale_out_cooldown, &self.scale_out_cooldown);
        set(&mut bounds.scale_in_cooldown, &self.scale_in_cooldown);
        if self.budget.is_some() {
            bounds.budget_per_hour = self.budget;
        }
        set(&mut policy.prices.per_hour, &self.price_per_hour);
        set(&mut policy.targets.latency, &self.latency_target);
        set(&mut policy.timeouts.idle_time, &self.idle_time);
        set(&mut policy.timeouts.settle, &self.settle);
        set(&mut policy.timeouts.keep_idle, &self.keep_idle);
        if self.ignore_pauses {
            policy.paused_by = None;
        }
    }
}

/// The plan without its words.
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
        paint.bold(&text::moment(replayed.at)),
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
            "{gaps} gaps in the recording: what the scaler remembered then is not known, and may explain differences\n"
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
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn replayed(arguments: &[&str]) -> anyhow::Result<String> {
        let file = tempfile::NamedTempFile::new()?;
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
    fn a_replay_takes_the_words_of_serve_and_refuses_what_serve_refuses() {
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
    fn bounds_are_changed_by_the_words_of_serve() {
        let parsed = |word: &str| {
            let words = ["scaler", "bounds", word];
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
