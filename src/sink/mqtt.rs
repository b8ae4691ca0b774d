//! The output topic: publishes batches and dead letters, reports the broker's answers.
//!
//! Its own client, apart from every intake, so that a flood of readings cannot keep a PUBACK from
//! us. It connects with a clean start: the broker keeps nothing for it, because the engine's window
//! keeps everything.
//!
//! Where the broker hangs up or falls silent, the oldest publication without an answer is told to the
//! engine: that may be why ([`crate::pipeline::publisher`]). Twice the same one is no sign of another
//! client with our id.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::message::Messages;
use super::{Answer, Event, Number, Over, Publication, Refusal, Why};
use crate::clock::Now;
use crate::limits::WRITE_BUFFER_BYTES_MAX;
use crate::mqtt::Error;
use crate::mqtt::answer::{self, NotTaken};
use crate::mqtt::attempt::{Attempt, Failed};
use crate::mqtt::client::{self, Client, Step};
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::{Inbound, Incoming};
use crate::mqtt::outbound::Outbound;
use crate::mqtt::outgoing::Hello;
use crate::mqtt::packet::{Greeting, Packet};
use crate::mqtt::session::Session;
use crate::mqtt::unanswered::Unanswered;
use crate::phase::{Phase, PhaseReceiver};
use crate::queue::Reports;
use crate::repeat::Repeated;
use crate::state::metrics::Metrics;

pub use self::settings::{CLIENT, OutputQos, Settings, WithoutSubscriber};

mod settings;

/// Bytes of the read buffer: only acknowledgements come. The broker is told with MQTT 5, and leaves out reason
/// strings and properties that would not fit (§3.1.2.11.4).
pub const READ_BUFFER_BYTES: usize = ANSWER_BYTES_MAX as usize;

const ANSWER_BYTES_MAX: u32 = 8 * 1024;

/// What is said in CONNECT.
const HELLO: Hello = Hello {
    clean_start: true,
    session_expiry: None,
    receive_max: None,
    packet_bytes_max: Some(ANSWER_BYTES_MAX),
    will: None,
};

/// The sink of the output topic.
#[derive(Debug)]
pub struct MqttSink {
    session: Session,
    messages: Messages,
    bounds: Bounds,
    reports: Reports<Event>,
    metrics: Arc<Metrics>,
    phase: PhaseReceiver,
    /// While a connection stands.
    current: Option<Current>,
    unknown: Repeated,
    /// The count of the publication that may have ended the last connection, without a word.
    over: Option<u64>,
}

/// What belongs to one connection.
#[derive(Debug)]
struct Current {
    /// Its channel's end; none once the engine has closed it.
    publications: Option<mpsc::Receiver<Publication>>,
    /// Has come, and is not published.
    next: Option<Publication>,
    /// Bytes of the largest packet that the broker takes.
    bytes_max: Option<usize>,
    /// Its Receive Maximum.
    receive_max: usize,
    in_flight: InFlight,
    has_room: bool,
}

/// What one connection has out: the publications that its packet ids stand for.
#[derive(Debug, Default)]
struct InFlight {
    unanswered: Unanswered<Number>,
    /// QoS 0: reported when written.
    unwritten: Vec<Number>,
}

/// The bounds of the sink.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Batches in the channel.
    pub channel_max: usize,
    /// How long a batch may be unanswered: then the connection is given up.
    pub answer_max: Duration,
}

impl MqttSink {
    /// A sink that publishes so, until the gateway closes.
    pub fn new(
        session: Session,
        messages: Messages,
        bounds: Bounds,
        reports: Reports<Event>,
        metrics: Arc<Metrics>,
        phase: PhaseReceiver,
    ) -> Self {
        let (unknown, over) = (Repeated::default(), None);
        Self { session, messages, bounds, reports, metrics, phase, current: None, unknown, over }
    }

    /// Publishes until the gateway closes, or says why it cannot.
    pub async fn run(mut self) {
        if let Err(error) = client::run(&mut self).await {
            self.reports.send(Event::Failed(error.into()));
        }
    }
}

impl Client for MqttSink {
    fn is_wanted(&mut self) -> bool {
        !self.phase.is(Phase::Closing)
    }

    fn attempt(&mut self) -> Attempt {
        self.session.attempt(HELLO)
    }

    fn handle_failed(&mut self, now: Now, failed: Failed) -> Result<Duration, Error> {
        self.session.handle_failed(now.instant, failed)
    }

