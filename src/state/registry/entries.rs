//! Whose the rows are: the entries that there are or have been, and the sensors of each.
//!
//! An entry that has ended keeps its own until others need their rows: if it begins again, it has its sensors again.

use std::sync::Arc;

use super::notices::Notices;
use super::owner::Owner;
use super::room::Room;
use super::row::Row;
use super::rows::{ById, Rows};
use super::shares::Shares;
use crate::clock::Timestamp;
use crate::settlement::SensorIndex;

/// All entries.
#[derive(Debug)]
pub(super) struct Entries {
    /// By place.
    all: Vec<Sensors>,
    /// Of none.
    others: Sensors,
    pub(super) shares: Shares,
    pub(super) forgotten: Forgotten,
    /// Rows of sensors that took the place of another one.
    pub(super) renewed: Vec<SensorIndex>,
}

/// Sensors that were forgotten to make room for others.
#[derive(Debug, Default)]
pub struct Forgotten {
    pub count: u64,
    /// The last of them, as it was then.
    pub last: Option<Arc<Row>>,
}

/// The sensors of an entry.
#[derive(Debug, Default)]
pub(super) struct Sensors {
    pub(super) owner: Option<Arc<Owner>>,
    pub(super) by_id: Rows,
    /// The row that is shared, made when it is needed.
    pub(super) shared: Option<Arc<Row>>,
    /// Records in that row of sensors that were forgotten.
    pub(super) of_forgotten: u64,
    room: Room,
    /// How many sensors it has is known: each has its row, for good.
    is_closed: bool,
}

impl Sensors {
    /// Whether the entry was removed.
    fn is_ended(&self) -> bool {
        self.owner.as_ref().is_some_and(|it| it.is_ended())
    }
}

impl Entries {
    /// These, by place: the name of each, and how many sensors it has where that is known.
    pub(super) fn new<N: AsRef<str>>(
        sensors_max: usize,
        entries: impl IntoIterator<Item = (N, Option<usize>)>,
    ) -> Self {
        let (names, needs): (Vec<N>, Vec<Option<usize>>) = entries.into_iter().unzip();
        let are_closed: Vec<bool> = needs.iter().map(Option::is_some).collect();
        let mut it = Self {
            all: Vec::new(),
            others: Sensors::default(),
            shares: Shares::new(sensors_max, needs),
            forgotten: Forgotten::default(),
            renewed: Vec::new(),
        };
        for (name, is_closed) in names.into_iter().zip(are_closed) {
            it.push(name.as_ref(), is_closed);
        }
        it
    }

    /// One more, or one that was removed and begins again. Its place.
    pub(super) fn add(&mut self, name: &str, sensors: Option<usize>, notices: &Notices) -> u32 {
        if let Some(place) = self.place_of(name) {
            self.set_ended(place, false, notices);
            return place;
        }
        self.shares.add(sensors);
        self.push(name, sensors.is_some())
    }

    fn push(&mut self, name: &str, is_closed: bool) -> u32 {
        let place = u32::try_from(self.all.len()).expect("there are far fewer entries");
        let owner = Some(Arc::new(Owner::new(place, name)));
        self.all.push(Sensors { owner, is_closed, ..Sensors::default() });
        place
    }

    /// The place of the one of this name.
    pub(super) fn place_of(&self, name: &str) -> Option<u32> {
        self.owners().find(|owner| &*owner.name == name).map(|owner| owner.place)
    }

    /// The place of the one of this name, unless it was removed, and whether each of its sensors has its row, for good.
    pub(super) fn present(&self, name: &str) -> Option<(u32, bool)> {
        let place = self.place_of(name)?;
        let entry = self.all.get(place as usize).filter(|it| !it.is_ended())?;
        Some((place, entry.is_closed))
    }

    /// All of them, by place.
    pub(super) fn owners(&self) -> impl Iterator<Item = &Arc<Owner>> {
        self.all.iter().filter_map(|it| it.owner.as_ref())
    }

