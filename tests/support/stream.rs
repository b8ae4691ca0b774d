//! A client of `/api/stream`, which takes events when the test asks it to.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::runtime::Builder;

use super::http::Http;
use super::{SOON, now};

/// The client.
#[derive(Debug)]
pub(crate) struct Stream {
    stream: TcpStream,
    /// What came and is not taken yet.
    text: Vec<u8>,
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<u64>,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Stream {
    /// Asks for the stream, and reads the head of its answer.
    #[track_caller]
    pub(crate) fn open(http: Http) -> Self {
        Self::on(http.connect())
    }

    /// The same, of a client for which the system keeps little of what it has not taken.
    #[track_caller]
    pub(crate) fn open_small(http: Http) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(16 * 1024).unwrap();
            let address = (Ipv4Addr::LOCALHOST, http.port).into();
            socket.connect(address).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self::on(stream)
    }

    #[track_caller]
    fn on(mut stream: TcpStream) -> Self {
        // Without chunks.
        stream.write_all(b"GET /api/stream HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n").unwrap();
        let mut stream = Self { stream, text: Vec::new() };
        let head = stream.until(b"\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        stream
    }

    /// The next event; `None` at the end of the stream. Fails if none comes for a while.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            let text = self.until(b"\n\n")?;
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
            // A comment has none.
            let Some(name) = field("event: ") else { continue };
            let data = serde_json::from_str(field("data: ").unwrap()).unwrap();
            let id = field("id: ").map(|it| it.parse().unwrap());
            return Some(Event { id, name: name.to_owned(), data });
        }
    }

    /// The data of the next event of this name that is as the test wants it.
    #[track_caller]
    pub(crate) fn wait(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let (end, mut last) = (now() + 2 * SOON, None);
        while now() < end {
            let event = self.next().unwrap_or_else(|| panic!("it ended without {name}: {last:?}"));
            if event.name == name && wanted(&event.data) {
                return event.data;
            }
            last = Some(event);
        }
        panic!("no such {name}; the last was {last:?}")
    }

    /// What came up to this end; `None` if the stream ends before.
    fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.text.windows(end.len()).position(|it| it == end) {
                let text = self.text.drain(..at + end.len()).collect();
                return Some(String::from_utf8(text).unwrap());
            }
            let mut part = [0; 16 * 1024];
            let count = self.stream.read(&mut part).expect("something comes in time");
            if count == 0 {
                return None;
            }
            self.text.extend(&part[..count]);
        }
    }
}
