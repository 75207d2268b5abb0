//! # Buyers
//!
//! They buy at a steady pace, each request under a key of its own, and repeat a request whose answer is unclear until
//! it is clear: what any program does that talks to order-service over a network. The ledger is told everything that a
//! buyer knows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use ledger::Ledger;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::latencies::Latencies;
use crate::stack::{DEADLINE, Stack};

const BUYERS: u32 = 8;
/// Eight buyers at this pace are forty orders a second.
const PACE: Duration = Duration::from_millis(200);
/// Every so many requests are for the scarce product, so that refusals are part of it.
const SCARCE_EVERY: u32 = 10;
const SCARCE: i64 = 50;
const PLENTY: i64 = 1_000_000;

/// order-service at its published port.
#[derive(Clone)]
pub(crate) struct Api {
    client: reqwest::Client,
    root: String,
}

/// What an attempt told.
enum Told {
    Bought(Value),
    Refused,
    /// 503, another 5xx, or no answer at all.
    Nothing(String),
}

/// The products of one run, and how many of each there were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Products {
    pub(crate) plenty: i64,
    pub(crate) scarce: i64,
}

impl Products {
    /// Number and first stock of each.
    pub(crate) fn stocks(self) -> [(i64, i64); 2] {
        [(self.plenty, PLENTY), (self.scarce, SCARCE)]
    }
}

/// A crowd that buys until it is told to stop.
pub(crate) struct Buyers {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    /// Attempts whose answer told nothing.
    unclear: watch::Receiver<usize>,
    bought: watch::Receiver<usize>,
    pub(crate) products: Products,
}

impl Api {
    pub(crate) fn new(client: reqwest::Client, port: u16) -> Self {
        Self { client, root: format!("http://127.0.0.1:{port}") }
    }

    async fn product(&self, stock: i64) -> i64 {
        let body = json!({ "name": "Ring light", "price": 1_500, "stock": stock });
        let response = self.client.post(format!("{}/products", self.root)).json(&body).send().await;
        let product: Value = response.expect("an answer").json().await.expect("JSON");
        product["productId"].as_i64().expect("a number")
    }

    async fn try_to_buy(&self, key: &str, product: i64) -> Told {
        let body = json!({ "userId": 1, "items": [{ "productId": product, "quantity": 1 }] });
        let request = self.client.post(format!("{}/orders", self.root)).header("Idempotency-Key", key);
        let response = match request.json(&body).send().await {
            Ok(response) => response,
            Err(error) => return Told::Nothing(error.to_string()),
        };
        let status = response.status();
        match response.json::<Value>().await {
            Ok(body) if status == StatusCode::CREATED => Told::Bought(body),
            Ok(_) if status == StatusCode::CONFLICT => Told::Refused,
            Ok(body) if status.is_client_error() => panic!("nobody expects {status}: {body}"),
            Ok(_) => Told::Nothing(status.to_string()),
            Err(error) => Told::Nothing(error.to_string()),
        }
    }
}

impl Buyers {
    /// They begin at once.
    pub(crate) async fn start(stack: &Stack) -> Self {
        let api = stack.api.clone();
        let products = Products { plenty: api.product(PLENTY).await, scarce: api.product(SCARCE).await };
        let (stop, stopped) = watch::channel(false);
        let (tell_unclear, unclear) = watch::channel(0);
        let (tell_bought, bought) = watch::channel(0);
        let mut tasks = JoinSet::new();
        for number in 0..BUYERS {
            let buyer = Buyer {
                name: format!("{}-{number}", products.plenty),
                api: api.clone(),
                products,
                ledger: Arc::clone(&stack.ledger),
                latencies: Arc::clone(&stack.latencies),
                unclear: tell_unclear.clone(),
                bought: tell_bought.clone(),
            };
            tasks.spawn(buyer.buy_until(stopped.clone()));
        }
        Self { tasks, stop, unclear, bought, products }
    }

    /// Returns once so many more orders were acknowledged.
    pub(crate) async fn bought(&self, more: usize) {
        reaches(self.bought.clone(), more, "orders").await;
    }

    /// Returns once so many more attempts stayed without a clear answer.
    pub(crate) async fn unclear(&self, more: usize) {
        reaches(self.unclear.clone(), more, "unclear answers").await;
    }

    /// Returns when every buyer has a clear answer to his last request.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a buyer has no quarrel");
        }
    }
}

async fn reaches(mut count: watch::Receiver<usize>, more: usize, what: &str) {
    let wanted = *count.borrow() + more;
    let reached = timeout(DEADLINE, count.wait_for(|count| *count >= wanted)).await;
    reached.unwrap_or_else(|_| panic!("not {more} more {what} within {DEADLINE:?}")).expect("buyers live");
}

struct Buyer {
    name: String,
    api: Api,
    products: Products,
    ledger: Arc<Mutex<Ledger>>,
    latencies: Arc<Latencies>,
    unclear: watch::Sender<usize>,
    bought: watch::Sender<usize>,
}

impl Buyer {
    async fn buy_until(self, stopped: watch::Receiver<bool>) {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0_u32.. {
            ticks.tick().await;
            if *stopped.borrow() {
                return;
            }
            let scarce = number % SCARCE_EVERY == SCARCE_EVERY - 1;
            let product = if scarce { self.products.scarce } else { self.products.plenty };
            self.buy(&format!("{}-{number}", self.name), product).await;
        }
    }

    /// One request, as often as it takes.
    async fn buy(&self, key: &str, product: i64) {
        self.tell(|ledger| ledger.requested(key));
        let began = Instant::now();
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.api.try_to_buy(key, product).await {
                Told::Bought(order) => return self.has_bought(key, &order, began),
                Told::Refused => return self.tell(|ledger| ledger.refused(key)),
                Told::Nothing(cause) => {
                    self.unclear.send_modify(|count| *count += 1);
                    assert!(began.elapsed() < DEADLINE, "no clear answer within {DEADLINE:?}: {cause}");
                }
            }
        }
    }

    fn has_bought(&self, key: &str, order: &Value, began: Instant) {
        self.tell(|ledger| ledger.acknowledged(key, &order["orderId"].to_string()));
        let event = order["eventId"].as_str().expect("an event id");
        let completed = order["completedAt"].as_str().expect("a time");
        let completed: DateTime<Utc> = completed.parse().expect("a time");
        self.latencies.ordered(event, completed, began);
        self.bought.send_modify(|count| *count += 1);
    }

    fn tell(&self, news: impl FnOnce(&mut Ledger)) {
        news(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
