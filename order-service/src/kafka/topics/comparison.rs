//! # What a topic must be like, and what it is like
//!
//! Compares the two and names everything that is less, each with what cures it. More is never a fault: partitions
//! are only compared to be enough, retention to be long enough.
//!
//! Pure data: what was found is passed in.

use crate::settings::Retention;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A topic's properties by their Kafka names.
pub type TopicProperties = BTreeMap<String, String>;

const MIN_INSYNC: &str = "min.insync.replicas";
const RETENTION: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const CLEANUP: &str = "cleanup.policy";
const UNCLEAN: &str = "unclean.leader.election.enable";

/// What a topic must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub topic: String,
    /// Partitions at its creation.
    pub partitions: i32,
    /// Partitions that it must have when it is there already.
    pub least_partitions: i32,
    /// The setting that says how long it keeps its records.
    pub retention_setting: &'static str,
    /// How long it keeps its records.
    pub retention: Retention,
    /// Copies of each partition.
    pub replication_factor: i32,
    /// Copies that must have a record before it is acknowledged.
    pub min_insync_replicas: i32,
    /// Whether keys must stay on their partition, so that partitions must not be added lightly.
    pub is_keyed: bool,
}

/// What a topic is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The brokers that are up.
    pub brokers: Vec<i32>,
    /// The brokers of each partition's replicas.
    pub replicas: BTreeMap<i32, Vec<i32>>,
    /// Its properties, the brokers' defaults included.
    pub properties: TopicProperties,
}

/// One thing that is less than wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Less {
    /// What stands, and what is wanted.
    pub finding: String,
    /// What cures it: a command, or a setting.
    pub cure: String,
}

impl Wanted {
    /// What is set when the topic is created.
    pub fn properties(&self) -> Vec<(&'static str, String)> {
        vec![
            (MIN_INSYNC, self.min_insync_replicas.to_string()),
            (RETENTION, self.retention.milliseconds().to_string()),
            (RETENTION_BYTES, "-1".to_owned()),
            (CLEANUP, "delete".to_owned()),
            (UNCLEAN, "false".to_owned()),
        ]
    }

