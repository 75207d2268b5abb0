//! What others read: the record on the wire, and the consumer's line.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shared_messages::{OccurredAt, OrderCompletedMessage};

use crate::requests::one_piece;
use crate::scene::{PARTITIONS, Scene};

const TRACE_PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Key, partition, headers and body, each to the letter.
pub(crate) async fn exact(scene: Scene) {
    let service = scene.order_service(&[]).await;
    let product = service.api.product(10).await;
    let coupon = service.api.coupon(1).await;
    let wish = json!({
        "userId": 1, "items": [{ "productId": product, "quantity": 2 }], "couponId": coupon,
    });
    let answer = service.api.post("/orders", &[("traceparent", TRACE_PARENT)], &wish).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let order = answer.body;

    let record = scene.reader().next(1).remove(0);
    let id = order["orderId"].to_string();
    assert_eq!(record.key, id);
    assert_eq!(record.partition, partition_by_java(id.as_bytes()));
    assert_eq!(record.body, expected_body(&order, product, coupon));
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let expected = BTreeMap::from([
        ("ce_specversion", "1.0".to_owned()),
        ("ce_type", "order-completed.v1".to_owned()),
        ("ce_source", "/order-service".to_owned()),
        ("ce_id", text(&order["eventId"])),
        ("ce_time", text(&order["completedAt"])),
        ("ce_subject", id),
        ("content-type", "application/json".to_owned()),
        ("traceparent", TRACE_PARENT.to_owned()),
    ]);
    let found: BTreeMap<&str, String> =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    assert_eq!(found, expected);
}

fn expected_body(order: &Value, product: i64, coupon: i64) -> Value {
    let occurred_at = order["completedAt"].as_str().expect("text");
    assert_eq!((occurred_at.len(), &occurred_at[26..]), (27, "Z"), "six digits and UTC: {occurred_at}");
    json!({
        "occurredAt": occurred_at,
        "orderId": order["orderId"],
        "eventId": order["eventId"],
        "userId": 1,
        "lines": [{ "productId": product, "quantity": 2, "unitPrice": 1_500, "lineAmount": 3_000 }],
        "totalAmount": 3_000,
        "discountAmount": 500,
        "paidAmount": 2_500,
        "couponId": coupon,
    })
}

/// The line of the original demonstration, from a consumer of its own process.
pub(crate) async fn shown(scene: Scene) {
    let service = scene.order_service(&[]).await;
    let consumer = scene.consumer("consumer", &[]);
    let product = service.api.product(1).await;
    let answer = service.api.post("/orders", &[], &one_piece(product)).await;
    let message = OrderCompletedMessage {
        occurred_at: OccurredAt::parse(answer.body["completedAt"].as_str().expect("text")).expect("a time"),
        order_id: answer.body["orderId"].as_i64().expect("a number"),
        details: None,
    };
    let line = format!("consume message={message}");
    consumer.heard.until(&line, |lines| lines.iter().any(|said| said.message == line)).await;
}

/// Where Java's clients put a key: murmur2, positive, modulo.
fn partition_by_java(key: &[u8]) -> i32 {
    const MIX: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ u32::try_from(key.len()).expect("a short key");
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MIX);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MIX) ^ mixed.wrapping_mul(MIX);
    }
    for (index, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^= hash >> 15;
    i32::try_from(hash & 0x7fff_ffff).expect("positive") % PARTITIONS
}
