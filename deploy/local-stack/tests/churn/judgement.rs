//! # The judgement
//!
//! The ledger's, and two limits that it knows nothing of: how long an event waited, and what was delivered again.
//!
//! Each repeat by itself must be explained by a member that was killed or frozen: it had delivered the event a moment before, and had
//! no time to commit it, or it delivered it when it woke, before it knew that the group had gone on without it. Who is stopped, and
//! who hands partitions over to a member that comes, leaves nothing to be repeated.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{Balance, Ledger};

use crate::events::Event;
use crate::faults::{Befallen, Fault};
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

pub(crate) struct Judgement {
    balance: Balance,
    faults: Vec<Befallen>,
    /// Repeats that no fault explains.
    unexplained: Vec<String>,
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
            let explained = [before, receipt].into_iter().filter_map(|delivery| self.explained_by(delivery));
            match explained.min_by_key(|(before, after)| *before + *after) {
                Some((before, after)) => {
                    self.longest_before = before.max(self.longest_before);
                    self.longest_after = after.max(self.longest_after);
                }
                None => self.unexplained.push(format!("{receipt:?} after {before:?}")),
            }
        }
    }

    /// How long before the beginning of a fault, and after its end, its member delivered this, if that is near enough.
    fn explained_by(&self, delivery: &Receipt) -> Option<(TimeDelta, TimeDelta)> {
        let of_this =
            self.faults.iter().filter(|it| it.member == delivery.member && it.fault != Fault::Stopped);
        let distances = of_this.map(|it| {
            let (before, after) = (it.from - delivery.at, delivery.at - it.until);
            (before.max(TimeDelta::zero()), after.max(TimeDelta::zero()))
        });
        distances
            .filter(|(before, after)| *before <= UNCOMMITTED_FOR && *after <= HEARS_WITHIN)
            .min_by_key(|(before, after)| *before + *after)
    }

    fn count(&self, fault: Fault) -> usize {
        self.faults.iter().filter(|it| it.fault == fault).count()
    }

    pub(crate) fn assert_all_is_well(&self) {
        assert!(self.balance.is_balanced(), "{}", self.balance);
        let few = self.unexplained.iter().take(20).collect::<Vec<_>>();
        assert!(few.is_empty(), "{} repeats that no fault explains: {few:#?}", self.unexplained.len());
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
            "  repeats      {repeated}, {} of them not explained by a member that was killed or frozen; delivered at most {} before \
             that, and {} after it woke",
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
