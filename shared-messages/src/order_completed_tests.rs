//! The body's rules, its schema, and the properties of reading and writing.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::occurred_at;

fn complete() -> Value {
    json!({
        "occurredAt": "2025-05-29T01:43:46.137371Z", "orderId": 15,
        "eventId": "01971995-4f2a-7c1e-9a10-3d2c5b7e8f90", "userId": 7,
        "lines": [{"productId": 3, "quantity": 2, "unitPrice": 1500, "lineAmount": 3000}],
        "totalAmount": 3000, "discountAmount": 500, "paidAmount": 2500, "couponId": 9
    })
}

fn read(value: &Value) -> Result<OrderCompletedMessage, DecodeError> {
    OrderCompletedMessage::from_json(value.to_string().as_bytes())
}

#[test]
fn it_prints_itself_as_the_demonstration_does() {
    let json = br#"{"occurredAt":[2025,5,29,1,43,46,137371700],"orderId":15}"#;
    let message = OrderCompletedMessage::from_json(json).unwrap();
    assert_eq!(message.details, None);
    assert_eq!(
        message.to_string(),
        "OrderCompletedMessage(occurredAt=2025-05-29T01:43:46.137371700, orderId=15)"
    );
}

#[test]
fn a_part_of_the_details_is_an_error_that_names_what_is_missing() {
    for name in ["eventId", "userId", "lines", "totalAmount", "discountAmount", "paidAmount"] {
        for absent in [None, Some(Value::Null)] {
            let mut value = complete();
            let object = value.as_object_mut().unwrap();
            match absent {
                Some(null) => object.insert(name.to_owned(), null),
                None => object.remove(name),
            };
            assert_eq!(read(&value), Err(DecodeError::MissingDetail(name)));
        }
    }
    let coupon_alone = json!({"occurredAt": "2025-05-29T01:43", "orderId": 15, "couponId": 9});
    assert_eq!(read(&coupon_alone), Err(DecodeError::MissingDetail("eventId")));
}

#[test]
fn an_order_without_a_coupon_and_one_with_fields_of_the_future_are_read() {
    let mut value = complete();
    value.as_object_mut().unwrap().remove("couponId");
    assert_eq!(read(&value).unwrap().details.unwrap().coupon_id, None);
    value["couponId"] = Value::Null;
    value["loyaltyPoints"] = json!({"earned": [1, 2]});
    value["lines"][0]["colour"] = json!("red");
    assert_eq!(read(&value).unwrap().details.unwrap().coupon_id, None);
}

#[test]
fn a_value_of_another_type_is_an_error_and_never_an_absent_detail() {
    for (name, wrong) in [
        ("orderId", json!("15")),
        ("orderId", json!(15.5)),
        ("orderId", json!(9_223_372_036_854_775_808_u64)),
        ("orderId", Value::Null),
        ("eventId", json!("no-uuid")),
        ("userId", json!("7")),
        ("lines", json!({})),
        ("totalAmount", json!(3000.0)),
        ("couponId", json!("nine")),
        ("occurredAt", json!("yesterday")),
    ] {
        let mut value = complete();
        value[name] = wrong;
        assert!(matches!(read(&value), Err(DecodeError::Malformed(_))), "{name}: {value}");
    }
}

#[test]
fn an_error_does_not_carry_the_record_into_the_log() {
    let json = json!({"occurredAt": "x".repeat(100_000), "orderId": "é".repeat(100_000)});
    let text = read(&json).unwrap_err().to_string();
    assert!(text.len() < 400, "{} bytes", text.len());
    let json = json!({"orderId": "é".repeat(100_000)});
    let text = read(&json).unwrap_err().to_string();
    assert!(text.len() < 700, "{} bytes", text.len());
}

#[test]
fn deep_nesting_is_an_error() {
    let deep = format!(r#"{{"x":{}"#, "[".repeat(100_000));
    assert!(OrderCompletedMessage::from_json(deep.as_bytes()).is_err());
}

#[test]
fn the_published_schema_is_the_one_of_the_types() {
    let mut schema = schemars::schema_for!(OrderCompletedMessage);
    // The details are there as a whole or not at all; the derive cannot know.
    let all = ["eventId", "userId", "lines", "totalAmount", "discountAmount", "paidAmount"];
    let dependent: serde_json::Map<String, Value> =
        all.iter().chain(&["couponId"]).map(|name| ((*name).to_owned(), json!(all))).collect();
    schema.insert("dependentRequired".to_owned(), Value::Object(dependent));
    let generated = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/order-completed.v1.schema.json");
    // The only way to change the file: `WRITE_SCHEMA=1 cargo test -p shared-messages`.
    if std::env::var_os("WRITE_SCHEMA").is_some() {
        std::fs::write(file, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert_eq!(committed, generated, "{file} is not what the types say");
}

fn any_line() -> impl Strategy<Value = OrderLine> {
    (any::<i64>(), any::<i32>(), any::<i64>(), any::<i64>()).prop_map(
        |(product_id, quantity, unit_price, line_amount)| OrderLine {
            product_id,
            quantity,
            unit_price,
            line_amount,
        },
    )
}

fn any_details() -> impl Strategy<Value = OrderDetails> {
    let amounts = (any::<i64>(), any::<i64>(), any::<i64>());
    (any::<u128>(), any::<i64>(), vec(any_line(), 0..5), amounts, option::of(any::<i64>())).prop_map(
        |(event_id, user_id, lines, (total_amount, discount_amount, paid_amount), coupon_id)| OrderDetails {
            event_id: Uuid::from_u128(event_id),
            user_id,
            lines,
            total_amount,
            discount_amount,
            paid_amount,
            coupon_id,
        },
    )
}

fn any_message() -> impl Strategy<Value = OrderCompletedMessage> {
    (occurred_at::tests::any_moment(), any::<i64>(), option::of(any_details())).prop_map(
        |(moment, order_id, details)| OrderCompletedMessage {
            occurred_at: OccurredAt::parse(&moment.format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string()).unwrap(),
            order_id,
            details,
        },
    )
}

/// Arbitrary JSON, rich in the names and values that the reader knows.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("2025-05-29T01:43:46")),
    ];
    let name = prop_oneof![
        Just("occurredAt".to_owned()),
        Just("orderId".to_owned()),
        Just("eventId".to_owned()),
        Just("lines".to_owned()),
        Just("totalAmount".to_owned()),
        ".{0,6}",
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::hash_map(name.clone(), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_equal(message in any_message()) {
        let json = message.to_json().unwrap();
        prop_assert_eq!(OrderCompletedMessage::from_json(&json), Ok(message));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        OrderCompletedMessage::from_json(&bytes).ok();
    }

    #[test]
    fn arbitrary_json_never_panics(value in any_json()) {
        read(&value).ok();
    }

    #[test]
    fn a_cut_message_is_an_error(message in any_message(), cut in 0.0..1.0_f64) {
        let json = message.to_json().unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a short length")]
        let end = (json.len() as f64 * cut) as usize;
        prop_assert!(OrderCompletedMessage::from_json(&json[..end]).is_err());
    }
}
