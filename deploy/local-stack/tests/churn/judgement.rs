//! # The judgement
//!
//! The ledger's, and two limits that it knows nothing of: how long an event waited, and how many were delivered again.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{Balance, Ledger};

use crate::faults::FaultCounts;
use crate::load::{Event, RATE};
use crate::receipts::Receipt;

/// A fault may take a member's share away for its session (6 s) and the rebalance behind that, and others come on top of it. A
/// partition of which an event waits for longer is stuck.
const LONGEST_WAIT: TimeDelta = TimeDelta::seconds(60);
/// Calls of a member on their way at a time (`delivery.in_flight_limit`).
const IN_FLIGHT: usize = 100;
/// What finishes between two commits (`kafka.commit_interval`, a second) and until the answer to the second one, if all
/// of the load is one member's.
const UNCOMMITTED: usize = 2 * RATE as usize;
/// What a member that was killed, or that the group went on without, leaves to be delivered again at most. One that catches up
/// finishes more than its share between two commits, so this is asked of all faults together. Who is stopped leaves nothing.
const REPEATED_BY_A_FAULT: usize = IN_FLIGHT + UNCOMMITTED;

pub(crate) struct Judgement {
    balance: Balance,
    faults: FaultCounts,
    repeats_allowed: usize,
    /// By partition: how long an event waited for its first delivery at most.
    waits: BTreeMap<i32, TimeDelta>,
    median_wait: TimeDelta,
}

impl Judgement {
    pub(crate) fn new(events: &[Event], receipts: &[Receipt], faults: FaultCounts) -> Self {
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
        let repeats_allowed = (faults.killed + faults.frozen) * REPEATED_BY_A_FAULT;
        Self { balance: ledger.balance(), faults, repeats_allowed, waits, median_wait }
    }

    pub(crate) fn assert_all_is_well(&self) {
        assert!(self.balance.is_balanced(), "{}", self.balance);
        let repeated = self.balance.counts().repeated_receipts;
        let allowed = self.repeats_allowed;
        assert!(repeated <= allowed, "{repeated} deliveries were repeats, {allowed} are allowed");
        for (partition, wait) in &self.waits {
            assert!(*wait <= LONGEST_WAIT, "an event of partition {partition} waited for {}", seconds(*wait));
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FaultCounts { stopped, killed, frozen } = self.faults;
        let repeated = self.balance.counts().repeated_receipts;
        writeln!(f, "{}", self.balance)?;
        writeln!(f, "  faults       {stopped} stopped, {killed} killed, {frozen} frozen")?;
        writeln!(
            f,
            "  repeats      {repeated} of {} allowed: {REPEATED_BY_A_FAULT} for each that was killed or frozen, {IN_FLIGHT} in flight \
             and {UNCOMMITTED} not committed yet",
            self.repeats_allowed
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
