//! A scripted MQTT broker in the hands of a test: 3.1.1 and 5, `QoS` 0 and 1, persistent sessions,
//! and every fault a gateway has to survive.
//!
//! It publishes no wills and knows no `QoS` 2: a subscription gets 1, a publish is refused.
//!
//! It runs on a thread of its own. A test pulls levers, injects messages, and waits for what the
//! log shows. Wherever a method takes `who`, all clients whose id contains that text are meant;
//! `""` is everybody. A lever holds until its counterpart is called.

mod admission;
mod levers;
mod link;
mod log;
mod server;
mod session;
mod state;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

pub(crate) use levers::{Kind, Limits, Order, Overrun};
use link::Fate;
pub(crate) use log::{ClientLog, Connected, Log, Published};
use server::Shared;
pub(crate) use session::Message;
use state::State;

use crate::support::wire::{ConnectReturnCode, Disconnect, DisconnectReasonCode, Login, Packet};
use crate::support::{Monitor, ignore, runtime_thread};

/// The broker; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// Starts on a free port of 127.0.0.1.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            state: Monitor::new(State::new()),
            listener: Notify::new(),
            stop: Notify::new(),
        });
        let thread = runtime_thread("broker", server::run(listener, Arc::clone(&shared)));
        Self { port, shared, thread: Some(thread) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `mqtt://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        self.shared.state.change(|state| {
            let result = change(state);
            state.pump_all();
            state.wake_all();
            result
        })
    }

    // Injecting.

    /// Gives a message to the subscribed sessions.
    pub(crate) fn publish(&self, topic: &str, payload: impl AsRef<[u8]>, qos: u8, retain: bool) {
        self.publish_all([Message {
            topic: topic.to_owned(),
            payload: Bytes::copy_from_slice(payload.as_ref()),
            qos,
            retain,
            properties: None,
        }]);
    }

    /// Gives many messages, with properties if wanted, in one step.
    pub(crate) fn publish_all(&self, messages: impl IntoIterator<Item = Message>) {
        self.shared.state.change(|state| messages.into_iter().for_each(|each| state.route(&each)));
    }

    /// Writes bytes of any kind to the clients.
    pub(crate) fn send_raw(&self, who: &str, bytes: &[u8]) {
        self.change(|state| {
            let links = state.links.values_mut().filter(|link| link.client.contains(who));
            links.for_each(|link| link.out.extend_from_slice(bytes));
        });
    }

    /// Writes these whole packets to the clients again and again, as fast as they are taken.
    pub(crate) fn flood(&self, who: &str, packets: impl Into<Bytes>) {
        self.change(|state| state.levers.floods.set(who, packets.into()));
    }

    pub(crate) fn end_flood(&self, who: &str) {
        self.change(|state| state.levers.floods.clear(who));
    }

    // Acknowledgements to publishers.

    /// Withholds PUBACKs from now on; the messages themselves go their way.
    pub(crate) fn hold_acks(&self, who: &str) {
        self.change(|state| state.levers.hold_acks.set(who, ()));
    }

    /// Sends the PUBACKs withheld so far; holding goes on. How many there were.
    pub(crate) fn release_acks(&self, who: &str, order: Order) -> usize {
        self.change(|state| state.release(who, order, usize::MAX))
    }

    /// Sends the oldest `count` of the PUBACKs withheld; holding goes on.
    pub(crate) fn release_some_acks(&self, who: &str, count: usize) -> usize {
        self.change(|state| state.release(who, Order::AsReceived, count))
    }

    /// Ends holding; what was withheld goes out in order.
    pub(crate) fn resume_acks(&self, who: &str) -> usize {
        self.change(|state| {
            state.levers.hold_acks.clear(who);
            state.release(who, Order::AsReceived, usize::MAX)
        })
    }

    /// Answers the next `times` publishes on topics of `filter` with this reason code (MQTT 5); of
    /// 0x80 and more the message is not taken. The newest rule that is not used up counts.
    pub(crate) fn answer_publishes(&self, filter: &str, reason: u8, times: usize) {
        let reason = levers::puback_reason(reason);
        let rule = levers::Answer { filter: filter.to_owned(), reason, left: times };
        self.change(|state| state.levers.answers.push(rule));
    }

    /// Ends all rules of `answer_publishes`.
    pub(crate) fn answer_normally(&self) {
        self.change(|state| state.levers.answers.clear());
    }

    // Connections and sessions.

    /// Resets the connections at once. How many there were.
    pub(crate) fn drop_connections(&self, who: &str) -> usize {
        self.change(|state| state.end(who, Fate::Reset))
    }

    /// Resets the connection that receives the `count`th packet of this kind from now on, after
    /// the packet took effect and before anything unsent is written. Works once.
    pub(crate) fn drop_after(&self, who: &str, kind: Kind, count: usize) {
        let rule = levers::DropAfter { who: who.to_owned(), kind, left: count.max(1) };
        self.change(|state| state.levers.drops.push(rule));
    }

    /// Ends the connections as a server does: with DISCONNECT and this reason (MQTT 5), then FIN.
    pub(crate) fn disconnect(&self, who: &str, reason: DisconnectReasonCode) -> usize {
        self.change(|state| {
            let links = state.links.values_mut().filter(|link| link.client.contains(who));
            links.for_each(|link| link.send(&Packet::Disconnect(Disconnect::new(reason))));
            state.end(who, Fate::Finish)
        })
    }

    /// Loses the sessions and resets their connections. How many there were.
    pub(crate) fn forget_sessions(&self, who: &str) -> usize {
        self.change(|state| state.forget(who))
    }

    /// Loses the subscriptions, keeps the sessions, and resets their connections. How many there were.
    pub(crate) fn lose_subscriptions(&self, who: &str) -> usize {
        self.change(|state| state.unsubscribe(who))
    }

    /// Goes away: nobody listens on the port, every connection is reset. Sessions are kept.
    pub(crate) fn go_away(&self) {
        self.change(|state| {
            state.listening = false;
            state.end("", Fate::Reset);
        });
        self.shared.listener.notify_one();
    }

    /// Listens on the same port again.
    pub(crate) fn come_back(&self) {
        self.change(|state| state.listening = true);
        self.shared.listener.notify_one();
    }

    /// Refuses CONNECT with this reason.
    pub(crate) fn refuse_connects(&self, who: &str, reason: ConnectReturnCode) {
        self.change(|state| state.levers.refuse_connect.set(who, reason));
    }

    pub(crate) fn accept_connects(&self, who: &str) {
        self.change(|state| state.levers.refuse_connect.clear(who));
    }

    /// Refuses everyone who comes without this user name and password.
    pub(crate) fn require_login(&self, user: &str, password: &str) {
        self.change(|state| state.levers.login = Some(Login::new(user, password)));
    }

    /// What CONNACK announces from the next connection on. Receive Maximum and Maximum Packet Size
    /// are enforced at once.
    pub(crate) fn announce(&self, limits: Limits) {
        self.change(|state| state.levers.limits = limits);
    }

    /// Hangs up, without a word, at a PUBLISH of more bytes.
    pub(crate) fn hang_up_above(&self, bytes: Option<usize>) {
        self.change(|state| state.levers.hangs_up_above = bytes);
    }

    /// Takes no notice of a PUBLISH of more bytes.
    pub(crate) fn ignore_above(&self, bytes: Option<usize>) {
        self.change(|state| state.levers.ignores_above = bytes);
    }

    /// Hangs up, without a word, at a CONNECT of MQTT 5.
    pub(crate) fn know_only_v3(&self) {
        self.change(|state| state.levers.only_v3 = true);
    }

    /// Gives clients other ids than theirs, and says so in CONNACK.
    pub(crate) fn assign_ids(&self) {
        self.change(|state| state.levers.assigns_ids = true);
    }

    /// Keeps so many messages for a session whose client is away, acknowledges and drops the others.
    pub(crate) fn keep_for_absent(&self, who: &str, messages: usize) {
        self.change(|state| state.levers.absent_max.set(who, messages));
    }

    /// Does not send again what was unacknowledged when a connection ended.
    pub(crate) fn hold_repeats(&self, who: &str) {
        self.change(|state| state.levers.late.set(who, ()));
    }

    /// Sends again without DUP what was unacknowledged when a connection ended.
    pub(crate) fn repeat_unmarked(&self, who: &str) {
        self.change(|state| state.levers.unmarked.set(who, ()));
    }

    pub(crate) fn send_repeats(&self, who: &str) {
        self.change(|state| state.levers.late.clear(who));
    }

    // Subscriptions and deliveries.

    /// Refuses subscriptions to filters that contain `filter` with this code (3.1.1: 0x80).
    pub(crate) fn refuse_subscribes(&self, filter: &str, code: u8) {
        self.change(|state| state.levers.refuse_subscribe.set(filter, code));
    }

    pub(crate) fn accept_subscribes(&self, filter: &str) {
        self.change(|state| state.levers.refuse_subscribe.clear(filter));
    }

    /// Leaves SUBSCRIBE unanswered.
    pub(crate) fn mute_subacks(&self, who: &str) {
        self.change(|state| state.levers.mute_subacks.set(who, ()));
    }

    pub(crate) fn answer_subscribes(&self, who: &str) {
        self.change(|state| state.levers.mute_subacks.clear(who));
    }

    /// Grants at most this `QoS` to filters that contain `filter`. The broker grants at most 1.
    pub(crate) fn grant_at_most(&self, filter: &str, qos: u8) {
        self.change(|state| state.levers.grant.set(filter, qos));
    }

    /// The window of clients that name none, from the next connection on (20 unless set).
    pub(crate) fn set_window(&self, messages: usize) {
        self.change(|state| state.levers.window = messages);
    }

    /// Sends more than the client allowed.
    pub(crate) fn overrun(&self, who: &str, how: Overrun) {
        self.change(|state| state.levers.overrun.set(who, how));
    }

    pub(crate) fn respect_windows(&self, who: &str) {
        self.change(|state| state.levers.overrun.clear(who));
    }

    // Silence.

    /// Reads nothing more from the clients.
    pub(crate) fn stall_reads(&self, who: &str) {
        self.change(|state| state.levers.stall_reads.set(who, ()));
    }

    pub(crate) fn resume_reads(&self, who: &str) {
        self.change(|state| state.levers.stall_reads.clear(who));
    }

    /// Writes nothing more to the clients.
    pub(crate) fn stall_writes(&self, who: &str) {
        self.change(|state| state.levers.stall_writes.set(who, ()));
    }

    pub(crate) fn resume_writes(&self, who: &str) {
        self.change(|state| state.levers.stall_writes.clear(who));
    }

    /// Leaves PINGREQ unanswered.
    pub(crate) fn mute_pings(&self, who: &str) {
        self.change(|state| state.levers.mute_pings.set(who, ()));
    }

    pub(crate) fn answer_pings(&self, who: &str) {
        self.change(|state| state.levers.mute_pings.clear(who));
    }

    /// Whether a client that is silent for 1.5 times its keep-alive is dropped (it is, unless set).
    pub(crate) fn enforce_keep_alive(&self, enforce: bool) {
        self.change(|state| state.levers.enforce_keep_alive = enforce);
    }

    // Observing.

    /// Looks at the log.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Log) -> R) -> R {
        look(&self.shared.state.lock().log)
    }

    /// Whether the log came to show this within `deadline`.
    pub(crate) fn within(&self, deadline: Duration, mut shows: impl FnMut(&Log) -> bool) -> bool {
        self.shared.state.wait(deadline, |state| shows(&state.log)).1
    }

    /// Waits until the log shows this; the test fails with `what` and the log when it does not.
    #[track_caller]
    pub(crate) fn wait_until(
        &self,
        what: &str,
        deadline: Duration,
        shows: impl FnMut(&Log) -> bool,
    ) {
        if !self.within(deadline, shows) {
            let summary = self.look(Log::summary);
            panic!("not within {deadline:?}: {what}; the broker saw: {summary}");
        }
    }

    /// The publishes on exactly this topic so far.
    pub(crate) fn published(&self, topic: &str) -> Vec<Published> {
        self.look(|log| log.on(topic).cloned().collect())
    }

    /// The log of the one client whose id contains `who`.
    #[track_caller]
    pub(crate) fn client(&self, who: &str) -> ClientLog {
        let mut found: Vec<ClientLog> = self.look(|log| log.of(who).cloned().collect());
        assert!(found.len() == 1, "{} clients are called {who:?}", found.len());
        found.remove(0)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shared.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            ignore(thread.join(), "its panic was printed");
        }
    }
}
