//! # Flash sale
//!
//! Everybody wants the same product at once: more requests than pieces, by many connections, each under a key of its
//! own, and some of them sent twice. What must come of it: exactly the pieces are sold, a repeat gets its first order, every other
//! answer says that the product is out of stock, and every order sold arrives.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::arrivals::Comparison;
use crate::console::{Colour, Console, grouped};
use crate::shop::{Answer, Basket, Item, Shop, ShopError};
use crate::summary::seconds;

const PRICE: i64 = 99_900;

/// How large the sale is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Requests, repeats included.
    pub requests: u32,
    /// Pieces.
    pub pieces: u32,
    /// Connections at a time.
    pub connections: usize,
    /// Each of so many requests is sent twice.
    pub repeat_every: u32,
}

/// The sale that `--flash-sale` shows.
pub const SHOWN: Size = Size { requests: 10_000, pieces: 1_000, connections: 200, repeat_every: 20 };

/// What the buyers were told.
#[derive(Debug)]
pub struct Sale {
    size: Size,
    /// The product.
    pub product_id: i64,
    began: Instant,
    took: Duration,
    /// For each key, the order that each of its requests bought.
    answers: HashMap<u32, Vec<Option<i64>>>,
    unclear: Vec<String>,
    latencies: Vec<Duration>,
    /// How often requests were sent again, as they got no answer or none that tells.
    pub asked_again: usize,
    left: i64,
}

/// What became of what was sold.
#[derive(Debug)]
pub struct Outcome {
    /// The ids of the orders in the database.
    pub committed: HashSet<i64>,
    /// What arrived of them.
    pub arrived: Comparison,
    /// Whether an event that this database never committed could come from elsewhere.
    pub others_use_the_topic: bool,
}

#[derive(Default)]
struct Told {
    answers: HashMap<u32, Vec<Option<i64>>>,
    unclear: Vec<String>,
    latencies: Vec<Duration>,
}

/// Opens the sale and returns when every request is answered.
pub async fn hold(shop: &Shop, size: Size) -> Result<Sale, ShopError> {
    let product_id = shop.create_product("Flash sale lamp", PRICE, size.pieces.into()).await?;
    let asked_before = shop.asked_again();
    let queue = Arc::new(Mutex::new(requests(size).into_iter()));
    let run = uuid::Uuid::new_v4();
    let began = Instant::now();
    let mut buyers = tokio::task::JoinSet::new();
    for _ in 0..size.connections {
        let (queue, shop) = (Arc::clone(&queue), shop.clone());
        buyers.spawn(async move {
            let mut told = Told::default();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(key) = next else { return Ok(told) };
                told.note(key, &shop, product_id, &format!("{run}-{key}")).await?;
            }
        });
    }
    let mut all = Told::default();
    while let Some(told) = buyers.join_next().await {
        // A panic over there is one here.
        let told = told.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        all.add(told);
    }
    let (took, asked_again) = (began.elapsed(), shop.asked_again() - asked_before);
    all.latencies.sort_unstable();
    let left = shop.stock_of(product_id).await?;
    let Told { answers, unclear, latencies } = all;
    Ok(Sale { size, product_id, began, took, answers, unclear, latencies, asked_again, left })
}

/// The keys in the order in which they are sent; a repeat comes right behind its first, on another connection.
fn requests(size: Size) -> Vec<u32> {
    let mut requests = Vec::new();
    for key in 1.. {
        requests.push(key);
        // One in so many of all requests, so one behind every so many less one.
        if key % (size.repeat_every - 1) == 0 {
            requests.push(key);
        }
        if requests.len() >= size.requests as usize {
            break;
        }
    }
    requests.truncate(size.requests as usize);
    requests
}

impl Told {
    async fn note(&mut self, key: u32, shop: &Shop, product_id: i64, name: &str) -> Result<(), ShopError> {
        let items = vec![Item { product_id, quantity: 1 }];
        let basket = Basket { user_id: key.into(), items, coupon_id: None };
        let sent = Instant::now();
        let answer = shop.place_order_under(name, &basket).await?;
        self.latencies.push(sent.elapsed());
        let order = match answer {
            Answer::Completed(order) => Some(order.order_id),
            Answer::Refused(problem) => {
                if !problem.problem_type.ends_with("/out-of-stock") {
                    self.unclear.push(format!("{}: {}", problem.problem_type, problem.detail));
                }
                None
            }
        };
        self.answers.entry(key).or_default().push(order);
        Ok(())
    }

