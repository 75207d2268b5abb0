//! The header Idempotency-Key, as a buyer's program meets it. The same key at the same time: `crash_points::same_key`.

use crate::cases;
use crate::rig::{Rig, Shop};
use crate::running::Running;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::sync::Arc;

cases!(
    a_malformed_key_is_400_and_buys_nothing,
    the_longest_key_is_accepted_and_quotes_are_no_part_of_it,
    a_repeat_is_answered_with_the_same_body,
    another_request_under_a_used_key_is_refused,
    without_the_header_each_request_is_an_order,
);

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PRODUCTS: [(i64, i64); 2] = [(10, 100), (20, 100)];

type Answer = (u16, Value);

fn order(product: i64, quantity: i64) -> Value {
    json!({"userId": 1, "items": [{"productId": product, "quantity": quantity}]})
}

/// Places the order under these keys: none, one, or too many.
async fn place(service: &Running, keys: &[&[u8]], order: &Value) -> Answer {
    let mut headers = HeaderMap::new();
    for key in keys {
        headers.append(KEY, HeaderValue::from_bytes(key).unwrap());
    }
    let url = format!("http://{}/orders", service.address);
    let response = service.client.post(url).headers(headers).json(order).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn orders(shop: &Shop) -> i64 {
    shop.number("SELECT count(*) FROM orders").await
}

async fn left(shop: &Shop) -> i64 {
    shop.number("SELECT sum(on_hand)::bigint FROM stock").await
}

async fn a_malformed_key_is_400_and_buys_nothing(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&PRODUCTS).await;
    let service = Running::start(&shop).await;
    let too_long = [b'x'; 256];
    let malformed: [&[&[u8]]; 9] = [
        &[b""],
        &[b"  "],
        &[b"\"  \""],
        &[b"\"\""],
        &[&too_long],
        &[b"a\tb"],
        &["sch\u{f6}n".as_bytes()],
        &[b"a\xffb"],
        &[b"k", b"k"],
    ];
    for keys in malformed {
        let (status, problem) = place(&service, keys, &order(1, 1)).await;
        assert_eq!(status, 400, "{keys:?}");
        assert_eq!(problem["type"], "/problems/idempotency-key-malformed", "{keys:?}");
    }
    assert_eq!((orders(&shop).await, left(&shop).await), (0, 200));
    service.stop().await;
}

async fn the_longest_key_is_accepted_and_quotes_are_no_part_of_it(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&PRODUCTS).await;
    let service = Running::start(&shop).await;
    let longest = "x".repeat(255);
    let bare = place(&service, &[longest.as_bytes()], &order(1, 1)).await;
    assert_eq!(bare.0, 201, "{}", bare.1);
    let quoted = format!("\"{longest}\"");
    assert_eq!(place(&service, &[quoted.as_bytes()], &order(1, 1)).await, bare);
    assert_eq!(orders(&shop).await, 1);
    service.stop().await;
}

async fn a_repeat_is_answered_with_the_same_body(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&PRODUCTS).await;
    let service = Running::start(&shop).await;
    let first = place(&service, &[b"k"], &order(1, 2)).await;
    assert_eq!(first.0, 201);
    for _ in 0..3 {
        assert_eq!(place(&service, &[b"k"], &order(1, 2)).await, first);
    }
    assert_eq!((orders(&shop).await, left(&shop).await), (1, 198));
    service.stop().await;
}

async fn another_request_under_a_used_key_is_refused(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&PRODUCTS).await;
    let service = Running::start(&shop).await;
    assert_eq!(place(&service, &[b"k"], &order(1, 1)).await.0, 201);
    // More of the same product, and another product alone.
    for other in [order(1, 2), order(2, 1)] {
        let (status, problem) = place(&service, &[b"k"], &other).await;
        assert_eq!((status, &problem["type"]), (422, &json!("/problems/idempotency-key-reused")), "{other}");
    }
    assert_eq!((orders(&shop).await, left(&shop).await), (1, 199));
    service.stop().await;
}

async fn without_the_header_each_request_is_an_order(rig: Arc<Rig>) {
    let shop = rig.shop().await;
    shop.stock(&PRODUCTS).await;
    let service = Running::start(&shop).await;
    let first = place(&service, &[], &order(1, 1)).await;
    let second = place(&service, &[], &order(1, 1)).await;
    assert_eq!((first.0, second.0), (201, 201));
    assert_ne!(first.1["orderId"], second.1["orderId"]);
    assert_eq!((orders(&shop).await, left(&shop).await), (2, 198));
    service.stop().await;
}
