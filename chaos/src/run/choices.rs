//! What determines a run: the options that its history keeps, and that `--replay` reads from there.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use platform::duration;
use serde::{Deserialize, Serialize};

use crate::schedule::names;

/// What determines a run's faults, times and photos.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize, Deserialize)]
pub struct Choices {
    /// What recognizes: a light recognizer without networks, or one of the engines
    #[arg(long, value_enum, default_value = "light")]
    pub engine: Engine,
    /// Requests to send
    #[arg(long, default_value_t = 10_000)]
    pub requests: u64,
    /// Requests a second, on average
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,
    /// Seed of all faults, times and photos: the same seed has the same ones. It also chooses policy and market
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Mean time between two faults
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1s")]
    pub every: Duration,
    /// No other faults than those of this name, for example kill_worker or terminate. With kill_front, kill_gateway and
    /// kill_scaler give --every 20s: a service that ends five times within 30 s ends the others
    #[arg(long, value_name = "FAULT", value_parser = fault)]
    pub only: Option<String>,
    /// Most workers at once
    #[arg(long, default_value_t = 8)]
    pub max_workers: u32,
    /// Time of a photo with the light recognizer
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "20ms")]
    pub light_time: Duration,
}

/// What recognizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    Light,
    Native,
    Torch,
}

impl Engine {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Native => "native",
            Self::Torch => "torch",
        }
    }
}

impl Choices {
    /// Returns the choices of the run that wrote this `history.json` or `history-SEED.json`.
    ///
    /// # Errors
    /// When the file cannot be read, or has no choices, as those that older versions wrote.
    pub fn of_history(file: &Path) -> anyhow::Result<Self> {
        let read = || anyhow::Ok(serde_json::from_slice::<Self>(&std::fs::read(file)?)?);
        read().with_context(|| format!("cannot replay {}", file.display()))
    }

    #[cfg(test)]
    pub(super) fn example() -> Self {
        Self {
            engine: Engine::Light,
            requests: 1_500,
            rate: 7.3,
            seed: 11,
            every: Duration::from_millis(2_500),
            only: None,
            max_workers: 5,
            light_time: Duration::from_millis(200),
        }
    }
}

fn fault(name: &str) -> Result<String, String> {
    let names = names(true, true);
    if names.contains(name) {
        return Ok(name.to_owned());
    }
    let names: Vec<_> = names.into_iter().collect();
    Err(format!("it is none of {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::History;
    use super::*;
    use crate::inject::InjectionLog;

    #[test]
    fn a_history_has_the_choices_of_its_run() {
        for only in [None, Some("kill_worker".to_owned())] {
            let choices = Choices {
                only,
                ..Choices::example()
            };
            let history = History {
                choices: &choices,
                schedule: &[],
                done: &InjectionLog::default(),
                sent: &[],
                findings: &[],
            };
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("history-11.json");
            std::fs::write(&file, serde_json::to_string(&history).unwrap()).unwrap();
            assert_eq!(Choices::of_history(&file).unwrap(), choices);
            std::fs::write(&file, r#"{"seed":11}"#).unwrap();
            let refused = Choices::of_history(&file).unwrap_err();
            assert!(format!("{refused:#}").contains("missing field"));
        }
    }
}
