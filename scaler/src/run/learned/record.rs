//! The content of `learned.json`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::execute::ExecutorConfig;
use crate::plan::{Learned, Timestamp};

const VERSION: u32 = 1;
/// How many kinds of workers are remembered, the newest ones.
const MOST_KINDS: usize = 32;
/// The environment variable in the user data that chooses the engine.
const ENGINE: &str = "MUSTER_ENGINE=";

/// What the speed of a worker depends on, as far as the scaler knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerKind {
    /// All that may be launched: times are measured over the whole fleet.
    pub instance_types: Vec<String>,
    pub image: String,
    /// As the user data says; empty when the image decides.
    pub engine: String,
}

/// The times of one kind of worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    #[serde(flatten)]
    pub kind: WorkerKind,
    #[serde(flatten)]
    pub times: Learned,
    /// When it was written, in seconds after 1970.
    pub at_s: u64,
}

/// All entries, the newest last.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LearnedRecord {
    version: u32,
    workers: Vec<Entry>,
}

/// A record of any version.
#[derive(Deserialize)]
struct RawRecord {
    version: u32,
    #[serde(default)]
    workers: Value,
}

/// Why an object's bytes are no record.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A newer scaler wrote it, and may read it again.
    #[error("it has version {0}, of a newer scaler")]
    Newer(u32),
    #[error("{0}")]
    Damaged(serde_json::Error),
}

impl WorkerKind {
    #[must_use]
    pub fn of(config: &ExecutorConfig) -> Self {
        let launch = &config.launch;
        let mut instance_types = vec![launch.instance_type.clone()];
        instance_types.extend(config.fallbacks.iter().map(|it| it.instance_type.clone()));
        instance_types.sort();
        instance_types.dedup();
        let mut lines = launch.user_data.0.lines().map(str::trim);
        let engine = lines.find_map(|line| {
            let line = line.strip_prefix("export ").unwrap_or(line);
            line.strip_prefix(ENGINE)
        });
        Self {
            instance_types,
            image: launch.image_id.clone(),
            engine: engine.unwrap_or_default().to_owned(),
        }
    }
}

impl Default for LearnedRecord {
    fn default() -> Self {
        Self {
            version: VERSION,
            workers: Vec::new(),
        }
    }
}

impl LearnedRecord {
    /// Returns the entry of a kind of worker.
    #[must_use]
    pub fn find(&self, kind: &WorkerKind) -> Option<Entry> {
        self.workers.iter().find(|it| it.kind == *kind).cloned()
    }

    /// Replaces the entry of a kind of worker. When there are too many kinds, the oldest is forgotten.
    pub fn learn(&mut self, kind: &WorkerKind, times: Learned, at: Timestamp) {
        self.workers.retain(|entry| entry.kind != *kind);
        self.workers.push(Entry {
            kind: kind.clone(),
            times,
            at_s: at.elapsed().as_secs(),
        });
        let surplus = self.workers.len().saturating_sub(MOST_KINDS);
        self.workers.drain(..surplus);
    }

    /// Returns the object's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers have a JSON form")
    }

    /// Reads the object's bytes, without damaged entries.
    ///
    /// # Errors
    /// When the bytes are no record, or one of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: RawRecord = serde_json::from_slice(bytes).map_err(DecodeError::Damaged)?;
        if raw.version > VERSION {
            return Err(DecodeError::Newer(raw.version));
        }
        let entries: Vec<Value> =
            serde_json::from_value(raw.workers).map_err(DecodeError::Damaged)?;
        let entries = entries.into_iter().map(serde_json::from_value);
        Ok(Self {
            version: VERSION,
            workers: entries.filter_map(Result::ok).collect(),
        })
    }
}
