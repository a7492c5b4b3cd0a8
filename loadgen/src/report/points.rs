//! The points of a run by a rubric. Pure.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::Serialize;

use super::rubric::{Case, CaseCheck, Deduction, Precondition, Rubric, Tier, name_of};
use super::seconds;

/// What was seen before the run. An error is why something could not be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// Running instances: web instances, and workers.
    pub instances: Result<(usize, usize), String>,
    /// Objects in the in-bucket and in the out-bucket.
    pub buckets: Result<(u64, u64), String>,
    pub queues: Result<Queues, String>,
}

/// The two queues before the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    pub requests: u64,
    pub replies: u64,
    /// `MaximumMessageSize`.
    pub request_bytes: usize,
    pub reply_bytes: usize,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Since the first sample.
    pub t_s: f64,
    /// Messages waiting in the request queue.
    pub requests: u64,
    /// Messages waiting in the reply queue.
    pub replies: u64,
    /// Workers that run.
    pub running: usize,
    /// Objects in the in-bucket and in the out-bucket.
    pub photos: u64,
    pub results: u64,
}

/// What the run showed.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub requests: usize,
    /// Answered, with a right or a wrong name.
    pub answered: usize,
    pub right: usize,
    /// From the first request to the last response.
    pub wall: Duration,
    /// Whether the requests ended before the workload's limit.
    pub in_time: bool,
    /// Workers that still ran when scale-in was checked for the last time (`None`: EC2 did not answer), and the time since
    /// the first check.
    pub scale_in: (Option<usize>, Duration),
    /// In the rhythm of the rubric, in their order.
    pub samples: Vec<Sample>,
    /// Objects in the in-bucket and in the out-bucket at the end, also those from before, which cost a deduction. `None`: they
    /// could not be counted.
    pub stored: Option<(u64, u64)>,
}

/// One line of the grade.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The check's name in the rubric.
    pub check: String,
    /// Negative for a deduction.
    pub points: f64,
    /// The most points; 0 for a deduction.
    pub of: f64,
    /// Whether nothing is wrong.
    pub met: bool,
    pub comment: String,
}

/// The grade of one submission.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Points {
    pub total: f64,
    pub of: f64,
    /// Why the system could not be graded.
    pub not_graded: Option<String>,
    pub deductions: Vec<Line>,
    pub cases: Vec<Line>,
}

impl Points {
    /// Returns the grade of a run.
    #[must_use]
    pub fn of(rubric: &Rubric, start: &Start, run: &Run) -> Self {
        let deductions: Vec<_> = rubric
            .deductions
            .iter()
            .map(|it| deduct(it, start))
            .collect();
        let cases: Vec<_> = rubric
            .cases
            .iter()
            .map(|it| score(it, rubric, run))
            .collect();
        let sum: f64 = deductions
            .iter()
            .chain(&cases)
            .map(|line| line.points)
            .sum();
        Self {
            total: hundredths(sum).max(0.0),
            of: rubric.full_marks(),
            not_graded: None,
            deductions,
            cases,
        }
    }

    /// Returns no points, for a submission that cannot be graded.
    #[must_use]
    pub fn none(rubric: &Rubric, why: &str) -> Self {
        let lost = |case: &Case| Line {
            check: name_of(&case.check),
            points: 0.0,
            of: case.most(),
            met: false,
            comment: "not graded".to_owned(),
        };
        Self {
            total: 0.0,
            of: rubric.full_marks(),
            not_graded: Some(why.to_owned()),
            deductions: Vec::new(),
            cases: rubric.cases.iter().map(lost).collect(),
        }
    }

    /// Returns the comments of what is wrong, in one text.
    #[must_use]
    pub fn comments(&self) -> String {
        if let Some(why) = &self.not_graded {
            return format!("not graded: {why}");
        }
        let lines = self.deductions.iter().chain(&self.cases);
        let wrong = lines.filter(|line| !line.met);
        let wrong: Vec<_> = wrong
            .map(|line| format!("{}: {}", line.check, line.comment))
            .collect();
        wrong.join("; ")
    }
}

