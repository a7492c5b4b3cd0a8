//! Prometheus metrics of front and of the local cloud.

use std::time::Duration;

use anyhow::{Context, anyhow};

use crate::client::http_client;

/// The services' counters.
#[derive(Debug)]
pub struct Metrics {
    front: Option<Page>,
    local_cloud: Option<Page>,
}

#[derive(Debug)]
struct Page {
    http: reqwest::Client,
    url: reqwest::Url,
}

/// Replies for requests that have ended.
const LATE_REPLIES: [&str; 2] = [
    "muster_front_late_replies_total",
    "muster_front_duplicate_replies_total",
];
const AWS_CALLS: &str = "localcloud_calls_total";

impl Metrics {
    /// `front` is the URL of front's metrics, `endpoint` that of AWS.
    ///
    /// # Errors
    /// When one of them is not a URL.
    pub fn new(front: Option<&str>, endpoint: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self {
            front: front.map(Page::new).transpose()?,
            local_cloud: endpoint
                .map(|url| Page::new(&format!("{}/metrics", url.trim_end_matches('/'))))
                .transpose()?,
        })
    }

    /// Reads the number of late and duplicate replies. Returns `None` without a URL.
    ///
    /// # Errors
    /// When front's metrics cannot be read.
    pub async fn late_replies(&self) -> anyhow::Result<Option<u64>> {
        let Some(page) = &self.front else {
            return Ok(None);
        };
        let text = page.read().await.map_err(|_| {
            let url = &page.url;
            anyhow!(
                "front's metrics cannot be read at {url}; give their address with --front-metrics"
            )
        })?;
        // A counter is missing until its first increment.
        Ok(Some(
            LATE_REPLIES
                .iter()
                .filter_map(|name| sum(&text, name))
                .sum(),
        ))
    }

    /// Reads the local cloud's count of AWS calls. Returns `None` with another cloud.
    pub async fn aws_calls(&self) -> Option<u64> {
        sum(&self.local_cloud.as_ref()?.read().await.ok()?, AWS_CALLS)
    }
}

impl Page {
    fn new(url: &str) -> anyhow::Result<Self> {
        let url = reqwest::Url::parse(url).with_context(|| format!("{url:?} is not a URL"))?;
        Ok(Self {
            http: http_client(&url, Duration::from_secs(5), None)?,
            url,
        })
    }

    async fn read(&self) -> reqwest::Result<String> {
        self.http
            .get(self.url.clone())
            .send()
            .await?
            .error_for_status()?
            .text()
            .await
    }
}

/// Sums the samples of a counter with any labels. Returns `None` without samples.
fn sum(page: &str, name: &str) -> Option<u64> {
    let samples = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    samples
        .reduce(|sum, sample| sum + sample)
        .map(|sum| sum as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let page = "\
# HELP localcloud_calls_total calls
# TYPE localcloud_calls_total counter
localcloud_calls_total{service=\"sqs\",action=\"SendMessage\",status=\"200\"} 100
localcloud_calls_total{service=\"s3\",action=\"Put}\",status=\"200\"} 20 1700000000
localcloud_calls_total_other 7
plain 3.0
";
        assert_eq!(sum(page, "localcloud_calls_total"), Some(120));
        assert_eq!(sum(page, "plain"), Some(3));
        assert_eq!(sum(page, "absent"), None);
    }
}
