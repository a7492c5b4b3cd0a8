//! Progress of a run on standard error.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::Record;

/// Shows a bar on a terminal, elsewhere a line for every tenth of the requests.
#[derive(Debug)]
pub struct Progress {
    requests: usize,
    ended: usize,
    failed: usize,
    bar: Option<ProgressBar>,
}

impl Progress {
    #[must_use]
    pub fn new(requests: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len}  {elapsed}  {msg}")
                .expect("the template is valid");
            ProgressBar::new(requests as u64).with_style(style)
        });
        Self {
            requests,
            ended: 0,
            failed: 0,
            bar,
        }
    }

    pub fn record(&mut self, record: &Record) {
        self.ended += 1;
        self.failed += usize::from(!record.is_answered());
        match &self.bar {
            Some(bar) => {
                if self.failed > 0 {
                    bar.set_message(format!("{} failed", self.failed));
                }
                bar.inc(1);
            }
            None => {
                let tenths = |ended: usize| ended * 10 / self.requests.max(1);
                if tenths(self.ended) > tenths(self.ended - 1) {
                    eprintln!(
                        "{}/{} ended, {} failed",
                        self.ended, self.requests, self.failed
                    );
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
