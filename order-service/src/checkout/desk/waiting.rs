//! # Waiting orders
//!
//! The desk's book, pure data: who waits, for what, and under which key. The desk keeps it behind a lock.
//!
//! **A key is in it once.** A repeat of a request that waits, or whose transaction runs, joins it and gets the same
//! answer, so no batch ever holds a key twice. Another request under that key, a rival, waits until it is answered, and
//! is then an order like any other: whether the key is used up is known to the database alone, as the request that was
//! here first may be refused, and another instance may have bought the rival's.
//!
//! **Who gave up is not bought for.** When a batch is taken, buyers who hung up or ran out of time are gone; an order
//! that nobody waits for is dropped. Once taken it is bought, whoever still waits.
//!
//! **A held row holds up nobody else.** Orders that need a row which somebody else has locked wait in the slow lane.

use super::lanes::{Lane, Lanes, Rows};
use crate::checkout::complete_orders::Completed;
use crate::checkout::error::CheckoutError;
use crate::checkout::limits::BatchLimits;
use crate::checkout::request::OrderRequest;
use crate::storage::orders::RequestKey;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Somebody who waits for an answer. One whose receiver is dropped has hung up.
#[derive(Debug)]
pub(super) struct Buyer {
    /// Tells two buyers of one key apart.
    pub(super) number: u64,
    /// Where his answer goes.
    pub(super) answer: oneshot::Sender<Completed>,
}

/// How far an order was when its buyer gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// It waited still, and is not bought for him.
    InTime,
    /// Its transaction has begun.
    TooLate,
    /// His answer is there.
    Answered,
}

#[derive(Debug)]
struct Entry {
    fingerprint: Vec<u8>,
    buyers: Vec<Buyer>,
    begun: bool,
    /// When it came into its lane.
    since: Instant,
}

/// The orders of one transaction.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// In the order of their arrival.
    pub(super) orders: Vec<OrderRequest>,
    /// For how long each of them has waited in its lane.
    pub(super) waited: Vec<Duration>,
    /// The rows that they need and somebody else holds, as far as is known.
    pub(super) held: Rows,
}

/// All orders that are not answered yet.
#[derive(Debug)]
pub(super) struct Waiting {
    capacity: usize,
    entries: HashMap<RequestKey, Entry>,
    /// Those whose key is in `entries` with another request, in the order of their arrival.
    rivals: HashMap<RequestKey, VecDeque<(OrderRequest, Buyer)>>,
    lanes: Lanes,
}