    fn handle_connected(
        &mut self,
        now: Now,
        greeting: Greeting,
        _out: &mut Outbound,
    ) -> Result<(), Error> {
        self.metrics.connections.one();
        self.session.handle_connected(now.instant, &greeting);
        let (channel, publications) = mpsc::channel(self.bounds.channel_max);
        let bytes_max = greeting.packet_bytes_max.map(|bytes| bytes as usize);
        self.current = Some(Current {
            publications: Some(publications),
            next: None,
            bytes_max,
            receive_max: greeting.receive_max.max(1).into(),
            in_flight: InFlight::default(),
            has_room: true,
        });
        if greeting.qos_max < self.messages.qos {
            let reason = format!("it takes no QoS above {}: set output.qos", greeting.qos_max);
            return Err(Error::Refused { reason, permanent: true });
        }
        if self.messages.retain && !greeting.features.retained {
            let reason =
                "it keeps no retained messages: set output.retain = false, or let it".into();
            return Err(Error::Refused { reason, permanent: true });
        }
        self.session.usable(now.instant);
        self.reports.send(Event::Connected {
            channel,
            bytes_max,
            // What is not acknowledged is not bounded by it (MQTT 5 §3.2.2.3.3).
            in_flight_max: if self.messages.qos == 0 {
                usize::MAX
            } else {
                greeting.receive_max.into()
            },
        });
        Ok(())
    }

    fn advance(
        &mut self,
        now: Now,
        inbound: &mut Inbound,
        out: &mut Outbound,
    ) -> Result<Step, Error> {
        let Self { session, messages, bounds, reports, phase, unknown, current, .. } = self;
        let current = current.as_mut().expect("a connection stands");
        if out.backlog() == 0 {
            // QoS 0: what is written counts as delivered; there is no more to know.
            for number in current.in_flight.unwritten.drain(..) {
                reports.send(Event::Answered { number, answer: Answer::Taken });
            }
        }
        while let Some(incoming) = inbound.packet()? {
            let Incoming::Other(bytes) = incoming else { continue };
            let answered = Connection::read(messages.version, bytes)?;
            let Packet::PubAck { packet_id, answer } = answered else { continue };
            match current.in_flight.unanswered.strike(packet_id) {
                Some(number) => {
                    session.proved();
                    reports.send(Event::Answered { number, answer: answer.into() });
                }
                None => say_unknown(unknown, now.instant, packet_id),
            }
        }
        while let Some(publication) = current.publication(out) {
            current.publish(now.instant, messages, &publication, reports, out)?;
        }
        if phase.is(Phase::Closing) {
            return Ok(Step::Close);
        }
        let answer_max = bounds.answer_max;
        let oldest = current.in_flight.unanswered.oldest();
        let until = oldest.map(|(_, since)| since + answer_max);
        if until.is_some_and(|until| until <= now.instant) {
            // The broker may answer pings and still have forgotten a publication.
            return Err(Error::Unanswered(answer_max));
        }
        Ok(Step::Wait { reads: true, until })
    }

    fn handle_disconnected(
        &mut self,
        now: Now,
        ended: Result<(), Error>,
    ) -> Result<Option<Duration>, Error> {
        self.metrics.disconnections.one();
        let current = self.current.take().expect("a connection stood");
        let oldest = current.in_flight.unanswered.oldest().map(|(number, _)| *number);
        let why = ended.as_ref().err().and_then(why);
        let over = oldest.zip(why).map(|(number, why)| Over { number, why });
        // Its halves are other parts of the same one.
        let count = over.as_ref().filter(|it| it.is_wordless()).map(|it| it.number.count);
        self.reports.send(Event::Disconnected { over });
        if count.is_some() && count == self.over {
            self.session.explained();
        }
        self.over = count;
        let Err(error) = ended else { return Ok(None) };
        if let Some(error) = self.session.id_in_use(&error) {
            return Err(error);
        }
        if self.session.outlasts(now.instant, &error) {
            return Err(error);
        }
        Ok(Some(self.session.lost(now.instant, &error)))
    }

    async fn woken(&mut self) {
        let publications = self.current.as_mut().filter(|current| current.has_room);
        let Some(current) = publications else { return self.phase.reached(Phase::Closing).await };
        tokio::select! {
            biased;
            () = self.phase.reached(Phase::Closing) => {}
            () = current.offered() => {}
        }
    }
}

/// A PUBACK that nothing waits for: answered twice, or never asked. It settles nothing, and harms nothing.
fn say_unknown(unknown: &mut Repeated, now: Instant, packet_id: u16) {
    if let Some(left_out) = unknown.due(now) {
        tracing::warn!(
            packet_id,
            left_out,
            "the output broker acknowledged what is not in flight; ignored"
        );
    }
}

impl Current {
    /// Waits until there is a publication.
    ///
    /// # Cancel safety
    /// It is kept.
    async fn offered(&mut self) {
        let Some(publications) = &mut self.publications else { return pending().await };
        match publications.recv().await {
            Some(publication) => self.next = Some(publication),
            // The engine gives this connection nothing any more.
            None => self.publications = None,
        }
    }

