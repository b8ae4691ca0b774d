//! When the certificates expire on which the connections to brokers stand: those of our files, and those that the brokers
//! have shown.
//!
//! There are three for each broker of the configuration, at most. Whoever looks at them puts up all of them anew.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::limits::CERTIFICATE_WARNING;

/// Whose certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Those that we trust: `tls.ca_file`.
    Ca,
    /// Ours: `tls.cert_file`.
    Client,
    /// The broker's, as it has shown them last.
    Server,
}

impl Kind {
    /// As metrics and status have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    /// What it is, in words.
    pub const fn subject(self) -> &'static str {
        match self {
            Self::Ca => "a certificate in tls.ca_file",
            Self::Client => "our certificate in tls.cert_file, or one of its chain,",
            Self::Server => "the broker's certificate, or one of its chain,",
        }
    }

    /// What to do where it expires.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Ca => {
                "add the one that follows it to the file, and remove it when no broker needs it"
            }
            Self::Client => {
                "put a new one there, and its key into tls.key_file: the next connection uses them"
            }
            Self::Server => "renew it at the broker: without that no new connection is made",
        }
    }
}

/// How far the end of a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nearness {
    /// Further than [`CERTIFICATE_WARNING`].
    Far,
    /// Within it.
    Near,
    /// It has expired.
    Past,
}

impl Nearness {
    /// That of this end.
    pub fn of(end: Timestamp, now: Timestamp) -> Self {
        if end <= now {
            Self::Past
        } else if end.earlier(CERTIFICATE_WARNING) <= now {
            Self::Near
        } else {
            Self::Far
        }
    }

    /// What is said of it, where anything is.
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::Far => None,
            Self::Near => Some("expires soon"),
            Self::Past => Some("has expired"),
        }
    }
}

/// Certificates of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The section of the configuration that names the broker: `broker` or `output.mqtt.broker`.
    pub broker: &'static str,
    pub kind: Kind,
    /// Where they are read from. `None` for those that were shown.
    pub file: Option<PathBuf>,
    /// When the first of them expires.
    pub end: Timestamp,
}

/// All that are known.
#[derive(Debug, Default)]
pub struct Certificates(Mutex<Vec<Certificate>>);

impl Certificates {
    /// They are these now.
    pub fn set(&self, all: Vec<Certificate>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// A copy of them.
    pub fn all(&self) -> Vec<Certificate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
