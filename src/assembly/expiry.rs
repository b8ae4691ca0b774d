//! When certificates expire: looks at the files of `[broker] tls` and at what the brokers have shown, puts it up, and warns.
//!
//! - A file is read again when it has changed (size, time or place on the disk), and once an hour. Connections read it by
//!   themselves: nothing here is in their way.
//! - What a broker shows comes from the last handshake of any of our sessions there. A connection can stand for months, and the
//!   broker may have a new certificate by then. So before a warning, and once an hour while one is due, the
//!   broker is asked for its certificates by a handshake alone.
//! - A warning comes when a certificate will expire within `CERTIFICATE_WARNING`, another when it has, and each again once a day.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep;

use crate::clock::{self, Now, Timestamp};
use crate::mqtt::options::{Options, Tls};
use crate::mqtt::{tls, transport};
use crate::phase::{Phase, PhaseReceiver};
use crate::plan::Plan;
use crate::state::certificates::{Certificate, Certificates, Kind, Nearness};
use crate::state::standing::{Standing, Standings};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A file that has not changed is read again after this time, and a broker whose certificate expires soon is asked again.
const READ_EVERY: Duration = Duration::from_hours(1);

/// How often the same warning is repeated.
const WARN_EVERY: Duration = Duration::from_hours(24);

/// Looks when certificates expire.
#[derive(Debug)]
pub(super) struct Expiry {
    brokers: Vec<Watched>,
    certificates: Arc<Certificates>,
}

/// A broker with TLS.
#[derive(Debug)]
struct Watched {
    /// Its section.
    key: &'static str,
    /// Whose connections go there.
    clients: Clients,
    /// Those of the handshake that asks.
    options: Options,
    files: Vec<File>,
    /// When it was asked last, and when the first of the certificates expires that it has shown then.
    asked: Option<(Instant, Option<Timestamp>)>,
    said: BTreeMap<Kind, Said>,
}

/// The clients of a broker that tell how they stand.
#[derive(Debug)]
struct Clients {
    standings: Standings,
    output: bool,
    sessions: bool,
}

/// A file of certificates.
#[derive(Debug)]
struct File {
    kind: Kind,
    /// Its key in `tls`.
    key: &'static str,
    path: PathBuf,
    read: Option<(Instant, Look)>,
    end: Option<Timestamp>,
}

/// What tells a file from what it was before; `None` where it cannot be looked at.
type Look = Option<(u64, u64, SystemTime)>;

/// A warning that was given.
#[derive(Debug)]
struct Said {
    at: Instant,
    end: Timestamp,
    has_expired: bool,
}

impl Expiry {
    /// Of the brokers of this plan. `None` where none speaks TLS.
    pub(super) fn new(
        plan: &Plan,
        (standings, certificates): (Standings, Arc<Certificates>),
    ) -> Option<Self> {
        let has_own = plan.mqtt_output().is_some_and(|it| it.broker.is_some());
        let is_topic = plan.mqtt_output().is_some();
        let with_tls = plan.brokers().filter(|(_, it)| it.url.is_tls());
        let brokers = with_tls.map(|(key, broker)| {
            let is_own = key != "broker";
            let output = is_topic && is_own == has_own;
            let clients = Clients { standings: standings.clone(), output, sessions: !is_own };
            let options = broker.options(&plan.gateway.id, "expiry");
            Watched::new(key, clients, options)
        });
        let brokers: Vec<_> = brokers.collect();
        (!brokers.is_empty()).then_some(Self { brokers, certificates })
    }

    /// Looks until the gateway ends.
    pub(super) async fn run(mut self, mut phase: PhaseReceiver) {
        self.put_up(clock::now());
        loop {
            tokio::select! {
                () = self.look() => {}
                () = phase.reached(Phase::Closing) => return,
            }
        }
    }

    /// One look, and the pause behind it.
    async fn look(&mut self) {
        for broker in &mut self.brokers {
            broker.ask(clock::now()).await;
        }
        let now = clock::now();
        self.put_up(now);
        self.brokers.iter_mut().for_each(|it| it.warn(now));
        sleep(LOOK_EVERY).await;
    }

    fn put_up(&mut self, now: Now) {
        let all = self.brokers.iter_mut().flat_map(|it| it.look(now.instant)).collect();
        self.certificates.set(all);
    }
}

