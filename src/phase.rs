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
pub struct Lead(watch::Sender<Phase>);

/// The receiver of the phase.
#[derive(Debug, Clone)]
pub struct Watch(watch::Receiver<Phase>);

/// A sender and a receiver, at [`Phase::Running`].
pub fn start() -> (Lead, Watch) {
    let (lead, watch) = watch::channel(Phase::Running);
    (Lead(lead), Watch(watch))
}

impl Lead {
    /// Moves on to `phase`. An earlier phase is ignored.
    pub fn enter(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
    }
}

impl Watch {
    /// Waits until `phase` or a later one is reached. A dropped sender counts as the last phase.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn reached(&mut self, phase: Phase) {
        // An error means that the sender is dropped: nobody will send a phase any more, so stop.
        drop(self.0.wait_for(|now| *now >= phase).await);
    }

    /// Whether `phase` or a later one is reached.
    pub fn is(&self, phase: Phase) -> bool {
        *self.0.borrow() >= phase
    }
}
