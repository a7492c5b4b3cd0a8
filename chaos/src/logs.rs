//! What the instances' logs tell: jobs that began, workers that were told to end, instances that the scaler gave up.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since 1970.
pub type UnixMs = i64;

/// What all logs together tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceLogs {
    /// By instance, its jobs: id, and when it began.
    pub jobs: BTreeMap<String, Vec<(String, UnixMs)>>,
    /// By instance, jobs that it finished.
    pub finished: BTreeMap<String, HashSet<String>>,
    /// Instances whose worker had a job when it was told to end.
    pub busy_at_the_end: BTreeSet<String>,
    /// Instances that the scaler gave up because they were silent or never attended.
    pub given_up: BTreeSet<String>,
    /// Lines with an error or a panic, by their text.
    pub errors: BTreeMap<String, u64>,
}

/// Reads all consoles below the local cloud's data folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn read(cloud: &Path) -> std::io::Result<InstanceLogs> {
    let mut logs = InstanceLogs::default();
    for entry in fs::read_dir(cloud.join("instances"))? {
        let folder = entry?.path();
        let instance = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // It is missing until the instance writes.
        let text = fs::read(folder.join("console.log")).unwrap_or_default();
        note(&instance, &String::from_utf8_lossy(&text), &mut logs);
    }
    Ok(logs)
}

fn note(instance: &str, console: &str, logs: &mut InstanceLogs) {
    for line in console.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            if line.contains("panicked") {
                *logs.errors.entry(line.to_owned()).or_default() += 1;
            }
            continue;
        };
        let text = |key: &str| line["fields"][key].as_str().unwrap_or_default();
        let id = || line["request_id"].as_str().unwrap_or_default().to_owned();
        match text("message") {
            "begun" => {
                let jobs = logs.jobs.entry(instance.to_owned()).or_default();
                jobs.extend(time_of(&line).map(|time| (id(), time)));
            }
            "recognized" | "replied with an error" => {
                logs.finished
                    .entry(instance.to_owned())
                    .or_default()
                    .insert(id());
            }
            "told to end" if line["fields"]["busy"].as_bool() == Some(true) => {
                logs.busy_at_the_end.insert(instance.to_owned());
            }
            "gave a worker up" => {
                logs.given_up.insert(text("instance").to_owned());
            }
            message if line["level"] == "ERROR" => {
                *logs.errors.entry(message.to_owned()).or_default() += 1;
            }
            _ => {}
        }
    }
}

fn time_of(line: &Value) -> Option<UnixMs> {
    let time = OffsetDateTime::parse(line["timestamp"].as_str()?, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

impl InstanceLogs {
    /// Returns the ids of all jobs that began.
    #[must_use]
    pub fn begun(&self) -> HashSet<String> {
        self.jobs
            .values()
            .flatten()
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Returns, for each job that a worker had when it was killed, after how many milliseconds another one began it. `kills` are
    /// instances with the times of their deaths.
    #[must_use]
    pub fn returns(&self, kills: &[(String, UnixMs)]) -> Vec<i64> {
        let mut begins: HashMap<&str, Vec<UnixMs>> = HashMap::new();
        for (id, time) in self.jobs.values().flatten() {
            begins.entry(id).or_default().push(*time);
        }
        let none = HashSet::new();
        let mut after = Vec::new();
        for (instance, killed_at) in kills {
            // An instance may be killed, start again, and be killed again.
            let earlier = kills
                .iter()
                .filter(|(other, at)| other == instance && at < killed_at);
            let life_begins = earlier.map(|(_, at)| *at).max().unwrap_or_default();
            let finished = self.finished.get(instance).unwrap_or(&none);
            let jobs = self.jobs.get(instance).into_iter().flatten();
            let held = jobs.filter(|(id, time)| {
                (life_begins + 1..=*killed_at).contains(time) && !finished.contains(id)
            });
            for (id, _) in held {
                let later = begins[id.as_str()].iter().filter(|time| *time > killed_at);
                after.extend(later.min().map(|time| time - killed_at));
            }
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(time: &str, id: &str, message: &str, more: &str) -> String {
        format!(
            r#"{{"request_id":"{id}","timestamp":"2026-11-29T10:00:{time}Z","level":"INFO","fields":{{"message":"{message}"{more}}}}}"#
        ) + "\n"
    }

    #[test]
    fn a_killed_workers_job_returns_when_another_worker_begins_it() {
        let mut logs = InstanceLogs::default();
        let first = line("01.000", "a", "begun", "")
            + &line("01.100", "a", "recognized", "")
            + &line("02.000", "b", "begun", "")
            + "not json\n";
        note("i-1", &first, &mut logs);
        note("i-2", &line("09.500", "b", "begun", ""), &mut logs);
        let killed_at = logs.jobs["i-1"][1].1 + 500;
        let kill = ("i-1".to_owned(), killed_at);
        assert_eq!(logs.returns(std::slice::from_ref(&kill)), [7_000]);
        // Killed again, with nothing in work.
        let again = ("i-1".to_owned(), killed_at + 1_000);
        assert_eq!(logs.returns(&[kill, again]), [7_000]);
        assert_eq!(
            logs.begun(),
            HashSet::from(["a".to_owned(), "b".to_owned()])
        );
    }

    #[test]
    fn ends_and_panics_are_noticed() {
        let mut logs = InstanceLogs::default();
        note(
            "i-1",
            &line("01.000", "", "told to end", r#","busy":true"#),
            &mut logs,
        );
        note(
            "i-2",
            &line("01.000", "", "told to end", r#","busy":false"#),
            &mut logs,
        );
        note(
            "i-3",
            &line("01.000", "", "gave a worker up", r#","instance":"i-9""#),
            &mut logs,
        );
        note(
            "i-4",
            "thread 'main' panicked at src/main.rs:1:1\n",
            &mut logs,
        );
        assert_eq!(logs.busy_at_the_end, BTreeSet::from(["i-1".to_owned()]));
        assert_eq!(logs.given_up, BTreeSet::from(["i-9".to_owned()]));
        assert_eq!(logs.errors.len(), 1);
    }
}
