//! Tests of what a client knows across its connections.

use super::*;
use crate::mqtt::left::LeftSessions;
use crate::mqtt::stepped;

fn new() -> (Session, Arc<Standing>, Instant) {
    let now = clock::now().instant;
    let standing = Arc::new(Standing::new(now));
    let session = Session::new(stepped::options(Version::V5), 1024, 1).with_status(&standing);
    (session, standing, now)
}

fn refused(permanent: bool) -> Error {
    Error::Refused { reason: "busy".into(), permanent }
}

fn failed(error: Error) -> Failed {
    Failed { error, look_ups: LookUps::default() }
}

#[test]
fn a_look_up_that_outlasts_an_attempt_is_the_next_ones() {
    let (mut session, _, now) = new();
    let failed = Failed { error: Error::TimedOut(LASTING), look_ups: LookUps::endless() };
    session.handle_failed(now, failed).unwrap();
    let (session_expiry, receive_max, packet_bytes_max) = (None, None, None);
    let hello =
        Hello { clean_start: true, session_expiry, receive_max, packet_bytes_max, will: None };
    let attempt = session.attempt(hello);
    assert!(attempt.look_ups.have_begun() && attempt.is_needed);
}

/// After many attempts that were refused: the next pause is a long one.
fn long_refused() -> (Session, Instant) {
    let (mut session, _, now) = new();
    for _ in 0..20 {
        session.handle_failed(now, failed(refused(false))).unwrap();
    }
    (session, now)
}

/// The pause after a connection that stood for so long.
fn pause(session: &mut Session, now: Instant, stood: Duration, is_of_use: bool) -> Duration {
    session.handle_connected(now, &stepped::greeting(true));
    if is_of_use {
        session.proved();
    }
    session.lost(now + stood, &Error::Ended("busy".into()))
}

#[test]
fn an_attempt_without_an_answer_is_soon_repeated_however_long_it_goes_on() {
    let (mut session, _, now) = new();
    let longest = |session: &mut Session, error: &dyn Fn() -> Error| {
        (0..20).map(|_| session.pause_after(&error())).max().unwrap()
    };
    session.since = Some(now);
    assert!(longest(&mut session, &|| refused(false)) > NOBODY_PAUSE_MAX * 2);
    assert!(longest(&mut session, &|| Error::Silent(LASTING)) <= NOBODY_PAUSE_MAX);
    session.since = Some(now);
    assert!(session.pause_after(&Error::Closed) <= NOBODY_PAUSE_MAX, "nor after its return");
    session.since = Some(now);
    assert!(session.pause_after(&Error::Closed) >= NOBODY_PAUSE_MAX / 2);
}

#[test]
fn only_a_connection_that_lasted_and_was_of_use_ends_the_long_pauses() {
    let (first, longest) = RECONNECT_PAUSE;
    for (stood, is_of_use, least, most) in [
        (LASTING, true, first / 2, first),
        (LASTING / 2, true, PAUSE_OF_USE_MAX / 2, PAUSE_OF_USE_MAX),
        (LASTING, false, longest / 2, longest),
    ] {
        let (mut session, now) = long_refused();
        let pause = pause(&mut session, now, stood, is_of_use);
        assert!((least..=most).contains(&pause), "{stood:?} {is_of_use}: {pause:?}");
    }
    let (mut session, now) = long_refused();
    session.explained();
    let pause = pause(&mut session, now, LASTING, false);
    assert!(pause <= PAUSE_OF_USE_MAX, "its reason is being mended: {pause:?}");
}

/// Two clients with one id would take the session from each other ten times a second.
#[test]
fn the_pauses_of_contested_connections_grow_though_each_was_of_use() {
    let closed = |is_explained: bool| {
        let (mut session, _, now) = new();
        let pauses = (0..9).map(|_| {
            session.handle_connected(now, &stepped::greeting(true));
            session.proved();
            if is_explained {
                session.explained();
            }
            session.lost(now + LASTING, &Error::Closed)
        });
        pauses.max().unwrap()
    };
    let first = RECONNECT_PAUSE.0;
    assert!(closed(false) > first * 2);
    assert!(closed(true) <= first);
}

#[test]
fn a_refusal_ends_a_client_that_never_worked_and_a_fault_of_its_ids_any() {
    let (mut session, _, now) = new();
    assert!(session.handle_failed(now, failed(refused(false))).is_ok());
    assert!(session.handle_failed(now, failed(refused(true))).is_err());
    assert!(session.outlasts(now, &refused(true)));
    session.usable(now);
    assert!(session.handle_failed(now, failed(refused(true))).is_ok());
    let mut endless = new().0.patient(None);
    assert!(endless.handle_failed(now, failed(refused(true))).is_ok());
    let renamed = Error::Renamed { broker: String::new(), client: String::new() };
    assert!(session.handle_failed(now, failed(renamed)).is_err());
}

/// A broker that has accepted the version before is not said to have another one.
#[test]
fn a_standing_tells_the_connections_and_why_there_is_none() {
    let (mut session, standing, now) = new();
    let trouble = |session: &mut Session| {
        session.handle_failed(now, failed(Error::NotGreeted)).unwrap();
        standing.seen().trouble.unwrap()
    };
    assert_eq!(trouble(&mut session), Error::NotGreeted.to_string());
    session.handle_connected(now, &stepped::greeting(true));
    assert_eq!((session.epoch(), standing.seen().epoch), (1, 1));
    session.usable(now);
    session.set_unacknowledged(7);
    assert_eq!((standing.is_usable(), standing.unacknowledged()), (true, 7));
    session.lost(now, &Error::TakenOver);
    assert!(!standing.is_usable());
    assert_eq!(standing.seen().trouble, Some(Error::TakenOver.to_string()));
    assert_eq!(trouble(&mut session), Error::Closed.to_string());
}

/// That explains what is missing.
#[test]
fn a_broker_that_was_away_makes_no_other_client_suspected() {
    let (mut session, _, now) = new();
    session.handle_connected(now, &stepped::greeting(true));
    session.lost(now, &Error::Closed);
    session.handle_connected(now, &stepped::greeting(true));
    session.resumed(1).unwrap();
    assert!(session.is_suspicious());
    session.lost(now, &Error::Closed);
    session.handle_failed(now, failed(Error::Closed)).unwrap();
    assert!(!session.is_suspicious());
    session.handle_connected(now, &stepped::greeting(true));
    session.resumed(1).unwrap();
    assert!(!session.is_suspicious(), "nor is it afterwards");
}

#[test]
fn a_session_is_lost_once_and_only_where_a_subscription_was_granted_in_it() {
    let (mut session, _, now) = new();
    let is_lost = |session: &mut Session, present| session.is_lost(&stepped::greeting(present));
    assert!(!is_lost(&mut session, false));
    session.usable(now);
    assert!(!is_lost(&mut session, true));
    assert!(is_lost(&mut session, false) && !is_lost(&mut session, false));
}

#[tokio::test]
async fn a_session_that_is_removed_is_not_left_to_the_next_run() {
    let (session, _, now) = new();
    let folder = tempfile::tempdir().unwrap();
    let all = LeftSessions::open(folder.path(), 9);
    let trace = all.trace("a", session.options());
    let mut session = session.leaving(Some(trace.clone()));
    session.usable(now);
    assert!(trace.is_left());
    session.remove().await;
    assert!(!trace.is_left());
}