    fn add(&mut self, other: Self) {
        for (key, mut orders) in other.answers {
            self.answers.entry(key).or_default().append(&mut orders);
        }
        self.unclear.extend(other.unclear);
        self.latencies.extend(other.latencies);
    }
}

impl Sale {
    /// The orders that buyers were told of.
    fn sold(&self) -> HashSet<i64> {
        self.answers.values().flatten().flatten().copied().collect()
    }

    fn repeats(&self) -> usize {
        self.answers.values().map(|answers| answers.len() - 1).sum()
    }

    /// What is not as it was promised.
    pub fn faults(&self, Outcome { committed, arrived, others_use_the_topic }: &Outcome) -> Vec<String> {
        let mut faults = self.unclear.clone();
        let told = self.sold();
        let (sold, pieces) = (told.len(), self.size.pieces as usize);
        if sold != pieces.min(self.answers.len()) {
            faults.push(format!("{sold} orders were sold of {pieces} pieces"));
        }
        let bought_by: Vec<HashSet<&Option<i64>>> =
            self.answers.values().map(|answers| answers.iter().collect()).collect();
        let split = bought_by.iter().filter(|orders| orders.len() > 1).count();
        if split > 0 {
            faults.push(format!("{split} repeated requests were answered in two ways"));
        }
        if self.answers.values().filter(|answers| answers[0].is_some()).count() != sold {
            faults.push("one order was told to two buyers".to_owned());
        }
        let expected = i64::from(self.size.pieces) - i64::try_from(sold).unwrap_or(i64::MAX);
        if self.left != expected {
            faults.push(format!("{} pieces are left, not {expected}", self.left));
        }
        let (untold, lost) = (committed.difference(&told).count(), told.difference(committed).count());
        if untold > 0 {
            faults.push(format!("{untold} orders are in the database that no buyer was told of"));
        }
        if lost > 0 {
            faults.push(format!("{lost} orders that buyers were told of are not in the database"));
        }
        if arrived.delivered != committed.len() {
            let (committed, arrived) = (committed.len(), arrived.delivered);
            faults.push(format!("{committed} orders are in the database, {arrived} of them arrived"));
        }
        if arrived.uncommitted > 0 && !others_use_the_topic {
            faults.push(format!("{} events arrived that were never committed", arrived.uncommitted));
        }
        faults
    }

    /// Shows what came of it; whether all of it is as promised.
    pub fn show(&self, console: &Console, outcome: &Outcome) -> bool {
        let (committed, arrived) = (outcome.committed.len(), &outcome.arrived);
        let count = |number: usize| grouped(i64::try_from(number).unwrap_or(i64::MAX));
        let refused = self.answers.values().flatten().filter(|order| order.is_none()).count();
        let (sold, repeats) = (self.sold().len(), self.repeats());
        let requests = self.latencies.len();
        console.heading("what came of it");
        let of_them = format!("{} different ones, {} repeats", count(requests - repeats), count(repeats));
        console.fact("requests", &format!("{:>7}  {of_them}", count(requests)));
        console.fact("sold", &format!("{:>7}  of {} pieces", count(sold), grouped(self.size.pieces.into())));
        console.fact("refused", &format!("{:>7}  out of stock, and told so", count(refused)));
        let told_again = requests.saturating_sub(sold + refused);
        console.fact("told again", &format!("{:>7}  repeats that got their first order", count(told_again)));
        console.fact(
            "asked again",
            &format!("{:>7}  times, as the answer was 503, 408 or none at all", count(self.asked_again)),
        );
        console.fact("left", &format!("{:>7}  pieces", grouped(self.left)));
        console.fact("committed", &format!("{:>7}  orders in the database", count(committed)));
        console.fact(
            "delivered",
            &format!("{:>7}  of them reached the data platform", count(arrived.delivered)),
        );
        console.fact(
            "answered",
            &format!(
                "{:>9}  the slowest of 100: {}; median: {}",
                seconds(self.took),
                seconds(self.latency(99)),
                seconds(self.latency(50))
            ),
        );
        if let Some(last) = arrived.last {
            let time = seconds(last.saturating_duration_since(self.began));
            console.fact("arrived", &format!("{time:>9}  from the first request to the last arrival"));
        }
        let faults = self.faults(outcome);
        for fault in &faults {
            console.warning(&console.paint(Colour::Red, fault));
        }
        if faults.is_empty() {
            let good = format!(
                "sold = committed = delivered = {}, each request answered once and for all",
                count(sold)
            );
            console.line(&format!("  {}", console.paint(Colour::Green, &good)));
        }
        faults.is_empty()
    }

