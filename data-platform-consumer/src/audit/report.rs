//! # The audit's report
//!
//! As a table for people, and as JSON for machines.

use std::fmt;

use serde::Serialize;
use service_chassis::visible::visible;

use super::comparison::{Told, Window};

const MISSING: &str = "missing";
/// What else it may be: an audit cannot tell to which sink a record was delivered.
const OF_AN_EARLIER_SINK: &str = "    \
    what was delivered before the sink was this one counts as missing, too: say a --from that is later than the change, or have \
    it delivered again (`positions set`, or another kafka.group_id)";

/// How much was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Records of the topic that were read.
    pub records_read: u64,
    /// Events of the window in the topic.
    pub events: u64,
    /// Those of them that have a row.
    pub delivered: u64,
    /// Rows of the window.
    pub rows: u64,
    /// Deliveries beyond the first of each row.
    pub deliveries_repeated: u64,
    /// Rows of records that came since the audit began.
    pub rows_of_later_records: u64,
    /// Rows that another topic brought.
    pub rows_of_other_topics: u64,
}

/// Findings of one kind: the first of them, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kind {
    count: u64,
    first: Vec<Told>,
    #[serde(skip)]
    limit: usize,
}

impl Kind {
    fn up_to(limit: usize) -> Self {
        Self { count: 0, first: Vec::new(), limit }
    }

    pub(super) fn add(&mut self, told: Told) {
        self.count += 1;
        if self.first.len() < self.limit {
            self.first.push(told);
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first of them.
    pub fn first(&self) -> &[Told] {
        &self.first
    }
}

/// What was found, by its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// Finished as far as the group is concerned, and in neither the table nor a dead letter.
    pub missing: Kind,
    /// In the table, and in no record.
    pub unexpected: Kind,
    /// In the topic of dead letters, for an operator.
    pub parked: Kind,
    /// Not committed yet.
    pub pending: Kind,
    /// Delivered more than once, and once in effect.
    pub repeated: Kind,
    /// In the table, and their records are gone.
    pub beyond_retention: Kind,
}

impl Findings {
    pub(super) fn up_to(limit: usize) -> Self {
        let kind = || Kind::up_to(limit);
        Self {
            missing: kind(),
            unexpected: kind(),
            parked: kind(),
            pending: kind(),
            repeated: kind(),
            beyond_retention: kind(),
        }
    }
}

/// The verdict on a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    from: String,
    to: String,
    kept: bool,
    /// How much was compared.
    pub counts: Counts,
    /// What was found.
    #[serde(flatten)]
    pub findings: Findings,
}

impl Report {
    pub(super) fn new(window: Window, counts: Counts, findings: Findings) -> Self {
        let kept = findings.missing.count == 0 && findings.unexpected.count == 0;
        Self { from: window.from.to_string(), to: window.to.to_string(), kept, counts, findings }
    }

    /// Whether the promise was kept: nothing is missing, and nothing is there that nobody sent.
    pub fn is_kept(&self) -> bool {
        self.kept
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, counts, findings, .. } = self;
        writeln!(f, "events from {from} to {to}")?;
        for (name, count) in [
            ("records read", counts.records_read),
            ("events", counts.events),
            ("delivered", counts.delivered),
            ("rows", counts.rows),
            ("  of later records", counts.rows_of_later_records),
            ("  of other topics", counts.rows_of_other_topics),
            ("deliveries repeated", counts.deliveries_repeated),
        ] {
            writeln!(f, "{name:<24}{count:>12}")?;
        }
        writeln!(f)?;
        for (name, meaning, kind) in [
            (
                MISSING,
                "finished for the group, and in neither the table nor a dead letter",
                &findings.missing,
            ),
            ("unexpected", "in the table, and in no record", &findings.unexpected),
            ("parked", "in the topic of dead letters", &findings.parked),
            ("pending", "not committed yet", &findings.pending),
            ("repeated", "delivered more than once, once in effect", &findings.repeated),
            ("beyond retention", "in the table, and their records are gone", &findings.beyond_retention),
        ] {
            writeln!(f, "{name:<24}{:>12}  {meaning}", kind.count)?;
            for told in &kind.first {
                writeln!(f, "    {told}")?;
            }
            let more = kind.count - kind.first.len() as u64;
            if more > 0 && !kind.first.is_empty() {
                writeln!(f, "    and {more} more (--limit)")?;
            }
            if name == MISSING && kind.count > 0 {
                writeln!(f, "{OF_AN_EARLIER_SINK}")?;
            }
        }
        writeln!(f, "\n{}", if self.kept { "the promise was kept" } else { "the promise was BROKEN" })
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} offset {}", self.place.partition, self.place.offset)?;
        if let Some(order_id) = self.order_id {
            write!(f, " order {order_id}")?;
        }
        if let Some(key) = &self.key {
            write!(f, " event {key}")?;
        }
        if let Some(deliveries) = self.deliveries {
            write!(f, " delivered {deliveries} times")?;
        }
        self.cause.as_ref().map_or(Ok(()), |cause| write!(f, ": {}", visible(cause)))
    }
}

#[cfg(test)]
mod tests {
    use shared_messages::OccurredAt;

    use super::super::comparison::Place;
    use super::*;

    #[test]
    fn what_is_missing_may_have_gone_to_an_earlier_sink_and_the_report_says_so() {
        let time = |text| OccurredAt::parse(text).unwrap();
        let window = Window { from: time("2026-11-29T00:00Z"), to: time("2026-11-30T00:00Z") };
        let said = |findings| Report::new(window, Counts::default(), findings).to_string();
        assert!(!said(Findings::up_to(20)).contains("before the sink was this one"));
        let mut findings = Findings::up_to(20);
        let place = Place { partition: 2, offset: 7 };
        findings.missing.add(Told { place, order_id: None, key: None, deliveries: None, cause: None });
        let said = said(findings);
        assert!(
            said.contains("partition 2 offset 7\n    what was delivered before the sink was this one"),
            "{said}"
        );
        assert!(said.contains("a --from that is later than the change"), "{said}");
    }
}
