//! SIGINT, SIGTERM and SIGHUP as stop requests: the first drains, the second aborts.
//!
//! SIGHUP is what a terminal sends when it closes. Who started the program with `nohup` wants it to
//! outlive that: where SIGHUP is ignored from the start, it stays so. To a gateway without a terminal it
//! is sent by who wants the configuration read again: it is no stop, and ignored with a word.

use std::io::{IsTerminal, stdin};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::clock;
use crate::repeat::Repeated;

/// The signals, listened to from now on.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
    /// A SIGHUP stops.
    hangup_stops: bool,
    ignored: Repeated,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> std::io::Result<Self> {
        // To listen ends the ignoring: so look first.
        let hangup = if ignores_hangups() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
            hangup_stops: true,
            ignored: Repeated::default(),
        })
    }

    /// The same for a service: where standard input is no terminal, no terminal can close.
    #[must_use]
    pub fn of_service(self) -> Self {
        Self { hangup_stops: stdin().is_terminal(), ..self }
    }

    /// Waits for the first signal.
    pub async fn first(mut self) {
        self.next().await;
    }

    /// Sends a stop request for each signal, until nobody takes them any more.
    pub async fn forward(mut self, stops: mpsc::Sender<()>) {
        loop {
            tokio::select! {
                () = self.next() => {}
                () = stops.closed() => return,
            }
            if stops.send(()).await.is_err() {
                return;
            }
        }
    }

    /// Waits for the next signal.
    ///
    /// # Cancel safety
    /// No signal is lost.
    async fn next(&mut self) {
        while !self.stops().await {
            if let Some(left_out) = self.ignored.due(clock::now().instant) {
                tracing::warn!(
                    left_out,
                    "SIGHUP is ignored: restart the gateway to read the configuration again"
                );
            }
        }
    }

    /// Waits for the next signal: whether it stops.
    async fn stops(&mut self) -> bool {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(()) = self.interrupt.recv() => true,
            Some(()) = self.terminate.recv() => true,
            Some(()) = hangup => self.hangup_stops,
            // None is ever closed; if all were, there is nothing to wait for.
            else => std::future::pending().await,
        }
    }
}

/// Whether this process was started with SIGHUP ignored. Where there is no `/proc`, nobody knows.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}