    fn latency(&self, percent: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((self.latencies.len() * percent / 100).min(last)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Size = Size { requests: 5, pieces: 2, connections: 1, repeat_every: 5 };

    fn sale(answers: &[(u32, &[Option<i64>])], left: i64) -> Sale {
        let answers = answers.iter().map(|(key, orders)| (*key, orders.to_vec())).collect();
        let (began, took) = (Instant::now(), Duration::ZERO);
        let (unclear, latencies, asked_again) = (Vec::new(), Vec::new(), 0);
        Sale { size: SMALL, product_id: 1, began, took, answers, unclear, latencies, asked_again, left }
    }

    fn faults(sale: &Sale, committed: &[i64], delivered: usize) -> usize {
        sale.faults(&outcome(committed, delivered, 0)).len()
    }

    fn outcome(committed: &[i64], delivered: usize, uncommitted: usize) -> Outcome {
        let arrived = Comparison { delivered, repeated: 0, uncommitted, last: None };
        Outcome { committed: committed.iter().copied().collect(), arrived, others_use_the_topic: false }
    }

    #[test]
    fn one_in_so_many_is_sent_twice() {
        let keys = requests(SHOWN);
        let distinct: HashSet<&u32> = keys.iter().collect();
        assert_eq!((keys.len(), keys.len() - distinct.len()), (10_000, 500));
    }

    #[test]
    fn each_broken_promise_is_a_fault() {
        let good: [(u32, &[Option<i64>]); 3] = [(1, &[Some(7), Some(7)]), (2, &[Some(8)]), (3, &[None])];
        assert_eq!(faults(&sale(&good, 0), &[7, 8], 2), 0);
        assert_eq!(faults(&sale(&good, 0), &[7, 8], 1), 1, "one did not arrive");
        assert_eq!(faults(&sale(&good, 1), &[7, 8], 2), 1, "a piece is left");
        assert_eq!(faults(&sale(&good, 0), &[7, 8, 9], 3), 1, "one was sold to nobody");
        assert_eq!(faults(&sale(&good, 0), &[7, 9], 2), 2, "one was told another order than he has");
        let phantom = outcome(&[7, 8], 2, 1);
        assert_eq!(sale(&good, 0).faults(&phantom).len(), 1, "an event that was never committed");
        let shared_topic = Outcome { others_use_the_topic: true, ..phantom };
        assert_eq!(sale(&good, 0).faults(&shared_topic), Vec::<String>::new());
        let split: [(u32, &[Option<i64>]); 3] = [(1, &[Some(7), None]), (2, &[Some(8)]), (3, &[None])];
        assert_eq!(faults(&sale(&split, 0), &[7, 8], 2), 1, "a repeat was refused");
        let shared: [(u32, &[Option<i64>]); 3] = [(1, &[Some(7)]), (2, &[Some(8)]), (3, &[Some(8)])];
        assert_eq!(faults(&sale(&shared, 0), &[7, 8], 2), 1, "two buyers of one order");
        let few: [(u32, &[Option<i64>]); 3] = [(1, &[Some(7)]), (2, &[None]), (3, &[None])];
        assert_eq!(faults(&sale(&few, 1), &[7], 1), 1, "refused while there was stock");
    }
}
