//! Asks a running gateway: whether it is ready, as a container's health check does, and of its sensors.

use std::convert::Infallible;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::limits::HTTP_HEAD_BYTES_MAX;
use crate::plan::http::Http;
use crate::plan::token::Token;
use crate::text;

/// The longest time for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Bytes of an answer that are read, unless more are asked for.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The two ends of a connection: requests are sent at one, and the other is polled meanwhile.
type Ends = (SendRequest<Empty<Bytes>>, Connection<TokioIo<TcpStream>, Empty<Bytes>>);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// HTTP is switched off.
    #[error("http.listen is \"off\": there is nothing to ask")]
    Off,
    /// Nothing listens there.
    #[error("cannot ask {address}: {error}; is the gateway running, with the same http.listen?")]
    Unreachable { address: SocketAddr, error: std::io::Error },
    /// Something else than a gateway listens there.
    #[error("{address} does not answer as a gateway does: {error}")]
    Strange { address: SocketAddr, error: Box<dyn std::error::Error + Send + Sync> },
    /// The answer takes too long.
    #[error("{address} has not answered within {} s", ANSWER_MAX.as_secs())]
    Late { address: SocketAddr },
    /// It cannot be asked so.
    #[error("{0}")]
    Refused(String),
    /// A stream says nothing any more.
    #[error("{address} has said nothing for {} s", quiet.as_secs())]
    Quiet { address: SocketAddr, quiet: Duration },
    /// The token cannot be read.
    #[error("http.token_file: {0}")]
    Token(String),
    /// It wants another token, or one at all.
    #[error("{address} refuses the token: is http.token_file the same as that of the gateway?")]
    Untrusted { address: SocketAddr },
}

/// Asks the gateway of these settings whether it is ready. Returns that, and the body of its answer.
pub fn health(http: &Http) -> Result<(bool, String), Error> {
    let ok = [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE];
    let (status, body) = ask(http, "/readyz", &ok)?;
    let said = text::escaped(String::from_utf8_lossy(&body).trim());
    Ok((status == StatusCode::OK, said))
}

/// Asks the gateway of these settings for what is at this path, which may have a query. Returns the body of its answer.
pub fn get(http: &Http, path: &str) -> Result<Bytes, Error> {
    let (status, body) = ask(http, path, &[StatusCode::OK, StatusCode::BAD_REQUEST])?;
    if status == StatusCode::OK {
        return Ok(body);
    }
    Err(Error::Refused(text::escaped(String::from_utf8_lossy(&body).trim())))
}

/// The same, for one who waits for other things meanwhile; up to so many bytes.
pub(super) async fn get_beside(http: &Http, path: &str, bytes_max: usize) -> Result<Bytes, Error> {
    let address = reachable(http.listen.0.ok_or(Error::Off)?);
    let token = http.token().transpose().map_err(Error::Token)?;
    let expected = [StatusCode::OK];
    let answer = answer(address, path, token, &expected, bytes_max);
    let answer = timeout(ANSWER_MAX, answer).await.unwrap_or(Err(Error::Late { address }));
    answer.map(|it| it.1)
}

/// Gives `take` the pieces of what the gateway streams at this path, until it ends or `take` has enough: false. It may
/// not be quiet for longer than `quiet_max`. Returns whether there is a stream: all seats may be taken.
pub(super) async fn follow(
    http: &Http,
    path: &str,
    quiet_max: Duration,
    mut take: impl AsyncFnMut(Bytes) -> bool,
) -> Result<bool, Error> {
    let address = reachable(http.listen.0.ok_or(Error::Off)?);
    let token = http.token().transpose().map_err(Error::Token)?;
    let strange = |error: hyper::Error| Error::Strange { address, error: error.into() };
    let late = |_| Error::Late { address };
    let (mut sender, connection) = timeout(ANSWER_MAX, opened(address)).await.map_err(late)??;
    let request = request(address, path, token)?;
    let streaming = async {
        let answer = timeout(ANSWER_MAX, sender.send_request(request)).await.map_err(late)?;
        let answer = answer.map_err(strange)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Err(Error::Untrusted { address }),
            _ => return Ok(false),
        }
        let mut body = answer.into_body();
        loop {
            let quiet = |_| Error::Quiet { address, quiet: quiet_max };
            let frame = timeout(quiet_max, body.frame()).await.map_err(quiet)?;
            // Whoever stops may do so in the middle of it.
            let Some(Ok(frame)) = frame else { return Ok(true) };
            if let Ok(piece) = frame.into_data()
                && !take(piece).await
            {
                return Ok(true);
            }
        }
    };
    // What goes wrong with it is told at the other end.
    let polled = async {
        drop(connection.await);
        pending::<Infallible>().await
    };
    tokio::select! {
        done = streaming => done,
        never = polled => match never {},
    }
}

