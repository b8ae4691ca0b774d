//! Policies of an entry that leave readings out before they take a place in the queue: what says nothing new
//! ([`deduplicate`], [`filter`]), and what a sensor sends beyond its share ([`quota`]). Pure.
//!
//! - They are asked in this order. So a repeat changes nothing for the filter, and what either of them leaves out takes
//!   nothing of the quota.
//! - What is left out is shed by a policy that the user has named: acknowledged, and counted for its sensor.
//! - A reading says something new, or has come before, beside one that is or will be safe. So what is to be acknowledged
//!   is compared with what is; and where a session is lost, or the queue has shed a reading of a sensor, nothing is known
//!   of what came before.
//! - What they remember has bounds (`lately`). A reading passes where nothing is remembered that speaks against it: at
//!   a bound too much goes through, and nothing is lost.
//! - What is remembered of sensors is in one [`Memory`] of the gateway: so it is bounded once, whichever entry the sensors
//!   are of. It ends with the process; what waits, and which readings are known, ends with the entry.

use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use self::deduplicate::Deduplicate;
use self::filter::{Filter, Passed};
use self::lately::Lately;
pub use self::quota::Verdict;
use self::quota::{Quota, UsedUp};
use crate::clock::{Now, Timestamp};
use crate::settlement::Policy;

pub mod deduplicate;
pub mod filter;
mod lately;
mod line;
pub mod quota;

/// The policies of an entry, as they are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// What a sensor may send.
    pub quota: Option<quota::Settings>,
    /// Which readings are repeats.
    pub deduplicate: Option<deduplicate::Settings>,
    /// Which readings say nothing new.
    pub filter: Option<filter::Settings>,
}

impl Settings {
    /// Bytes that the policies of an entry need beside the [`Memory`] of all.
    pub fn bytes_max(&self) -> u64 {
        let quota = self.quota.map_or(0, |it| it.bytes_max());
        let deduplicate = self.deduplicate.map_or(0, |it| it.bytes_max());
        quota + deduplicate
    }

    /// Bytes of the [`Memory`] that they use, for so many sensors.
    pub fn memory_bytes_max(&self, sensors_max: usize) -> u64 {
        let quota = self.quota.map_or(0, |_| UsedUp::bytes_max(sensors_max));
        quota + self.filter.map_or(0, |_| Lately::<Passed>::bytes_max(sensors_max))
    }

    /// The keys that cannot stay as they are, and why. `counts`: the entry has a `counter`.
    pub fn problems(&self, counts: bool) -> Vec<(&'static str, String)> {
        let deduplicate = self.deduplicate.and_then(|it| it.problem(counts));
        let filter = self.filter.and_then(|it| it.problem());
        let quota = self.quota.and_then(|it| it.problem());
        let problems = [("deduplicate", deduplicate), ("filter", filter), ("quota", quota)];
        problems.into_iter().filter_map(|(key, text)| Some((key, text?))).collect()
    }
}

/// A reading that the policies are asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The sensor's id.
    pub sensor: &'a str,
    /// The topic that it came on; empty where it came on none.
    pub topic: &'a [u8],
    /// JSON text of what is measured; empty where nothing says it.
    pub quantity: &'a [u8],
    /// Everything that the record says of its sensor: tags, what is measured, unit.
    pub labels: &'a [u8],
    /// JSON text of the value.
    pub value: &'a [u8],
    /// What else the record holds.
    pub extra: &'a [u8],
    /// The sensor's own number of it.
    pub number: Option<u64>,
    /// The sensor's own time in RFC 3339, a JSON string; empty where it has none.
    pub timestamp: &'a [u8],
    /// When it was received.
    pub received: Now,
    /// Somebody waits for its acknowledgement.
    pub is_acknowledged: bool,
    /// It is a copy of one that came before, or before the gateway did: the broker had retained it.
    pub is_copy: bool,
    /// The queue has shed a reading of its sensor.
    pub was_shed: bool,
}

