//! Looks up the names of brokers.
//!
//! A look-up cannot be cancelled: it holds a thread until the resolver gives up, which may take longer than an
//! attempt to connect. So it outlives the attempt that began it, and the next attempt waits for the same
//! look-up. A client has at most one look-up at a time, and a slow resolver is waited for as long as it takes.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::lookup_host;

use crate::text;

type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

pub struct LookUps {
    begin: fn(String, u16) -> Addresses,
    pending: Option<Addresses>,
}

impl Default for LookUps {
    fn default() -> Self {
        let begin = |host: String, port| -> Addresses {
            Box::pin(async move { Ok(lookup_host((host, port)).await?.collect()) })
        };
        Self { begin, pending: None }
    }
}

impl fmt::Debug for LookUps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookUps").field("pending", &self.pending.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl LookUps {
    /// One has begun, and never ends.
    pub(super) fn endless() -> Self {
        Self { pending: Some(Box::pin(std::future::pending())), ..Self::default() }
    }

    pub(super) fn have_begun(&self) -> bool {
        self.pending.is_some()
    }
}

impl LookUps {
    /// The addresses of a name. Waits for the look-up that has begun, if there is one.
    ///
    /// # Cancel safety
    /// The look-up continues.
    pub(super) async fn addresses(&mut self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let begin = self.begin;
        let pending = self.pending.get_or_insert_with(|| begin(host.to_owned(), port));
        let addresses = pending.await;
        self.pending = None;
        addresses.map_err(|error| {
            let host = text::shown(host);
            let text = format!(
                "no address of the host {host} is known ({error}): correct the url, or see why this machine \
                 cannot look names up (DNS, /etc/hosts)"
            );
            io::Error::new(error.kind(), text)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::*;

    static BEGUN: AtomicU32 = AtomicU32::new(0);

    /// Permits: one for each look-up that the resolver may answer.
    static ANSWERS: Semaphore = Semaphore::const_new(0);

    const ATTEMPT: Duration = Duration::from_millis(20);

    async fn found(port: u16) -> io::Result<Vec<SocketAddr>> {
        BEGUN.fetch_add(1, Ordering::Relaxed);
        ANSWERS.acquire().await.unwrap().forget();
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
    }

    fn unknown() -> io::Result<Vec<SocketAddr>> {
        Err(io::ErrorKind::TimedOut.into())
    }

    #[tokio::test]
    async fn a_name_that_is_not_known_is_said_with_the_remedy() {
        let mut look_ups = LookUps { begin: |_, _| Box::pin(ready(unknown())), pending: None };
        let error = look_ups.addresses("no-such-broker", 7).await.unwrap_err();
        assert_eq!(
            error.kind(),
            io::ErrorKind::TimedOut,
            "the kind tells whether it is a new cause"
        );
        let text = error.to_string();
        assert!(
            text.contains("the host no-such-broker ") && text.contains("correct the url"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_look_up_that_outlasts_an_attempt_is_used_by_the_next() {
        let mut look_ups = LookUps { begin: |_, port| Box::pin(found(port)), pending: None };
        for _ in 0..2 {
            assert!(timeout(ATTEMPT, look_ups.addresses("broker", 7)).await.is_err());
        }
        ANSWERS.add_permits(1);
        let found = look_ups.addresses("broker", 7).await.unwrap();
        assert_eq!((found[0].port(), BEGUN.load(Ordering::Relaxed)), (7, 1));
        assert!(timeout(ATTEMPT, look_ups.addresses("broker", 7)).await.is_err(), "a new one");
        assert_eq!(BEGUN.load(Ordering::Relaxed), 2);
    }
}
