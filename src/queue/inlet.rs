//! A source's two ends: one to offer records, one to learn what settled.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shared::{SettledRuns, Shared, State, bytes_of, lock};
use crate::record::{Chunk, Record};
use crate::settlement::{Outcome, Run, SensorIndex, SourceIndex};

/// A source's end: offers records.
#[derive(Debug)]
pub struct Inlet {
    shared: Arc<Shared>,
}

/// A source's other end: learns what settled. Outlives the inlet while a source drains.
#[derive(Debug)]
pub struct Settlements {
    shared: Arc<Shared>,
    source: SourceIndex,
    settled: Arc<SettledRuns>,
    starved: bool,
}

impl Inlet {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.lock().inlets += 1;
        Self { shared: Arc::clone(shared) }
    }

    /// Offers all records of `chunk` and waits for room where there is none. `chunk` is empty
    /// afterwards.
    ///
    /// # Cancel safety
    /// Records not yet taken are still in `chunk`, each either taken or there.
    pub async fn offer(&self, chunk: &mut Chunk) {
        while !chunk.records.is_empty() {
            self.offer_piece(chunk).await;
        }
    }

    /// The same with as many of its first records as may be claimed at once, at least one; returns how many
    /// were taken.
    ///
    /// # Cancel safety
    /// All of them are taken, or none.
    pub async fn offer_piece(&self, chunk: &mut Chunk) -> u32 {
        let (count, bytes) = piece(chunk, self.shared.piece_max());
        self.shared.claim_or_wait(count, bytes).await;
        self.append(chunk, count);
        if chunk.records.is_empty() {
            chunk.clear();
        }
        count
    }

    /// Waits for room for as many of the chunk's first records as may be claimed at once.
    ///
    /// # Cancel safety
    /// The room is given back.
    pub fn claim(&self, chunk: &Chunk) -> impl Future<Output = Claim> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        let (records, bytes) = piece(chunk, shared.piece_max());
        async move {
            shared.claim_or_wait(records, bytes).await;
            Claim { shared, records, bytes }
        }
    }

    /// Offers the records for which there is a claim.
    pub fn put(&self, mut claim: Claim, chunk: &mut Chunk) {
        self.append(chunk, std::mem::take(&mut claim.records));
        claim.bytes = 0;
        if chunk.records.is_empty() {
            chunk.clear();
        }
    }

    /// Waits for a place for one record of `bytes` of text. Whoever has it must
    /// [put](Inlet::put_value) a record there at once: the short way for a sensor that makes them one
    /// at a time.
    ///
    /// # Cancel safety
    /// The place is claimed, or it is not.
    pub async fn place(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).expect("a simulated value is short");
        self.shared.claim_or_wait(1, bytes).await;
    }

    /// The same, if there is one at once.
    pub fn try_place(&self, bytes: usize) -> bool {
        self.shared.claim(1, u32::try_from(bytes).expect("a simulated value is short"))
    }

    /// Puts a reading of `value` into a [place](Inlet::place), with its time and labels: the texts of each.
    pub fn put_value(&self, mut record: Record, texts: [&[u8]; 3]) {
        let shared = &*self.shared;
        shared.held.fetch_add(1, Ordering::Relaxed);
        let mut state = shared.lock();
        let before = state.buffer.records();
        state.buffer.push_value(&mut record, texts);
        shared.offered(&mut state, before);
    }

    /// Offers the records of `chunk` without waiting, shedding sheddable ones by the queue's policy
    /// when it is full. Returns whether all were taken; the rest, in order, is still in `chunk`.
    /// The sensors of shed records are added to `shed`.
    pub fn try_offer(&self, chunk: &mut Chunk, shed: &mut Vec<SensorIndex>) -> bool {
        let shared = &*self.shared;
        let (count, bytes) = piece(chunk, shared.piece_max());
        if count as usize == chunk.records.len() && shared.claim(count, bytes) {
            self.append(chunk, count);
            chunk.clear();
            return true;
        }
        let mut state = shared.lock();
        let before = state.buffer.records();
        let mut taken = 0;
        for record in &chunk.records {
            if state.make_room(shared, record, shed) {
                shared.held.fetch_add(1, Ordering::Relaxed);
                state.buffer.push(chunk, record);
            } else if record.arrival.sheddable {
                shed.push(record.sensor);
            } else {
                break;
            }
            taken += 1;
        }
        chunk.records.drain(..taken);
        if chunk.records.is_empty() {
            chunk.clear();
        }
        shared.offered(&mut state, before);
        chunk.records.is_empty()
    }

    fn append(&self, chunk: &mut Chunk, count: u32) {
        self.shared.held.fetch_add(u64::from(count), Ordering::Relaxed);
        let mut state = self.shared.lock();
        let before = state.buffer.records();
        state.buffer.append(chunk, count as usize);
        self.shared.offered(&mut state, before);
    }
}