impl Asked<'_> {
    /// The sensor's own time, else that of receipt.
    fn at(&self) -> Timestamp {
        let text = str::from_utf8(self.timestamp).unwrap_or_default();
        Timestamp::parse(text.trim_matches('"')).unwrap_or(self.received.wall)
    }
}

/// What the policies of all entries remember of sensors.
#[derive(Debug)]
pub struct Memory {
    used_up: UsedUp,
    /// What passed last of each series.
    passed: Lately<Passed>,
}

impl Memory {
    /// Of so many sensors, and series of them. Of others nothing is known: their readings pass.
    pub fn new(sensors_max: usize) -> Self {
        Self { used_up: UsedUp::new(sensors_max), passed: Lately::new(sensors_max) }
    }
}

/// The policies of an entry. What waits for its turn is a `T`.
#[derive(Debug)]
pub struct Policies<T> {
    /// The place of the entry.
    entry: u32,
    deduplicate: Option<Deduplicate>,
    filter: Option<Filter>,
    quota: Option<Quota<T>>,
    hashing: RandomState,
}

impl<T> Policies<T> {
    /// Those of the entry at this place, as they are set; `None` where none is.
    pub fn new(settings: &Settings, entry: u32) -> Option<Self> {
        let any = *settings != Settings::default();
        any.then(|| Self {
            entry,
            deduplicate: settings.deduplicate.map(Deduplicate::new),
            filter: settings.filter.map(Filter::new),
            quota: settings.quota.map(Quota::new),
            hashing: RandomState::new(),
        })
    }

    /// What becomes of a reading. `make` is called where it waits for its turn, and takes so many bytes then.
    pub fn judge(
        &mut self,
        memory: &mut Memory,
        asked: &Asked<'_>,
        bytes: usize,
        make: impl FnOnce() -> T,
    ) -> Verdict<T> {
        let Self { entry, deduplicate, filter, quota, hashing } = self;
        if let Some(deduplicate) = deduplicate
            && deduplicate.is_repeat(asked, hashing)
            && !asked.was_shed
        {
            return Verdict::Leave(Policy::Deduplicate);
        }
        let Memory { used_up, passed } = memory;
        let of = (*entry, asked.sensor, asked.quantity, asked.is_acknowledged);
        let series = hashing.hash_one(of);
        let last = passed.get(series).filter(|_| !asked.was_shed);
        let news = filter.as_ref().map(|it| it.news(last, asked));
        if news.is_some_and(|it| it.is_none()) {
            return Verdict::Leave(Policy::Filter);
        }
        let verdict = match quota {
            None => Verdict::Take,
            Some(quota) => {
                let sensor = hashing.hash_one((*entry, asked.sensor));
                let now = (asked.received.instant, asked.is_copy);
                quota.judge(used_up, (sensor, series), now, bytes, make)
            }
        };
        // A change that the quota leaves out is still to be told.
        if let Some(news) = news.flatten()
            && matches!(verdict, Verdict::Take | Verdict::Wait(_))
        {
            passed.put(series, news, Passed::worth);
        }
        verdict
    }

    /// Repeats that are known no more before their time since this was asked last: there were too many readings.
    pub fn forgotten(&mut self) -> u64 {
        self.deduplicate.as_mut().map_or(0, Deduplicate::forgotten)
    }

    /// What has its turn by now waits no longer.
    pub fn expire(&mut self, now: Instant) {
        self.quota.iter_mut().for_each(|it| it.line.expire(now));
    }

    /// The next reading that waits no longer.
    pub fn take_due(&mut self) -> Option<T> {
        self.quota.as_mut()?.line.take_due()
    }

    /// How many readings have come of which it is not decided yet what becomes.
    pub fn undecided(&self) -> usize {
        self.quota.as_ref().map_or(0, |it| it.line.len())
    }

    /// Until when the next reading waits.
    pub fn until(&self) -> Option<Instant> {
        self.quota.as_ref()?.line.until()
    }

    /// Whether readings may wait for their turn.
    pub fn may_wait(&self) -> bool {
        self.quota.as_ref().is_some_and(Quota::may_wait)
    }

