//! Sinks with the default settings but for what a test is about, and events for them.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use data_platform_consumer::delivery::{Event, Record, RecordPosition};
use data_platform_consumer::settings::{DEFAULTS, ENVIRONMENT_PREFIX, Settings};
use data_platform_consumer::sink::http::{HttpSink, HttpSinkSettings};
use data_platform_consumer::sink::{DeliveryFailure, Sink};
use service_chassis::settings::{SettingsSource, load_with_environment};
use tokio::time::timeout;

/// How long anything may take before the test fails. Nothing waits for it unless it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn settings(url: &str, changes: &[(&str, &str)]) -> HttpSinkSettings {
    let all = [&[("URL", url)], changes].concat();
    let variables = all.iter().map(|(name, value)| {
        (OsString::from(format!("{ENVIRONMENT_PREFIX}__SINK__HTTP__{name}")), OsString::from(*value))
    });
    let source = SettingsSource { defaults: DEFAULTS, environment_prefix: ENVIRONMENT_PREFIX, file: None };
    load_with_environment::<Settings>(&source, variables).unwrap().settings.sink.http
}

pub(crate) fn sink(url: &str, changes: &[(&str, &str)]) -> Arc<HttpSink> {
    Arc::new(HttpSink::new(&settings(url, changes)).unwrap())
}

/// An event as the original demonstration sends it, known by its offset.
pub(crate) fn event(order_id: i64) -> Event {
    let value = format!(r#"{{"occurredAt":"2025-05-29T01:43","orderId":{order_id}, "later":[1.50]}}"#);
    decoded(order_id, value.as_bytes(), &[])
}

pub(crate) fn decoded(offset: i64, value: &[u8], headers: &[(&str, &str)]) -> Event {
    let position = RecordPosition { topic: "order-completed".into(), partition: 2, offset };
    let headers = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
    Event::decode(Arc::new(Record::new(position, None, Some(b"15"), Some(value), headers))).unwrap()
}

pub(crate) async fn deliver(sink: &HttpSink, event: &Event) -> Result<(), DeliveryFailure> {
    timeout(DEADLINE, sink.deliver(event)).await.expect("a call ends by itself")
}

/// All of them side by side.
pub(crate) async fn deliver_all(
    sink: &Arc<HttpSink>,
    events: Vec<Event>,
) -> Vec<Result<(), DeliveryFailure>> {
    let call = |event: Event| {
        let sink = Arc::clone(sink);
        tokio::spawn(async move { deliver(&sink, &event).await })
    };
    let calls: Vec<_> = events.into_iter().map(call).collect();
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(call.await.unwrap());
    }
    outcomes
}