    /// The one at this place.
    pub(super) fn owner(&self, place: u32) -> Option<&Arc<Owner>> {
        self.all.get(place as usize)?.owner.as_ref()
    }

    /// The one at this place was removed, or begins again: the notices of its sensors are due.
    pub(super) fn set_ended(&self, place: u32, ended: bool, notices: &Notices) {
        let entry = self.all.get(place as usize).expect("the entry was added");
        let changed = entry.owner.as_ref().is_some_and(|it| it.set_ended(ended) != ended);
        let rows = entry.by_id.iter().filter(|ById(row)| changed && row.may_have_notice());
        rows.for_each(|ById(row)| notices.put(row));
    }

    /// The sensors of the entry at this place, or of none.
    pub(super) fn sensors(&mut self, entry: Option<u32>) -> &mut Sensors {
        match entry {
            Some(place) => self.all.get_mut(place as usize).expect("the entry was added"),
            None => &mut self.others,
        }
    }

    /// The row of this sensor of the entry of this name, if there is one.
    pub(super) fn row(&self, entry: &str, id: &str) -> Option<Arc<Row>> {
        let place = self.place_of(entry)?;
        self.all.get(place as usize)?.by_id.get(id).map(|ById(row)| Arc::clone(row))
    }

    /// A sensor to forget for one of the entry at this place, and the place of its own: of a removed entry, or the quietest
    /// of the same.
    pub(super) fn room_for(&mut self, place: u32, now: Timestamp) -> Option<(u32, Arc<Row>)> {
        let ended = (0..).zip(&mut self.all).filter(|(_, it)| it.is_ended());
        let mut left = ended.map(|(at, it)| (at, it.room.make(&it.by_id, now)));
        let left = left.find_map(|(at, row)| Some((at, row?)));
        left.or_else(|| {
            let own = self.all.get_mut(place as usize).filter(|it| !it.is_closed)?;
            Some((place, own.room.make(&own.by_id, now)?))
        })
    }

    /// Rows that are missing where entries of these names are to have so many sensors each, for good.
    pub(super) fn rows_missing(&self, needs: &[(&str, usize)]) -> usize {
        let mut left = self.shares.common();
        let mut missing = 0;
        let mut named = Vec::new();
        for &(name, need) in needs {
            let place = self.place_of(name);
            let entry = place.and_then(|at| self.all.get(at as usize));
            let rows = entry.map_or(0, |it| it.by_id.len());
            let own = place.map_or(0, |at| self.shares.own(at));
            missing += need.saturating_sub(rows + own);
            named.extend(place);
        }
        let ended = (0..).zip(&self.all).filter(|(at, it)| it.is_ended() && !named.contains(at));
        left += ended
            .map(|(_, it)| it.by_id.iter().filter(|ById(row)| row.may_be_left()).count())
            .sum::<usize>();
        missing.saturating_sub(left)
    }

    /// Sensors that have a row of their own.
    pub(super) fn count(&self) -> u64 {
        let all = self.all.iter().chain([&self.others]);
        all.map(|it| it.by_id.len() as u64).sum()
    }

    /// Those that had more sensors than rows: the entry's place, how many rows it has, and how many records came of its
    /// further sensors.
    pub(super) fn crowded(&self) -> Vec<(u32, u64, u64)> {
        let of = |it: &Sensors| {
            let row = it.shared.as_deref()?;
            Some((row.entry()?, self.shares.taken(row.entry()?), row.received() - it.of_forgotten))
        };
        self.all.iter().filter_map(of).collect()
    }

    /// Readings of each that wait for their turn, by place.
    pub(super) fn waiting(&self) -> Vec<u64> {
        self.owners().map(|it| it.waiting.get()).collect()
    }

    /// Whether each was removed, by place.
    pub(super) fn are_removed(&self) -> Vec<bool> {
        self.all.iter().map(Sensors::is_ended).collect()
    }

    /// Records of forgotten sensors in the shared row of each, by place.
    pub(super) fn of_forgotten(&self) -> Vec<u64> {
        self.all.iter().map(|it| it.of_forgotten).collect()
    }
}
