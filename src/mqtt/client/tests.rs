//! Tests of the driver, with a client that says what to wait for, and a broker of a few bytes.

use std::future::pending;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::mqtt::look_up::LookUps;
use crate::mqtt::options::{BrokerUrl, Options, Version};
use crate::mqtt::outgoing::Hello;
use crate::mqtt::stepped;

const LONG: Duration = Duration::from_hours(1);
const SHORT: Duration = Duration::from_millis(30);

/// Rather than for ever.
const HUNG: Duration = Duration::from_secs(20);

/// On a connection it waits for long until it is woken, then twice for a short time, then until it is woken
/// again.
struct Scripted {
    options: Options,
    /// So many attempts are wanted.
    attempts_max: usize,
    attempts: Vec<Instant>,
    wakes_at_attempt: bool,
    wakes_at_failure: bool,
    pause: Duration,
    /// How the connection is closed.
    last: Step,
    advanced: usize,
    due: Option<Instant>,
    waits_left: usize,
    wakes_at: Option<Instant>,
    woken: usize,
}

fn scripted(listener: &TcpListener) -> Scripted {
    let mut options = stepped::options(Version::V5);
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    options.url = BrokerUrl::try_from(url).unwrap();
    Scripted {
        options,
        attempts_max: 1,
        attempts: Vec::new(),
        wakes_at_attempt: false,
        wakes_at_failure: false,
        pause: LONG,
        last: Step::Close,
        advanced: 0,
        due: None,
        waits_left: 2,
        wakes_at: None,
        woken: 0,
    }
}

impl Client for Scripted {
    fn is_wanted(&mut self) -> bool {
        self.attempts.len() < self.attempts_max
    }

    fn attempt(&mut self) -> Attempt {
        let now = clock::now().instant;
        self.attempts.push(now);
        self.wakes_at = self.wakes_at_attempt.then_some(now);
        let (receive_max, packet_bytes_max) = (None, None);
        Attempt {
            options: self.options.clone(),
            hello: Hello {
                clean_start: false,
                session_expiry: Some(9),
                receive_max,
                packet_bytes_max,
                will: None,
            },
            ahead: 1024.into(),
            look_ups: LookUps::default(),
            roll_call: None,
            is_needed: true,
        }
    }

    fn handle_failed(&mut self, now: Now, _: Failed) -> Result<Duration, Error> {
        self.wakes_at = self.wakes_at_failure.then_some(now.instant);
        Ok(self.pause)
    }

    fn handle_connected(&mut self, now: Now, _: Greeting, _: &mut Outbound) -> Result<(), Error> {
        self.wakes_at = Some(now.instant + SHORT);
        Ok(())
    }

    fn advance(&mut self, now: Now, _: &mut Inbound, _: &mut Outbound) -> Result<Step, Error> {
        self.advanced += 1;
        let now = now.instant;
        if self.due.is_some_and(|due| due <= now) {
            (self.waits_left, self.due) = (self.waits_left - 1, None);
        }
        let until = match (self.woken, self.waits_left) {
            (0, _) => Some(now + LONG),
            (1, 0) => {
                self.wakes_at.get_or_insert(now + SHORT);
                None
            }
            (_, 0) => return Ok(self.last),
            _ => Some(*self.due.get_or_insert(now + SHORT)),
        };
        Ok(Step::Wait { reads: true, until })
    }

    fn handle_disconnected(
        &mut self,
        _: Now,
        ended: Result<(), Error>,
    ) -> Result<Option<Duration>, Error> {
        Ok(ended.is_err().then_some(self.pause))
    }

    async fn woken(&mut self) {
        let Some(at) = self.wakes_at else { return pending().await };
        sleep_until(at.into()).await;
        self.wakes_at = None;
        self.woken += 1;
    }
}

/// Takes one client. What it has said up to these words, or to its end.
async fn broker(listener: &TcpListener, words: &[u8]) -> Vec<u8> {
    let (mut socket, _) = listener.accept().await.unwrap();
    socket.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(words) && socket.read_buf(&mut heard).await.unwrap() > 0 {}
    heard
}

/// Each wait is over in its time, whatever was waited for before. Nothing is asked in a loop.
#[tokio::test]
async fn what_is_waited_for_is_waited_for_and_the_last_word_is_as_the_client_says() {
    let (end, end_for_good) = (&[0xe0, 0][..], &[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0][..]);
    for (last, words) in [(Step::Close, end), (Step::CloseForGood, end_for_good)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = scripted(&listener);
        client.last = last;
        let both = async { tokio::join!(run(&mut client), broker(&listener, words)) };
        let (ended, heard) = timeout(HUNG, both).await.unwrap();
        ended.unwrap();
        assert!(heard.ends_with(words), "{last:?}: {heard:x?}");
        assert!(client.advanced < 20, "{}", client.advanced);
    }
}

#[tokio::test]
async fn a_pause_lasts_unless_the_client_is_woken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = scripted(&listener);
    drop(listener);
    (client.attempts_max, client.pause) = (2, SHORT);
    timeout(HUNG, run(&mut client)).await.unwrap().unwrap();
    assert!(client.attempts[1] - client.attempts[0] >= SHORT);
    (client.attempts_max, client.pause, client.wakes_at_failure) = (3, LONG, true);
    timeout(HUNG, run(&mut client)).await.unwrap().unwrap();
    assert_eq!(client.attempts.len(), 3);
}

/// Else a broker that closes at once would be connected to in a loop.
#[tokio::test]
async fn a_pause_follows_a_connection_that_broke() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = scripted(&listener);
    (client.attempts_max, client.pause) = (2, SHORT);
    let client_id = client.options.client_id.clone();
    let closes = async {
        for _ in 0..2 {
            broker(&listener, client_id.as_bytes()).await;
        }
    };
    let both = async { tokio::join!(run(&mut client), closes) };
    timeout(HUNG, both).await.unwrap().0.unwrap();
    assert!(client.attempts[1] - client.attempts[0] >= SHORT);
}

#[tokio::test]
async fn an_attempt_ends_when_the_client_is_wanted_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = scripted(&listener);
    client.wakes_at_attempt = true;
    client.options.connect_timeout = LONG;
    timeout(HUNG, run(&mut client)).await.unwrap().unwrap();
    assert_eq!(client.attempts.len(), 1);
}
