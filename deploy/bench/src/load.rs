//! # Load
//!
//! Buyers on so many connections, in one of two ways:
//!
//! - **closed**: each connection sends the next order when the last was answered. It finds the peak, and says
//!   nothing of latency: a slow answer holds its own next question back.
//! - **open**: orders arrive by a schedule, whatever becomes of those before. Latency counts from the *scheduled*
//!   time, so an order that found no free connection has waited, too. Timers have a millisecond's grain, on
//!   both sides of a comparison.
//!
//! The warm-up is not counted. An order is bought when it is answered, in either pace.

use crate::Failure;
use crate::connection::Connection;
use crate::processor::{Reading, Usage, Watched};
use crate::servers::PRODUCTS;
use futures_util::future::join_all;
use hdrhistogram::Histogram;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Longer than order-service lets a buyer wait.
const GRACE: Duration = Duration::from_secs(12);
/// Connections are opened so many at a time: the system's queue of those not yet accepted is short.
const OPENED_AT_ONCE: usize = 64;
const SLOWEST_MICROSECONDS: u64 = 120_000_000;
const CREATED: u16 = 201;

/// What is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Products {
    /// Everybody buys the same one.
    Hot,
    /// Any of [`PRODUCTS`], evenly.
    Many,
}

/// How orders arrive.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As fast as they are answered.
    Closed,
    /// So many a second.
    Open(f64),
}

/// A load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// What is bought.
    pub(crate) products: Products,
    /// How orders arrive.
    pub(crate) pace: Pace,
    /// On how many connections.
    pub(crate) connections: usize,
    /// Not counted.
    pub(crate) warm_up: Duration,
    /// Counted.
    pub(crate) window: Duration,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Load {
    window: Duration,
    /// Answered with 201 within the window.
    pub(crate) bought: u64,
    /// Answered with 503: turned away.
    pub(crate) turned_away: u64,
    /// Any other answer, a broken connection, none in time, or arrived and never sent.
    pub(crate) failed: u64,
    /// Of orders answered with 201, in microseconds.
    latencies: Histogram<u64>,
    /// Who used the processors within the window.
    pub(crate) usage: Usage,
}

impl Load {
    /// Orders bought in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.bought as f64 / self.window.as_secs_f64()
    }

    /// The time within which so much (0.99) of the bought orders was answered, in milliseconds.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1_000.0
    }

    /// Orders that were not bought, for whatever reason.
    pub(crate) fn errors(&self) -> u64 {
        self.turned_away + self.failed
    }
}

struct Run {
    plan: Plan,
    address: SocketAddr,
    counted_from: Instant,
    end: Instant,
    arrivals: RefCell<u64>,
    load: RefCell<Load>,
}

/// Drives the load to its end.
pub(crate) async fn drive(address: SocketAddr, plan: Plan, watched: Watched) -> Result<Load, Failure> {
    let mut connections = Vec::with_capacity(plan.connections);
    while connections.len() < plan.connections {
        let few = OPENED_AT_ONCE.min(plan.connections - connections.len());
        for opened in join_all((0..few).map(|_| Connection::open(address))).await {
            connections.push(opened.map_err(|error| format!("no connection to order-service: {error}"))?);
        }
    }
    let counted_from = Instant::now() + plan.warm_up;
    let latencies = Histogram::new_with_bounds(1, SLOWEST_MICROSECONDS, 3)?;
    let usage = Usage::default();
    let load = Load { window: plan.window, bought: 0, turned_away: 0, failed: 0, latencies, usage };
    let (arrivals, load) = (RefCell::new(0), RefCell::new(load));
    let run = Run { plan, address, counted_from, end: counted_from + plan.window, arrivals, load };
    let run = Rc::new(run);
    let buying = async {
        // Tasks of their own: many connections in one task would share what a task may do at a stretch.
        let mut buyers = JoinSet::new();
        for connection in connections {
            let run = Rc::clone(&run);
            buyers.spawn_local(async move { run.buy_until_the_end(connection).await });
        }
        while buyers.join_next().await.is_some() {}
    };
    let watching = async {
        sleep_until(counted_from).await;
        let reading = Reading::take(watched);
        sleep_until(run.end).await;
        reading.since()
    };
    let ((), usage) = LocalSet::new().run_until(async { tokio::join!(buying, watching) }).await;
    run.count_unsent();
    let run = Rc::into_inner(run).ok_or("a buyer has not ended")?;
    Ok(Load { usage, ..run.load.into_inner() })
}

