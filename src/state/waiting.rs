//! How many readings of an entry wait for their turn (`quota.over = "keep_latest"`): they have come, and are in no column of the
//! balance until it is decided what becomes of them.
//!
//! Each source of the entry counts its own part, and the number is the sum of the parts. What a source has counted is taken back when
//! it ends, however that happens: so the number is 0 where nothing waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of an entry.
#[derive(Debug, Default)]
pub struct Waiting(AtomicU64);

impl Waiting {
    /// How many wait now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one source has counted.
#[derive(Debug, Default)]
pub struct Part {
    all: Arc<Waiting>,
    own: u64,
}

impl Part {
    /// Of this entry; none waits yet.
    pub fn new(all: Arc<Waiting>) -> Self {
        Self { all, own: 0 }
    }

    /// So many wait now.
    pub fn set(&mut self, own: u64) {
        if own != self.own {
            // It wraps around where there are fewer.
            self.all.0.fetch_add(own.wrapping_sub(self.own), Ordering::Relaxed);
            self.own = own;
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_the_sum_of_the_parts_that_are_there() {
        let all = Arc::new(Waiting::default());
        let [mut first, mut second] = [(), ()].map(|()| Part::new(Arc::clone(&all)));
        first.set(3);
        second.set(4);
        first.set(1);
        assert_eq!(all.get(), 5);
        drop(second);
        assert_eq!(all.get(), 1);
        first.set(0);
        assert_eq!(all.get(), 0);
    }
}