impl Watched {
    fn new(key: &'static str, clients: Clients, options: Options) -> Self {
        let Tls { ca_file, cert_file, key_file: _ } = &options.tls;
        let named = [(Kind::Ca, "ca_file", ca_file), (Kind::Client, "cert_file", cert_file)];
        let named = named.into_iter().filter_map(|(kind, key, path)| {
            Some(File { kind, key, path: path.clone()?, read: None, end: None })
        });
        let (files, said) = (named.collect(), BTreeMap::new());
        Self { key, clients, options, files, asked: None, said }
    }

    /// All that is known.
    fn look(&mut self, now: Instant) -> Vec<Certificate> {
        let broker = self.key;
        let files = self.files.iter_mut().filter_map(|it| {
            let end = it.look(now)?;
            Some(Certificate { broker, kind: it.kind, file: Some(it.path.clone()), end })
        });
        let files: Vec<_> = files.collect();
        let server = self.shown().map(|end| {
            let kind = Kind::Server;
            Certificate { broker, kind, file: None, end }
        });
        files.into_iter().chain(server).collect()
    }

    /// When the first of the certificates expires that the broker has shown last.
    fn shown(&self) -> Option<Timestamp> {
        let asked = self.asked.and_then(|(at, end)| Some((at, end?)));
        self.clients.shown().chain(asked).max_by_key(|(at, _)| *at).map(|(_, end)| end)
    }

    /// Asks the broker for its certificates, if those that it has shown last are about to expire.
    async fn ask(&mut self, now: Now) {
        let is_near = self.shown().is_some_and(|end| is_near(end, now.wall));
        let has_asked = |(at, _)| now.instant.saturating_duration_since(at) < READ_EVERY;
        if !is_near || self.asked.is_some_and(has_asked) {
            return;
        }
        // One that cannot be reached says nothing new; those whose connections break tell why.
        let end = transport::certificate_end(&self.options).await.ok().flatten();
        self.asked = Some((now.instant, end));
    }

    /// Those that a warning is due of, and whether they have expired.
    fn due(&mut self, now: Now) -> Vec<(Certificate, bool)> {
        let near = self.look(now.instant).into_iter().filter(|it| is_near(it.end, now.wall));
        let mut due = Vec::new();
        for certificate in near {
            let (kind, end) = (certificate.kind, certificate.end);
            let has_expired = end <= now.wall;
            let is_said = self.said.get(&kind).is_some_and(|said| {
                let pause = now.instant.saturating_duration_since(said.at);
                (said.end, said.has_expired) == (end, has_expired) && pause < WARN_EVERY
            });
            if !is_said {
                self.said.insert(kind, Said { at: now.instant, end, has_expired });
                due.push((certificate, has_expired));
            }
        }
        due
    }

    fn warn(&mut self, now: Now) {
        for (Certificate { broker, kind, file, end }, has_expired) in self.due(now) {
            let when = if has_expired { "has expired" } else { "expires soon" };
            tracing::warn!(
                broker = %self.options.url,
                section = broker,
                certificate = kind.word(),
                file = file.map(|it| it.display().to_string()),
                expires = %end,
                "{} {when}: {}",
                kind.subject(),
                kind.remedy()
            );
        }
    }
}

/// Whether it expires within the time of a warning, or has.
fn is_near(end: Timestamp, now: Timestamp) -> bool {
    Nearness::of(end, now) > Nearness::Far
}

impl Clients {
    /// What each of them has been shown, and when.
    fn shown(&self) -> impl Iterator<Item = (Instant, Timestamp)> {
        let output = self.output.then(|| Arc::clone(&self.standings.output));
        let sessions = if self.sessions { self.standings.sessions() } else { Vec::new() };
        let all = output.into_iter().chain(sessions.into_iter().map(|(_, it)| it));
        all.filter_map(|it: Arc<Standing>| it.seen().certificate_end)
    }
}

impl File {
    /// When the first of its certificates expires, read anew if need be. While it cannot be read, nothing is known.
    fn look(&mut self, now: Instant) -> Option<Timestamp> {
        let look = seen(&self.path);
        let is_same = self.read.is_some_and(|(at, before)| {
            before == look && now.saturating_duration_since(at) < READ_EVERY
        });
        if !is_same {
            self.read = Some((now, look));
            let read = tls::certificates_end(self.key, &self.path);
            self.end = read.unwrap_or_else(|error| {
                tracing::warn!(%error, "the next connection will fail: a file of tls cannot be used");
                None
            });
        }
        self.end
    }
}

fn seen(path: &Path) -> Look {
    let of = fs::metadata(path).ok()?;
    Some((of.len(), of.ino(), of.modified().ok()?))
}

#[cfg(test)]
mod tests;
