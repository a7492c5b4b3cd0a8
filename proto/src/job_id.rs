//! Ids of jobs.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The id of a recognition, from the client's request to the reply: a random UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(Uuid);

/// A text that is not a job id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a job id: {0:?}")]
pub struct JobIdError(String);

impl JobId {
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_simple().fmt(formatter)
    }
}

impl FromStr for JobId {
    type Err = JobIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| JobIdError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_survives_a_round_trip_through_text() {
        let id = JobId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().len(), 32);
    }

    #[test]
    fn other_text_is_refused() {
        assert!("job-1".parse::<JobId>().is_err());
    }
}
