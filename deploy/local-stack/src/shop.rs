//! # order-service, as a buyer's program sees it
//!
//! An order carries a request key, so repeating it is safe: while order-service is away, or does not know the
//! outcome, or has not had the whole request in time (408, on a machine that is busy), the same request is sent again
//! until it is answered. That is what makes a sample order survive somebody's `kill -9`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(200);
const ANSWER: Duration = Duration::from_secs(15);

/// Why an answer is not there.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    /// Nobody answered in time, however often we asked.
    #[error("order-service did not answer {path} within {} s: {cause}", PATIENCE.as_secs())]
    Silent {
        /// What was asked.
        path: String,
        /// The last failure.
        cause: String,
    },
    /// Something that samples never get.
    #[error("order-service answered {path} with {status}: {body}")]
    Unexpected {
        /// What was asked.
        path: String,
        /// The status.
        status: StatusCode,
        /// What came with it.
        body: String,
    },
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[source] reqwest::Error),
}

/// What is bought.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Basket {
    /// The buyer.
    pub user_id: i64,
    /// Products and quantities.
    pub items: Vec<Item>,
    /// A coupon of this buyer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coupon_id: Option<i64>,
}

/// A quantity of one product.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// The product.
    pub product_id: i64,
    /// How many.
    pub quantity: u32,
}

/// A completed order, as far as samples look at it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its number.
    pub order_id: i64,
    /// What the coupon took off.
    pub discount_amount: i64,
    /// What was paid.
    pub paid_amount: i64,
}

/// Why an order was not bought.
#[derive(Clone, Debug, Deserialize)]
pub struct Problem {
    /// The stable type, as a program tells problems apart.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// What a person reads.
    #[serde(default)]
    pub detail: String,
}

/// What became of an order.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Bought.
    Completed(Order),
    /// Not bought, and nothing was taken.
    Refused(Problem),
}

/// An order-service somewhere. Clones count together.
#[derive(Clone, Debug)]
pub struct Shop {
    client: reqwest::Client,
    root: String,
    asked_again: Arc<AtomicUsize>,
}

/// A client for services on this machine: no proxy, no certificates.
pub fn local_client() -> Result<reqwest::Client, ShopError> {
    // An idle connection would only hold up a service that is told to finish.
    client_with_idle(0)
}

/// One that keeps as many connections open.
pub fn client_with_idle(connections: usize) -> Result<reqwest::Client, ShopError> {
    // Plain HTTP needs none of it, but the client is not built without; a second call changes nothing.
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(connections)
        .tls_certs_only([])
        .timeout(ANSWER)
        .build()
        .map_err(ShopError::Client)
}

impl Shop {
    /// The order-service at `root`, such as `http://127.0.0.1:8080`.
    pub fn new(client: reqwest::Client, root: String) -> Self {
        Self { client, root, asked_again: Arc::default() }
    }

    /// How often requests were sent again until now, as there was no answer or none that tells.
    pub fn asked_again(&self) -> usize {
        self.asked_again.load(Ordering::Relaxed)
    }

