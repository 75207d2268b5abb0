//! # Buyers
//!
//! They buy at a steady pace, each request under a key of its own at whichever instance serves, and repeat it, at another perhaps, until
//! its answer is clear. The ledger is told everything that a buyer knows.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ledger::Ledger;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::DEADLINE;
use crate::chance::Chance;
use crate::instances::Addresses;

const BUYERS: u64 = 8;
const PACE: Duration = Duration::from_millis(40);
/// Orders a second of all together, at most.
pub(crate) const RATE: usize = 200;
/// An instance that is frozen keeps nobody waiting for longer.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Buyers {
    tasks: JoinSet<usize>,
    stop: watch::Sender<bool>,
}

struct Buyer {
    name: u64,
    client: Client,
    addresses: Addresses,
    ledger: Arc<Mutex<Ledger>>,
    product: i64,
    chance: Chance,
    attempts: usize,
}

impl Buyers {
    /// They begin at once.
    pub(crate) async fn start(addresses: Addresses, ledger: Arc<Mutex<Ledger>>, seed: u64) -> Self {
        let client = Client::builder().timeout(PATIENCE).build().expect("a client");
        let anywhere =
            *addresses.lock().unwrap_or_else(PoisonError::into_inner).values().next().expect("one serves");
        let body = json!({ "name": "Ring light", "price": 1_500, "stock": 1_000_000 });
        let answer = client.post(format!("http://{anywhere}/products")).json(&body).send().await;
        let created: Value = answer.expect("an answer").json().await.expect("JSON");
        let product = created["productId"].as_i64().expect("a number");
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for name in 0..BUYERS {
            let (client, addresses, ledger) = (client.clone(), Arc::clone(&addresses), Arc::clone(&ledger));
            let chance = Chance::new(seed.wrapping_sub(name + 1));
            let buyer = Buyer { name, client, addresses, ledger, product, chance, attempts: 0 };
            tasks.spawn(buyer.buy_until(stopped.clone()));
        }
        Self { tasks, stop }
    }

    /// Returns when every buyer has a clear answer to his last request: how many attempts there were.
    pub(crate) async fn stop(mut self) -> usize {
        self.stop.send_replace(true);
        let mut attempts = 0;
        while let Some(ended) = self.tasks.join_next().await {
            attempts += ended.expect("a buyer has no quarrel");
        }
        attempts
    }
}

impl Buyer {
    async fn buy_until(mut self, stopped: watch::Receiver<bool>) -> usize {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0_u32.. {
            ticks.tick().await;
            if *stopped.borrow() {
                break;
            }
            self.buy(&format!("{}-{number}", self.name)).await;
        }
        self.attempts
    }

    /// One request, as often as it takes.
    async fn buy(&mut self, key: &str) {
        self.tell(|ledger| ledger.requested(key));
        let began = Instant::now();
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(instance) = self.somewhere() else { continue };
            self.attempts += 1;
            match self.attempt(key, instance).await {
                Ok(order) => return self.tell(|ledger| ledger.acknowledged(key, &order)),
                Err(cause) => {
                    assert!(began.elapsed() < DEADLINE, "no clear answer within {DEADLINE:?}: {cause}");
                }
            }
        }
    }

    fn somewhere(&mut self) -> Option<SocketAddr> {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = self.chance.one_of([0, 1, 2]);
        addresses.get(&wanted).or_else(|| addresses.values().next()).copied()
    }

    async fn attempt(&self, key: &str, instance: SocketAddr) -> Result<String, String> {
        let body = json!({ "userId": 1, "items": [{ "productId": self.product, "quantity": 1 }] });
        let request = self.client.post(format!("http://{instance}/orders")).header("Idempotency-Key", key);
        let answer = request.json(&body).send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body: Value = answer.json().await.map_err(|error| error.to_string())?;
        if status == StatusCode::CREATED {
            return Ok(body["orderId"].to_string());
        }
        assert!(!status.is_client_error(), "nobody expects {status}: {body}");
        Err(status.to_string())
    }

    fn tell(&self, news: impl FnOnce(&mut Ledger)) {
        news(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
