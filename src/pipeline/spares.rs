//! Buffers of batches that have settled, for the next ones.
//!
//! A batch is written by one thread and its buffer was freed by whoever let go of it last: the allocator gave such
//! memory back to the system and took it again, page by page, a twentieth of the time of a reading. There are no more
//! than batches may be in flight, and those in flight have none here: both together stay within the window's bound.

use bytes::{Bytes, BytesMut};

/// Buffers that can be written again.
#[derive(Debug, Default)]
pub struct Spares {
    buffers: Vec<Vec<u8>>,
}

impl Spares {
    /// Keeps the buffer of a text that nobody else holds, if so many are in flight, of at most so many.
    pub fn keep(&mut self, text: Bytes, in_flight: usize, window: usize) {
        if self.buffers.len() + in_flight >= window {
            self.buffers.pop();
        }
        if self.buffers.len() + in_flight < window
            && let Ok(mut text) = text.try_into_mut()
        {
            BytesMut::clear(&mut text);
            self.buffers.push(text.into());
        }
    }

    /// An empty buffer.
    pub fn take(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_nobody_else_holds_is_used_again_within_the_window() {
        let mut spares = Spares::default();
        let text = |bytes: usize| Bytes::from(vec![b'x'; bytes]);
        let (held, shared) = (text(90), text(100));
        let at = shared.as_ptr();
        spares.keep(held.clone(), 0, 2);
        assert_eq!(spares.take().capacity(), 0, "somebody holds it");
        spares.keep(shared, 0, 2);
        let buffer = spares.take();
        assert_eq!((buffer.as_ptr(), buffer.len(), buffer.capacity()), (at, 0, 100));
        spares.keep(text(10), 2, 2);
        assert_eq!(spares.take().capacity(), 0, "the window is full");
        for bytes in [10, 20, 30] {
            spares.keep(text(bytes), 0, 2);
        }
        assert_eq!([spares.take(), spares.take()].map(|it| it.capacity()), [30, 10]);
        drop(held);
    }
}
