//! When the certificates expire on which the connections to brokers stand: those of our files, and those that the brokers
//! have shown.
//!
//! There are three for each broker of the configuration, at most. Whoever looks at them puts up all of them anew.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;

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