fn ask(http: &Http, path: &str, expected: &[StatusCode]) -> Result<(StatusCode, Bytes), Error> {
    let address = reachable(http.listen.0.ok_or(Error::Off)?);
    let token = http.token().transpose().map_err(Error::Token)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Unreachable { address, error })?;
    runtime.block_on(async {
        let answer =
            timeout(ANSWER_MAX, answer(address, path, token, expected, ANSWER_BYTES_MAX)).await;
        answer.unwrap_or(Err(Error::Late { address }))
    })
}

/// The address by which another process on this machine reaches `listen`.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listen
}

async fn opened(address: SocketAddr) -> Result<Ends, Error> {
    let stream =
        TcpStream::connect(address).await.map_err(|error| Error::Unreachable { address, error })?;
    http1::Builder::new()
        .max_buf_size(HTTP_HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Error::Strange { address, error: error.into() })
}

fn request(
    address: SocketAddr,
    path: &str,
    token: Option<Token>,
) -> Result<Request<Empty<Bytes>>, Error> {
    let request = Request::get(path).header(HOST, address.to_string());
    let request = match token {
        Some(token) => request.header(AUTHORIZATION, token.authorization()),
        None => request,
    };
    let request = request.body(Empty::<Bytes>::new());
    request.map_err(|error| Error::Strange { address, error: error.into() })
}

async fn answer(
    address: SocketAddr,
    path: &str,
    token: Option<Token>,
    expected: &[StatusCode],
    bytes_max: usize,
) -> Result<(StatusCode, Bytes), Error> {
    let strange = |error| Error::Strange { address, error };
    let (mut sender, connection) = opened(address).await?;
    let request = request(address, path, token)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| strange(error.into()))?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(Error::Untrusted { address });
        }
        if !expected.contains(&status) {
            return Err(strange(status.to_string().into()));
        }
        let body = Limited::new(response.into_body(), bytes_max).collect();
        let body = body.await.map_err(strange)?.to_bytes();
        Ok((status, body))
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = connection => match ended {
            // The connection is closed: the answer has arrived.
            Ok(()) => answer.await,
            Err(error) => Err(strange(error.into())),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::plan::http::Listen;
    use crate::tasks;

    fn at(listen: Option<SocketAddr>) -> Http {
        Http { listen: Listen(listen), ..Http::default() }
    }

    /// The result of `health` for this answer.
    fn asked(status: &str, body: &str) -> Result<(bool, String), Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        let answering = move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            // A client that has read enough may close first.
            drop(client.write_all(answer.as_bytes()));
        };
        drop(tasks::thread("answer", answering).unwrap());
        health(&at(Some(address)))
    }

    #[test]
    fn only_what_a_gateway_says_is_an_answer_and_no_more_of_it_than_a_gateway_says() {
        assert_eq!(asked("200 OK", "all is well\n").unwrap(), (true, "all is well".to_owned()));
        let forged = "no output\nand \u{1b}[31mmore";
        let (ready, said) = asked("503 Service Unavailable", forged).unwrap();
        assert!(!ready && said.starts_with("no output\\nand"), "{said}");
        assert!(!said.contains(char::is_control), "{said:?}");
        for status in ["404 Not Found", "301 Moved", "500 Oh"] {
            assert!(matches!(asked(status, ""), Err(Error::Strange { .. })), "{status}");
        }
        let most = "x".repeat(ANSWER_BYTES_MAX);
        assert_eq!(asked("200 OK", &most).unwrap().1, most);
        let more = format!("{most}x");
        assert!(matches!(asked("200 OK", &more), Err(Error::Strange { .. })));
        assert!(matches!(health(&at(None)), Err(Error::Off)));
    }

    #[test]
    fn who_listens_everywhere_is_asked_here() {
        let asked = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(asked("[::]:8080"), "[::1]:8080");
        assert_eq!(asked("192.0.2.1:80"), "192.0.2.1:80");
    }
}
