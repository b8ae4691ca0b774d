//! The byte stream below MQTT: TCP, with TLS and WebSocket where the address asks for them.
//!
//! Small packets must not wait for others (`TCP_NODELAY`): gathering is the job of the connection. Names are
//! looked up at each attempt (`look_up`) and certificates are read at each attempt, so both can change while
//! the gateway runs. Each step has its own limit (`steps`).
//!
//! A name may have several addresses, and one of them may drop every packet; so may the network for a while. So
//! attempts overlap (RFC 8305 §5), and IPv6 and IPv4 addresses take turns. The kernel alone would repeat its
//! SYN only after 1, 3 and 7 seconds: we would notice late that a network works again.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::look_up::LookUps;
use super::options::{BrokerUrl, Options};
use super::steps::Steps;
use super::{Error, tls, websocket};
use crate::clock::Timestamp;
use crate::limits::CLOSE_MAX;

/// Addresses of a broker's name that are tried. Further ones are ignored.
const ADDRESSES_MAX: usize = 4;

/// If a TCP connection has no answer after this time, another is begun beside it, and so on until the step's limit: a
/// network that works again is noticed within this time.
const CONNECT_BESIDE: Duration = Duration::from_millis(700);

/// TCP connections that are attempted at a time. The oldest is given up for the next.
const BESIDE_MAX: u32 = 4;

/// A connected byte stream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A broker that is reached.
pub(super) struct Reached {
    pub(super) stream: Box<dyn Stream>,
    /// When the first of the certificates that it has shown expires.
    pub(super) certificate_end: Option<Timestamp>,
}

/// Connects to the broker, looks at its certificates, and goes: when the first of them expires. It is told nothing of MQTT.
pub async fn certificate_end(options: &Options) -> Result<Option<Timestamp>, Error> {
    let mut reached = connect(options, &mut LookUps::default(), Steps::begin(options)).await?;
    // Said goodbye to: else the broker logs an error. It may have gone first.
    drop(timeout(CLOSE_MAX, reached.stream.shutdown()).await);
    Ok(reached.certificate_end)
}

/// Connects to the broker.
pub(super) async fn connect(
    options: &Options,
    look_ups: &mut LookUps,
    steps: Steps,
) -> Result<Reached, Error> {
    let BrokerUrl::Remote { tls: is_tls, websocket: inside, host, port } = &options.url else {
        return Err(Error::Protocol("the embedded broker has no address of its own".into()));
    };
    let found = steps.step("the name look-up", look_ups.addresses(host, *port)).await?;
    let tcp = steps.step("the TCP connect", reach(&in_turn(found.into_iter()))).await?;
    tcp.set_nodelay(true)?;
    let (stream, certificate_end): (Box<dyn Stream>, _) = if *is_tls {
        let shaking = tls::connect(options, host, tcp);
        let (stream, end) = steps.step("the TLS handshake", shaking).await?;
        (Box::new(stream), end)
    } else {
        (Box::new(tcp), None)
    };
    if inside.is_none() {
        return Ok(Reached { stream, certificate_end });
    }
    let url = options.url.address();
    let upgraded = steps.step("the WebSocket request", websocket::connect(stream, &url)).await?;
    Ok(Reached { stream: Box::new(upgraded), certificate_end })
}

/// The addresses to try: the resolver's order, but IPv6 and IPv4 in turn, because often a whole family is
/// unreachable.
fn in_turn(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let (mut same, mut other): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
    for address in addresses {
        let first = same.first().unwrap_or(&address);
        let family = if first.is_ipv4() == address.is_ipv4() { &mut same } else { &mut other };
        if family.len() < ADDRESSES_MAX {
            family.push(address);
        }
    }
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let pairs =
        std::iter::from_fn(|| Some([same.next(), other.next()]).filter(|it| *it != [None; 2]));
    pairs.flatten().flatten().take(ADDRESSES_MAX).collect()
}

/// Connects to the first address that answers. An error if all have refused. While one is silent the attempt
/// goes on, until the step's time ends.
async fn reach(addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let mut last = Error::Io(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    let mut next = addresses.iter().cycle();
    let mut untried = addresses.len();
    let mut attempts = FuturesUnordered::new();
    loop {
        if untried == 0 && attempts.is_empty() {
            return Err(last);
        }
        attempts.extend(
            next.next().map(|at| timeout(CONNECT_BESIDE * BESIDE_MAX, TcpStream::connect(at))),
        );
        untried = untried.saturating_sub(1);
        let until = sleep(CONNECT_BESIDE);
        tokio::pin!(until);
        while !attempts.is_empty() {
            let done = tokio::select! {
                Some(done) = attempts.next() => done,
                () = &mut until => break,
            };
            match done {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error.into(),
                // Other attempts have not ended yet.
                Err(_) => continue,
            }
            if untried > 0 {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CONNECT_MAX;
    use std::pin::pin;
    use std::time::Duration;
    use tokio::net::TcpSocket;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn both_families_are_tried_in_turn_and_not_too_many() {
        let (a, b, c) = ("[::1]:1", "[::2]:1", "[::3]:1");
        let turns = |texts: &[&str]| in_turn(addresses(texts).into_iter());
        assert_eq!(turns(&[a, b, c, "1.1.1.1:1"]), addresses(&[a, "1.1.1.1:1", b, c]));
        assert_eq!(turns(&["1.1.1.1:1", a]), addresses(&["1.1.1.1:1", a]));
        assert_eq!(turns(&[a; 9]).len(), ADDRESSES_MAX);
        assert_eq!(turns(&[]), []);
    }

    /// An address that drops every SYN: with a full backlog, Linux does not answer further ones.
    async fn black_hole() -> (tokio::net::TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        let patience = Duration::from_millis(200);
        while let Ok(stream) = timeout(patience, TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
        }
        (listener, queued, address)
    }

    /// An address where nobody listens.
    async fn closed() -> SocketAddr {
        tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn an_address_that_swallows_everything_does_not_keep_us_from_the_next() {
        let (_listener, _queued, hole) = black_hole().await;
        let good = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = good.local_addr().unwrap();
        let reached = timeout(CONNECT_MAX, reach(&[hole, closed().await, address])).await;
        assert_eq!(reached.unwrap().unwrap().peer_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn addresses_that_all_refuse_end_the_attempt() {
        let both = [closed().await, closed().await];
        let error = timeout(CONNECT_MAX, reach(&both)).await.unwrap().unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
        assert!(reach(&[]).await.is_err());
    }

    #[tokio::test]
    async fn while_one_address_keeps_silent_the_others_are_tried_again() {
        let (_listener, _queued, hole) = black_hole().await;
        let both = [closed().await, hole];
        let mut reached = pin!(reach(&both));
        assert!(timeout(CONNECT_BESIDE, &mut reached).await.is_err());
        let _listener = tokio::net::TcpListener::bind(both[0]).await.unwrap();
        let reached = timeout(CONNECT_MAX, reached).await.unwrap().unwrap();
        assert_eq!(reached.peer_addr().unwrap(), both[0]);
    }
}
