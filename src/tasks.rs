//! Starts tasks and threads, names them, and waits until they end.
//!
//! Nothing else starts a task or a thread. A task ends when its work does, or when the phase tells it to.

use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

/// Tasks of one kind, each of which returns a `T`.
#[derive(Debug)]
pub struct Tasks<T> {
    set: JoinSet<T>,
}

impl<T> Default for Tasks<T> {
    fn default() -> Self {
        Self { set: JoinSet::new() }
    }
}

impl<T: Send + 'static> Tasks<T> {
    pub fn start(&mut self, task: impl Future<Output = T> + Send + 'static) {
        self.set.spawn(task);
    }

    /// Waits for the next task to end: its result, or that it panicked. `None` when no task is left.
    ///
    /// # Cancel safety
    /// No result is lost.
    pub async fn next(&mut self) -> Option<Result<T, Panicked>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same, polled.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Panicked>>> {
        self.set
            .poll_join_next(cx)
            .map(|joined| joined.map(|it| it.map_err(|error| Panicked(error.to_string()))))
    }

    /// Tasks that have not ended, or whose end was not taken.
    pub fn left(&self) -> usize {
        self.set.len()
    }

    /// Waits until all tasks have ended, or until `stop`: then those that are left end where they wait.
    ///
    /// # Panics
    /// Where one of them has: so does whoever runs them.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return self.set.shutdown().await,
                ended = self.set.join_next() => match ended.map(|it| it.map_err(JoinError::try_into_panic)) {
                    Some(Err(Ok(panic))) => resume_unwind(panic),
                    Some(_) => {}
                    None => return,
                }
            }
        }
    }

    /// Waits until all tasks have ended, for at most `within`. Returns their results, and how many did not end.
    pub async fn finish(mut self, within: Duration) -> (Vec<Result<T, Panicked>>, usize) {
        let mut ended = Vec::new();
        let all = async {
            while let Some(result) = self.next().await {
                ended.push(result);
            }
        };
        // Out of time: the remaining tasks are counted.
        drop(timeout(within, all).await);
        (ended, self.set.len())
    }
}

/// A task or thread panicked: a bug.
#[derive(Debug, thiserror::Error)]
#[error("internal error: {0}")]
pub struct Panicked(String);

/// Starts a thread. The channel delivers its result; it closes without one if the thread panics.
pub fn thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<oneshot::Receiver<T>> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // The receiver is dropped only when the gateway is ending.
        drop(done.send(work()));
    })?;
    Ok(result)
}