/// Room in the queue; it is given back where nothing is put there.
#[derive(Debug)]
pub struct Claim {
    shared: Arc<Shared>,
    records: u32,
    bytes: u32,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.places.give(self.records as usize);
        self.shared.bytes.give(self.bytes as usize);
    }
}

/// As many leading records of `chunk` as one claim may take, and their bytes; at least one.
fn piece(chunk: &Chunk, (records_max, bytes_max): (u32, u32)) -> (u32, u32) {
    let (mut count, mut bytes) = (0, 0_u32);
    for record in &chunk.records {
        let more = bytes_of(record);
        if count > 0 && (count >= records_max || bytes + more > bytes_max) {
            break;
        }
        count += 1;
        bytes += more;
    }
    (count, bytes)
}

impl State {
    /// Claims a place for `record`, shedding by the policy where that is allowed.
    fn make_room(&mut self, shared: &Shared, record: &Record, shed: &mut Vec<SensorIndex>) -> bool {
        let wanted = bytes_of(record);
        if shared.claim(1, wanted) {
            return true;
        }
        if !record.arrival.sheddable {
            return false;
        }
        // What is freed is for this record and not for whoever waits.
        let (mut places, mut freed) = (0, 0);
        while let Some((sensor, bytes)) = self.buffer.shed_for(record.sensor) {
            shed.push(sensor);
            shared.held.fetch_sub(1, Ordering::Relaxed);
            places += 1;
            freed += bytes;
            let missing = wanted.saturating_sub(u32::try_from(freed).unwrap_or(u32::MAX));
            if let Some(rest) = shared.bytes.try_take(missing) {
                rest.forget();
                shared.places.give(places - 1);
                shared.bytes.give(freed.saturating_sub(wanted as usize));
                return true;
            }
        }
        shared.places.give(places);
        shared.bytes.give(freed);
        false
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.inlets -= 1;
        if state.inlets == 0 {
            self.shared.wake.notify_one();
        }
    }
}

impl Settlements {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let (source, settled) = shared.add_source();
        Self { shared: Arc::clone(shared), source, settled, starved: false }
    }

    /// What the source's tokens name.
    pub fn source(&self) -> SourceIndex {
        self.source
    }

    /// Waits until something has settled.
    ///
    /// # Cancel safety
    /// Nothing is lost: what settled stays until it is taken.
    pub async fn some(&self) {
        self.settled.some.notified().await;
    }

    /// Moves what settled, in the order it did, into `into`.
    pub fn take(&self, into: &mut Vec<(Run, Outcome)>) {
        into.append(&mut lock(&self.settled.runs));
    }

    /// A copy of what settled and was not taken.
    #[cfg(test)]
    pub fn unseen(&self) -> Vec<(Run, Outcome)> {
        lock(&self.settled.runs).clone()
    }

    /// Says whether the broker's window for this source is used up: nothing more can come from it
    /// until something settles.
    pub fn starved(&mut self, starved: bool) {
        if self.starved == starved {
            return;
        }
        self.starved = starved;
        if starved {
            self.shared.starved.fetch_add(1, Ordering::Relaxed);
            if self.shared.lock().waits {
                self.shared.wake.notify_one();
            }
        } else {
            self.shared.starved.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Settlements {
    fn drop(&mut self) {
        self.starved(false);
        self.shared.remove_source(self.source);
    }
}
