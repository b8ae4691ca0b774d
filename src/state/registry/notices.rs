//! The sensors whose notice is due ([`crate::notices`]): what a broker keeps of them is older than what is known.
//!
//! A sensor is in the list once, however often it changes: its notice says what it is when it goes out. So the list has no
//! more places than there are rows, and rows that were given free.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::row::Row;

/// The sensors whose notice is due. Nothing is kept until somebody wants it.
#[derive(Debug, Default)]
pub struct Notices {
    wanted: AtomicBool,
    due: Mutex<VecDeque<Arc<Row>>>,
    news: Notify,
}

impl Notices {
    /// From now on somebody gives notice.
    pub fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// This sensor has changed.
    pub fn put(&self, row: &Arc<Row>) {
        if self.wanted.load(Ordering::Relaxed) && row.is_now_due() {
            self.lock().push_back(Arc::clone(row));
            self.news.notify_one();
        }
    }

    /// The same, where no notice of it was ever due.
    pub fn introduce(&self, row: &Arc<Row>) {
        if self.wanted.load(Ordering::Relaxed) && !row.was_ever_due() {
            self.put(row);
        }
    }

    /// The one that is due next.
    pub fn take(&self) -> Option<Arc<Row>> {
        let row = self.lock().pop_front()?;
        row.is_due_no_more();
        Some(row)
    }

    /// These were taken, and nobody knows whether their notices arrived: they are next, in this order.
    pub fn put_back(&self, rows: impl DoubleEndedIterator<Item = Arc<Row>>) {
        let mut due = self.lock();
        for row in rows.rev().filter(|row| row.is_now_due()) {
            due.push_front(row);
        }
    }

    /// How many are due.
    pub fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// Waits until one has come since.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Row>>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(notices: &Notices) -> Vec<String> {
        std::iter::from_fn(|| notices.take()).map(|row| row.id().to_string()).collect()
    }

    #[test]
    fn a_sensor_is_due_once_and_again_when_it_has_changed_since() {
        let rows = ["a", "b"].map(|id| Row::new(0, id, false, None));
        let [a, b] = &rows;
        let notices = Notices::default();
        notices.put(a);
        assert_eq!(names(&notices), [""; 0], "nobody wants it");
        notices.want();
        for row in [a, b, a, a] {
            notices.put(row);
        }
        notices.introduce(a);
        assert_eq!((notices.waiting(), names(&notices)), (2, vec!["a".into(), "b".into()]));
        notices.introduce(b);
        assert_eq!(names(&notices), [""; 0], "it was introduced");
        notices.put(b);
        assert_eq!(names(&notices), ["b"]);
    }

    #[test]
    fn what_did_not_arrive_is_next_and_is_not_due_twice() {
        let rows = ["a", "b", "c"].map(|id| Row::new(0, id, false, None));
        let notices = Notices::default();
        notices.want();
        for row in &rows {
            notices.put(row);
        }
        let taken = [notices.take().unwrap(), notices.take().unwrap()];
        notices.put(&rows[1]);
        notices.put_back(taken.into_iter());
        assert_eq!(names(&notices), ["a", "c", "b"]);
    }
}
