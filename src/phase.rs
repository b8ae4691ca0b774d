//! How far a gateway's stop has come: one value, watched by every task.

use tokio::sync::watch;

/// The phases, in order. A phase never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// At work.
    Running,
    /// Sources offer no more; what is held is being delivered.
    Draining,
    /// Everything that could be settled is: say the last acknowledgements and go.
    Closing,
}

/// Moves the phase on.
#[derive(Debug)]
pub struct Lead(watch::Sender<Phase>);

/// Watches the phase.
#[derive(Debug, Clone)]
pub struct Watch(watch::Receiver<Phase>);

/// A phase to move and to watch, at [`Phase::Running`].
pub fn start() -> (Lead, Watch) {
    let (lead, watch) = watch::channel(Phase::Running);
    (Lead(lead), Watch(watch))
}

impl Lead {
    /// Moves on to `phase`; earlier phases are ignored.
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
    /// Waits until `phase` or a later one is reached; a lead that is gone counts as the last one.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn reached(&mut self, phase: Phase) {
        // An error means that the lead is gone: nobody will tell us any more, so stop.
        drop(self.0.wait_for(|now| *now >= phase).await);
    }

    /// Whether `phase` or a later one is reached.
    pub fn is(&self, phase: Phase) -> bool {
        *self.0.borrow() >= phase
    }
}
