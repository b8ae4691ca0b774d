//! `[http]`: where health, metrics and status are served.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::token::Token;
use crate::limits::{
    HTTP_ANSWERS_BYTES_MAX, HTTP_ANSWERS_LEAST, HTTP_ANSWERS_MAX, HTTP_EVENTS_BYTES_MAX,
    HTTP_LIST_BYTES_MAX,
};
use crate::state::changed::Changed;
use crate::state::letters::Letter;
use crate::state::recent::Kept;
use crate::state::said::Warning;

/// Bytes of the gateway's part of an answer, as metrics or as JSON.
const ANSWER_BYTES: usize = 32 * 1024;

/// Bytes of one configured entry's part of an answer.
const ENTRY_BYTES: usize = 4096;

/// Answers with metrics or status of so many entries that may be written at a time.
pub fn answers_max(entries: usize) -> usize {
    let fit = HTTP_ANSWERS_BYTES_MAX / answer_bytes(entries);
    fit.clamp(HTTP_ANSWERS_LEAST, HTTP_ANSWERS_MAX)
}

/// Bytes of all of them, and of what one is made of, which is one at a time: its figures, and a text that grows.
pub(super) fn answers_bytes_max(entries: usize) -> u64 {
    let answer = answer_bytes(entries);
    let written = HTTP_ANSWERS_BYTES_MAX.max(HTTP_ANSWERS_LEAST * answer);
    (written + 4 * answer) as u64
}

/// Bytes of the last dead letters, of the last warnings, and of which sensors have changed.
pub(super) const RECENT_BYTES_MAX: u64 =
    (Letter::BYTES_MAX + Warning::BYTES_MAX + Changed::BYTES_MAX) as u64;

/// Bytes of the events that are streamed, and of a list that is written: those that leave it meanwhile, their text in
/// pieces, and a text that grows.
pub(super) fn lists_bytes_max(entries: usize) -> u64 {
    let events = HTTP_EVENTS_BYTES_MAX.max(answer_bytes(entries));
    RECENT_BYTES_MAX + (events + 3 * HTTP_LIST_BYTES_MAX) as u64
}

const fn answer_bytes(entries: usize) -> usize {
    ANSWER_BYTES + entries * ENTRY_BYTES
}

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// The address that serves the page at `/`, `/healthz`, `/readyz`, `/metrics` and what is below `/api`, or `off`. Everyone who
    /// reaches the port can read them, unless there is a `token_file`. At most 64 connections: a further one closes the one with the oldest
    /// last request. At most 16 answers with metrics or status at a time, and fewer (4 at least) where more than
    /// 8 entries make them large: further requests get 503. A port that is in use is tried again every 5 seconds,
    /// and the gateway runs meanwhile.
    pub listen: Listen,
    /// Host names, without ports, that requests for `/metrics` and `/api` may use, beside addresses and
    /// `localhost`; in an environment variable with commas between them. A request for another name gets 421.
    pub hosts: Hosts,
    /// The file of a token that requests must have: `Authorization: Bearer <token>`, else 401. 1 to 512 visible ASCII
    /// characters in one line. Without it only health is told, in a word, and the page's files are served. It is read
    /// again when it changes; while it cannot be read, or is empty, every request is refused. Absent: no token.
    pub token_file: Option<PathBuf>,
}

impl Http {
    /// The token, read now, if there is one.
    pub fn token(&self) -> Option<Result<Token, String>> {
        self.token_file.as_deref().map(Token::read)
    }
}

/// What a host name looks like.
const HOST: &str = "^\\s*[A-Za-z0-9._-]{1,253}\\s*$";

/// Host names, without port: a list, or one text with commas.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Value", into = "Vec<String>")]
#[schemars(
    extend("type" = ["array", "string"], "items" = {"type": "string", "pattern": HOST}),
    extend("examples" = [["gateway", "gw.example"]])
)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Whether a name is one of these, in any case.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|it| it.eq_ignore_ascii_case(name))
    }
}

impl TryFrom<Value> for Hosts {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let usable = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name = |text: &str| {
            let text = text.trim();
            if (1..=HOST_BYTES_MAX).contains(&text.len()) && text.chars().all(usable) {
                return Ok(text.to_owned());
            }
            Err(format!("{text:?} is no host name: write one without a port, such as \"gateway\""))
        };
        let names: Result<Vec<String>, String> = match &value {
            Value::String(text) if text.trim().is_empty() => Ok(Vec::new()),
            Value::String(text) => text.split(',').map(name).collect(),
            Value::Array(list) => {
                list.iter().map(|it| name(it.as_str().unwrap_or_default())).collect()
            }
            _ => Err("is not a list: write [\"gateway\", \"gw.example\"]".into()),
        };
        names.map(Self)
    }
}

impl From<Hosts> for Vec<String> {
    fn from(hosts: Hosts) -> Self {
        hosts.0
    }
}

/// Bytes of a host name (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// An address with a port, or `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    extend("pattern" = "^(off|[0-9.]+:[0-9]+|\\[[0-9A-Fa-f:.%]+\\]:[0-9]+)$"),
    extend("examples" = ["127.0.0.1:8080", "[::1]:8080", "off"])
)]
pub struct Listen(pub Option<SocketAddr>);

impl Default for Listen {
    fn default() -> Self {
        Self(Some((Ipv4Addr::LOCALHOST, 8080).into()))
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let address = text.parse().map_err(|_| {
            format!(
                "{text} is no address with a port: write one such as 127.0.0.1:8080, or \"off\""
            )
        })?;
        Ok(Self(Some(address)))
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.0.map_or("off".into(), |address| address.to_string())
    }
}