    /// Creates a product; answers its number.
    pub async fn create_product(&self, name: &str, price: i64, stock: i64) -> Result<i64, ShopError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Product {
            product_id: i64,
        }
        let body = serde_json::json!({ "name": name, "price": price, "stock": stock });
        self.created::<Product>("/products", &body).await.map(|product| product.product_id)
    }

    /// Issues a coupon; answers its number.
    pub async fn issue_coupon(&self, user_id: i64, discount_amount: i64) -> Result<i64, ShopError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Coupon {
            coupon_id: i64,
        }
        let body = serde_json::json!({ "userId": user_id, "discountAmount": discount_amount });
        self.created::<Coupon>("/coupons", &body).await.map(|coupon| coupon.coupon_id)
    }

    /// Places an order under a request key of its own, until it is answered.
    pub async fn place_order(&self, basket: &Basket) -> Result<Answer, ShopError> {
        self.place_order_under(&uuid::Uuid::new_v4().to_string(), basket).await
    }

    /// Places an order under this request key, until it is answered.
    pub async fn place_order_under(&self, key: &str, basket: &Basket) -> Result<Answer, ShopError> {
        let response = self.answered("/orders", basket, Some(key)).await?;
        match response.status() {
            StatusCode::CREATED => read("/orders", response).await.map(Answer::Completed),
            status if status.is_client_error() => read("/orders", response).await.map(Answer::Refused),
            _ => Err(unexpected("/orders", response).await),
        }
    }

    /// How many pieces of a product are left.
    pub async fn stock_of(&self, product_id: i64) -> Result<i64, ShopError> {
        #[derive(Deserialize)]
        struct Product {
            stock: i64,
        }
        let path = format!("/products/{product_id}");
        let silent =
            |error: reqwest::Error| ShopError::Silent { path: path.clone(), cause: error.to_string() };
        let response = self.client.get(format!("{}{path}", self.root)).send().await.map_err(silent)?;
        read::<Product>(&path, response).await.map(|product| product.stock)
    }

    async fn created<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ShopError> {
        let response = self.answered(path, body, None).await?;
        if response.status() == StatusCode::CREATED {
            read(path, response).await
        } else {
            Err(unexpected(path, response).await)
        }
    }

    /// Asks until there is an answer that means something.
    async fn answered(
        &self,
        path: &str,
        body: &impl Serialize,
        key: Option<&str>,
    ) -> Result<Response, ShopError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut request = self.client.post(format!("{}{path}", self.root)).json(body);
            if let Some(key) = key {
                request = request.header("Idempotency-Key", key);
            }
            let cause = match request.send().await {
                Ok(response) if !is_worth_repeating(response.status()) => return Ok(response),
                Ok(response) => response.status().to_string(),
                Err(error) => error.to_string(),
            };
            if tokio::time::Instant::now() > deadline {
                return Err(ShopError::Silent { path: path.to_owned(), cause });
            }
            self.asked_again.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Whether the same request may be answered otherwise a moment later.
fn is_worth_repeating(status: StatusCode) -> bool {
    [StatusCode::SERVICE_UNAVAILABLE, StatusCode::REQUEST_TIMEOUT].contains(&status)
}

async fn read<T: DeserializeOwned>(path: &str, response: Response) -> Result<T, ShopError> {
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    serde_json::from_slice(&body).map_err(|_| ShopError::Unexpected {
        path: path.to_owned(),
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

async fn unexpected(path: &str, response: Response) -> ShopError {
    let status = response.status();
    ShopError::Unexpected { path: path.to_owned(), status, body: response.text().await.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Basket, Item, Shop, local_client};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// Reads a request to the end of its body, and answers it with this.
    async fn answer(connection: &mut TcpStream, answer: &str) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert_ne!(connection.read_buf(&mut request).await.unwrap(), 0, "half a request");
        }
        connection.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    }

    #[tokio::test]
    async fn an_order_that_was_answered_408_is_repeated_under_its_key() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shop = Shop::new(local_client().unwrap(), format!("http://{}", listener.local_addr().unwrap()));
        let order = r#"{"orderId":7,"discountAmount":0,"paidAmount":5}"#;
        let too_slow =
            "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned();
        let bought = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n{order}", order.len());
        let served = tokio::spawn(async move {
            for words in [too_slow, bought] {
                let (mut connection, _) = listener.accept().await.unwrap();
                let request = answer(&mut connection, &words).await;
                assert!(request.contains("idempotency-key: one\r\n"), "{request}");
            }
        });
        let basket = Basket { user_id: 1, items: vec![Item { product_id: 1, quantity: 1 }], coupon_id: None };
        let Answer::Completed(order) = shop.place_order_under("one", &basket).await.unwrap() else {
            panic!("it was refused");
        };
        assert_eq!((order.order_id, shop.clone().asked_again()), (7, 1));
        served.await.unwrap();
    }
}
