//! Checks until when the certificates are valid on which the connections to the broker stand: ours, those that we trust, and
//! those that the broker has shown.
//!
//! A broker whose certificate has expired lets nobody log in: then `login` says so. Ours is looked at whether the login
//! worked or not, as a broker seldom says why it refused it.

use serde::Serialize;

use super::scene::Scene;
use super::verdict::{Finding, Fitness};
use crate::clock::Timestamp;
use crate::mqtt::packet::Greeting;
use crate::state::certificates::{Kind, Nearness};
use crate::tools::certificates::{named, warning};

const CHECK: &str = "certificates";

/// A certificate, or several of one place.
#[derive(Debug, Clone, Copy)]
struct Seen {
    kind: Kind,
    end: Timestamp,
}

impl Seen {
    fn fitness(self, now: Timestamp) -> Fitness {
        match (Nearness::of(self.end, now), self.kind) {
            (Nearness::Far, _) => Fitness::Fit,
            // The end of a CA's certificate is not asked for when a broker is looked at.
            (Nearness::Near, _) | (Nearness::Past, Kind::Ca) => Fitness::Risky,
            (Nearness::Past, Kind::Client | Kind::Server) => Fitness::Unfit,
        }
    }
}

#[derive(Debug, Serialize)]
struct Numbers {
    certificate: &'static str,
    expires: String,
}

/// Looks at all of them; `None` where there are none, as without TLS.
pub(super) fn check(
    scene: &Scene<'_>,
    greeting: Option<&Greeting>,
    now: Timestamp,
) -> Option<Finding> {
    let files = named(scene.broker).map(|it| Seen { kind: it.kind, end: it.end() });
    let shown = greeting.and_then(|it| it.certificate_end);
    let shown = shown.map(|end| Seen { kind: Kind::Server, end });
    judge(&files.chain(shown).collect::<Vec<_>>(), now)
}

fn judge(all: &[Seen], now: Timestamp) -> Option<Finding> {
    let worst = all.iter().map(|it| it.fitness(now)).max()?;
    let whose = |kind| match kind {
        Kind::Client => "ours",
        Kind::Ca => "the CA's",
        Kind::Server => "the broker's",
    };
    let told = all.iter().map(|it| format!("{} until {}", whose(it.kind), it.end));
    let told = told.collect::<Vec<_>>().join(", ");
    let finding = match worst {
        Fitness::Fit => Finding::fit(CHECK, told),
        Fitness::Risky => Finding::risky(CHECK, told),
        Fitness::Unfit => Finding::unfit(CHECK, told),
    };
    let numbers =
        all.iter().map(|it| Numbers { certificate: it.kind.word(), expires: it.end.to_string() });
    let finding = finding.with(&numbers.collect::<Vec<_>>());
    let due: Vec<_> = all.iter().filter_map(|it| warning(it.kind, it.end, now)).collect();
    Some(if due.is_empty() { finding } else { finding.change(due.join("; ")) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tools::doctor::verdict::CheckEnd;

    #[test]
    fn the_first_that_expires_decides_and_each_that_is_due_has_its_remedy() {
        let day = Duration::from_hours(24);
        let at = |days: u32| Timestamp::from_millis(1_900_000_000_000).earlier(days * day);
        // A hundred days before the last one.
        let now = at(100);
        let judged = |all: &[(Kind, u32)]| {
            let all: Vec<_> =
                all.iter().map(|(kind, days)| Seen { kind: *kind, end: at(*days) }).collect();
            let finding = judge(&all, now)?;
            Some((finding.outcome, finding.change.unwrap_or_default()))
        };
        assert_eq!(judged(&[]), None);
        let is = |fitness| CheckEnd::Judged(fitness);
        let fit = judged(&[(Kind::Ca, 0), (Kind::Server, 85)]);
        assert_eq!(fit, Some((is(Fitness::Fit), String::new())));
        let (outcome, change) = judged(&[(Kind::Client, 87), (Kind::Server, 85)]).unwrap();
        assert_eq!(outcome, is(Fitness::Risky));
        assert!(change.contains("expires soon") && change.contains("tls.key_file"), "{change}");
        assert_eq!(judged(&[(Kind::Ca, 101)]).unwrap().0, is(Fitness::Risky));
        assert_eq!(judged(&[(Kind::Server, 100)]).unwrap().0, is(Fitness::Unfit));
        let (outcome, change) = judged(&[(Kind::Client, 101), (Kind::Server, 87)]).unwrap();
        assert_eq!(outcome, is(Fitness::Unfit));
        assert!(
            change.contains("has expired") && change.contains("renew it at the broker"),
            "{change}"
        );
    }
}