fn deduct(deduction: &Deduction, start: &Start) -> Line {
    let (holds, comment) = match deduction.check {
        Precondition::WebInstance => judge(&start.instances, |(web, _)| {
            (*web == 1, format!("{web} running, must be 1"))
        }),
        Precondition::NoWorker => judge(&start.instances, |(_, workers)| {
            (*workers == 0, format!("{workers} running, must be 0"))
        }),
        Precondition::EmptyBuckets => judge(&start.buckets, |(photos, results)| {
            let text = format!("{photos} photos and {results} results are stored, must be none");
            (photos + results == 0, text)
        }),
        Precondition::EmptyQueues => judge(&start.queues, |queues| {
            let Queues {
                requests, replies, ..
            } = queues;
            let text = format!("{requests} requests and {replies} replies wait, must be none");
            (requests + replies == 0, text)
        }),
        Precondition::RequestMessageSize => judge(&start.queues, |queues| {
            size(queues.request_bytes, deduction.bytes)
        }),
        Precondition::ReplyMessageSize => judge(&start.queues, |queues| {
            size(queues.reply_bytes, deduction.bytes)
        }),
    };
    Line {
        check: name_of(&deduction.check),
        points: if holds { 0.0 } else { 0.0 - deduction.points },
        of: 0.0,
        met: holds,
        comment,
    }
}

fn size(bytes: usize, wanted: Option<usize>) -> (bool, String) {
    let wanted = wanted.unwrap_or_default();
    (
        bytes == wanted,
        format!("messages of {bytes} bytes, must be {wanted}"),
    )
}

/// Judges what was seen. What could not be read does not hold.
fn judge<T>(seen: &Result<T, String>, judge: impl Fn(&T) -> (bool, String)) -> (bool, String) {
    match seen {
        Ok(seen) => judge(seen),
        Err(why) => (false, why.clone()),
    }
}

fn score(case: &Case, rubric: &Rubric, run: &Run) -> Line {
    let points = case.points.unwrap_or(0.0);
    let all_or_nothing =
        |(holds, comment): (bool, String)| (if holds { points } else { 0.0 }, comment);
    let (earned, comment) = match case.check {
        CaseCheck::ScaleIn => scale_in(&case.tiers, run),
        CaseCheck::Latency => latency(&case.tiers, run),
        CaseCheck::InBucket => objects(points, run, |(photos, _)| photos, "photos"),
        CaseCheck::OutBucket => objects(points, run, |(_, results)| results, "results"),
        CaseCheck::Names => names(points, run),
        CaseCheck::ScaleOut => all_or_nothing(scale_out(case.workers, &run.samples)),
        CaseCheck::BackToZero => {
            let workers = rubric
                .case(CaseCheck::ScaleOut)
                .and_then(|case| case.workers);
            all_or_nothing(back_to_zero(workers, &run.samples))
        }
        CaseCheck::RequestQueue => all_or_nothing(request_queue(&run.samples)),
        CaseCheck::ReplyQueue => all_or_nothing(empty_at_both_ends(&run.samples, |it| it.replies)),
    };
    Line {
        check: name_of(&case.check),
        points: earned,
        of: case.most(),
        met: earned >= case.most(),
        comment,
    }
}

fn scale_in(tiers: &[Tier], run: &Run) -> (f64, String) {
    let (remaining, time) = run.scale_in;
    let time = seconds(time);
    let Some(remaining) = remaining else {
        return (0.0, "the instances could not be listed".to_owned());
    };
    if remaining > 0 {
        return (
            0.0,
            format!("{remaining} workers still ran {time:.2} s after the check began"),
        );
    }
    let points = tier(tiers, time);
    (
        points,
        format!("no worker ran {time:.2} s after the check began"),
    )
}