    /// The next publication, if there is one and room for it.
    fn publication(&mut self, out: &Outbound) -> Option<Publication> {
        let in_flight = self.in_flight.unanswered.len();
        self.has_room = out.backlog() < WRITE_BUFFER_BYTES_MAX && in_flight < self.receive_max;
        if !self.has_room {
            return None;
        }
        self.next.take().or_else(|| self.publications.as_mut()?.try_recv().ok())
    }

    /// Publishes a batch. One that is larger than the broker takes would end the connection, time and again:
    /// it is answered here, and the broker is not asked.
    fn publish(
        &mut self,
        now: Instant,
        messages: &Messages,
        publication: &Publication,
        reports: &Reports<Event>,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        let (number, message) = (publication.number, messages.of(&publication.sealed));
        let bytes = message.packet_bytes(messages.version);
        if let Some(bytes_max) = self.bytes_max.filter(|max| bytes > *max) {
            let answer = Answer::Refused(NotTaken::too_large(bytes, bytes_max).into());
            reports.send(Event::Answered { number, answer });
            return Ok(());
        }
        if message.qos == 0 {
            self.in_flight.unwritten.push(number);
            return out.publish(0, &message);
        }
        out.publish(self.in_flight.unanswered.enter(number, now), &message)
    }
}

impl From<answer::Answer> for Answer {
    fn from(answer: answer::Answer) -> Self {
        match answer {
            answer::Answer::Taken => Self::Taken,
            answer::Answer::NobodyListens => Self::TakenByNobody,
            answer::Answer::Refused(it) => Self::Refused(it.into()),
        }
    }
}

impl From<NotTaken> for Refusal {
    fn from(it: NotTaken) -> Self {
        let (too_large, permanent) = (it.is_too_large(), it.is_permanent());
        Self { reason: it.to_string(), too_large, permanent }
    }
}

/// What of a publication may have ended a connection, if anything.
fn why(error: &Error) -> Option<Why> {
    match error {
        Error::Forbidden(reason) => Some(Why::Forbidden(reason.clone())),
        Error::TooLarge(_) => Some(Why::TooLarge),
        Error::Silent(_) | Error::Stalled(_) | Error::Unanswered(_) => Some(Why::Silent),
        error => error.is_hang_up().then_some(Why::HungUp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::frame::Inbound;
    use crate::mqtt::options::Version;
    use crate::mqtt::outgoing;
    use crate::mqtt::stepped;

    #[test]
    fn what_of_a_publication_may_have_ended_a_connection_is_told_by_how_it_ended() {
        use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
        let silence = Duration::from_secs(1);
        for (error, expected) in [
            (Error::TooLarge("packet too large".into()), Some(Why::TooLarge)),
            (Error::Closed, Some(Why::HungUp)),
            (Error::Io(ConnectionReset.into()), Some(Why::HungUp)),
            // As TLS has it.
            (Error::Io(UnexpectedEof.into()), Some(Why::HungUp)),
            (Error::Silent(silence), Some(Why::Silent)),
            (Error::Stalled(silence), Some(Why::Silent)),
            (Error::Unanswered(silence), Some(Why::Silent)),
            (Error::Forbidden("no".into()), Some(Why::Forbidden("no".into()))),
            (Error::Ended("server shutting down".into()), None),
        ] {
            assert_eq!(why(&error), expected, "{error}");
        }
    }

    #[test]
    fn the_largest_answer_that_a_broker_may_send_is_read() {
        let mut connect = bytes::BytesMut::new();
        outgoing::connect(&mut connect, &stepped::options(Version::V5), &HELLO).unwrap();
        let mut said = connect.windows(5).filter(|it| it[0] == 0x27);
        let said = u32::from_be_bytes(said.next().unwrap()[1..].try_into().unwrap());
        // A PUBACK with one user property: 3 + 3 + 2 + 5 bytes, and the value.
        let bytes = said as usize;
        let varint =
            |value: usize| [value % 128 + 128, value / 128].map(|it| u8::try_from(it).unwrap());
        let mut puback = vec![0x40];
        puback.extend(varint(bytes - 3));
        puback.extend([0, 1, 0]);
        puback.extend(varint(bytes - 8));
        puback.extend([0x26, 0, 0]);
        puback.extend(u16::try_from(bytes - 13).unwrap().to_be_bytes());
        puback.resize(bytes, b'x');
        let mut inbound = Inbound::new(Version::V5, READ_BUFFER_BYTES);
        inbound.space()[..bytes].copy_from_slice(&puback);
        inbound.filled(bytes);
        let Some(Incoming::Other(came)) = inbound.packet().unwrap() else { panic!("not read") };
        let read = Connection::read(Version::V5, came).unwrap();
        assert!(matches!(read, Packet::PubAck { packet_id: 1, answer: answer::Answer::Taken }));
    }
}