impl Run {
    async fn buy_until_the_end(&self, mut connection: Connection) {
        let give_up = self.end + GRACE;
        while let Some((number, due)) = self.next_arrival() {
            if let Pace::Open(_) = self.plan.pace {
                // Looked at before the wait: a timer's grain at the very end is no order that found no connection.
                if Instant::now() >= self.end {
                    self.unless_warming_up(due, |load| load.failed += 1);
                    return;
                }
                sleep_until(due).await;
            }
            let user = number % 100_000 + 1;
            let answer = timeout_at(give_up, connection.buy(user, self.plan.products.nth(number))).await;
            let status = answer.ok().and_then(Result::ok);
            self.count(due, status);
            if status.is_none() {
                match Connection::open(self.address).await {
                    Ok(opened) => connection = opened,
                    Err(_) => return,
                }
            }
        }
    }

    /// The next order and when it is due; none when the time is over.
    fn next_arrival(&self) -> Option<(u64, Instant)> {
        let mut arrivals = self.arrivals.borrow_mut();
        let due = self.due(*arrivals);
        if due >= self.end {
            return None;
        }
        *arrivals += 1;
        Some((*arrivals, due))
    }

    fn due(&self, number: u64) -> Instant {
        match self.plan.pace {
            Pace::Closed => Instant::now(),
            Pace::Open(rate) => {
                self.counted_from - self.plan.warm_up + Duration::from_secs_f64(number as f64 / rate)
            }
        }
    }

    fn count(&self, due: Instant, status: Option<u16>) {
        let now = Instant::now();
        if status == Some(CREATED) {
            // By when it was answered, in either pace: under an overload, what is answered in the window was due long
            // before, and what is bought after the end was not bought within the time that is divided by.
            let within = (self.counted_from..self.end).contains(&now);
            self.load.borrow_mut().bought += u64::from(within);
        }
        self.unless_warming_up(due, |load| match status {
            Some(CREATED) => {
                let taken = u64::try_from((now - due).as_micros()).unwrap_or(SLOWEST_MICROSECONDS);
                load.latencies.saturating_record(taken);
            }
            Some(503) => load.turned_away += 1,
            Some(_) | None => load.failed += 1,
        });
    }

    /// What is not bought, and latencies: of a closed load by when it is answered, of an open one by when it was due.
    fn unless_warming_up(&self, due: Instant, count: impl FnOnce(&mut Load)) {
        let at = match self.plan.pace {
            Pace::Closed => Instant::now(),
            Pace::Open(_) => due,
        };
        if at >= self.counted_from {
            count(&mut self.load.borrow_mut());
        }
    }

    /// Orders that were due and found no connection before the end.
    fn count_unsent(&self) {
        if let Pace::Open(_) = self.plan.pace {
            while let Some((_, due)) = self.next_arrival() {
                self.unless_warming_up(due, |load| load.failed += 1);
            }
        }
    }
}

impl Products {
    /// Which product the order of this number buys.
    pub(crate) fn nth(self, number: u64) -> u64 {
        match self {
            Self::Hot => 1,
            // Knuth's multiplier scatters neighbours over all products.
            Self::Many => number.wrapping_mul(2_654_435_761) % (1 << 32) * PRODUCTS / (1 << 32) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[tokio::test]
    async fn an_order_that_was_due_in_the_warm_up_and_is_answered_later_is_bought_within_the_window() {
        let (second, now) = (Duration::from_secs(1), Instant::now());
        let plan = Plan {
            products: Products::Hot,
            pace: Pace::Open(1.0),
            connections: 1,
            warm_up: second * 10,
            window: second * 10,
        };
        let latencies = Histogram::new_with_bounds(1, SLOWEST_MICROSECONDS, 3).unwrap();
        let usage = Usage::default();
        let load = Load { window: plan.window, bought: 0, turned_away: 0, failed: 0, latencies, usage };
        let (counted_from, end) = (now - second, now + plan.window - second);
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        let (arrivals, load) = (RefCell::new(0), RefCell::new(load));
        let mut run = Run { plan, address, counted_from, end, arrivals, load };
        run.count(counted_from - second, Some(CREATED));
        run.count(counted_from - second, Some(503));
        run.count(now, Some(CREATED));
        run.count(now, Some(503));
        run.end = now;
        run.count(counted_from, Some(CREATED));
        let load = run.load.into_inner();
        assert_eq!((load.bought, load.turned_away, load.latencies.len()), (2, 1, 2));
    }

    #[test]
    fn many_products_are_all_of_them() {
        let bought: BTreeSet<u64> = (0..50_000).map(|number| Products::Many.nth(number)).collect();
        assert_eq!(bought, (1..=PRODUCTS).collect());
        assert_eq!(Products::Hot.nth(7), 1);
    }
}
