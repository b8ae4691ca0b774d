//! Keeps the last warnings and errors beside the lines of the log, for whoever looks from outside ([`said`]).
//!
//! [`said`]: crate::state::said

use std::fmt::{Debug, Display};
use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::clock;
use crate::state::recent::Recent;
use crate::state::said::{SAID_TEXT_BYTES_MAX, Warning};
use crate::text;

/// The layer.
pub(super) struct Keeping(pub(super) Arc<Recent<Warning>>);

impl<S: Subscriber> Layer<S> for Keeping {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARN",
            _ => return,
        };
        let mut said = Said::default();
        event.record(&mut said);
        let Said { message, fields } = said;
        self.0.put(Warning { at: clock::now().wall, level, message, fields });
    }
}

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    fields: Map<String, Value>,
}

impl Said {
    fn text(&mut self, field: &Field, text: &dyn Display) {
        let mut text = text.to_string();
        text.truncate(text.floor_char_boundary(SAID_TEXT_BYTES_MAX));
        // As a line of the log has it: a page may show it as it is.
        let text = text::escaped(&text);
        if field.name() == "message" {
            self.message = text;
        } else {
            self.value(field, text);
        }
    }

    fn value(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, value);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn warnings_and_errors_are_kept_with_their_fields_and_nothing_else_is() {
        let kept = Arc::<Recent<Warning>>::default();
        let log = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
        let text = "é".repeat(SAID_TEXT_BYTES_MAX);
        tracing::subscriber::with_default(log.with(Keeping(Arc::clone(&kept))), || {
            tracing::info!("well");
            let nothing: Option<u64> = None;
            tracing::warn!(count = 7, share = 0.5, plain = %"a\nb", nothing, "it is {}", "\u{202e}");
            tracing::error!(text, yes = true);
        });
        let kept = kept.since(1);
        let [(1, warning), (2, error)] = kept.as_slice() else { panic!("{kept:?}") };
        assert_eq!((warning.level, warning.message.as_str()), ("WARN", "it is \\u{202e}"));
        let fields = serde_json::json!({"count": 7, "share": 0.5, "plain": "a\\nb"});
        assert_eq!(Value::Object(warning.fields.clone()), fields);
        assert_eq!((error.level, &error.fields["yes"]), ("ERROR", &true.into()));
        assert_eq!(error.fields["text"].as_str().unwrap().len(), SAID_TEXT_BYTES_MAX);
    }
}
