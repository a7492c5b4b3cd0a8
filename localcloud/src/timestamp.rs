//! Timestamps in the forms that several services write.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::clock::Millis;

const WITH_MILLIS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
const WITH_SECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const IN_GMT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second] GMT");

/// Formats a time as most APIs do, with milliseconds.
pub fn timestamp(at: Millis) -> String {
    format(at, WITH_MILLIS)
}

/// Formats a time as the metadata service of EC2 does.
pub fn timestamp_in_seconds(at: Millis) -> String {
    format(at, WITH_SECONDS)
}

/// Formats a time as the reasons of EC2's state transitions do.
pub fn timestamp_in_gmt(at: Millis) -> String {
    format(at, IN_GMT)
}

fn format(at: Millis, form: &[BorrowedFormatItem<'_>]) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000)
        .ok()
        .and_then(|time| time.format(form).ok())
        .unwrap_or_default()
}
