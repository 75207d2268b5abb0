//! # Database metrics
//!
//! Transactions by their outcome, and the pool. The pool's names are those of OpenTelemetry's conventions for database
//! clients.

use super::Session;
use super::pool_share::Outside;
use super::transaction_completion::Outcome;
use diesel_async::pooled_connection::deadpool::Pool;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;
use service_chassis::metrics::Metrics;
use std::fmt;
use std::time::Duration;

const OUTCOMES: [&str; 3] = ["committed", "rolled_back", "unknown"];

/// Clones count together.
#[derive(Clone, Debug)]
pub(super) struct TransactionMetrics {
    durations: Family<OutcomeLabel, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl TransactionMetrics {
    pub(super) fn new() -> Self {
        // From half a millisecond to 8 s.
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_5, 2.0, 15));
        let durations = Family::new_with_constructor(buckets);
        for outcome in OUTCOMES {
            drop(durations.get_or_create(&OutcomeLabel { outcome }));
        }
        Self { durations }
    }

    pub(super) fn ended<T, E>(&self, outcome: &Outcome<T, E>, after: Duration) {
        let outcome = match outcome {
            Outcome::Committed(_) => "committed",
            Outcome::RolledBack(_) => "rolled_back",
            Outcome::Unknown(_) => "unknown",
        };
        self.durations.get_or_create(&OutcomeLabel { outcome }).observe(after.as_secs_f64());
    }

    pub(super) fn register(&self, metrics: &mut Metrics) {
        let help = "Transactions by outcome, from the wait for a connection to the answer to COMMIT; those that bought nothing are rolled back";
        metrics.own().register_with_unit("transaction_duration", help, Unit::Seconds, self.durations.clone());
    }
}

/// The pool as it is when it is looked at.
pub(super) struct PoolMetrics(pub(super) Pool<Session>, pub(super) Outside);

impl fmt::Debug for PoolMetrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("PoolMetrics").field(&self.0.status()).finish()
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabel {
    db_client_connection_state: &'static str,
}

impl Collector for PoolMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.0.status();
        let help = "Connections of the pool, by what they do";
        let name = "db_client_connection_count";
        let mut connections = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let used = status.size.saturating_sub(status.available);
        for (db_client_connection_state, number) in [("idle", status.available), ("used", used)] {
            let labels = StateLabel { db_client_connection_state };
            gauge(number).encode(connections.encode_family(&labels)?)?;
        }
        let help = "The most connections that the pool opens";
        let most = encoder.encode_descriptor("db_client_connection_max", help, None, MetricType::Gauge)?;
        gauge(status.max_size).encode(most)?;
        let (name, help) = ("db_client_connection_pending_requests", "Who waits for a connection");
        let pending = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        gauge(status.waiting + self.1.waiting()).encode(pending)
    }
}

fn gauge(number: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX))
}
