//! # Producer metrics
//!
//! What librdkafka says of itself every few seconds (`statistics.interval.ms`), as an operator needs it: what waits in the
//! producer, whether it reaches its brokers, how soon they answer, and what it had to send again. All names begin with
//! `order_service_producer_`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use rdkafka::statistics::{Broker, Statistics};
use std::sync::atomic::AtomicU64;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BrokerLabel {
    broker: i32,
}

/// Clones count together, over producers that replace each other.
#[derive(Clone, Debug, Default)]
pub struct ProducerMetrics {
    queued: Gauge,
    queued_bytes: Gauge,
    brokers_connected: Gauge,
    round_trip: Family<BrokerLabel, Gauge<f64, AtomicU64>>,
    sent_again: Counter,
    request_errors: Counter,
    request_timeouts: Counter,
}

/// What one producer has counted since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    sent_again: u64,
    request_errors: u64,
    request_timeouts: u64,
}

impl ProducerMetrics {
    /// Shows them.
    pub fn register(&self, registry: &mut Registry) {
        let queued = "Events that the Kafka client holds: not sent yet, or not acknowledged";
        registry.register("producer_queued_events", queued, self.queued.clone());
        let queued_bytes = "The size of those";
        registry.register_with_unit("producer_queued", queued_bytes, Unit::Bytes, self.queued_bytes.clone());
        let connected = "Brokers that the Kafka client has a connection to";
        registry.register("producer_brokers_connected", connected, self.brokers_connected.clone());
        let round_trip = "How soon a broker answers: the 99th percentile of the last seconds";
        let family = self.round_trip.clone();
        registry.register_with_unit("producer_round_trip", round_trip, Unit::Seconds, family);
        let sent_again = "Requests that the Kafka client has sent again";
        registry.register("producer_request_retries", sent_again, self.sent_again.clone());
        let errors = "Requests that could not be sent";
        registry.register("producer_request_errors", errors, self.request_errors.clone());
        let timeouts = "Requests that a broker has not answered in time";
        registry.register("producer_request_timeouts", timeouts, self.request_timeouts.clone());
    }

    /// Takes in what a producer says, of which `before` was counted already.
    pub(super) fn show(&self, statistics: &Statistics, before: &mut Counted) {
        self.queued.set(i64::try_from(statistics.msg_cnt).unwrap_or(i64::MAX));
        self.queued_bytes.set(i64::try_from(statistics.msg_size).unwrap_or(i64::MAX));
        // Those that were only named in the settings have no number, and stand there a second time with one.
        let brokers = || statistics.brokers.values().filter(|broker| broker.nodeid >= 0);
        let connected = brokers().filter(|broker| broker.state == "UP").count();
        self.brokers_connected.set(i64::try_from(connected).unwrap_or(i64::MAX));
        // Who has not answered lately has no time that would be true.
        self.round_trip.clear();
        for broker in brokers() {
            if let Some(window) = broker.rtt.as_ref().filter(|window| window.cnt > 0) {
                let label = BrokerLabel { broker: broker.nodeid };
                self.round_trip.get_or_create(&label).set(seconds(window.p99));
            }
        }
        let sum = |of: fn(&Broker) -> u64| statistics.brokers.values().map(of).sum::<u64>();
        let now = Counted {
            sent_again: sum(|broker| broker.txretries),
            request_errors: sum(|broker| broker.txerrs),
            request_timeouts: sum(|broker| broker.req_timeouts),
        };
        self.sent_again.inc_by(now.sent_again.saturating_sub(before.sent_again));
        self.request_errors.inc_by(now.request_errors.saturating_sub(before.request_errors));
        self.request_timeouts.inc_by(now.request_timeouts.saturating_sub(before.request_timeouts));
        *before = now;
    }
}

fn seconds(microseconds: i64) -> f64 {
    u32::try_from(microseconds).map_or(0.0, f64::from) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(nodeid: i32, state: &str, retries: u64, p99: i64) -> Broker {
        let window = rdkafka::statistics::Window { p99, cnt: 1, ..Default::default() };
        Broker {
            nodeid,
            state: state.to_owned(),
            txretries: retries,
            rtt: Some(window),
            ..Default::default()
        }
    }

    fn says(brokers: Vec<Broker>) -> Statistics {
        let brokers = brokers.into_iter().enumerate().map(|(n, broker)| (n.to_string(), broker)).collect();
        Statistics { msg_cnt: 7, msg_size: 700, brokers, ..Default::default() }
    }

    #[test]
    fn counters_go_on_where_a_producer_is_replaced_and_bootstrap_connections_are_no_brokers() {
        let metrics = ProducerMetrics::default();
        let mut first = Counted::default();
        metrics.show(&says(vec![broker(1, "UP", 2, 1_500), broker(-1, "UP", 1, 0)]), &mut first);
        metrics.show(&says(vec![broker(1, "UP", 3, 2_500), broker(2, "DOWN", 1, 0)]), &mut first);
        let mut second = Counted::default();
        metrics.show(&says(vec![broker(1, "UP", 5, 2_500)]), &mut second);
        assert_eq!(metrics.sent_again.get(), 4 + 5);
        assert_eq!(
            (metrics.queued.get(), metrics.queued_bytes.get(), metrics.brokers_connected.get()),
            (7, 700, 1)
        );
        let round_trip = metrics.round_trip.get_or_create(&BrokerLabel { broker: 1 }).get();
        assert!((round_trip - 0.0025).abs() < f64::EPSILON, "{round_trip}");
    }

    #[test]
    fn a_broker_that_does_not_answer_any_more_has_no_round_trip() {
        let (metrics, mut counted) = (ProducerMetrics::default(), Counted::default());
        metrics.show(&says(vec![broker(1, "UP", 0, 1_500), broker(2, "UP", 0, 1_500)]), &mut counted);
        let silent = Broker { rtt: None, ..broker(1, "UP", 0, 0) };
        metrics.show(&says(vec![silent]), &mut counted);
        for broker in [1, 2] {
            assert!(metrics.round_trip.get(&BrokerLabel { broker }).is_none(), "{broker}");
        }
    }
}
