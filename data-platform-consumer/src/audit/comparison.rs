//! # Comparison
//!
//! Records on one side, rows on the other; the answer is what is missing, repeated or unexpected. Pure data: no clock, no
//! database, no Kafka.
//!
//! An event is known by its idempotency key, on both sides. **Memory**: its key and some 50 bytes for each event of the
//! window, and the place of each dead letter.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use shared_messages::OccurredAt;

use super::report::{Counts, Findings, Report};

/// A range of time: its beginning belongs to it, its end does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its beginning.
    pub from: OccurredAt,
    /// Its end.
    pub to: OccurredAt,
}

impl Window {
    /// Whether this moment belongs to it. As exact as the database is, which cuts off what is below a microsecond.
    pub fn contains(&self, moment: OccurredAt) -> bool {
        let micros = |moment: OccurredAt| moment.as_datetime().timestamp_micros();
        (micros(self.from)..micros(self.to)).contains(&micros(moment))
    }

    /// The same for milliseconds since 1970.
    pub(super) fn contains_millis(&self, millis: i64) -> bool {
        let bound = |moment: OccurredAt| moment.as_datetime().timestamp_millis();
        (bound(self.from)..=bound(self.to)).contains(&millis)
    }
}

/// Where a record stands in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// A partition before anything was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// The lowest offset.
    pub low: i64,
    /// Behind the last record.
    pub high: i64,
    /// What the group has committed: everything below is finished.
    pub committed: Option<i64>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedRow {
    /// Its event.
    pub key: String,
    /// Its order.
    pub order_id: i64,
    /// The topic of the record that brought it first.
    pub topic: String,
    /// Where that record stands in it.
    pub place: Place,
    /// How often it came.
    pub deliveries: i64,
}

/// What a finding tells of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The first record that carries it, or that its row names.
    pub place: Place,
    /// Its idempotency key; a record that cannot be read has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<i64>,
    /// How often it came, where that is the finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<i64>,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// How far the delivery of a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Pending,
    Parked,
    Finished,
}

#[derive(Debug)]
struct Standing {
    order_id: i64,
    first: Place,
    /// The furthest of its records.
    stage: Stage,
    delivered: bool,
}

/// A comparison that is going on.
#[derive(Debug)]
pub struct Comparison {
    topic: String,
    window: Window,
    partitions: Vec<Partition>,
    parked: HashSet<Place>,
    events: HashMap<String, Standing>,
    unreadable: Vec<Told>,
    rows: Vec<AuditedRow>,
    counts: Counts,
    findings: Findings,
}

impl Comparison {
    /// It will tell the first `limit` findings of each kind, and count the rest.
    pub fn new(topic: &str, window: Window, partitions: Vec<Partition>, limit: usize) -> Self {
        Self {
            topic: topic.to_owned(),
            window,
            partitions,
            parked: HashSet::new(),
            events: HashMap::new(),
            unreadable: Vec::new(),
            rows: Vec::new(),
            counts: Counts::default(),
            findings: Findings::up_to(limit),
        }
    }

    /// A dead letter holds the record at this place. Told before the records.
    pub fn parked(&mut self, place: Place) {
        self.parked.insert(place);
    }

    /// The topic holds this event of the window.
    pub fn event(&mut self, place: Place, key: String, order_id: i64) {
        let stage = self.stage(place);
        let new = Standing { order_id, first: place, stage, delivered: false };
        let standing = self.events.entry(key).or_insert(new);
        standing.first = standing.first.min(place);
        standing.stage = standing.stage.max(stage);
    }

    /// The topic holds this record, which may be of the window, and cannot be read.
    pub fn unreadable(&mut self, place: Place, cause: String) {
        self.unreadable.push(Told { place, key: None, order_id: None, deliveries: None, cause: Some(cause) });
    }

    /// So many records were read.
    pub fn records_read(&mut self, records: u64) {
        self.counts.records_read = records;
    }

    /// The table holds this row of the window. Told after the records.
    pub fn row(&mut self, row: AuditedRow) {
        self.counts.rows += 1;
        if let Some(standing) = self.events.get_mut(&row.key) {
            standing.delivered = true;
            if row.deliveries > 1 {
                self.counts.deliveries_repeated += u64::try_from(row.deliveries - 1).unwrap_or_default();
                self.rows.push(row);
            }
            return;
        }
        let partition = usize::try_from(row.place.partition).ok().and_then(|id| self.partitions.get(id));
        match partition {
            _ if row.topic != self.topic => self.counts.rows_of_other_topics += 1,
            Some(partition) if row.place.offset < partition.low => {
                self.findings.beyond_retention.add(row.told());
            }
            // It has come since the ends were looked at.
            Some(partition) if row.place.offset >= partition.high => self.counts.rows_of_later_records += 1,
            Some(_) | None => self.findings.unexpected.add(row.told()),
        }
    }

    /// The verdict. Who calls this has told everything.
    pub fn report(mut self) -> Report {
        self.counts.events = self.events.len() as u64;
        let mut undelivered = self.unreadable;
        let mut stages: HashMap<Place, Stage> = HashMap::new();
        for (key, standing) in self.events {
            if standing.delivered {
                self.counts.delivered += 1;
                continue;
            }
            stages.insert(standing.first, standing.stage);
            undelivered.push(Told {
                place: standing.first,
                key: Some(key),
                order_id: Some(standing.order_id),
                deliveries: None,
                cause: None,
            });
        }
        undelivered.sort_by_key(|told| told.place);
        for told in undelivered {
            let place = told.place;
            let stage = stages.get(&place).copied();
            match stage.unwrap_or_else(|| stage_of(place, &self.parked, &self.partitions)) {
                Stage::Pending => self.findings.pending.add(told),
                Stage::Parked => self.findings.parked.add(told),
                Stage::Finished => self.findings.missing.add(told),
            }
        }
        self.rows.sort_by_key(|row| row.place);
        for row in self.rows {
            let deliveries = Some(row.deliveries);
            self.findings.repeated.add(Told { deliveries, ..row.told() });
        }
        Report::new(self.window, self.counts, self.findings)
    }

    fn stage(&self, place: Place) -> Stage {
        stage_of(place, &self.parked, &self.partitions)
    }
}

fn stage_of(place: Place, parked: &HashSet<Place>, partitions: &[Partition]) -> Stage {
    let partition = usize::try_from(place.partition).ok().and_then(|id| partitions.get(id));
    let committed = partition.and_then(|partition| partition.committed);
    if parked.contains(&place) {
        Stage::Parked
    } else if committed.is_some_and(|committed| place.offset < committed) {
        Stage::Finished
    } else {
        Stage::Pending
    }
}

impl AuditedRow {
    fn told(&self) -> Told {
        let (key, order_id) = (Some(self.key.clone()), Some(self.order_id));
        Told { place: self.place, key, order_id, deliveries: None, cause: None }
    }
}

#[cfg(test)]
#[path = "comparison_tests.rs"]
mod tests;
