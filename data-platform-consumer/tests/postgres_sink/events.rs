//! Events, and their way to the sink.

use std::sync::Arc;

use data_platform_consumer::delivery::{Event, Record, RecordPosition};
use data_platform_consumer::sink::postgres::PostgresSink;
use data_platform_consumer::sink::{DeliveryFailure, Sink};

pub(crate) type Outcome = Result<(), DeliveryFailure>;

/// An event as the original demonstration sends it, known by its offset.
pub(crate) fn event(order_id: i64) -> Event {
    let value = format!(r#"{{"occurredAt":"2025-05-29T01:43","orderId":{order_id}}}"#);
    decoded(order_id, value.as_bytes())
}

pub(crate) fn decoded(offset: i64, value: &[u8]) -> Event {
    let position = RecordPosition { topic: "order-completed".into(), partition: 2, offset };
    Event::decode(Arc::new(Record::new(position, None, Some(b"15"), Some(value), []))).unwrap()
}

pub(crate) async fn deliver(sink: &PostgresSink, event: &Event) -> Outcome {
    sink.deliver(event).await
}

/// All of them side by side.
pub(crate) async fn deliver_all(sink: &Arc<PostgresSink>, events: Vec<Event>) -> Vec<Outcome> {
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
