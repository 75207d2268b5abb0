//! # Alarms
//!
//! An alarm is a condition that an operator must know of, with a stable name and the subject it is about
//! (`order-completed[3]`, or nothing). It is told in three ways that agree: an ERROR log line when it is newly
//! raised, the management port's JSON while it is active, and, from the list here, a metric.
//!
//! Raising again only renews the detail, so a condition that is found anew a thousand times a second
//! is one log line. An alarm does not make a service unready by itself: that is a decision of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;

/// One active alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// The stable name, the same in log, JSON and metric.
    pub name: &'static str,
    /// What it is about; empty when the name says it all.
    pub subject: String,
    /// What was found, and what to do, for a person to read.
    pub detail: String,
    /// When it was newly raised.
    pub since: DateTime<Utc>,
}

/// The active alarms of a service. A clone is another handle on the same set.
#[derive(Debug, Clone, Default)]
pub struct Alarms {
    active: Arc<Mutex<Active>>,
}

type Active = BTreeMap<(&'static str, String), (String, DateTime<Utc>)>;

impl Alarms {
    /// No alarm is active.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the alarm `name` about `subject`; one that is active already only gets the new detail.
    pub fn raise(&self, name: &'static str, subject: &str, detail: impl Into<String>) {
        let detail = detail.into();
        let newly = {
            let mut active = self.lock();
            let key = (name, subject.to_owned());
            let since = active.get(&key).map(|(_, since)| *since);
            active.insert(key, (detail.clone(), since.unwrap_or_else(Utc::now)));
            since.is_none()
        };
        if newly {
            let about = about(subject);
            tracing::error!(
                alarm.name = name,
                alarm.subject = subject,
                alarm.detail = detail,
                "alarm {name}{about} raised: {detail}"
            );
        }
    }

    /// Ends the alarm `name` about `subject`, if it is active.
    pub fn clear(&self, name: &'static str, subject: &str) {
        let was_active = self.lock().remove(&(name, subject.to_owned())).is_some();
        if was_active {
            let about = about(subject);
            tracing::info!(alarm.name = name, alarm.subject = subject, "alarm {name}{about} cleared");
        }
    }

    /// What is active now, by name and subject.
    pub fn active(&self) -> Vec<Alarm> {
        self.lock()
            .iter()
            .map(|((name, subject), (detail, since))| Alarm {
                name,
                subject: subject.clone(),
                detail: detail.clone(),
                since: *since,
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Active> {
        // A panic elsewhere must not silence the alarms; no code here can leave the map half changed.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn about(subject: &str) -> String {
    if subject.is_empty() { String::new() } else { format!(" for {subject}") }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::Alarms;
    use crate::captured_lines::CapturedLines;

    fn logged(work: impl FnOnce()) -> Vec<String> {
        let captured = CapturedLines::default();
        let writer = captured.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, work);
        captured.lines()
    }

    #[test]
    fn an_alarm_is_one_error_line_however_often_it_is_raised() {
        let alarms = Alarms::new();
        let lines = logged(|| {
            alarms.raise("undecodable-record", "order-completed[3]", "offset 7: no JSON");
            alarms.raise("undecodable-record", "order-completed[3]", "offset 7: still no JSON");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].contains("ERROR") && lines[0].contains("alarm.name=\"undecodable-record\""),
            "{lines:?}"
        );
        assert!(
            lines[0].contains("alarm undecodable-record for order-completed[3] raised: offset 7: no JSON")
        );

        let active = alarms.active();
        assert_eq!(active.len(), 1);
        assert_eq!(active[0].detail, "offset 7: still no JSON");
    }

    #[test]
    fn a_cleared_alarm_is_one_info_line_and_may_be_raised_anew() {
        let alarms = Alarms::new();
        let lines = logged(|| {
            alarms.clear("kafka-away", "");
            alarms.raise("kafka-away", "", "no broker answers");
            alarms.clear("kafka-away", "");
            alarms.clear("kafka-away", "");
            alarms.raise("kafka-away", "", "no broker answers");
        });
        let levels: Vec<&str> = lines.iter().filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(levels, ["ERROR", "INFO", "ERROR"], "{lines:?}");
        assert!(lines[1].contains("alarm kafka-away cleared"), "{lines:?}");
    }

    #[test]
    fn one_name_may_be_active_about_several_subjects() {
        let alarms = Alarms::new();
        for subject in ["order-completed[1]", "order-completed[0]"] {
            alarms.raise("undecodable-record", subject, "no JSON");
        }
        alarms.clone().clear("undecodable-record", "order-completed[1]");
        let subjects: Vec<String> = alarms.active().into_iter().map(|alarm| alarm.subject).collect();
        assert_eq!(subjects, ["order-completed[0]"]);
    }

    #[test]
    fn a_panic_elsewhere_does_not_silence_the_alarms() {
        let alarms = Alarms::new();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _held = alarms.lock();
            panic!("while the lock is held");
        }));
        assert!(panicked.is_err() && alarms.active.is_poisoned());
        alarms.raise("kafka-away", "", "no broker answers");
        assert_eq!(alarms.active().len(), 1);
    }
}
