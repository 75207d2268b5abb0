//! # The judgement
//!
//! The ledger's, and two limits that it knows nothing of: how long an event waited, and what was delivered again.
//!
//! Each repeat by itself must be explained by a member that was killed or frozen. Either that member made the first of the two
//! deliveries, a moment before, and had no time to commit it; or it was frozen, and made one of them when it woke, before it knew that
//! the group had gone on without it. That the second one was made by a member that something befell afterwards explains nothing. Who is
//! stopped, and who hands partitions over to a member that comes, leaves nothing to be repeated.
//!
//! And all together must be few for so many faults: a moment is ten seconds at worst, and a second or two as a rule.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{Balance, Ledger};

use crate::MEMBERS;
use crate::events::Event;
use crate::faults::{Befallen, Fault};
use crate::load::RATE;
use crate::receipts::Receipt;

/// A fault may take a member's share away for its session (6 s) and the rebalance behind that, and others come on top of it. A
/// partition of which an event waits for longer is stuck.
const LONGEST_WAIT: TimeDelta = TimeDelta::seconds(60);
/// From a delivery until its position is committed: a change of the group waits for a member that was killed until its session is over
/// (6 s), and so long the coordinator keeps commits waiting behind the member's own request to join, and refuses them then; the next one
/// comes a second later (`kafka.commit_interval`), and its calls (50 ms each) and a busy machine add some.
const UNCOMMITTED_FOR: TimeDelta = TimeDelta::seconds(10);
/// Until a member that wakes hears from the group that it is none any more: its next heartbeat (2 s), and what a busy machine adds.
const HEARS_WITHIN: TimeDelta = TimeDelta::seconds(3);
/// How many repeats a member leaves that is killed or frozen, over all of them: its share of the load (a sixth of 200 a second) for
/// three seconds. One until the next commit (`kafka.commit_interval`), one in which a change of the group holds that up now and then,
/// and one as a member that has just taken over catches up, faster than the load comes. (Two minutes with 24 such faults left 36 each.)
const REPEATED_BY_A_FAULT: usize = (3 * RATE / MEMBERS) as usize;

pub(crate) struct Judgement {
    balance: Balance,
    faults: Vec<Befallen>,
    /// Repeats that no fault explains.
    unexplained: Vec<String>,
    repeats_allowed: usize,
    /// How long before a fault the earliest delivery was that it let be repeated, and how long after its end the latest.
    longest_before: TimeDelta,
    longest_after: TimeDelta,
    /// By partition: how long an event waited for its first delivery at most.
    waits: BTreeMap<i32, TimeDelta>,
    median_wait: TimeDelta,
}

impl Judgement {
    pub(crate) fn new(events: &[Event], receipts: &[Receipt], faults: &[Befallen]) -> Self {
        let mut ledger = Ledger::default();
        for Event { id, key, partition, offset, .. } in events {
            ledger.committed(key, id);
            ledger.recorded(*partition, *offset, key, id);
        }
        let mut first: HashMap<&str, DateTime<Utc>> = HashMap::new();
        for receipt in receipts {
            ledger.received(&receipt.event);
            first.entry(&receipt.event).or_insert(receipt.at);
        }
        let mut waits: BTreeMap<i32, TimeDelta> = BTreeMap::new();
        let mut all = Vec::new();
        for event in events {
            let wait = first.get(event.id.as_str()).map_or(TimeDelta::MAX, |at| *at - event.at);
            let longest = waits.entry(event.partition).or_default();
            *longest = wait.max(*longest);
            all.push(wait);
        }
        all.sort();
        let median_wait = all.get(all.len() / 2).copied().unwrap_or_default();
        let mut judgement = Self {
            balance: ledger.balance(),
            faults: faults.to_vec(),
            unexplained: Vec::new(),
            repeats_allowed: faults.iter().filter(|it| it.fault != Fault::Stopped).count()
                * REPEATED_BY_A_FAULT,
            longest_before: TimeDelta::zero(),
            longest_after: TimeDelta::zero(),
            waits,
            median_wait,
        };
        judgement.explain_repeats(receipts);
        judgement
    }

