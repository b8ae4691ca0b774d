//! Messages that wait: in which order they come out, and when.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::clock;
use crate::settlement::SourceIndex;

const WAIT: Duration = Duration::from_secs(30);

fn waiting(bytes_max: usize) -> Waiting {
    Waiting::new(Waits { time: WAIT, bytes_max, kept_bytes_max: 0 })
}

fn line(owner: &str, part: u8) -> Line {
    Line::of(owner, &part.to_string())
}

/// A message with this number comes; whether it may be read now.
fn comes(waiting: &mut Waiting, turn: Turn, number: u64, now: Now) -> bool {
    let payload = number.to_be_bytes();
    let publish = Publish {
        dup: false,
        qos: 1,
        retain: false,
        topic: b"t",
        packet_id: 7,
        properties: &[],
        payload: &payload,
        cut: None,
    };
    let may = waiting.may_read(turn);
    if !may {
        let token = Token { source: SourceIndex(0), ordinal: number };
        waiting.put(
            &publish,
            if number.is_multiple_of(2) { token } else { Token::NONE },
            (now, false),
        );
    }
    may
}

/// The numbers of all that are due.
fn due(waiting: &mut Waiting) -> Vec<u64> {
    let number = |held: Held| u64::from_be_bytes(held.payload[..].try_into().unwrap());
    std::iter::from_fn(|| waiting.next().map(number)).collect()
}

#[test]
fn a_message_waits_for_the_end_of_its_line_and_those_behind_it_for_their_order() {
    let (mut it, now, a, b) = (waiting(1 << 20), clock::now(), line("N", 1), line("N", 2));
    assert!(comes(&mut it, Turn::Behind(a), 0, now));
    assert!(!comes(&mut it, Turn::Waits(a), 1, now));
    assert!(!comes(&mut it, Turn::Behind(a), 2, now));
    assert!(!comes(&mut it, Turn::Waits(b), 3, now));
    assert!(comes(&mut it, Turn::Now, 4, now));
    assert!(due(&mut it).is_empty());
    assert!(!comes(&mut it, Turn::Ends(a), 5, now));
    assert_eq!(due(&mut it), [1, 2, 5], "and the other line waits on");
    assert!(comes(&mut it, Turn::Behind(a), 6, now));
    assert!(!comes(&mut it, Turn::Ends(a.whole()), 7, now));
    assert_eq!(due(&mut it), [3, 7]);
    assert!(comes(&mut it, Turn::Ends(a), 8, now));
    assert_eq!((it.count, it.bytes), (0, 0));
}

#[test]
fn a_message_waits_so_long_and_lets_go_what_stands_behind_it() {
    let (mut it, start, a) = (waiting(1 << 20), clock::now(), line("N", 1));
    let after = |seconds| Now { instant: start.instant + Duration::from_secs(seconds), ..start };
    comes(&mut it, Turn::Waits(a), 1, start);
    comes(&mut it, Turn::Behind(a), 2, after(10));
    comes(&mut it, Turn::Waits(a), 3, after(20));
    comes(&mut it, Turn::Behind(a), 4, after(25));
    it.expire(after(29).instant);
    assert!(due(&mut it).is_empty());
    assert_eq!(it.until(), Some(after(30).instant));
    it.expire(after(30).instant);
    assert_eq!(due(&mut it), [1, 2]);
    it.expire(after(49).instant);
    assert!(due(&mut it).is_empty());
    it.expire(after(50).instant);
    assert_eq!(due(&mut it), [3, 4]);
    it.expire(after(99).instant);
    assert_eq!((it.until(), it.lines.len()), (None, 0));
}

#[test]
fn what_has_no_room_lets_the_oldest_wait_no_longer() {
    let (mut it, now) = (waiting(3 * (OVERHEAD_BYTES + 9)), clock::now());
    for number in 0..3 {
        comes(&mut it, Turn::Waits(line("N", u8::try_from(number).unwrap())), number, now);
    }
    assert!(it.due.is_empty());
    comes(&mut it, Turn::Waits(line("N", 9)), 3, now);
    assert!(
        !it.due.is_empty(),
        "one that is due is held until it is read, before the next packet is"
    );
    assert_eq!(due(&mut it), [0]);
}

#[test]
fn at_the_end_what_the_broker_still_has_is_left_to_it() {
    let (mut it, now, a) = (waiting(1 << 20), clock::now(), line("N", 1));
    for number in 0..5 {
        comes(&mut it, Turn::Waits(a), number, now);
    }
    let left: Vec<u64> = it.end_all().iter().map(|it| it.ordinal).collect();
    assert_eq!(left, [0, 2, 4]);
    assert_eq!(due(&mut it), [1, 3]);
    assert_eq!((it.count, it.bytes), (0, 0));
    comes(&mut it, Turn::Waits(a), 1, now);
    assert_eq!((it.clear(), it.bytes), (1, 0));
    assert!(due(&mut it).is_empty());
}

proptest! {
    /// Whatever comes: each message is read once, none passes another of its line, and the bounds hold.
    #[test]
    fn no_message_passes_another_of_its_line(
        steps in prop::collection::vec((0_u8..5, 0_u8..3, any::<bool>(), 0_u64..20), 1..200),
    ) {
        let bytes_max = 12 * OVERHEAD_BYTES;
        let (mut it, start) = (waiting(bytes_max), clock::now());
        let (mut seconds, mut read) = (0, BTreeMap::<(bool, u8), Vec<u64>>::new());
        let mut whose = BTreeMap::new();
        for (number, (kind, part, other, pause)) in (0..).zip(steps) {
            seconds += pause;
            let now = Now { instant: start.instant + Duration::from_secs(seconds), ..start };
            let line = line(if other { "M" } else { "N" }, part);
            let turn = match kind {
                0 => Turn::Waits(line),
                1 => Turn::Ends(line),
                2 => Turn::Ends(line.whole()),
                _ => Turn::Behind(line),
            };
            whose.insert(number, (other, part));
            it.expire(now.instant);
            let mut all = due(&mut it);
            if comes(&mut it, turn, number, now) {
                all.push(number);
            }
            all.extend(due(&mut it));
            for number in all {
                read.entry(whose[&number]).or_default().push(number);
            }
            prop_assert!(it.bytes <= bytes_max && it.order.len() <= 2 * it.count + 65);
            prop_assert!(it.until().is_none_or(|until| until > now.instant));
        }
        while it.hurry().is_some() {}
        for number in due(&mut it) {
            read.entry(whose[&number]).or_default().push(number);
        }
        prop_assert_eq!((it.count, it.bytes), (0, 0));
        prop_assert!(read.values().all(|all| all.is_sorted_by(|a, b| a < b)));
        prop_assert_eq!(read.values().map(Vec::len).sum::<usize>(), whose.len());
    }
}
