//! # Scan floor
//!
//! Answers: *below which seq is no row left to publish?* Reads begin there. Rows that were published leave dead entries
//! in the table and its index until vacuum removes them, which a snapshot that is held for long prevents; a read from the
//! beginning would wade through all of them.
//!
//! The order of seq is not the order of commits: below the highest seq that was drawn there may be rows that nobody sees
//! yet. So the floor moves in three steps:
//!
//! 1. [`ScanFloor::propose`]: how far the sequence has gone (`reached`), and *after that* who has the table open
//!    for writing. Whoever has drawn a seq up to `reached` and has not ended yet is among them, as PostgreSQL locks the table
//!    before it draws the seq.
//! 2. [`ScanFloor::is_settled`]: all of those have ended. What they have committed is visible now; whoever came later draws
//!    a higher seq.
//! 3. [`ScanFloor::move_up`]: one more read from the *old* floor finds the lowest row that is left. The floor goes up to
//!    `reached`, but stays below that row.
//!
//! While a backlog is read, full read behind full read, and every row of those could be taken on, the next one begins behind
//! them ([`ScanFloor::has_taken_all_up_to`]): in a second as many rows are published as it would else wade through. Never behind
//! what was settled last: above that a lower seq may still commit, and be overtaken by the next row of its key.
//!
//! Rows that cannot be taken on, as their partition hangs, are passed over in the same way, or nobody would get behind them.
//! Which partitions, and which keys of other rows that were not taken on, is remembered for as long as reads do not begin at the
//! floor ([`ScanFloor::passes_over`]): a later row of those must not overtake.
//!
//! Rows in flight are remembered elsewhere, so they do not hold the floor; one that must be read again pulls it down
//! ([`ScanFloor::is_below`]), as do rows of an old seq that came back. It starts at 0 with each connection, or where it is
//! noted that everything is published, and falls back to 0 when the sequence has gone back (a restore).
//!
//! Not by `pg_snapshot_xmin`: any open transaction that has written, in any database of the server, would hold it.
//!
//! Pure data: no clock, no connection.

use std::collections::{BTreeSet, HashSet};

/// Transactions that have the outbox open for writing, by their virtual ids. Those of prepared ones are theirs as well.
pub type Writers = BTreeSet<String>;

/// The floor, and how it moves.
#[derive(Clone, Debug, Default)]
pub struct ScanFloor {
    floor: i64,
    /// Up to this seq nothing commits any more.
    settled: i64,
    pass: Option<Pass>,
    proposal: Option<Proposal>,
}

/// Reads that go on behind each other, and not from the floor.
#[derive(Clone, Debug, Default)]
struct Pass {
    /// Between the floor and this seq nothing was left but what is passed over.
    up_to: i64,
    over: PassedOver,
}

/// Rows that were read and not taken on.
#[derive(Clone, Debug, Default)]
pub struct PassedOver {
    /// All rows of these.
    pub partitions: HashSet<u32>,
    /// All rows of these keys, too.
    pub keys: HashSet<String>,
}

#[derive(Clone, Debug)]
struct Proposal {
    reached: i64,
    writers: Writers,
}

impl ScanFloor {
    /// Every row that must be read has a higher seq.
    pub fn get(&self) -> i64 {
        self.floor
    }

    /// Above which seq the next read begins.
    pub fn read_above(&self) -> i64 {
        self.pass.as_ref().map_or(self.floor, |pass| pass.up_to.max(self.floor))
    }

    /// Whether the next read begins at the floor itself, and so misses nothing.
    pub fn reads_all(&self) -> bool {
        self.pass.is_none()
    }

    /// The last read came back full, and all of its rows could be taken on, but for those that are passed over; this is the
    /// highest. Whether the next read begins behind them; if not, it begins at the floor.
    pub fn has_taken_all_up_to(&mut self, seq: i64, over: PassedOver) -> bool {
        let up_to = seq.min(self.settled);
        if up_to <= self.read_above() {
            self.read_all_again();
            return false;
        }
        let pass = self.pass.get_or_insert_default();
        pass.up_to = up_to;
        pass.over.partitions.extend(over.partitions);
        pass.over.keys.extend(over.keys);
        true
    }

    /// Whether nobody knows yet up to where nothing commits any more.
    pub fn is_new(&self) -> bool {
        self.settled == 0
    }

    /// Whether an earlier row was passed over that this one must not overtake.
    pub fn passes_over(&self, partition: u32, key: &str) -> bool {
        let over = self.pass.as_ref().map(|pass| &pass.over);
        over.is_some_and(|over| over.partitions.contains(&partition) || over.keys.contains(key))
    }

