//! # Pace
//!
//! Answers: *how fast may a backlog be published?* As fast as it goes while nobody orders. Beside orders, only so fast that
//! buyers feel little of it, as relay and orders share the database's disk and processors: what is deleted must be flushed before an
//! order's COMMIT that comes after it.
//!
//! But never slower than twice the rate at which rows are added, or the backlog would never end. Rows that come as they are
//! published, without a backlog, are not held back at all.
//!
//! Pure data: the time is passed in.

use std::time::{Duration, Instant};

/// Fewer rows than this are no backlog.
const FEW_ROWS: i64 = 10_000;
/// Rates are told over at least so long.
const SHORTEST_LOOK: Duration = Duration::from_millis(50);
/// How long a read's rows shall last: many small reads are felt less than few large ones.
const READ_EVERY: Duration = Duration::from_millis(10);
const FEWEST_ROWS_OF_A_READ: i64 = 50;
/// For the first read at a low rate, which was a large one: a stop must not wait for it.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How fast rows come, and how fast they may go.
#[derive(Clone, Debug)]
pub struct Pace {
    beside_orders: f64,
    last_look: Option<(Instant, i64)>,
    /// Rows in a second.
    added: f64,
    next_read: Option<Instant>,
}

impl Pace {
    /// `beside_orders`: events in a second while orders come; none: as fast as it goes.
    pub fn new(beside_orders: Option<u32>) -> Self {
        Self {
            beside_orders: beside_orders.map_or(f64::INFINITY, f64::from),
            last_look: None,
            added: 0.0,
            next_read: None,
        }
    }

    /// The highest seq that was drawn.
    pub fn reached(&mut self, seq: i64, now: Instant) {
        let Some((then, before)) = self.last_look else {
            self.last_look = Some((now, seq));
            return;
        };
        let passed = now.saturating_duration_since(then);
        if passed >= SHORTEST_LOOK {
            self.added = count(seq - before) / passed.as_secs_f64();
            self.last_look = Some((now, seq));
        }
    }

    /// Forgets what it has seen: the table may be another one.
    pub fn reset(&mut self) {
        (self.last_look, self.added, self.next_read) = (None, 0.0, None);
    }

    /// Rows in a second beside orders.
    fn rate(&self) -> f64 {
        self.beside_orders.max(2.0 * self.added)
    }

    /// The same, where there is a limit: orders come, and beginning with this seq there is a backlog.
    fn limit(&self, lowest: i64) -> Option<f64> {
        let (_, reached) = self.last_look?;
        let few = count(FEW_ROWS).max(self.added);
        let is_backlog = count(reached - lowest) > few;
        let limit = self.rate();
        (self.added > 0.0 && is_backlog && limit.is_finite()).then_some(limit)
    }

    /// A read that came back full began then; so many of its rows were taken on, and its first one has this seq.
    pub fn has_read(&mut self, lowest: Option<i64>, rows: usize, began: Instant) {
        let limit = lowest.and_then(|lowest| self.limit(lowest));
        let wait = limit.map(|limit| Duration::from_secs_f64(count(rows) / limit).min(LONGEST_WAIT));
        self.next_read = wait.map(|wait| began + wait);
    }

    /// The next read need not wait: the last one was not full, or waits for acknowledgements.
    pub fn waits_for_nothing(&mut self) {
        self.next_read = None;
    }

    /// When the next read may begin; none: at once.
    pub fn next_read(&self) -> Option<Instant> {
        self.next_read
    }

    /// The most rows of a read, of `most`, while the last one was told to wait.
    pub fn rows(&self, most: i64) -> i64 {
        if self.next_read.is_none() {
            return most;
        }
        let rate = self.rate();
        let rows =
            Duration::try_from_secs_f64(rate * READ_EVERY.as_secs_f64()).unwrap_or(Duration::MAX).as_secs();
        i64::try_from(rows).unwrap_or(i64::MAX).max(FEWEST_ROWS_OF_A_READ).min(most)
    }
}

/// More than four thousand million are as many as that.
fn count(rows: impl TryInto<u32> + PartialOrd + Default) -> f64 {
    if rows < Default::default() { 0.0 } else { rows.try_into().map_or(f64::from(u32::MAX), f64::from) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: u32 = 20_000;

    struct Scene {
        pace: Pace,
        now: Instant,
    }

    impl Scene {
        /// So many rows a second were added until now, when the sequence is at `reached`.
        fn with(beside_orders: Option<u32>, added: i64, reached: i64) -> Self {
            let mut pace = Pace::new(beside_orders);
            let begin = Instant::now();
            let now = begin + Duration::from_secs(1);
            pace.reached(reached - added, begin);
            pace.reached(reached, now);
            Self { pace, now }
        }

        fn wait(&mut self, lowest: i64, rows: usize) -> Option<Duration> {
            self.pace.has_read(Some(lowest), rows, self.now);
            self.pace.next_read().map(|at| at - self.now)
        }
    }

    #[test]
    fn beside_orders_a_backlog_goes_in_small_reads_at_the_pace_that_is_set() {
        let mut scene = Scene::with(Some(LIMIT), 500, 1_000_000);
        assert_eq!(scene.wait(1, 2_000), Some(Duration::from_millis(100)));
        assert_eq!(scene.pace.rows(2_000), 200);
        assert_eq!(scene.wait(10_000, 200), Some(Duration::from_millis(10)));
    }

    #[test]
    fn without_orders_or_without_a_backlog_or_without_a_limit_nothing_waits() {
        for (limit, added, lowest) in
            [(Some(LIMIT), 0, 1), (Some(LIMIT), 500, 995_000), (None, 500, 1), (Some(LIMIT), 18_000, 985_000)]
        {
            let mut scene = Scene::with(limit, added, 1_000_000);
            assert_eq!(scene.wait(lowest, 2_000), None, "{limit:?} {added} {lowest}");
            assert_eq!(scene.pace.rows(2_000), 2_000);
        }
    }

    #[test]
    fn the_end_of_the_backlog_or_of_the_orders_ends_the_wait() {
        let mut scene = Scene::with(Some(LIMIT), 500, 1_000_000);
        assert!(scene.wait(1, 2_000).is_some());
        scene.pace.waits_for_nothing();
        assert_eq!((scene.pace.next_read(), scene.pace.rows(2_000)), (None, 2_000));
        assert!(scene.wait(1, 2_000).is_some());
        scene.now += Duration::from_secs(1);
        scene.pace.reached(1_000_000, scene.now);
        assert_eq!(scene.wait(1, 2_000), None);
    }

    #[test]
    fn no_wait_is_long() {
        let mut scene = Scene::with(Some(1), 1, 1_000_000);
        assert_eq!(scene.wait(1, 2_000), Some(LONGEST_WAIT));
    }

    proptest! {
        /// However fast rows come, a backlog gets shorter.
        #[test]
        fn it_goes_faster_than_rows_come(added in 1..1_000_000_i64, limit in 1..1_000_000_u32, rows in 1..5_000_usize) {
            let mut scene = Scene::with(Some(limit), added, 100_000_000);
            if let Some(wait) = scene.wait(1, rows) {
                let rate = count(rows) / wait.as_secs_f64();
                prop_assert!(rate > 1.5 * count(added), "{rate} of {added}");
                prop_assert!(scene.pace.rows(2_000) >= 1);
            }
        }
    }
}