fn latency(tiers: &[Tier], run: &Run) -> (f64, String) {
    let Run {
        requests, answered, ..
    } = run;
    if !run.in_time {
        return (0.0, "the requests did not end within the limit".to_owned());
    }
    if answered < requests || *requests == 0 {
        return (
            0.0,
            format!("{answered} of {requests} requests were answered, must be all"),
        );
    }
    let each = run.wall.as_secs_f64() / *requests as f64;
    (tier(tiers, each), format!("{each:.3} s a request"))
}

/// Returns the points of the first tier that is not exceeded.
fn tier(tiers: &[Tier], time: f64) -> f64 {
    let reached = tiers.iter().find(|tier| time < tier.below);
    reached.map_or(0.0, |tier| tier.points)
}

fn objects(points: f64, run: &Run, pick: fn((u64, u64)) -> u64, what: &str) -> (f64, String) {
    let Some(stored) = run.stored else {
        return (0.0, "the bucket could not be listed".to_owned());
    };
    let count = pick(stored);
    let text = format!("{count} {what} stored for {} requests", run.requests);
    (share(points, count as usize, run.requests), text)
}

fn names(points: f64, run: &Run) -> (f64, String) {
    let Run {
        requests, right, ..
    } = run;
    if !run.in_time {
        return (0.0, "the requests did not end within the limit".to_owned());
    }
    (
        share(points, *right, *requests),
        format!("{right} of {requests} names are right"),
    )
}

fn share(points: f64, count: usize, of: usize) -> f64 {
    hundredths((points * count as f64 / of.max(1) as f64).min(points))
}

const NO_SAMPLES: &str = "queues and instances could not be sampled";

fn scale_out(workers: Option<usize>, samples: &[Sample]) -> (bool, String) {
    let wanted = workers.unwrap_or_default();
    let Some(first) = samples.first() else {
        return (false, NO_SAMPLES.to_owned());
    };
    let most = samples
        .iter()
        .map(|sample| sample.running)
        .max()
        .unwrap_or(0);
    if first.running > 0 {
        return (
            false,
            format!("{} workers in the first sample, must be 0", first.running),
        );
    }
    (
        most == wanted,
        format!("{most} workers in the largest sample, must be {wanted}"),
    )
}

fn back_to_zero(workers: Option<usize>, samples: &[Sample]) -> (bool, String) {
    let (scaled_out, why) = match workers {
        Some(_) => scale_out(workers, samples),
        None => (!samples.is_empty(), NO_SAMPLES.to_owned()),
    };
    if !scaled_out {
        return (false, why);
    }
    let last = samples.last().map_or(0, |sample| sample.running);
    (
        last == 0,
        format!("{last} workers in the last sample, must be 0"),
    )
}

fn request_queue(samples: &[Sample]) -> (bool, String) {
    let ends = empty_at_both_ends(samples, |sample| sample.requests);
    if !ends.0 {
        return ends;
    }
    let mut rose = false;
    let mut fell = false;
    for pair in samples.windows(2) {
        let (before, after) = (pair[0].requests, pair[1].requests);
        fell |= rose && after < before;
        rose |= after > before;
    }
    let most = samples
        .iter()
        .map(|sample| sample.requests)
        .max()
        .unwrap_or(0);
    match (rose, fell) {
        (true, true) => (
            true,
            format!("rose from 0 to {most} messages and fell to 0"),
        ),
        _ => (false, "no sample shows a waiting message".to_owned()),
    }
}

fn empty_at_both_ends(samples: &[Sample], pick: fn(&Sample) -> u64) -> (bool, String) {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return (false, NO_SAMPLES.to_owned());
    };
    let (first, last) = (pick(first), pick(last));
    let text = format!("{first} messages in the first sample and {last} in the last, must be 0");
    (first == 0 && last == 0, text)
}

/// Rounds as graders show points.
fn hundredths(points: f64) -> f64 {
    (points * 100.0).round() / 100.0
}
