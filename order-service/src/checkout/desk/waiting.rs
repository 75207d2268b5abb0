//! # Waiting orders
//!
//! The desk's book, pure data: who waits, for what, and under which key. The desk keeps it behind a lock.
//!
//! **A key is in it once.** A repeat of a request that waits, or whose transaction runs, joins it and gets the same
//! answer, so no batch ever holds a key twice. Another request under that key, a rival, waits until it is answered, and
//! is then an order like any other: whether the key is used up is known to the database alone, as the request that was
//! here first may be refused, and another instance may have bought the rival's. Of rivals and of repeats as many may wait as
//! orders in a lane; one whose buyer hangs up is gone at once, as the answer of a key may be late.
//!
//! **Who gave up is not bought for.** When a batch is taken, buyers who hung up or ran out of time are gone; an order
//! that nobody waits for is dropped. Once taken it is bought, whoever still waits.
//!
//! **A held row holds up nobody else.** Orders that need a row which somebody else has locked wait in the slow lane.

use super::lanes::{Lane, Lanes, Rows};
use crate::checkout::complete_orders::{Decided, Purchase};
use crate::checkout::error::CheckoutError;
use crate::checkout::limits::BatchLimits;
use crate::checkout::request::{Fingerprint, OrderRequest};
use crate::storage::orders::RequestKey;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Somebody who waits for an answer. One whose receiver is dropped has hung up.
#[derive(Debug)]
pub(super) struct Buyer {
    /// Tells two buyers of one key apart.
    pub(super) number: u64,
    /// Where his answer goes.
    pub(super) answer: oneshot::Sender<Decided>,
}

/// Where an order is that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// It waits in this lane.
    Into(Lane),
    /// Its buyer waits for the same order of an earlier one.
    Joined,
    /// It waits for its key.
    Rival,
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
    fingerprint: Fingerprint,
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
    entries: HashMap<Arc<RequestKey>, Entry>,
    /// How many buyers all entries have.
    buyers: usize,
    /// Those whose key is in `entries` with another request, in the order of their arrival.
    rivals: HashMap<Arc<RequestKey>, VecDeque<(OrderRequest, Buyer)>>,
    /// How many they are under all keys.
    rivals_waiting: usize,
    lanes: Lanes,
}

impl Waiting {
    pub(super) fn new(capacity: usize) -> Self {
        let (entries, rivals, lanes) = (HashMap::new(), HashMap::new(), Lanes::default());
        Self { capacity, entries, buyers: 0, rivals, rivals_waiting: 0, lanes }
    }

    /// Takes an order in.
    pub(super) fn admit(
        &mut self,
        request: OrderRequest,
        buyer: Buyer,
        now: Instant,
    ) -> Result<Admitted, CheckoutError> {
        self.enter(request, buyer, now).map_err(|_| CheckoutError::Overloaded)
    }

    /// The buyer comes back when there is no room.
    fn enter(&mut self, request: OrderRequest, buyer: Buyer, now: Instant) -> Result<Admitted, Buyer> {
        let (key, fingerprint) = (request.key().clone(), *request.fingerprint());
        let repeats = self.repeats();
        if let Some(entry) = self.entries.get_mut(&key) {
            if entry.fingerprint == fingerprint {
                if repeats >= self.capacity {
                    return Err(buyer);
                }
                entry.buyers.push(buyer);
                self.buyers += 1;
                return Ok(Admitted::Joined);
            }
            if self.rivals_waiting >= self.capacity {
                return Err(buyer);
            }
            self.rivals.entry(key).or_default().push_back((request, buyer));
            self.rivals_waiting += 1;
            return Ok(Admitted::Rival);
        }
        let lane = self.lanes.lane_of(&request);
        if self.lanes.waiting(lane) >= self.capacity {
            return Err(buyer);
        }
        self.entries.insert(key, Entry { fingerprint, buyers: vec![buyer], begun: false, since: now });
        self.buyers += 1;
        self.lanes.push(lane, request);
        Ok(Admitted::Into(lane))
    }

    /// A key is free: the first of its rivals is in, and the others wait for that one.
    fn admit_rivals(&mut self, key: &RequestKey, now: Instant) {
        let rivals = self.rivals.remove(key).unwrap_or_default();
        self.rivals_waiting -= rivals.len();
        for (request, buyer) in rivals {
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
            if !self.is_wanted(request.key(), now) {
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
            if let Some(entry) = self.entries.get_mut(request.key()) {
                entry.begun = true;
                taken.waited.push(now.saturating_duration_since(entry.since));
            }
        }
        taken
    }

    /// Puts an order that was rolled back into the slow lane; there must be room there, too.
    pub(super) fn postpone(&mut self, request: OrderRequest, now: Instant) {
        if self.lanes.waiting(Lane::Slow) >= self.capacity {
            self.answer(request.key(), &Err(CheckoutError::Overloaded), now);
            return;
        }
        if let Some(entry) = self.entries.get_mut(request.key()) {
            entry.begun = false;
            entry.since = now;
            self.lanes.push(Lane::Slow, request);
        }
    }

    /// Answers everyone who waits under this key. It is news to the first of them who is still there.
    pub(super) fn answer(&mut self, key: &RequestKey, answer: &Decided, now: Instant) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.buyers -= entry.buyers.len();
        let mut answer = answer.clone();
        for buyer in entry.buyers {
            // Who hung up gets none.
            if let (Ok(()), Ok(Purchase { is_new, .. })) = (buyer.answer.send(answer.clone()), &mut answer) {
                *is_new = false;
            }
        }
        self.admit_rivals(key, now);
    }

    /// A buyer does not wait any longer.
    pub(super) fn give_up(&mut self, key: &RequestKey, number: u64) -> GivenUp {
        if let Some(rivals) = self.rivals.get_mut(key) {
            let before = rivals.len();
            rivals.retain(|(_, buyer)| buyer.number != number);
            let gone = before - rivals.len();
            if rivals.is_empty() {
                self.rivals.remove(key);
            }
            self.rivals_waiting -= gone;
            if gone > 0 {
                return GivenUp::InTime;
            }
        }
        let Some(entry) = self.entries.get_mut(key) else { return GivenUp::Answered };
        let before = entry.buyers.len();
        entry.buyers.retain(|buyer| buyer.number != number);
        self.buyers -= before - entry.buyers.len();
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

    /// How many wait for their key.
    pub(super) fn rivals(&self) -> usize {
        self.rivals_waiting
    }

    /// How many wait for the same order of an earlier buyer. (An entry whose buyers gave up counts for nobody.)
    pub(super) fn repeats(&self) -> usize {
        self.buyers.saturating_sub(self.entries.len())
    }

    /// Leaves out who gave up; whether anybody is left.
    fn is_wanted(&mut self, key: &RequestKey, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        let before = entry.buyers.len();
        entry.buyers.retain(|buyer| !buyer.answer.is_closed());
        self.buyers -= before - entry.buyers.len();
        if entry.buyers.is_empty() {
            self.entries.remove(key);
            self.admit_rivals(key, now);
            return false;
        }
        true
    }
}
