//! Asking a gateway over HTTP, byte by byte where that is the point.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::gateway::Gateway;
use super::{SOON, within};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A gateway's HTTP side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Http {
    pub(crate) port: u16,
}

impl Http {
    /// Where a gateway with `http.listen = "127.0.0.1:0"` says that it listens.
    #[track_caller]
    pub(crate) fn of(gateway: &Gateway) -> Self {
        let line = gateway.wait_for_line("health and metrics: http://127.0.0.1:", SOON);
        let (_, rest) = line.split_once("http://127.0.0.1:").unwrap();
        let (port, _) = rest.split_once('/').unwrap();
        Self { port: port.parse().unwrap() }
    }

    pub(crate) fn connect(self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    /// Sends a request's bytes and reads to the end of the connection.
    pub(crate) fn send(self, request: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        answer(&mut stream)
    }

    pub(crate) fn get(self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"))
    }

    pub(crate) fn json(self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.get(path).body).unwrap()
    }

    /// The value of a metric, by its name and labels as they are written.
    pub(crate) fn metric(self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    /// Waits until `/readyz` says this, and returns the reason.
    #[track_caller]
    pub(crate) fn wait_health(self, health: &str, deadline: Duration) -> String {
        let mut last = serde_json::Value::Null;
        let came = within(deadline, || {
            let answer = self.get("/readyz");
            last = serde_json::from_str(&answer.body).unwrap();
            let ready = last["ready"].as_bool().unwrap();
            assert_eq!(ready, answer.status == 200, "{answer:?}");
            assert_eq!(ready, last["health"] == "ready", "{answer:?}");
            last["health"] == health
        });
        assert!(came, "not {health} within {deadline:?}, but {last}");
        last["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// Reads an answer to the end of the connection.
pub(crate) fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A connection that is reset after its answer has said all.
    let ended = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Answer { status: 0, head: format!("{ended:?}"), body: text };
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}
