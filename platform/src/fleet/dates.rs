//! EC2's clock, by the dates of its replies. This machine's clock may be wrong.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_sdk_ec2::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

/// Reads the header `Date` of each reply.
#[derive(Debug, Clone, Default)]
pub(super) struct Dates {
    newest: Arc<Mutex<Option<DateTime>>>,
}

impl Dates {
    /// Returns the date of the newest reply, or this machine's time before the first.
    pub fn newest(&self) -> SystemTime {
        let newest = *self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest
            .and_then(|date| SystemTime::try_from(date).ok())
            .unwrap_or_else(SystemTime::now)
    }
}

impl Intercept for Dates {
    fn name(&self) -> &'static str {
        "Dates"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|text| DateTime::from_str(text, Format::HttpDate).ok());
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}
