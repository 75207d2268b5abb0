//! Requests to order-service, and their answers as they are.

use std::net::SocketAddr;

use reqwest::StatusCode;
use serde_json::{Value, json};

/// An order-service's http port.
#[derive(Clone)]
pub(crate) struct Api {
    client: reqwest::Client,
    root: String,
}

/// Status and body.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Api {
    pub(crate) fn new(client: reqwest::Client, http: SocketAddr) -> Self {
        Self { client, root: format!("http://{http}") }
    }

    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut request = self.client.post(format!("{}{path}", self.root)).json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request).await
    }

    pub(crate) async fn read(&self, path: &str) -> Value {
        let answer = answer(self.client.get(format!("{}{path}", self.root))).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }

    /// A product of price 1,500; its number.
    pub(crate) async fn product(&self, stock: i64) -> i64 {
        let body = json!({ "name": "Ring light", "price": 1_500, "stock": stock });
        self.created("/products", &body, "productId").await
    }

    /// A coupon of 500; its number.
    pub(crate) async fn coupon(&self, user: i64) -> i64 {
        self.created("/coupons", &json!({ "userId": user, "discountAmount": 500 }), "couponId").await
    }

    /// Buys one piece, which must succeed; the order's number.
    pub(crate) async fn buy(&self, product: i64) -> i64 {
        self.created("/orders", &one_piece(product), "orderId").await
    }

    /// Buys so many times one piece; the orders' numbers.
    pub(crate) async fn buy_often(&self, product: i64, times: usize) -> Vec<i64> {
        let mut orders = Vec::new();
        for _ in 0..times {
            orders.push(self.buy(product).await);
        }
        orders
    }

    pub(crate) async fn stock_of(&self, product: i64) -> Value {
        self.read(&format!("/products/{product}")).await["stock"].clone()
    }

    async fn created(&self, path: &str, body: &Value, id: &str) -> i64 {
        let answer = self.post(path, &[], body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.body[id].as_i64().expect("a number")
    }
}

/// User 1 buys one piece.
pub(crate) fn one_piece(product: i64) -> Value {
    json!({ "userId": 1, "items": [{ "productId": product, "quantity": 1 }] })
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let status = response.status();
    Answer { status, body: response.json().await.expect("JSON") }
}
