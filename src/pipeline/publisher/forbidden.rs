//! A broker of MQTT 5 that ends the connection, in words, over what is published: "not authorized".
//!
//! Readings that it does not take wait, and the log has its word. Dead letters wait alone: where the same one was
//! twice the oldest without an answer, all of them are set aside ([`crate::pipeline::outbox`]).

use super::Publisher;
use crate::clock::Now;
use crate::sink::Number;

impl Publisher {
    /// The broker ended the connection with this word, and this was the oldest publication that it had not
    /// answered.
    pub(super) fn forbidden(&mut self, now: Now, number: Number, reason: &str) {
        let again = self.forbidden.replace(number) == Some(number);
        let sealed = self.window.get(number.count).and_then(|it| it.parts().get(number.part));
        let letters = sealed.filter(|it| again && it.is_letters());
        let Some(letters) = letters.filter(|_| !self.outbox.is_trial(number)) else { return };
        self.outbox.set_letters_aside(now.instant);
        let topic = self.measure.destination(letters);
        let said = format!("it ends the connection when a message is published there: {reason}");
        self.books.gauges.refused(topic, said, now.instant);
        if let Some(left_out) = self.repeated.due(now.instant) {
            tracing::error!(
                topic,
                reason,
                left_out,
                "the output broker ends the connection when a dead letter is published: dead letters wait, and \
                 one is tried now and then; the session that it came from waits if there is no spool"
            );
        }
    }
}
