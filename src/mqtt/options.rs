//! The broker's address, how to reach it, and our login there.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::net::Ipv6Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Error;
use super::websocket::WEBSOCKET_BUFFER_BYTES;

/// Bytes that a connection over TLS holds: rustls' limit of 64 KiB for what is not yet written, and a record of 16 KiB
/// in each direction, with room to grow. Beyond the limit a write waits.
const TLS_BYTES: usize = 192 * 1024;

/// Bytes of a user name or a password (MQTT 5 §1.5.4 and §1.5.6). A longer one is refused.
pub const CREDENTIAL_BYTES_MAX: usize = 65_535;

/// MQTT protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u8", into = "u8")]
#[schemars(extend("enum" = [3, 5]))]
pub enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.
    V5,
}

impl TryFrom<u8> for Version {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            3 => Ok(Self::V3),
            5 => Ok(Self::V5),
            _ => Err(format!("{number} is not a version: write 5, or 3 for MQTT 3.1.1")),
        }
    }
}

impl From<Version> for u8 {
    fn from(version: Version) -> Self {
        match version {
            Version::V3 => 3,
            Version::V5 => 5,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3 => "3.1.1",
            Self::V5 => "5",
        })
    }
}

/// A broker's address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(
    extend("pattern" = "^(embedded|(mqtt|tcp|mqtts|ssl)://[^/?#@, ]+/?|wss?://[^/?#@, ]+(/[!-\"$-~]*)?)$"),
    extend("examples" = ["mqtt://localhost:1883", "mqtts://broker.example", "wss://broker.example/mqtt"])
)]
pub enum BrokerUrl {
    /// `embedded`: a broker inside this process.
    Embedded,
    /// `mqtt://host[:port]` or, over TLS, `mqtts://host[:port]`; `ws://host[:port][/path]` and
    /// `wss://…` inside WebSocket.
    Remote {
        tls: bool,
        /// Inside WebSocket: the path, with its slash.
        websocket: Option<String>,
        /// Name or address; an IPv6 address without brackets.
        host: String,
        port: u16,
    },
}

impl TryFrom<String> for BrokerUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        if before_path(&text).contains('@') {
            return Err("holds a user name or password: write username = and password_file = \
                        instead, so that no log can show them"
                .into());
        }
        // A path or a query may hold a secret: the error does not repeat it.
        let (scheme, rest) = text.split_once("://").ok_or_else(|| {
            format!("{:?} is not an address: write \"mqtt://host:1883\"", before_path(&text))
        })?;
        let (tls, is_websocket, port_unset) = match scheme {
            "mqtt" | "tcp" => (false, false, 1883),
            "mqtts" | "ssl" => (true, false, 8883),
            "ws" => (false, true, 80),
            "wss" => (true, true, 443),
            _ => {
                return Err(format!(
                    "{scheme} is not known: write mqtt://, mqtts://, ws://, wss:// or \"embedded\""
                ));
            }
        };
        let (rest, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if rest.contains(',') {
            return Err(
                "names several brokers: give the address of one; a name that leads to several \
                        addresses has them tried in turn"
                    .into(),
            );
        }
        if rest.parse::<Ipv6Addr>().is_ok()
            || !rest.starts_with('[') && rest.matches(':').count() > 1
        {
            return Err(format!(
                "{rest:?} has too many colons: write an IPv6 address in brackets, as in \
                 \"mqtt://[::1]:1883\""
            ));
        }
        let websocket = is_websocket.then(|| websocket_path(path)).transpose()?;
        if !is_websocket && !matches!(path, "" | "/") {
            return Err("has a path: only ws:// and wss:// have one".into());
        }
        let (host, port) = split_port(rest).ok_or("its port is not a number from 1 to 65535")?;
        if host.is_empty() || host.contains(['/', '?', '#', ' ']) {
            return Err("has no usable host: write \"mqtt://host:1883\"".into());
        }
        let (host, port) = (host.to_owned(), port.unwrap_or(port_unset));
        Ok(Self::Remote { tls, websocket, host, port })
    }
}

impl BrokerUrl {
    /// The address as configured. It may hold a token: for the connection only.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Remote { websocket: Some(path), .. } => self.with_path(path),
            _ => self.to_string(),
        }
    }

    /// Whether connections speak TLS.
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Remote { tls: true, .. })
    }

    /// Whether the address has a query, which is not shown.
    pub fn hides_query(&self) -> bool {
        matches!(self, Self::Remote { websocket: Some(path), .. } if path.contains('?'))
    }

    fn with_path(&self, path: &str) -> String {
        let Self::Remote { tls, websocket, host, port } = self else { return "embedded".into() };
        let scheme = match (websocket, tls) {
            (None, false) => "mqtt",
            (None, true) => "mqtts",
            (Some(_), false) => "ws",
            (Some(_), true) => "wss",
        };
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{scheme}://{open}{host}{close}:{port}{path}")
    }

    /// Bytes that a connection holds below MQTT (TLS, WebSocket), at most.
    pub const fn stream_bytes(&self) -> usize {
        let Self::Remote { tls, websocket, .. } = self else { return 0 };
        (if *tls { TLS_BYTES } else { 0 })
            + if websocket.is_some() { 2 * WEBSOCKET_BUFFER_BYTES } else { 0 }
    }
}

