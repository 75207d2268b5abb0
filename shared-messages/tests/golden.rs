//! Every version ever published is still written byte for byte and still read; so is what Spring sends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use shared_messages::headers::{EventHeaders, EventType, ReceivedHeaders, TraceContext};
use shared_messages::{OccurredAt, OrderCompletedMessage, OrderDetails, OrderLine, Uuid, topics};

const V1: &[u8] = include_bytes!("../golden/order-completed.v1.json");
const V1_WITHOUT_COUPON: &[u8] = include_bytes!("../golden/order-completed.v1.without-coupon.json");
const V1_HEADERS: &str = include_str!("../golden/order-completed.v1.headers");

fn occurred_at() -> OccurredAt {
    OccurredAt::parse("2025-05-29T01:43:46.137371Z").unwrap()
}

fn event_id() -> Uuid {
    Uuid::parse_str("01971995-4f2a-7c1e-9a10-3d2c5b7e8f90").unwrap()
}

fn v1() -> OrderCompletedMessage {
    let lines = vec![
        OrderLine { product_id: 3, quantity: 2, unit_price: 1500, line_amount: 3000 },
        OrderLine { product_id: 4, quantity: 1, unit_price: 990, line_amount: 990 },
    ];
    let details = OrderDetails {
        event_id: event_id(),
        user_id: 7,
        lines,
        total_amount: 3990,
        discount_amount: 500,
        paid_amount: 3490,
        coupon_id: Some(9),
    };
    OrderCompletedMessage { occurred_at: occurred_at(), order_id: 15, details: Some(details) }
}

fn v1_without_coupon() -> OrderCompletedMessage {
    let lines = vec![OrderLine { product_id: 3, quantity: 2, unit_price: 1500, line_amount: 3000 }];
    let details = OrderDetails {
        event_id: event_id(),
        user_id: 7,
        lines,
        total_amount: 3000,
        discount_amount: 0,
        paid_amount: 3000,
        coupon_id: None,
    };
    OrderCompletedMessage { occurred_at: occurred_at(), order_id: 15, details: Some(details) }
}

#[test]
fn version_one_is_written_byte_for_byte() {
    assert_eq!(String::from_utf8(v1().to_json().unwrap()).unwrap(), std::str::from_utf8(V1).unwrap());
    assert_eq!(
        String::from_utf8(v1_without_coupon().to_json().unwrap()).unwrap(),
        std::str::from_utf8(V1_WITHOUT_COUPON).unwrap()
    );
}

#[test]
fn version_one_is_read() {
    assert_eq!(OrderCompletedMessage::from_json(V1), Ok(v1()));
    assert_eq!(OrderCompletedMessage::from_json(V1_WITHOUT_COUPON), Ok(v1_without_coupon()));
}

#[test]
fn the_headers_of_version_one_are_written_and_read() {
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let trace = TraceContext::new(traceparent, Some("vendor=1".to_owned())).unwrap();
    let headers = EventHeaders {
        event_id: event_id(),
        event_type: EventType::OrderCompletedV1,
        source: "/order-service".to_owned(),
        time: occurred_at(),
        subject: topics::record_key(15),
        trace: Some(trace.clone()),
    };
    let written: Vec<String> =
        headers.to_pairs().iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(written, V1_HEADERS.lines().collect::<Vec<_>>());

    let pairs = V1_HEADERS.lines().map(|line| line.split_once(": ").unwrap());
    let read = EventHeaders::from_pairs(pairs.map(|(name, value)| (name, Some(value.as_bytes()))));
    let expected = ReceivedHeaders {
        event_id: Some(event_id()),
        event_type: EventType::OrderCompletedV1,
        source: Some("/order-service".to_owned()),
        time: Some(occurred_at()),
        subject: Some("15".to_owned()),
        trace: Some(trace),
    };
    assert_eq!(read, Ok(expected));
}

#[test]
fn what_spring_producers_send_is_read() {
    let with_nanos = "OrderCompletedMessage(occurredAt=2025-05-29T01:43:46.137371700, orderId=15)";
    let to_the_second = "OrderCompletedMessage(occurredAt=2025-05-29T01:43:46, orderId=15)";
    let to_the_minute = "OrderCompletedMessage(occurredAt=2025-05-29T01:43, orderId=15)";
    for (json, printed) in [
        (&include_bytes!("../golden/spring/array.json")[..], with_nanos),
        (include_bytes!("../golden/spring/array-without-nanos.json"), to_the_second),
        (include_bytes!("../golden/spring/array-without-seconds.json"), to_the_minute),
        (include_bytes!("../golden/spring/iso-trailing-zeros-cut.json"), with_nanos),
        (include_bytes!("../golden/spring/iso-with-zone.json"), with_nanos),
        (include_bytes!("../golden/spring/iso-without-fraction.json"), to_the_second),
        (include_bytes!("../golden/spring/iso-without-seconds.json"), to_the_minute),
    ] {
        let message = OrderCompletedMessage::from_json(json).unwrap();
        assert_eq!((message.to_string().as_str(), message.details), (printed, None));
    }
}

#[test]
fn a_record_of_the_demonstration_is_written_as_it_came() {
    let json = include_bytes!("../golden/spring/iso-with-zone.json");
    let written = OrderCompletedMessage::from_json(json).unwrap().to_json().unwrap();
    let expected = r#"{"occurredAt":"2025-05-29T01:43:46.137371700Z","orderId":15}"#;
    assert_eq!(String::from_utf8(written).unwrap(), expected);
}
