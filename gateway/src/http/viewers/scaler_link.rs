//! A viewer's connection to the scaler that leads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use platform::access::called_with;
use platform::token::Token;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::{ListDecisionsRequest, ScalerStatus, WatchStatusRequest};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::feed::Feed;
use super::history::{self, History};

/// The shortest time between two statuses.
const STATUS_INTERVAL: prost_types::Duration = prost_types::Duration {
    seconds: 0,
    nanos: 100_000_000,
};
/// How many decisions a history has, and how many if these are too many bytes.
const DECISIONS: [u32; 2] = [1_000, 100];
/// The most bytes of a history on the wire.
const MOST_BYTES: usize = 16 << 20;
const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// The scaler decides at least once a second, so one that is silent for this long hangs.
const SILENCE_DEADLINE: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// Why a connection ended or did not come about.
#[derive(Debug)]
struct Lost {
    /// For the viewer.
    message: String,
    /// How long it lasted.
    lasted: Option<Duration>,
}

/// Feeds a viewer with what the scaler sends, forever. Only one scaler leads; the others say so, and the next one is tried.
pub async fn follow(scalers: Arc<[Channel]>, key: Option<Token>, feed: Arc<Feed>) {
    if scalers.is_empty() {
        feed.disconnected("the gateway knows no scaler: start it with --scaler URL");
    }
    let (mut retry, mut lost_in_a_row) = (FIRST_RETRY, 0);
    for scaler in scalers.iter().cycle() {
        let is_last = lost_in_a_row + 1 >= scalers.len();
        let lost = follow_one(scaler, scalers.len() > 1, key.as_ref(), &feed).await;
        if lost.lasted.is_some_and(|lasted| lasted > LONGEST_RETRY) {
            (retry, lost_in_a_row) = (FIRST_RETRY, 0);
        }
        // The next scaler is tried at once. A pause follows when all were tried.
        if is_last || lost.lasted.is_some() {
            feed.disconnected(&lost.message);
        }
        lost_in_a_row += 1;
        if lost_in_a_row >= scalers.len() {
            tokio::time::sleep(retry).await;
            (retry, lost_in_a_row) = ((retry * 2).min(LONGEST_RETRY), 0);
        }
    }
}

/// Follows one scaler until it is lost or, if there are others, stands by.
async fn follow_one(scaler: &Channel, has_others: bool, key: Option<&Token>, feed: &Feed) -> Lost {
    let mut client = ScalerClient::new(scaler.clone()).max_decoding_message_size(MOST_BYTES);
    let stands_by = |status: &ScalerStatus| status.standing_by.clone().filter(|_| has_others);
    let connecting = async {
        let watch = WatchStatusRequest {
            every: false,
            interval: Some(STATUS_INTERVAL),
        };
        let statuses = client.watch_status(called_with(key, watch));
        let mut statuses = in_time(CALL_DEADLINE, statuses).await?.into_inner();
        let status = next(&mut statuses).await?;
        if let Some(why) = stands_by(&status) {
            return Err(Lost::standing_by(&why));
        }
        // Before the history, so that no decision is missed in between.
        let changes = WatchStatusRequest::default();
        let changes = client.watch_status(called_with(key, changes));
        let changes = in_time(CALL_DEADLINE, changes).await?.into_inner();
        let history = past(&mut client, key).await?;
        Ok((statuses, status, changes, history))
    };
    let (mut statuses, status, mut changes, history) = match connecting.await {
        Ok(connected) => connected,
        Err(lost) => return lost,
    };
    let since = Instant::now();
    feed.connected(history, status);
    let lost = loop {
        tokio::select! {
            status = next(&mut statuses) => match status {
                Ok(status) => match stands_by(&status) {
                    Some(why) => break Lost::standing_by(&why),
                    None => feed.status(status),
                },
                Err(lost) => break lost,
            },
            // The statuses leave out decisions that follow each other closely.
            decision = next(&mut changes) => match decision {
                // The first one is the newest, whether or not it changes something.
                Ok(decision) if history::belongs(&decision) => feed.decision(decision),
                Ok(_) => {}
                Err(lost) => break lost,
            },
        }
    };
    Lost {
        lasted: Some(since.elapsed()),
        ..lost
    }
}

/// Waits for the next decision. Dropping the future loses none.
async fn next(statuses: &mut Streaming<ScalerStatus>) -> Result<ScalerStatus, Lost> {
    loop {
        let status = in_time(SILENCE_DEADLINE, statuses.message()).await?;
        let status = status.ok_or_else(|| Lost::because("the scaler has ended"))?;
        // 0 before the first decision.
        if status.sequence > 0 {
            return Ok(status);
        }
    }
}

async fn past(client: &mut ScalerClient<Channel>, key: Option<&Token>) -> Result<History, Lost> {
    for limit in DECISIONS {
        let request = ListDecisionsRequest { limit, since: None };
        let listed = client.list_decisions(called_with(key, request));
        match tokio::time::timeout(CALL_DEADLINE, listed).await {
            Ok(Ok(listed)) => return Ok(listed.into_inner().decisions.into()),
            // Large fleets have large decisions.
            Ok(Err(status)) if status.code() == Code::OutOfRange => {}
            Ok(Err(status)) => return Err(status.into()),
            Err(_) => return Err(Lost::silent()),
        }
    }
    Ok(Vec::new().into())
}

async fn in_time<T>(
    deadline: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Lost> {
    let answered = tokio::time::timeout(deadline, answer).await;
    Ok(answered.map_err(|_| Lost::silent())??)
}

impl Lost {
    fn because(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            lasted: None,
        }
    }

    fn silent() -> Self {
        Self::because("the scaler does not answer")
    }

    fn standing_by(why: &str) -> Self {
        Self::because(format!("no scaler leads: {why}"))
    }
}

impl From<Status> for Lost {
    /// A refusal is for the viewer, whose key it is about. The transport's texts are for operators.
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied | Code::ResourceExhausted => {
                Self::because(status.message())
            }
            code => {
                tracing::debug!(
                    ?code,
                    message = status.message(),
                    "a viewer lost the scaler"
                );
                Self::because("the scaler cannot be reached")
            }
        }
    }
}
