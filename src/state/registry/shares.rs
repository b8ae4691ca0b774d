//! Who may have how many of the rows. Pure.
//!
//! A simulated entry has a row for each of its sensors. Of the rest, one half is divided: each other entry
//! has a share that nobody else can take, of one row at least. The other half is for whoever comes first,
//! so that one entry with many sensors beside others with few is not held to an equal part. What one
//! entry's devices invent so leaves the shares of the others as they are.

/// What is left of the rows.
#[derive(Debug)]
pub(super) struct Shares {
    entries: Vec<Share>,
    /// Rows for whoever comes first.
    common: usize,
}

/// An entry's.
#[derive(Debug, Default)]
struct Share {
    /// Rows that nobody else can take.
    own: usize,
    /// Rows that it has.
    taken: u64,
}

impl Shares {
    /// Of so many rows, for entries that need a known number of them, or any.
    pub(super) fn new(rows: usize, needs: impl IntoIterator<Item = Option<usize>>) -> Self {
        let needs: Vec<Option<usize>> = needs.into_iter().collect();
        let known: usize = needs.iter().flatten().sum();
        let (left, open) =
            (rows.saturating_sub(known), needs.iter().filter(|it| it.is_none()).count());
        let each = (left / 2).max(open.min(left)).checked_div(open).unwrap_or(0);
        let own = |need: Option<usize>| Share { own: need.unwrap_or(each), taken: 0 };
        Self { entries: needs.into_iter().map(own).collect(), common: left - each * open }
    }

    /// An entry more, of which the number of sensors is known, or not: what it needs of the rows that are for
    /// whoever comes first, or one of them.
    pub(super) fn add(&mut self, need: Option<usize>) {
        let own = need.unwrap_or(1).min(self.common);
        self.common -= own;
        self.entries.push(Share { own, taken: 0 });
    }

    /// Takes a row, for an entry or for none of them; false where none is left.
    pub(super) fn take(&mut self, entry: Option<u32>) -> bool {
        let mut share = entry.and_then(|it| self.entries.get_mut(it as usize));
        let left = match share.as_mut() {
            Some(share) if share.own > 0 => &mut share.own,
            _ => &mut self.common,
        };
        if *left == 0 {
            return false;
        }
        *left -= 1;
        if let Some(share) = share {
            share.taken += 1;
        }
        true
    }

    /// A row that was taken for none turns out to be of this entry.
    pub(super) fn claim(&mut self, entry: u32) {
        let Some(share) = self.entries.get_mut(entry as usize) else { return };
        share.taken += 1;
        if share.own > 0 {
            share.own -= 1;
            self.common += 1;
        }
    }

    /// A row of one entry is another one's from now on.
    pub(super) fn pass(&mut self, from: u32, to: u32) {
        for (entry, step) in [(from, -1), (to, 1)] {
            if let Some(share) = self.entries.get_mut(entry as usize) {
                share.taken = share.taken.saturating_add_signed(step);
            }
        }
    }

    /// Rows that are left for whoever comes first.
    pub(super) fn common(&self) -> usize {
        self.common
    }

    /// Rows that are left for an entry alone.
    pub(super) fn own(&self, entry: u32) -> usize {
        self.entries.get(entry as usize).map_or(0, |share| share.own)
    }

    /// Rows that an entry has.
    pub(super) fn taken(&self, entry: u32) -> u64 {
        self.entries.get(entry as usize).map_or(0, |share| share.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many rows each of these takers in turn can take.
    fn taken<const N: usize>(shares: &mut Shares, takers: [Option<u32>; N]) -> [usize; N] {
        takers
            .map(|entry| std::iter::repeat_with(|| shares.take(entry)).take_while(|it| *it).count())
    }

    #[test]
    fn what_one_entry_takes_leaves_the_shares_of_the_others() {
        for (rows, needs, expected) in [
            // 4 of 10 are for the simulated one; of 6 left, each other has 1, and 4 are for any.
            (10, vec![Some(4), None, None], [5, 1, 4]),
            (100, vec![Some(0), None, None], [75, 25, 0]),
            (2, vec![Some(0), None, None], [1, 1, 0]),
            (1, vec![Some(0), None, None], [1, 0, 0]),
            (4, vec![Some(4), None, None], [0, 0, 4]),
            (4, vec![Some(0), None], [4, 0, 0]),
        ] {
            let mut shares = Shares::new(rows, needs.clone());
            let greedy = taken(&mut shares, [Some(1), Some(2), Some(0)]);
            assert_eq!(greedy, expected, "{rows} rows, {needs:?}");
            assert_eq!(shares.taken(1), greedy[0] as u64);
            assert!(!shares.take(None));
        }
    }

    #[test]
    fn an_entry_that_is_added_takes_of_what_is_for_all() {
        let mut shares = Shares::new(10, [None]);
        shares.add(Some(3));
        shares.add(None);
        assert_eq!(taken(&mut shares, [Some(1), Some(2), Some(0)]), [4, 1, 5]);
        shares.add(None);
        assert_eq!(taken(&mut shares, [Some(3)]), [0]);
    }

    #[test]
    fn a_row_that_is_claimed_goes_back_to_all_as_far_as_there_is_a_share() {
        let mut shares = Shares::new(4, [None]);
        assert_eq!(taken(&mut shares, [None]), [2], "all but the share");
        shares.claim(0);
        assert_eq!((shares.taken(0), shares.common), (1, 1));
        assert_eq!(taken(&mut shares, [Some(0), None]), [2, 0]);
        shares.claim(0);
        assert_eq!((shares.taken(0), shares.common), (4, 0));
    }
}