    /// Everything that is less than this, in the order of its weight.
    pub fn compare(&self, found: &Found, bootstrap_servers: &str) -> Vec<Less> {
        let comparison = Comparison { wanted: self, found, bootstrap_servers };
        [
            comparison.replication(),
            comparison.min_insync(),
            comparison.unclean_election(),
            comparison.partitions(),
            comparison.retention(),
            comparison.retention_bytes(),
            comparison.cleanup(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Only what endangers events that are acknowledged, by what is known: properties that were not read are no
    /// danger.
    pub fn dangers(&self, found: &Found, bootstrap_servers: &str) -> Vec<Less> {
        let comparison = Comparison { wanted: self, found, bootstrap_servers };
        let by_properties = if found.properties.is_empty() {
            [None, None]
        } else {
            [comparison.min_insync(), comparison.unclean_election()]
        };
        std::iter::once(comparison.replication()).chain(by_properties).flatten().collect()
    }
}

struct Comparison<'a> {
    wanted: &'a Wanted,
    found: &'a Found,
    bootstrap_servers: &'a str,
}

impl Comparison<'_> {
    fn replication(&self) -> Option<Less> {
        let factor = usize::try_from(self.wanted.replication_factor).unwrap_or(usize::MAX);
        let thin: BTreeMap<i32, &Vec<i32>> = self
            .found
            .replicas
            .iter()
            .filter(|(_, brokers)| brokers.len() < factor)
            .map(|(partition, brokers)| (*partition, brokers))
            .collect();
        let least = thin.values().map(|brokers| brokers.len()).min()?;
        let all = self.found.replicas.len();
        let finding =
            format!("replication factor {least} on {} of {all} partitions, {factor} wanted", thin.len());
        let cure = if self.found.brokers.len() < factor {
            format!(
                "the cluster has {} broker(s): start the others, and `order-service topics` names the command, or set \
                 topics.replication_factor={least} and topics.min_insync_replicas to what that allows",
                self.found.brokers.len()
            )
        } else {
            format!(
                "write {} to more-replicas.json and run kafka-reassign-partitions.sh --bootstrap-server {} \
                 --reassignment-json-file more-replicas.json --execute; or set topics.replication_factor={least}",
                self.reassignment(&thin, factor),
                self.bootstrap_servers
            )
        };
        Some(Less { finding, cure })
    }

    /// The replicas that are there, and more on other brokers, spread over them by the partition's number.
    fn reassignment(&self, thin: &BTreeMap<i32, &Vec<i32>>, factor: usize) -> String {
        let mut partitions = String::new();
        for (partition, replicas) in thin {
            let mut more: Vec<i32> =
                self.found.brokers.iter().copied().filter(|broker| !replicas.contains(broker)).collect();
            let turns = usize::try_from(*partition).unwrap_or_default() % more.len().max(1);
            more.rotate_left(turns);
            let all: Vec<i32> = replicas.iter().copied().chain(more).take(factor).collect();
            let separator = if partitions.is_empty() { "" } else { "," };
            let topic = &self.wanted.topic;
            // Writing to a String cannot fail.
            write!(
                partitions,
                "{separator}{{\"topic\":\"{topic}\",\"partition\":{partition},\"replicas\":{all:?}}}"
            )
            .ok();
        }
        format!("{{\"version\":1,\"partitions\":[{}]}}", partitions.replace(", ", ","))
    }

    fn min_insync(&self) -> Option<Less> {
        let wanted = self.wanted.min_insync_replicas;
        let fewest = self.found.replicas.values().map(Vec::len).min().unwrap_or_default();
        let found = match self.number(MIN_INSYNC) {
            Ok(found) => found,
            Err(text) => return Some(self.unreadable(MIN_INSYNC, text, &wanted.to_string())),
        };
        let (finding, cure) = if found < i64::from(wanted) {
            (
                format!("{MIN_INSYNC}={found}, {wanted} wanted"),
                format!(
                    "{}; or set topics.min_insync_replicas={found}",
                    self.alter(MIN_INSYNC, &wanted.to_string())
                ),
            )
        } else if usize::try_from(found).is_ok_and(|found| found > fewest) {
            (
                format!("{MIN_INSYNC}={found} with {fewest} replica(s): nothing can ever be acknowledged"),
                format!(
                    "more replicas, or {}",
                    self.alter(MIN_INSYNC, &fewest.min(usize::try_from(wanted).unwrap_or(1)).to_string())
                ),
            )
        } else {
            return None;
        };
        Some(Less { finding, cure })
    }

    fn unclean_election(&self) -> Option<Less> {
        let stands = self.found.properties.get(UNCLEAN)?;
        (stands != "false").then(|| Less {
            finding: format!(
                "{UNCLEAN}={stands}: a broker that lacks acknowledged events may become leader, false wanted"
            ),
            cure: self.alter(UNCLEAN, "false"),
        })
    }

    fn partitions(&self) -> Option<Less> {
        let found = self.found.replicas.len();
        let wanted = self.wanted.least_partitions;
        if usize::try_from(wanted).is_ok_and(|wanted| found >= wanted) {
            return None;
        }
        let add = format!(
            "kafka-topics.sh --bootstrap-server {} --alter --topic {} --partitions {wanted}",
            self.bootstrap_servers, self.wanted.topic
        );
        let cure = if self.wanted.is_keyed {
            format!(
                "set topics.partitions={found}; or, where a break in the order of keys is no harm, {add}, after the \
                 consumers have read all that is there"
            )
        } else {
            add
        };
        let finding = format!("{found} partition(s), {wanted} wanted");
        Some(Less { finding, cure })
    }

    fn retention(&self) -> Option<Less> {
        let wanted = self.wanted.retention;
        let wanted_text = format!("{} ({wanted})", wanted.milliseconds());
        let found = match self.number(RETENTION) {
            Ok(found) => Retention::of_milliseconds(found),
            Err(text) => return Some(self.unreadable(RETENTION, text, &wanted_text)),
        };
        (found < wanted).then(|| Less {
            finding: format!("{RETENTION}={} ({found}), {wanted_text} wanted", found.milliseconds()),
            cure: format!(
                "{}; or set {}=\"{found}\"",
                self.alter(RETENTION, &wanted.milliseconds().to_string()),
                self.wanted.retention_setting
            ),
        })
    }

    fn retention_bytes(&self) -> Option<Less> {
        let stands = self.found.properties.get(RETENTION_BYTES)?;
        (stands != "-1").then(|| Less {
            finding: format!(
                "{RETENTION_BYTES}={stands}: events may be deleted before their time, -1 (no limit) wanted"
            ),
            cure: self.alter(RETENTION_BYTES, "-1"),
        })
    }

    fn cleanup(&self) -> Option<Less> {
        let stands = self.found.properties.get(CLEANUP)?;
        stands.contains("compact").then(|| Less {
            finding: format!(
                "{CLEANUP}={stands}: of the events of one key only the last is kept, delete wanted"
            ),
            cure: self.alter(CLEANUP, "delete"),
        })
    }

    fn number(&self, property: &str) -> Result<i64, Option<&str>> {
        let text = self.found.properties.get(property).map(String::as_str);
        text.and_then(|text| text.parse().ok()).ok_or(text)
    }

    fn unreadable(&self, property: &str, stands: Option<&str>, wanted: &str) -> Less {
        let stands = stands.unwrap_or("unknown, as Kafka does not tell it");
        Less {
            finding: format!("{property} is {stands}, {wanted} wanted"),
            cure: format!(
                "have DescribeConfigs on the topic granted to this user; or {}",
                self.alter(property, wanted.split(' ').next().unwrap_or(wanted))
            ),
        }
    }

    fn alter(&self, property: &str, value: &str) -> String {
        format!(
            "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {} --add-config \
             {property}={value}",
            self.bootstrap_servers, self.wanted.topic
        )
    }
}

#[cfg(test)]
#[path = "comparison_tests.rs"]
mod tests;
