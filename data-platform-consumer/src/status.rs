//! # Status
//!
//! What one member is doing at the moment, for an operator: which partitions it owns and how far it is, what is in work and
//! what waits, and what the breaker makes of the data platform. The poll thread writes it down once a second; it is shown
//! at `/status` of the management port, as metrics, and by `data-platform-consumer status`. The page and the command also
//! tell the alarms that are active, which are what keeps it from its work if anything does.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::{Deserialize, Serialize};
use service_chassis::alarms::Alarm;
use service_chassis::visible::visible;

use crate::delivery::breaker::BreakerState;

/// One member of the group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The group.
    pub group_id: String,
    /// What it reads.
    pub topic: String,
    /// What the breaker makes of the platform.
    pub breaker: BreakerState,
    /// Calls to the platform that have not ended, those of earlier assignments too.
    pub calls_on_the_wire: usize,
    /// How many may run at a time at the moment.
    pub calls_allowed: usize,
    /// How many may run at a time while all is well.
    pub in_flight_limit: usize,
    /// No call starts for so long, as the platform is away or asked for it.
    pub held_for_seconds: Option<f64>,
    /// Calls that ended after their partition was handed back.
    pub late_reports: u64,
    /// It has stalled, left the group, and leaves the others the time to take its partitions over.
    #[serde(default)]
    pub rests: bool,
    /// It has stalled, left the group, and waits for calls to end before it comes back.
    #[serde(default)]
    pub waits_for_calls: bool,
    /// Bytes of records that were read and are not finished, of all partitions.
    #[serde(default)]
    pub bytes: u64,
    /// How many these may be: beyond, each partition may hold its share.
    #[serde(default)]
    pub window_bytes: u64,
    /// What it owns.
    pub partitions: Vec<PartitionStatus>,
    /// What an operator must know of, at the moment of the question.
    #[serde(default)]
    pub alarms: Vec<ActiveAlarm>,
}

/// An alarm that is active, as the probes tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveAlarm {
    /// Its stable name.
    pub name: String,
    /// What it is about; empty when the name says it all.
    pub subject: String,
    /// What was found, and what to do.
    pub detail: String,
    /// When it was newly raised.
    pub since: DateTime<Utc>,
}

impl From<Alarm> for ActiveAlarm {
    fn from(alarm: Alarm) -> Self {
        let Alarm { name, subject, detail, since } = alarm;
        Self { name: name.to_owned(), subject, detail, since }
    }
}

/// One partition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// Its number.
    pub partition: i32,
    /// Up to here all is finished; not known of a partition that was begun at its beginning before its first record is.
    pub committable: Option<i64>,
    /// The next record to read, as far as one was read.
    pub next_read: Option<i64>,
    /// The offset behind the last record on the broker, as last seen.
    pub end: Option<i64>,
    /// Records between what is finished and the end.
    pub lag: Option<i64>,
    /// Records that were read and are not finished: they are in work, or wait for a place or for their key.
    pub unfinished: usize,
    /// How far it was read ahead: offsets from the oldest unfinished record to the last that was read.
    #[serde(default)]
    pub window_used: u64,
    /// How far it may be at the moment.
    #[serde(default)]
    pub window_limit: u64,
    /// Bytes of the unfinished records.
    #[serde(default)]
    pub bytes: u64,
    /// Of these, calls and dead letters on the wire.
    pub on_the_wire: usize,
    /// Of these, records that have failed and are tried again.
    pub waiting_for_retry: usize,
    /// Of these, records at fault that are not parked yet.
    pub at_fault: usize,
    /// The oldest that is not finished, and for how long it has been the oldest.
    pub oldest_unfinished: Option<i64>,
    /// See there.
    pub standing_for_seconds: Option<f64>,
    /// Whether records come in.
    pub intake: IntakeStatus,
}

/// Whether records of a partition come in, and why not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IntakeStatus {
    /// They come.
    #[default]
    Open,
    /// The platform is away.
    Paused,
    /// As much was read ahead as may be, in offsets or in bytes; it goes on at half of that.
    WindowFull,
    /// At the ceiling of dead letters.
    AtCeiling,
    /// The position is gone.
    Stopped,
    /// It is being handed back.
    Closed,
}

/// What was written down last. A clone is another handle on the same.
#[derive(Debug, Clone, Default)]
pub struct StatusBoard {
    last: Arc<Mutex<Status>>,
}