    /// Nothing waits any longer: all is due.
    pub fn release(&mut self, memory: &mut Memory, now: Instant) {
        self.quota.iter_mut().for_each(|it| it.release(&mut memory.used_up, now));
    }

    /// Readings that left before their turn, since this was asked last: there was no room for more that wait.
    pub fn cut(&mut self) -> u64 {
        self.quota.as_mut().map_or(0, Quota::cut)
    }

    /// Nothing is known of what came before, and nothing waits any longer.
    pub fn begin_anew(&mut self, memory: &mut Memory, now: Instant) {
        self.release(memory, now);
        self.hashing = RandomState::new();
    }

    /// What waits, in no order.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.quota.iter().flat_map(|it| it.line.waiting())
    }

    /// Forgets what waits; returns how many there were.
    pub fn clear(&mut self) -> usize {
        self.quota.as_mut().map_or(0, |it| it.line.clear())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    /// A reading of sensor `a`.
    pub(crate) fn asked(value: &str, received: Now) -> Asked<'_> {
        Asked {
            sensor: "a",
            topic: b"s/a",
            quantity: b"",
            labels: b"",
            value: value.as_bytes(),
            extra: b"",
            number: None,
            timestamp: b"",
            received,
            is_acknowledged: false,
            is_copy: false,
            was_shed: false,
        }
    }

    fn policies(json: [&str; 3]) -> (Policies<()>, Memory) {
        let [quota, deduplicate, filter] = json;
        let settings = Settings {
            quota: (!quota.is_empty()).then(|| serde_json::from_str(quota).unwrap()),
            deduplicate: (!deduplicate.is_empty())
                .then(|| serde_json::from_str(deduplicate).unwrap()),
            filter: (!filter.is_empty()).then(|| serde_json::from_str(filter).unwrap()),
        };
        assert_eq!(settings.problems(true), []);
        (Policies::new(&settings, 0).unwrap(), Memory::new(100))
    }

    fn told((policies, memory): &mut (Policies<()>, Memory), asked: &Asked<'_>) -> &'static str {
        match policies.judge(memory, asked, 1, || ()) {
            Verdict::Take => "take",
            Verdict::Leave(policy) => policy.as_str(),
            Verdict::Refuse => "refuse",
            Verdict::Wait(_) => "wait",
        }
    }

    #[test]
    fn a_repeat_counts_for_nothing_and_what_is_filtered_takes_nothing_of_the_quota() {
        let mut all = policies([
            r#"{"rate": "2/h", "over": "shed_newest"}"#,
            r#"{"by": "counter", "window": "60s"}"#,
            r#"{"deadband": 1}"#,
        ]);
        let now = clock::now();
        let mut tell = |value, number| told(&mut all, &Asked { number, ..asked(value, now) });
        let found = [
            tell("1", Some(1)),
            tell("1", Some(1)),
            tell("1.5", Some(2)),
            tell("1.5", Some(2)),
            tell("3", Some(3)),
            tell("5", Some(4)),
            tell("5", Some(4)),
        ];
        assert_eq!(
            found,
            ["take", "deduplicate", "filter", "deduplicate", "take", "quota", "deduplicate"]
        );
    }

    #[test]
    fn a_change_that_the_quota_leaves_out_is_news_when_it_comes_again() {
        let quota = r#"{"rate": "1/s", "over": "shed_newest"}"#;
        let mut both = policies([quota, "", r#"{"deadband": 0}"#]);
        let now = clock::now();
        let later = Now { instant: now.instant + Duration::from_secs(1), ..now };
        let found = [("20", now), ("30", now), ("30", later), ("30", later)]
            .map(|(value, at)| told(&mut both, &asked(value, at)));
        assert_eq!(found, ["take", "quota", "take", "filter"]);
    }

    #[test]
    fn each_series_has_its_own_last_value_and_one_that_is_not_known_passes() {
        let (mut filter, _) = policies(["", "", r#"{"deadband": 1}"#]);
        let mut memory = Memory::new(4);
        let now = clock::now();
        let mut passes = |sensor: &str, quantity: &str| {
            let asked = Asked { sensor, quantity: quantity.as_bytes(), ..asked("1", now) };
            filter.judge(&mut memory, &asked, 1, || ()) == Verdict::Take
        };
        let pairs = [("a", "t"), ("a", "u"), ("b", "t"), ("a", "t"), ("a", "u"), ("b", "t")];
        let found = pairs.map(|(sensor, quantity)| passes(sensor, quantity));
        assert_eq!(found, [true, true, true, false, false, false]);
        assert!(["c", "d", "e", "f"].iter().all(|it| passes(it, "t")));
        assert!(pairs.iter().any(|(sensor, quantity)| passes(sensor, quantity)), "forgotten");
    }

    #[test]
    fn a_sensor_of_the_same_name_at_another_entry_is_another_one() {
        let settings = Settings {
            quota: serde_json::from_str(r#"{"rate": "1/h", "over": "shed_newest"}"#).ok(),
            ..Settings::default()
        };
        let mut memory = Memory::new(4);
        let first = Policies::<()>::new(&settings, 0).unwrap();
        let hashing = first.hashing.clone();
        let mut judge = |entry| {
            let quota = settings.quota.map(Quota::new);
            let (deduplicate, filter, hashing) = (None, None, hashing.clone());
            let mut all = Policies::<()> { entry, deduplicate, filter, quota, hashing };
            all.judge(&mut memory, &asked("1", clock::now()), 1, || ())
        };
        let left = Verdict::Leave(Policy::Quota);
        assert_eq!([judge(0), judge(0), judge(1)], [Verdict::Take, left, Verdict::Take]);
    }

    /// A reading that is safe, or will be, is not one that a queue or a kill may lose.
    #[test]
    fn nothing_is_left_out_beside_a_reading_that_may_be_lost() {
        let by = r#"{"by": "counter"}"#;
        for keys in [["", by, ""], ["", "", r#"{"deadband": 0}"#]] {
            let mut all = policies(keys);
            let first = Asked { number: Some(1), ..asked("1", clock::now()) };
            let acknowledged = Asked { is_acknowledged: true, ..first };
            let shed = Asked { was_shed: true, ..first };
            let word = if keys[1] == by { "deduplicate" } else { "filter" };
            for (asked, expected) in [
                (first, "take"),
                (first, word),
                (acknowledged, "take"),
                (acknowledged, word),
                (shed, "take"),
                (first, word),
            ] {
                assert_eq!(told(&mut all, &asked), expected, "{keys:?} {asked:?}");
            }
            all.0.begin_anew(&mut all.1, first.received.instant);
            assert_eq!([told(&mut all, &first), told(&mut all, &first)], ["take", word]);
        }
    }

    #[test]
    fn none_is_asked_where_none_is_set_and_each_key_says_what_is_wrong() {
        assert!(Policies::<()>::new(&Settings::default(), 0).is_none());
        let settings = Settings {
            quota: None,
            deduplicate: serde_json::from_str(r#"{"by": "counter"}"#).ok(),
            filter: serde_json::from_str("{}").ok(),
        };
        let keys: Vec<_> = settings.problems(false).into_iter().map(|it| it.0).collect();
        assert_eq!(keys, ["deduplicate", "filter"]);
    }

    #[test]
    fn the_sensors_own_time_counts_where_it_has_one() {
        let mut filter = policies(["", "", r#"{"min_interval": "10s"}"#]);
        let now = clock::now();
        let mut tell = |timestamp: &str, received| {
            told(&mut filter, &Asked { timestamp: timestamp.as_bytes(), ..asked("1", received) })
        };
        // A device sends what it has kept, all at once.
        let kept = ["00", "09", "10", "20"]
            .map(|second| tell(&format!("\"2026-11-22T07:30:{second}Z\""), now));
        assert_eq!(kept, ["take", "filter", "take", "take"]);
    }
}
