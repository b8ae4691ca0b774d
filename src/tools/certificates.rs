//! Until when the certificates are valid that a configuration names, for `check` and `doctor`.
//!
//! `tls.cert_file` holds a chain: it ends with the first that expires. `tls.ca_file` may hold one, or certificates beside each
//! other, of which one is needed: then it ends with the last. A file that cannot be read is left out: whoever uses it says why.

use std::fmt;
use std::path::Path;

use crate::clock::Timestamp;
use crate::mqtt::tls::{self, Validity};
use crate::plan::Broker;
use crate::state::certificates::{Kind, Nearness};

/// A file of certificates.
#[derive(Debug)]
pub(super) struct Named<'a> {
    pub(super) kind: Kind,
    /// Its key below that of the broker.
    pub(super) key: &'static str,
    path: &'a Path,
    validity: Validity,
}

impl Named<'_> {
    /// When it is of no use any more.
    pub(super) fn end(&self) -> Timestamp {
        self.validity.end()
    }

    /// What is to be said and done about it, if anything.
    pub(super) fn warning(&self, now: Timestamp) -> Option<String> {
        warning(self.kind, self.end(), now)
    }
}

/// Until when it is valid.
impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, end) = (self.path.display(), self.end());
        match self.validity {
            Validity { count: 1, .. } => write!(f, "{path} is valid until {end}"),
            Validity { count, is_chain: true, .. } => {
                write!(f, "the first of {count} certificates in {path} is valid until {end}")
            }
            Validity { count, first, .. } => write!(
                f,
                "{count} certificates in {path} are valid until {first}, the last of them until {end}"
            ),
        }
    }
}

/// Those of a broker that is spoken to over TLS.
pub(super) fn named(broker: &Broker) -> impl Iterator<Item = Named<'_>> {
    let files = [
        (Kind::Client, "tls.cert_file", "cert_file", &broker.tls.cert_file),
        (Kind::Ca, "tls.ca_file", "ca_file", &broker.tls.ca_file),
    ];
    let is_used = broker.url.is_tls();
    files.into_iter().filter(move |_| is_used).filter_map(|(kind, key, what, path)| {
        let path = path.as_deref()?;
        let validity = tls::validity(what, path).ok().flatten()?;
        Some(Named { kind, key, path, validity })
    })
}

/// What is to be said and done about a certificate with this end, if anything.
pub(super) fn warning(kind: Kind, end: Timestamp, now: Timestamp) -> Option<String> {
    let when = Nearness::of(end, now).word()?;
    Some(format!("{} {when} ({end}): {}", kind.subject(), kind.remedy()))
}
