//! The result of a tuning, as text and as JSON.

use std::fmt::Write;

use scaler_plan::Policy;
use serde_json::{Value, json};

use super::setting::seconds;
use super::{Figures, Setting, Tried, Tuned};

/// Returns the figures of the settings on both parts, what follows, and the command line.
#[must_use]
pub fn table(tuned: &Tuned) -> String {
    let [first, rest] = tuned.lengths;
    let scenario = &tuned.scenario;
    let mut text = format!(
        "{}: {} settings compared on the first {first:.0} s, tried on the other {rest:.0} s; {:.3} s a request, {:.1} s a \
         boot, latency target {}\n",
        tuned.trace,
        tuned.compared,
        scenario.service.0,
        scenario.boot.0,
        seconds(scenario.policy.targets.latency),
    );
    let heads = ["p50 s", "p95 s", "cost $", "over-use"];
    let _ = write!(text, "  {:<62}", "");
    for head in heads.iter().chain(&heads) {
        let _ = write!(text, "{head:>9}");
    }
    text.push('\n');
    let defaults = &tuned.defaults.setting;
    for (mark, tried) in rows(tuned) {
        let flags = format!("{} {mark}", tried.setting.flags(defaults));
        let _ = write!(text, "  {flags:<62}");
        for it in [tried.chosen_on, tried.rest] {
            let (p50, p95, cost, over_use) = (it.p50, it.p95, it.cost, it.over_use);
            let _ = write!(text, "{p50:>9.2}{p95:>9.2}{cost:>9.4}{over_use:>9.2}");
        }
        text.push('\n');
    }
    let _ = writeln!(text, "  {}", verdict(tuned));
    let _ = writeln!(text, "  {}", command(tuned));
    text.push('\n');
    text
}

/// The defaults, the choice and the others.
fn rows(tuned: &Tuned) -> Vec<(&'static str, &Tried)> {
    let mut rows = vec![("(default)", &tuned.defaults)];
    if tuned.choice != tuned.defaults {
        rows.push(("(best)", &tuned.choice));
    }
    rows.extend(tuned.alternatives.iter().map(|it| ("", it)));
    rows
}

fn verdict(tuned: &Tuned) -> String {
    if tuned.choice == tuned.defaults {
        return "no other setting is as fast for less: keep the defaults".to_owned();
    }
    let (ours, theirs) = (&tuned.choice.rest, &tuned.defaults.rest);
    let of_theirs = 100.0 * ours.cost / theirs.cost;
    let (p95, before) = (ours.p95, theirs.p95);
    let found = format!(
        "on the rest, the best setting costs {of_theirs:.0} % of the defaults, with a p95 of {p95:.2} s instead of \
         {before:.2} s"
    );
    if tuned.holds() {
        found
    } else {
        format!("{found}: what was better before is not better there, so keep the defaults")
    }
}

/// Returns the command line of the scaler with the advised setting.
fn command(tuned: &Tuned) -> String {
    let policy = &tuned.scenario.policy;
    format!(
        "scaler {} --latency-target {} --max-workers {}",
        advised_flags(tuned),
        seconds(policy.targets.latency),
        policy.bounds.max_workers
    )
}

/// The scaler has its own defaults, not those of this tuning, which flags may have changed.
fn advised_flags(tuned: &Tuned) -> String {
    tuned.advice().flags(&Setting::of(&Policy::default()))
}

impl Tuned {
    #[must_use]
    pub fn json(&self) -> Value {
        let defaults = &self.defaults.setting;
        let tried = |it: &Tried| {
            json!({
                "flags": it.setting.flags(defaults),
                "chosen_on": it.chosen_on.json(),
                "rest": it.rest.json(),
            })
        };
        json!({
            "trace": self.trace,
            "lengths_s": self.lengths,
            "compared": self.compared,
            "defaults": tried(&self.defaults),
            "best": tried(&self.choice),
            "alternatives": self.alternatives.iter().map(tried).collect::<Vec<_>>(),
            "holds": self.holds(),
            "use": advised_flags(self),
        })
    }
}

impl Figures {
    fn json(self) -> Value {
        json!({"p50_s": self.p50, "p95_s": self.p95, "cost": self.cost, "over_use": self.over_use})
    }
}
