//! Log lines in JSON that begin with the ids of what they are about.

use std::fmt;

use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::fmt::format::{Format, FormatEvent, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Fields of spans that are repeated at the top of each line: `jq 'select(.request_id == "...")'` then finds all lines of
/// a request, however deep their spans are nested.
const IDS: [&str; 2] = ["request_id", "sequence"];

/// The library's JSON, preceded by the fields of the innermost span that has one of [`IDS`].
#[derive(Debug)]
pub struct WithIds(pub Format<Json>);

impl<S> FormatEvent<S, JsonFields> for WithIds
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        let mut spans = context.event_scope().into_iter().flatten();
        if let Some(span) = spans.find(|span| has_ids(span.metadata())) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>();
            let ids = fields.and_then(|it| it.fields.strip_prefix('{')?.strip_suffix('}'));
            if let (Some(ids), Some(rest)) =
                (ids.filter(|it| !it.is_empty()), line.strip_prefix('{'))
            {
                return write!(writer, "{{{ids},{rest}");
            }
        }
        writer.write_str(&line)
    }
}

fn has_ids(span: &Metadata<'_>) -> bool {
    IDS.iter().any(|id| span.fields().field(id).is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing::field::Empty;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Written {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn lines(log: impl FnOnce()) -> Vec<Value> {
        let written = Written::default();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(written.clone())
            .json()
            .map_event_format(WithIds);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = written.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_line_has_the_ids_of_its_request_at_the_top() {
        let lines = lines(|| {
            let request = tracing::error_span!("request", request_id = Empty, trace_id = Empty);
            let _request = request.enter();
            tracing::info!("no id yet");
            request.record("request_id", "4f\"2");
            request.record("trace_id", "0af7");
            let _step = tracing::info_span!("step", attempt = 1).entered();
            tracing::info!(size = 7, "stored");
        });
        assert_eq!(lines[0]["fields"]["message"], "no id yet");
        assert_eq!(lines[0].get("request_id"), None);
        assert_eq!(lines[1]["request_id"], "4f\"2");
        assert_eq!(lines[1]["trace_id"], "0af7");
        assert_eq!(lines[1]["fields"]["size"], 7);
        assert_eq!(lines[1]["span"]["name"], "step");
    }

    #[test]
    fn a_line_outside_of_requests_is_the_librarys() {
        let lines = lines(|| {
            let _step = tracing::info_span!("step", attempt = 1).entered();
            tracing::info!("idle");
        });
        assert_eq!(lines[0]["level"], "INFO");
        assert_eq!(lines[0].get("attempt"), None);
    }
}