impl Waiting {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, entries: HashMap::new(), rivals: HashMap::new(), lanes: Lanes::default() }
    }

    /// Takes an order in; the lane it waits in, or none when it waits for one that is there already.
    pub(super) fn admit(
        &mut self,
        request: OrderRequest,
        buyer: Buyer,
        now: Instant,
    ) -> Result<Option<Lane>, CheckoutError> {
        self.enter(request, buyer, now).map_err(|_| CheckoutError::Overloaded)
    }

    /// The buyer comes back when there is no room.
    fn enter(&mut self, request: OrderRequest, buyer: Buyer, now: Instant) -> Result<Option<Lane>, Buyer> {
        let (key, fingerprint) = (request.request_key(), request.fingerprint());
        if let Some(entry) = self.entries.get_mut(&key) {
            if entry.fingerprint == fingerprint {
                entry.buyers.push(buyer);
                return Ok(None);
            }
            if self.rivals.values().map(VecDeque::len).sum::<usize>() >= self.capacity {
                return Err(buyer);
            }
            self.rivals.entry(key).or_default().push_back((request, buyer));
            return Ok(None);
        }
        let lane = self.lanes.lane_of(&request);
        if self.lanes.waiting(lane) >= self.capacity {
            return Err(buyer);
        }
        self.entries.insert(key, Entry { fingerprint, buyers: vec![buyer], begun: false, since: now });
        self.lanes.push(lane, request);
        Ok(Some(lane))
    }

    /// A key is free: the first of its rivals is in, and the others wait for that one.
    fn admit_rivals(&mut self, key: &RequestKey, now: Instant) {
        for (request, buyer) in self.rivals.remove(key).unwrap_or_default() {
            if buyer.answer.is_closed() {
                continue;
            }
            if let Err(buyer) = self.enter(request, buyer, now) {
                buyer.answer.send(Err(CheckoutError::Overloaded)).ok();
            }
        }
    }

    /// The next orders of a lane, in the order of their arrival; none only when none waits.
    pub(super) fn take(&mut self, lane: Lane, limits: BatchLimits, now: Instant) -> Taken {
        let (mut batch, mut lines) = (Vec::new(), 0);
        while let Some(next) = self.lanes.next(lane) {
            let full = batch.len() >= limits.orders || lines + next.basket.items.len() > limits.lines;
            if full && !batch.is_empty() {
                break;
            }
            let Some(request) = self.lanes.pop(lane) else { break };
            if !self.is_wanted(&request.request_key(), now) {
                continue;
            }
            let right = self.lanes.lane_of(&request);
            if lane == Lane::Fast && right == Lane::Slow {
                self.postpone(request, now);
                continue;
            }
            lines += request.basket.items.len();
            batch.push(request);
        }
        let held = self.lanes.held_of(&batch);
        let mut taken = Taken { orders: batch, waited: Vec::new(), held };
        for request in &taken.orders {
            if let Some(entry) = self.entries.get_mut(&request.request_key()) {
                entry.begun = true;
                taken.waited.push(now.saturating_duration_since(entry.since));
            }
        }
        taken
    }

    /// Puts an order that was rolled back into the slow lane; there must be room there, too.
    pub(super) fn postpone(&mut self, request: OrderRequest, now: Instant) {
        if self.lanes.waiting(Lane::Slow) >= self.capacity {
            self.answer(&request.request_key(), &Err(CheckoutError::Overloaded), now);
            return;
        }
        if let Some(entry) = self.entries.get_mut(&request.request_key()) {
            entry.begun = false;
            entry.since = now;
            self.lanes.push(Lane::Slow, request);
        }
    }

    /// Answers everyone who waits under this key.
    pub(super) fn answer(&mut self, key: &RequestKey, answer: &Completed, now: Instant) {
        let Some(entry) = self.entries.remove(key) else { return };
        for buyer in entry.buyers {
            // Who hung up gets none.
            buyer.answer.send(answer.clone()).ok();
        }
        self.admit_rivals(key, now);
    }

    /// A buyer does not wait any longer.
    pub(super) fn give_up(&mut self, key: &RequestKey, number: u64) -> GivenUp {
        if let Some(rivals) = self.rivals.get_mut(key) {
            let before = rivals.len();
            rivals.retain(|(_, buyer)| buyer.number != number);
            if rivals.len() < before {
                return GivenUp::InTime;
            }
        }
        let Some(entry) = self.entries.get_mut(key) else { return GivenUp::Answered };
        let before = entry.buyers.len();
        entry.buyers.retain(|buyer| buyer.number != number);
        match (entry.buyers.len() < before, entry.begun) {
            (false, _) => GivenUp::Answered,
            (true, true) => GivenUp::TooLate,
            (true, false) => GivenUp::InTime,
        }
    }

    /// Orders that need one of these rows wait in the slow lane from now on.
    pub(super) fn hold(&mut self, rows: &Rows) {
        self.lanes.hold(rows);
    }

    /// These rows were locked by us, so nobody else holds them: who waited for them alone is in the fast lane again.
    pub(super) fn release(&mut self, rows: &Rows) {
        self.lanes.release(rows);
    }

    /// Whether everybody is answered.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many wait in a lane, those who gave up included.
    pub(super) fn waiting(&self, lane: Lane) -> usize {
        self.lanes.waiting(lane)
    }

    /// Leaves out who gave up; whether anybody is left.
    fn is_wanted(&mut self, key: &RequestKey, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        entry.buyers.retain(|buyer| !buyer.answer.is_closed());
        if entry.buyers.is_empty() {
            self.entries.remove(key);
            self.admit_rivals(key, now);
            return false;
        }
        true
    }
}
