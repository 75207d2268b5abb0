//! # Relay metrics
//!
//! What an operator sees of publishing: whether this instance does it, how much it has published, how much is on its way,
//! and where its reads begin. All names begin with `order_service_relay_`, but for those of the producer.

use crate::kafka::producer_metrics::ProducerMetrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Clones count together.
#[derive(Clone, Debug, Default)]
pub struct RelayMetrics {
    pub(super) leads: Gauge,
    pub(super) takeovers: Counter,
    pub(super) published: Counter,
    pub(super) failed: Counter,
    pub(super) producers_replaced: Counter,
    pub(super) in_flight: Gauge,
    pub(super) scan_floor: Gauge,
    pub(super) floor_looks: Counter,
    pub(super) producer: ProducerMetrics,
}

impl RelayMetrics {
    /// Shows them.
    pub fn register(&self, registry: &mut Registry) {
        let leads = "1 while this instance is the one that publishes, 0 while it stands by";
        registry.register("relay_leads", leads, self.leads.clone());
        let takeovers = "How often this instance became the one that publishes";
        registry.register("relay_takeovers", takeovers, self.takeovers.clone());
        let published = "Events that Kafka has acknowledged, repeats included";
        registry.register("relay_published_events", published, self.published.clone());
        let failed = "Attempts that Kafka or its client refused, or did not acknowledge in time";
        registry.register("relay_failed_attempts", failed, self.failed.clone());
        let replaced = "Producers that failed for good and were replaced";
        registry.register("relay_producers_replaced", replaced, self.producers_replaced.clone());
        let in_flight = "Events that wait for Kafka's acknowledgement";
        registry.register("relay_in_flight_events", in_flight, self.in_flight.clone());
        let floor = "Reads of the outbox begin above this seq; every row up to it is published or on its way";
        registry.register("relay_scan_floor", floor, self.scan_floor.clone());
        let looks = "How often the scan floor was looked at; one that does not move meanwhile waits for an open transaction that writes to the outbox, or for a row \
                     that is not on its way, or nothing new was committed";
        registry.register("relay_scan_floor_looks", looks, self.floor_looks.clone());
        self.producer.register(registry);
    }

    /// Whether this instance is the one that publishes.
    pub fn leads(&self) -> bool {
        self.leads.get() != 0
    }

    /// How often this instance became that one.
    pub fn takeovers(&self) -> u64 {
        self.takeovers.get()
    }

    /// Events that Kafka has acknowledged, repeats included.
    pub fn published(&self) -> u64 {
        self.published.get()
    }

    /// Events that wait for Kafka's acknowledgement.
    pub fn in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// Attempts that failed.
    pub fn failed(&self) -> u64 {
        self.failed.get()
    }

    /// Producers that failed for good.
    pub fn producers_replaced(&self) -> u64 {
        self.producers_replaced.get()
    }

    /// Reads begin above this seq.
    pub fn scan_floor(&self) -> i64 {
        self.scan_floor.get()
    }

    /// How often that was looked at.
    pub fn floor_looks(&self) -> u64 {
        self.floor_looks.get()
    }
}