/// An address without its path and its query.
fn before_path(text: &str) -> &str {
    let host_at = text.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = text.split_at(host_at);
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    text.get(..scheme.len() + host).unwrap_or(text)
}

/// Stands for a query, which may hold a token. No valid address contains it.
const HIDDEN_QUERY: &str = "?…";

/// The path of a WebSocket; without one the path that brokers listen on.
fn websocket_path(path: &str) -> Result<String, String> {
    let usable = |c: char| c.is_ascii_graphic() && c != '#';
    match path {
        "" => Ok("/mqtt".into()),
        path if path.chars().all(usable) => Ok(path.to_owned()),
        path if path.contains(HIDDEN_QUERY) => {
            Err("has a query that is hidden, as it is in the log and in what check prints: write \
                 the query itself"
                .into())
        }
        _ => Err("has a path that is not usable: write \"/mqtt\"".into()),
    }
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let port = |text: &str| text.parse().ok().filter(|port| *port != 0);
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return match rest.strip_prefix(':') {
            None => rest.is_empty().then_some((host, None)),
            Some(number) => Some((host, Some(port(number)?))),
        };
    }
    match text.split_once(':') {
        None => Some((text, None)),
        Some((host, number)) => Some((host, Some(port(number)?))),
    }
}

/// Without its query, which may hold a token: logs, errors, the status and `check` show this. It cannot be
/// parsed back: it is refused, and never read as another address.
impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self {
            Self::Embedded => return f.write_str("embedded"),
            Self::Remote { websocket, .. } => websocket.as_deref().unwrap_or_default(),
        };
        match path.split_once('?') {
            Some((path, _)) => write!(f, "{}{HIDDEN_QUERY}", self.with_path(path)),
            None => f.write_str(&self.with_path(path)),
        }
    }
}

/// The same as `Display`: no panic and no log of a whole value shows the query.
impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<BrokerUrl> for String {
    fn from(url: BrokerUrl) -> Self {
        url.to_string()
    }
}

/// Files for TLS, all PEM. Without `ca_file` the system's certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Certificates to trust, PEM. Absent: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our certificate, with its chain, PEM. Absent: none is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// The private key of that certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub struct Options {
    /// The broker's address; `Embedded` has been replaced by its real address.
    pub url: BrokerUrl,
    pub version: Version,
    /// The client id under which the broker keeps our session.
    pub client_id: String,
    pub username: Option<String>,
    /// The file with the password. It is read at each connect, so it can be changed while the gateway runs.
    pub password_file: Option<PathBuf>,
    /// The longest time between two packets of ours (MQTT 5 §3.1.2.10).
    pub keep_alive: Duration,
    /// The longest time for an attempt to connect, up to CONNACK.
    pub connect_timeout: Duration,
    /// Session Expiry Interval of a client that keeps its session (MQTT 5).
    pub session_expiry: Duration,
    pub tls: Tls,
}

impl Options {
    /// Session Expiry Interval, in seconds.
    pub fn session_expiry_seconds(&self) -> u32 {
        u32::try_from(self.session_expiry.as_secs()).unwrap_or(u32::MAX)
    }

    /// The longest time for one step of an attempt to connect: half of the whole. So a step that hangs is named
    /// in time, and a slow link still has two slow steps.
    pub fn step_max(&self) -> Duration {
        self.connect_timeout / 2
    }

    /// User and address, for the text of an error; never the password.
    pub(super) fn who_and_where(&self) -> String {
        let user = self.username.as_ref().map(|user| format!("user {user:?}"));
        let user = user.unwrap_or_else(|| "no user name".to_owned());
        format!("{}, client id {:?}, {user}", self.url, self.client_id)
    }

    /// User name and password, read now.
    pub(super) fn login(&self) -> Result<Option<(String, String)>, Error> {
        let password = match &self.password_file {
            None => String::new(),
            Some(path) => password(path).map_err(|error| Error::Credentials {
                what: "password_file",
                path: path.display().to_string(),
                problem: error.to_string(),
            })?,
        };
        Ok(self.username.clone().map(|username| (username, password)))
    }
}

