//! SIGINT, SIGTERM and SIGHUP as stop requests: the first drains, the second aborts.
//!
//! A terminal sends SIGHUP when it closes. `nohup` starts a program with SIGHUP ignored: then it stays ignored.
//! To a gateway without a terminal SIGHUP is sent to make it read its configuration again.

use std::io::{IsTerminal, stdin};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::reload::Asking;

/// Handlers for the signals.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
    /// Who is asked to read the configuration again at SIGHUP; `None`: it is a stop request.
    reload: Option<Asking>,
}

impl Signals {
    pub fn listen() -> std::io::Result<Self> {
        // A handler would end the ignoring: check first.
        let hangup = if ignores_hangups() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
            reload: None,
        })
    }

    /// The same for a service: if standard input is not a terminal, SIGHUP is no stop request, but makes it read its
    /// configuration again.
    #[must_use]
    pub fn of_service(self, reload: &Asking) -> Self {
        Self { reload: (!stdin().is_terminal()).then(|| reload.clone()), ..self }
    }

    /// Waits for the first signal.
    pub async fn first(mut self) {
        self.next().await;
    }

    /// Sends a stop request for each signal, until the receiver is dropped.
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
            self.reload.iter().for_each(|it| it.ask("SIGHUP"));
        }
    }

    /// Waits for the next signal. Returns whether it is a stop request.
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
            Some(()) = hangup => self.reload.is_none(),
            // A handler never closes. If all did, there is nothing to wait for.
            else => std::future::pending().await,
        }
    }
}

/// Whether SIGHUP was ignored when this process started; `false` without `/proc`.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}
