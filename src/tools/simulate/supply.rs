//! What a connection publishes: messages that are made when they are due.

use std::fmt::Debug;
use std::time::Duration;

use crate::clock::Now;
use crate::mqtt::outgoing::Will;
use crate::mqtt::packet::Greeting;
use crate::mqtt::plain::Plain;

/// The answer to "what now?".
#[derive(Debug)]
pub(super) enum Offer<M> {
    /// This is due now.
    Message(M),
    /// What was due is left out.
    Absent,
    /// Nothing is due before this time, after the start.
    Wait(Duration),
    /// Nothing more before some of what was made is taken or refused.
    Full,
    /// There is nothing more.
    Over,
}

/// Makes the messages of one connection, and counts them.
pub(super) trait Supply: Debug + Send {
    /// A message, which is held until it is acknowledged.
    type Message: Clone + Debug + Send;

    /// The will of the next connection.
    fn will(&mut self) -> Option<Will> {
        None
    }

    /// The topic on which it is commanded; only of one whose messages have `QoS` 0.
    fn commands(&self) -> Option<&str> {
        None
    }

    /// Does what a message on that topic asks for.
    fn command(&mut self, _payload: &[u8]) {}

    /// Notes what the broker of a new connection allows.
    fn greet(&mut self, greeting: &Greeting);

    /// The next message, so long after the start.
    fn next(&mut self, start: Now, elapsed: Duration) -> Offer<Self::Message>;

    /// A message as it is published; its `QoS`, and whether it was sent before, is not told here.
    fn plain<'s>(&'s mut self, message: &'s Self::Message) -> Plain<'s>;

    /// What is published last, before we end a connection.
    fn farewell(&mut self) -> Option<Plain<'_>> {
        None
    }

    /// Counts a message that is sent again.
    fn sent_again(&mut self, message: &Self::Message);

    /// Counts a message that the broker has taken.
    fn took(&mut self, message: Self::Message);

    /// Counts a message that the broker has not taken. It is not sent again.
    fn refused(&mut self, message: Self::Message);
}
