//! SIGINT and SIGTERM as stop requests: the first drains, the second aborts.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Both signals, listened to from now on.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the first signal.
    pub async fn first(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Sends a stop request for each signal, until nobody takes them any more.
    pub async fn forward(mut self, stops: mpsc::Sender<()>) {
        loop {
            tokio::select! {
                Some(()) = self.interrupt.recv() => {}
                Some(()) = self.terminate.recv() => {}
                () = stops.closed() => return,
            }
            if stops.send(()).await.is_err() {
                return;
            }
        }
    }
}
