//! A connection whose peer must take what is written: if it takes nothing for a while, writing fails.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The connection.
#[derive(Debug)]
pub(super) struct WriteDeadline<S> {
    stream: S,
    pause_max: Duration,
    /// Ends when the peer has taken nothing for too long; there while something waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteDeadline<S> {
    pub(super) const fn new(stream: S, pause_max: Duration) -> Self {
        Self { stream, pause_max, deadline: None }
    }

    /// What came of writing; an error where nothing has come of it for too long.
    fn judged<T>(
        &mut self,
        context: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.deadline = None;
            return wrote;
        }
        let pause_max = self.pause_max;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(pause_max)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judged(context, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.judged(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{Instant, timeout};

    use super::*;

    const PAUSE: Duration = Duration::from_millis(500);

    async fn takes_a_byte_at_a_time(mut from: DuplexStream) -> DuplexStream {
        for _ in 0..8 {
            sleep(PAUSE / 5).await;
            timeout(PAUSE * 8, from.read_exact(&mut [0])).await.unwrap().unwrap();
        }
        from
    }

    #[tokio::test]
    async fn who_takes_a_little_in_time_is_written_to_and_who_takes_nothing_is_not() {
        let (ours, theirs) = duplex(1);
        let mut ours = WriteDeadline::new(ours, PAUSE);
        let (wrote, _theirs) =
            tokio::join!(ours.write_all(b"12345678"), takes_a_byte_at_a_time(theirs));
        wrote.unwrap();
        let start: Instant = crate::clock::now().instant.into();
        let error = ours.write_all(b"90").await.unwrap_err();
        assert!(error.kind() == io::ErrorKind::TimedOut && start.elapsed() >= PAUSE);
    }
}
