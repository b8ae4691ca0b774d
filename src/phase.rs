//! The phase of a gateway's stop: one value, which every task watches.

use tokio::sync::watch;

/// The phases, in order. A phase never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Running,
    /// Sources offer no more readings. The readings that are held are being delivered.
    Draining,
    /// Everything that could be settled is. The last acknowledgements are written, then the tasks end.
    Closing,
}

/// The sender of the phase.
#[derive(Debug)]
pub struct PhaseSender(watch::Sender<State>);

/// The receiver of the phase.
#[derive(Debug, Clone)]
pub struct PhaseReceiver(watch::Receiver<State>);

#[derive(Debug, Clone, Copy)]
struct State {
    phase: Phase,
    is_removed: bool,
    is_replaced: bool,
}

/// A sender and a receiver, at [`Phase::Running`].
pub fn start() -> (PhaseSender, PhaseReceiver) {
    let (lead, watch) =
        watch::channel(State { phase: Phase::Running, is_removed: false, is_replaced: false });
    (PhaseSender(lead), PhaseReceiver(watch))
}

impl PhaseSender {
    /// Moves on to `phase`. An earlier phase is ignored.
    pub fn enter(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > now.phase;
            now.phase = now.phase.max(phase);
            later
        });
    }

    /// What stops will not come back: it leaves nothing behind for another run. It drains.
    pub fn remove(&self) {
        self.0.send_modify(|now| {
            *now = State { phase: now.phase.max(Phase::Draining), is_removed: true, ..*now };
        });
    }

    /// What stops comes back at once with other settings, in this run. It drains.
    pub fn replace(&self) {
        self.0.send_modify(|now| {
            *now = State { phase: now.phase.max(Phase::Draining), is_replaced: true, ..*now };
        });
    }
}

impl PhaseReceiver {
    /// Waits until `phase` or a later one is reached. A dropped sender counts as the last phase.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn reached(&mut self, phase: Phase) {
        // An error means that the sender is dropped: nobody will send a phase any more, so stop.
        drop(self.0.wait_for(|now| now.phase >= phase).await);
    }

    /// Whether `phase` or a later one is reached.
    pub fn is(&self, phase: Phase) -> bool {
        self.0.borrow().phase >= phase
    }

    /// Whether the gateway goes on without it, or with another in its place.
    pub fn is_survived(&self) -> bool {
        let State { is_removed, is_replaced, .. } = *self.0.borrow();
        is_removed || is_replaced
    }

    /// Whether it will not come back.
    pub fn is_removed(&self) -> bool {
        self.0.borrow().is_removed
    }
}