    fn explain_repeats(&mut self, receipts: &[Receipt]) {
        let mut last: HashMap<&str, &Receipt> = HashMap::new();
        for receipt in receipts {
            let Some(before) = last.insert(&receipt.event, receipt) else { continue };
            let woke =
                [before, receipt].into_iter().filter_map(|delivery| self.after_it_woke(delivery)).min();
            if let Some(after) = woke {
                self.longest_after = after.max(self.longest_after);
            } else if let Some(time) = self.before_its_end(before) {
                self.longest_before = time.max(self.longest_before);
            } else {
                self.unexplained.push(format!("{receipt:?} after {before:?}"));
            }
        }
    }

    /// How long before it was killed or frozen its member delivered this, if that is near enough.
    fn before_its_end(&self, first: &Receipt) -> Option<TimeDelta> {
        let of_this = self.faults.iter().filter(|it| it.member == first.member && it.fault != Fault::Stopped);
        // Between our note and its end it may deliver one more.
        let near = of_this.filter(|it| first.at <= it.until && it.from - first.at <= UNCOMMITTED_FOR);
        near.map(|it| (it.from - first.at).max(TimeDelta::zero())).min()
    }

    /// How long after it was thawed its member delivered this, if that is near enough.
    fn after_it_woke(&self, delivery: &Receipt) -> Option<TimeDelta> {
        let frozen =
            self.faults.iter().filter(|it| it.member == delivery.member && it.fault == Fault::Frozen);
        let near = frozen.filter(|it| delivery.at >= it.from && delivery.at - it.until <= HEARS_WITHIN);
        near.map(|it| (delivery.at - it.until).max(TimeDelta::zero())).min()
    }

    fn count(&self, fault: Fault) -> usize {
        self.faults.iter().filter(|it| it.fault == fault).count()
    }

    pub(crate) fn unexplained(&self) -> usize {
        self.unexplained.len()
    }

    pub(crate) fn assert_all_is_well(&self) {
        assert!(self.balance.is_balanced(), "{}", self.balance);
        let few = self.unexplained.iter().take(20).collect::<Vec<_>>();
        assert!(few.is_empty(), "{} repeats that no fault explains: {few:#?}", self.unexplained.len());
        let (repeated, allowed) = (self.balance.counts().repeated_receipts, self.repeats_allowed);
        assert!(repeated <= allowed, "{repeated} deliveries were repeats, {allowed} are allowed");
        for (partition, wait) in &self.waits {
            assert!(*wait <= LONGEST_WAIT, "an event of partition {partition} waited for {}", seconds(*wait));
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [stopped, killed, frozen] =
            [Fault::Stopped, Fault::Killed, Fault::Frozen].map(|it| self.count(it));
        let repeated = self.balance.counts().repeated_receipts;
        writeln!(f, "{}", self.balance)?;
        writeln!(f, "  faults       {stopped} stopped, {killed} killed, {frozen} frozen")?;
        writeln!(
            f,
            "  repeats      {repeated} of {} allowed, {REPEATED_BY_A_FAULT} for each that was killed or frozen; {} of them not \
             explained by such a one; delivered at most {} before that, and {} after it woke",
            self.repeats_allowed,
            self.unexplained.len(),
            seconds(self.longest_before),
            seconds(self.longest_after)
        )?;
        let longest: Vec<String> = self.waits.values().map(|wait| seconds(*wait)).collect();
        write!(
            f,
            "  waits        {} in the middle; the longest of each partition: {}",
            seconds(self.median_wait),
            longest.join(", ")
        )
    }
}

fn seconds(wait: TimeDelta) -> String {
    if wait == TimeDelta::MAX {
        return "for ever".to_owned();
    }
    format!("{:.2} s", wait.as_seconds_f64())
}