impl StatusBoard {
    /// What was written down last.
    pub fn read(&self) -> Status {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn write(&self, status: Status) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PartitionLabels {
    partition: i32,
}

/// Names without the service's: the registry that they are shown in puts it before them.
impl Collector for StatusBoard {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.read();
        let mut gauge = |name: &str, help: &str, value: usize| {
            let encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(signed(value)).encode(encoder)
        };
        let help = "Calls to the data platform that have not ended";
        gauge("calls_on_the_wire", help, status.calls_on_the_wire)?;
        let help = "Calls to the data platform that may run at a time at the moment";
        gauge("calls_allowed", help, status.calls_allowed)?;
        let help = "Bytes of records that were read and are not finished";
        gauge("unfinished_bytes", help, whole(status.bytes))?;
        let help = "How many of these there may be";
        gauge("window_bytes", help, whole(status.window_bytes))?;
        let help = "Partitions that this member owns";
        gauge("partitions_owned", help, status.partitions.len())?;

        let mut by_partition = |name: &str, help: &str, value: &dyn Fn(&PartitionStatus) -> Option<i64>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for partition in &status.partitions {
                if let Some(value) = value(partition) {
                    let labels = PartitionLabels { partition: partition.partition };
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
            Ok::<(), fmt::Error>(())
        };
        let help = "Records between what is finished and the end of the partition";
        by_partition("lag_records", help, &|it| it.lag)?;
        let help = "Records that were read and are not finished";
        by_partition("unfinished_records", help, &|it| Some(signed(it.unfinished)))?;
        let help = "How far it was read ahead, in offsets from the oldest unfinished record on";
        by_partition("window_used_offsets", help, &|it| Some(signed(whole(it.window_used))))?;
        let help = "How far it may be read ahead at the moment";
        by_partition("window_limit_offsets", help, &|it| Some(signed(whole(it.window_limit))))?;
        let help = "Whether its intake is paused (1) as its window is full, in offsets or in bytes";
        by_partition("window_full", help, &|it| Some(i64::from(it.intake == IntakeStatus::WindowFull)))?;
        let help = "Records that have failed and are tried again";
        by_partition("retrying_records", help, &|it| Some(signed(it.waiting_for_retry)))?;
        let help = "Records at fault that are not parked yet";
        by_partition("at_fault_records", help, &|it| Some(signed(it.at_fault)))?;
        let help = "For how long the oldest unfinished record has been the oldest";
        #[expect(clippy::cast_possible_truncation, reason = "whole seconds, and never that many")]
        by_partition("position_standing_seconds", help, &|it| {
            it.standing_for_seconds.map(|seconds| seconds as i64)
        })
    }
}

fn whole(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl fmt::Display for ActiveAlarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, subject, detail, since } = self;
        write!(f, "ALARM {name}")?;
        if !subject.is_empty() {
            write!(f, " for {}", visible(subject))?;
        }
        let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
        write!(f, " since {since}: {}", visible(detail))
    }
}

impl Status {
    /// Why, if it does not.
    fn reads_nothing(&self) -> Option<&'static str> {
        if self.waits_for_calls {
            Some(
                "it has stalled and left the group; it comes back once most of these calls have ended, or when it is restarted",
            )
        } else if self.rests {
            Some(
                "it has stalled and left the group, so that others may take its partitions over; it joins again within half a minute",
            )
        } else if self.partitions.is_empty() {
            Some(
                "no partition is owned, so this member reads nothing: it has not joined yet, or others own them all",
            )
        } else {
            None
        }
    }
}

/// The alarms, and a table for a person.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for alarm in &self.alarms {
            writeln!(f, "{alarm}\n")?;
        }
        let Self { group_id, topic, breaker, calls_on_the_wire, calls_allowed, in_flight_limit, .. } = self;
        writeln!(f, "group {group_id}, topic {topic}")?;
        writeln!(
            f,
            "calls to the data platform: {calls_on_the_wire} on the wire, {calls_allowed} of {in_flight_limit} allowed ({breaker})"
        )?;
        if let Some(seconds) = self.held_for_seconds {
            writeln!(f, "no call starts for another {seconds:.1} s")?;
        }
        if self.late_reports > 0 {
            writeln!(f, "calls that ended after their partition was handed back: {}", self.late_reports)?;
        }
        if let Some(why) = self.reads_nothing() {
            return writeln!(f, "{why}");
        }
        writeln!(f, "bytes of records that are not finished: {} of {}\n", self.bytes, self.window_bytes)?;
        writeln!(
            f,
            "{:>9} {:>12} {:>12} {:>8} {:>10} {:>12} {:>7} {:>8} {:>8} {:>9}  intake",
            "partition",
            "finished to",
            "end",
            "lag",
            "unfinished",
            "window",
            "on wire",
            "retrying",
            "at fault",
            "stands"
        )?;
        for partition in &self.partitions {
            writeln!(
                f,
                "{:>9} {:>12} {:>12} {:>8} {:>10} {:>12} {:>7} {:>8} {:>8} {:>9}  {}",
                partition.partition,
                shown(partition.committable),
                shown(partition.end),
                shown(partition.lag),
                partition.unfinished,
                format!("{}/{}", partition.window_used, partition.window_limit),
                partition.on_the_wire,
                partition.waiting_for_retry,
                partition.at_fault,
                partition.standing_for_seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.0} s")),
                partition.intake,
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for IntakeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Paused => "paused: the platform is away",
            Self::WindowFull => "paused: its window is full",
            Self::AtCeiling => "stopped: too many dead letters",
            Self::Stopped => "stopped: its position is gone",
            Self::Closed => "being handed back",
        })
    }
}

fn shown(number: Option<i64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
