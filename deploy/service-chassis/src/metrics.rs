//! # Metrics
//!
//! What an operator graphs and alerts on: the management port's `/metrics`, in the text form of OpenMetrics, which
//! Prometheus scrapes. Every service shows its build, its readiness and its alarms; what else it measures it registers
//! before the port is bound.
//!
//! Names follow Prometheus: base units (seconds, bytes), `_total` for what only grows, a service's own metrics
//! under its name. Labels are few, and each has few values: an order's or a user's id is none.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::alarms::Alarms;
use crate::management::Readiness;

/// How `/metrics` is sent.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that a service measures.
#[derive(Debug)]
pub struct Metrics {
    service: &'static str,
    registry: Registry,
}

impl Metrics {
    /// Of a service by its name and version, which are shown as `build_info`.
    pub fn of(service: &'static str, version: &'static str) -> Self {
        let mut registry = Registry::default();
        let build = Info::new(vec![("service", service), ("version", version)]);
        registry.register("build", "The program that runs", build);
        Self { service, registry }
    }

    /// For metrics whose names every service shares, by a convention of the field.
    pub fn shared(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// For metrics of this service alone: their names begin with its name.
    pub fn own(&mut self) -> &mut Registry {
        let prefix = self.service.replace('-', "_");
        self.registry.sub_registry_with_prefix(prefix)
    }

    /// Shows these, too.
    pub(crate) fn show(&mut self, readiness: Readiness, alarms: Alarms) {
        self.registry.register_collector(Box::new(Conditions { readiness, alarms }));
    }

    /// All of it, as `/metrics` answers it.
    ///
    /// # Errors
    /// A collector failed.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// What the probes show, in numbers.
#[derive(Debug)]
struct Conditions {
    readiness: Readiness,
    alarms: Alarms,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ComponentLabels {
    component: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AlarmLabels {
    alarm: &'static str,
    subject: String,
}

impl Collector for Conditions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Whether the component can do its work (1) or not (0)";
        let mut ready = encoder.encode_descriptor("component_ready", help, None, MetricType::Gauge)?;
        for (component, state) in self.readiness.components() {
            let labels = ComponentLabels { component };
            ConstGauge::new(i64::from(state.ready)).encode(ready.encode_family(&labels)?)?;
        }
        let help = "An alarm that is active, and what it is about; the probes tell its detail";
        let mut active = encoder.encode_descriptor("alarm_active", help, None, MetricType::Gauge)?;
        for alarm in self.alarms.active() {
            let labels = AlarmLabels { alarm: alarm.name, subject: alarm.subject };
            ConstGauge::new(1_i64).encode(active.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