    /// The partitions whose rows are passed over.
    pub fn partitions_passed_over(&self) -> impl Iterator<Item = u32> {
        self.pass.iter().flat_map(|pass| pass.over.partitions.iter().copied())
    }

    /// How many keys are remembered.
    pub fn keys_passed_over(&self) -> usize {
        self.pass.as_ref().map_or(0, |pass| pass.over.keys.len())
    }

    /// The next read begins at the floor.
    pub fn read_all_again(&mut self) {
        self.pass = None;
    }

    /// Every row up to this seq is published, as whoever published before has noted.
    pub fn begin_at(&mut self, seq: i64) {
        self.floor = seq;
        self.settled = seq;
    }

    /// Whether the next step is [`Self::propose`].
    pub fn wants_proposal(&self) -> bool {
        self.proposal.is_none()
    }

    /// The highest seq that was drawn, and who had the table open for writing after that was read.
    pub fn propose(&mut self, reached: i64, writers: Writers) {
        if reached < self.floor {
            self.reset();
        }
        self.proposal = Some(Proposal { reached, writers });
    }

    /// Whether all writers of the proposal have ended. `open`: who has the table open for writing now.
    pub fn is_settled(&self, open: &Writers) -> bool {
        self.proposal.as_ref().is_some_and(|proposal| proposal.writers.is_disjoint(open))
    }

    /// `lowest`: the lowest pending row above the floor that is not in flight, read after [`Self::is_settled`].
    pub fn move_up(&mut self, lowest: Option<i64>) {
        // Where rows are passed over there is always one that is lower.
        let goes_on =
            |pass: &Pass| !pass.over.partitions.is_empty() || lowest.is_none_or(|lowest| lowest > pass.up_to);
        self.pass = self.pass.take().filter(goes_on);
        if let Some(Proposal { reached, .. }) = self.proposal.take() {
            self.settled = reached;
            let free = lowest.map_or(reached, |lowest| reached.min(lowest - 1));
            self.floor = self.floor.max(free);
        }
    }

    /// The row of this seq must be found by the next read.
    pub fn is_below(&mut self, seq: i64) {
        self.floor = self.floor.min(seq - 1);
        self.pass = None;
    }

    /// Anything may be anywhere.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn writers<const N: usize>(ids: [&str; N]) -> Writers {
        ids.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn it_waits_for_those_who_were_writing_and_for_no_one_else() {
        let mut floor = ScanFloor::default();
        floor.propose(10, writers(["3/7"]));
        assert!(!floor.is_settled(&writers(["3/7", "4/1"])));
        assert!(
            floor.is_settled(&writers(["3/8", "4/1"])),
            "the same session's next transaction draws higher"
        );
        floor.move_up(None);
        assert_eq!(floor.get(), 10);
    }

    #[test]
    fn it_stays_below_the_lowest_row_that_is_left() {
        let mut floor = ScanFloor::default();
        floor.propose(10, Writers::new());
        floor.move_up(Some(4));
        assert_eq!(floor.get(), 3);
        floor.propose(20, Writers::new());
        floor.move_up(Some(50));
        assert_eq!(floor.get(), 20, "nothing above what was reached is known");
    }

    #[test]
    fn what_must_be_read_again_pulls_it_down_and_a_sequence_that_went_back_resets_it() {
        let mut floor = ScanFloor::default();
        floor.propose(10, Writers::new());
        floor.move_up(None);
        floor.is_below(12);
        assert_eq!(floor.get(), 10);
        floor.is_below(6);
        assert_eq!(floor.get(), 5);
        floor.propose(3, Writers::new());
        assert_eq!(floor.get(), 0);
        floor.move_up(None);
        assert_eq!(floor.get(), 3);
    }

    /// Up to here nothing commits any more; row 11 is left.
    fn settled_at(reached: i64) -> ScanFloor {
        let mut floor = ScanFloor::default();
        floor.propose(reached, Writers::new());
        floor.move_up(Some(11));
        floor
    }

    #[test]
    fn behind_full_reads_it_reads_on_until_anything_may_have_been_left() {
        let mut floor = settled_at(100);
        assert_eq!((floor.read_above(), floor.reads_all()), (10, true));
        for leave in [
            |floor: &mut ScanFloor| floor.is_below(15),
            |floor: &mut ScanFloor| floor.move_up(Some(20)),
            ScanFloor::read_all_again,
        ] {
            assert!(floor.has_taken_all_up_to(20, PassedOver::default()));
            assert_eq!((floor.read_above(), floor.reads_all()), (20, false));
            leave(&mut floor);
            assert_eq!((floor.read_above(), floor.reads_all()), (10, true));
        }
        assert!(floor.has_taken_all_up_to(20, PassedOver::default()));
        floor.propose(30, Writers::new());
        floor.move_up(Some(21));
        assert_eq!((floor.get(), floor.read_above(), floor.reads_all()), (20, 20, false));
    }

