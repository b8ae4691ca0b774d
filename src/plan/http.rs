//! `[http]`: where health, metrics and status are served.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where.
    pub listen: Listen,
    /// By which names, beside its addresses and `localhost`.
    pub hosts: Hosts,
}

/// Host names, without port: a list, or one text with commas.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Vec<String>")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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