/// U+FEFF, which some editors write at the beginning of a file.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// Opens a regular file for reading. A pipe, a socket or a device is refused: it could block.
pub fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let text = "it is a pipe, a socket or a device";
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// The password in a file. Reads no more than the longest password and a line break: the file may have changed
/// since the settings were checked.
fn password(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let bytes_max = CREDENTIAL_BYTES_MAX + "\r\n".len();
    let bytes_max = bytes_max + BYTE_ORDER_MARK.len_utf8();
    open_file(path)?.take(bytes_max as u64 + 1).read_to_string(&mut text)?;
    let password = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
    let password = password.trim_end_matches(['\r', '\n']);
    if password.len() > CREDENTIAL_BYTES_MAX {
        let text = format!("too long: a password has {CREDENTIAL_BYTES_MAX} bytes at most");
        return Err(io::Error::other(text));
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_print() {
        for (text, printed) in [
            ("embedded", "embedded"),
            ("mqtt://localhost", "mqtt://localhost:1883"),
            ("mqtts://b.example:8884/", "mqtts://b.example:8884"),
            ("mqtt://[::1]:1884", "mqtt://[::1]:1884"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
            ("ws://b", "ws://b:80/mqtt"),
            ("wss://b:8443/x/y", "wss://b:8443/x/y"),
            ("ws://b/@home", "ws://b:80/@home"),
            ("ws://[::1]:9001/", "ws://[::1]:9001/"),
        ] {
            assert_eq!(BrokerUrl::try_from(text.to_owned()).unwrap().to_string(), printed);
        }
        for bad in [
            "localhost",
            "http://x",
            "mqtt://",
            "mqtt://x:0",
            "mqtt://x:y",
            "mqtt://x/y",
            "ws://x/a b",
        ] {
            assert!(BrokerUrl::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_more_of_a_password_file_is_read_than_a_password_has() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let longest = "x".repeat(CREDENTIAL_BYTES_MAX);
        std::fs::write(&file, format!("{longest}\r\n")).unwrap();
        assert_eq!(password(file.path()).unwrap(), longest);
        std::fs::write(&file, format!("{longest}x")).unwrap();
        assert!(password(file.path()).unwrap_err().to_string().contains("65535"));
        std::fs::write(&file, "\u{feff}secret\r\n").unwrap();
        assert_eq!(password(file.path()).unwrap(), "secret");
        file.as_file().set_len(1 << 30).unwrap();
        let read = allocation_counter::measure(|| drop(password(file.path()).unwrap_err()));
        assert!(read.bytes_max < 4 * CREDENTIAL_BYTES_MAX as u64, "{read:?}");
    }

    #[test]
    fn several_addresses_and_bare_ipv6_are_told_what_to_write() {
        for (text, words) in [
            ("mqtt://a:1883,mqtt://b:1883", "names several brokers"),
            ("mqtt://a,b", "names several brokers"),
            ("mqtt://::1", "in brackets, as in \"mqtt://[::1]:1883\""),
            ("mqtt://::1:1883", "in brackets"),
            ("mqtts://2001:db8::7", "in brackets"),
        ] {
            let error = BrokerUrl::try_from(text.to_owned()).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_pipe_a_device_and_a_folder_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let error = |path: &Path| open_file(path).unwrap_err();
        assert!(password(&pipe).unwrap_err().to_string().contains("a pipe"));
        assert_eq!(error(Path::new("/dev/zero")).kind(), io::ErrorKind::InvalidInput);
        assert_eq!(error(folder.path()).kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_shown() {
        let error = BrokerUrl::try_from("mqtt://user:s3cret@host".to_owned()).unwrap_err();
        assert!(!error.contains("s3cret") && error.contains("password_file"), "{error}");
    }

    #[test]
    fn a_token_in_a_query_is_used_and_never_shown() {
        for (text, shown) in [
            ("wss://b/x?token=s3cret", "wss://b:443/x?…"),
            ("ws://b:9001/mqtt?u=a@b&X-Amz-Signature=s3cret", "ws://b:9001/mqtt?…"),
        ] {
            let url = BrokerUrl::try_from(text.to_owned()).unwrap();
            assert!(url.address().ends_with("s3cret") && url.hides_query());
            assert!(!format!("{url:?}").contains("s3cret"));
            assert_eq!((url.to_string(), String::from(url.clone())), (shown.into(), shown.into()));
            let error = BrokerUrl::try_from(String::from(url)).unwrap_err();
            assert!(error.contains("write the query itself"), "{error}");
        }
        for bad in [
            "wss:/b/x?token=s3cret",
            "mqtt://b/x?token=s3cret",
            "http://b/x?token=s3cret",
            "wss://b/x y?token=s3cret",
            "wss://b?token=s3cret",
            "b?token=s3cret",
            "mqtt://user:s3cret/@b",
            "user:s3cret@b",
        ] {
            let error = BrokerUrl::try_from(bad.to_owned()).unwrap_err();
            assert!(!error.contains("s3cret"), "{bad}: {error}");
        }
    }
}