    #[test]
    fn it_does_not_read_on_behind_what_may_still_commit() {
        let mut floor = settled_at(50);
        assert!(floor.has_taken_all_up_to(40, PassedOver::default()));
        assert!(floor.has_taken_all_up_to(70, PassedOver::default()));
        assert_eq!(floor.read_above(), 50);
        assert!(!floor.has_taken_all_up_to(70, PassedOver::default()));
        assert_eq!((floor.read_above(), floor.reads_all()), (10, true));
        assert!(!ScanFloor::default().has_taken_all_up_to(70, PassedOver::default()));
    }

    #[test]
    fn what_is_passed_over_is_remembered_until_reads_begin_at_the_floor_again() {
        let over = |partitions: &[u32], keys: &[&str]| PassedOver {
            partitions: partitions.iter().copied().collect(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        let mut floor = settled_at(100);
        floor.has_taken_all_up_to(20, over(&[1], &["a"]));
        floor.has_taken_all_up_to(30, over(&[], &["b"]));
        assert!(floor.passes_over(1, "z") && floor.passes_over(2, "a") && floor.passes_over(2, "b"));
        assert!(!floor.passes_over(2, "z"));
        assert_eq!(
            (floor.partitions_passed_over().collect::<Vec<_>>(), floor.keys_passed_over()),
            (vec![1], 2)
        );
        floor.propose(140, Writers::new());
        floor.move_up(Some(15));
        assert_eq!((floor.get(), floor.read_above()), (14, 30), "the row that is left is one of those");
        floor.read_all_again();
        assert!(!floor.passes_over(1, "a") && floor.read_above() == 14);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Begin(u8),
        Draw(u8),
        End(u8, bool),
        Reached,
        Propose,
        Look,
        Publish,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4_u8).prop_map(Step::Begin),
            (0..4_u8).prop_map(Step::Draw),
            (0..4_u8, any::<bool>()).prop_map(|(writer, commits)| Step::End(writer, commits)),
            Just(Step::Reached),
            Just(Step::Propose),
            Just(Step::Look),
            Just(Step::Publish),
        ]
    }

    proptest! {
        /// Any interleaving of writers and the relay: no committed row is ever at or below the floor unread.
        #[test]
        fn no_row_is_ever_left_below_it(steps in prop::collection::vec(step(), 0..200)) {
            let mut floor = ScanFloor::default();
            let (mut drawn, mut transactions) = (0_i64, 0_u32);
            // What the first question of a proposal was answered with; anything may happen before the second.
            let mut reached = None;
            // Open transactions: their virtual id and the rows that they have written.
            let mut open: BTreeMap<u8, (String, Vec<i64>)> = BTreeMap::new();
            let mut pending: BTreeSet<i64> = BTreeSet::new();
            for step in steps {
                let ids = |open: &BTreeMap<u8, (String, Vec<i64>)>| open.values().map(|it| it.0.clone()).collect();
                match step {
                    Step::Begin(writer) => {
                        transactions += 1;
                        open.entry(writer).or_insert_with(|| (format!("{writer}/{transactions}"), Vec::new()));
                    }
                    Step::Draw(writer) => {
                        if let Some((_, rows)) = open.get_mut(&writer) {
                            drawn += 1;
                            rows.push(drawn);
                        }
                    }
                    Step::End(writer, commits) => {
                        if let Some((_, rows)) = open.remove(&writer).filter(|_| commits) {
                            pending.extend(rows);
                        }
                    }
                    Step::Reached => reached = Some(drawn),
                    Step::Propose => if floor.wants_proposal() && let Some(reached) = reached.take() {
                        floor.propose(reached, ids(&open));
                    },
                    Step::Look => if floor.is_settled(&ids(&open)) {
                        let lowest = pending.range(floor.get() + 1..).next().copied();
                        floor.move_up(lowest);
                    },
                    Step::Publish => _ = pending.pop_first(),
                }
                let below = pending.iter().find(|seq| **seq <= floor.get());
                prop_assert!(below.is_none(), "row {below:?} is not above {}", floor.get());
            }
        }
    }
}
