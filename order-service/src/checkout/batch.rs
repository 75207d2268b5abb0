//! # Batch
//!
//! Completes a batch of orders, and turns whatever goes wrong with its transaction into the true answer of each order:
//!
//! | what went wrong | what is done |
//! |---|---|
//! | the answer to COMMIT was lost | the same orders again on another connection: the locks wait for the lost transaction, the look-up finds what was bought. It may take long, so it is a [`Recovery`], which its worker need not wait for |
//! | a row is locked by somebody else | the orders that need it wait in the slow lane, the rest is completed; a repeat is told what it bought, which needs no lock |
//! | an order that the database refuses, a panic | halves, until it is alone: its neighbours are bought |
//! | deadlock, a twin that was first | again, a few times |
//! | a connection that was lost before COMMIT, a statement that took too long | again, once |
//! | the database is away | nothing was done, and that is the answer |
//!
//! The rules are in [`policy`]; here they are carried out.

mod ended;
mod held;
mod policy;

pub(super) use self::ended::{Ended, Recovered, Recovery, Verdict};
use self::held::held_throughout;
use self::policy::{Progress, Step, Trouble, step};
use super::complete_orders::{Decided, bought_before, complete_orders};
use super::desk::{CompleteBatches, Lane, Rows};
use super::error::CheckoutError;
use super::request::OrderRequest;
use crate::outbox::wake_up::WakeUp;
use crate::storage::database::Database;
use crate::storage::error::DatabaseError;
use crate::storage::transaction_completion::{Outcome, RollbackCause, in_transaction};
use chrono::{DateTime, SubsecRound, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tracing::warn;

/// The most transactions that one batch may cost; many bad orders in one are an outage, not many bad orders.
const MOST_TRANSACTIONS: u32 = 64;
/// For how long one holder must have a row before orders that need it are set aside.
const SET_ASIDE_AFTER: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where batches are completed.
#[derive(Clone)]
pub struct Batches {
    /// Where orders are kept.
    pub database: Database,
    /// Wakes the relay after COMMIT.
    pub wake_up: WakeUp,
    /// The topic of `order-completed`.
    pub topic: Arc<str>,
    /// For how long the outcome of a lost COMMIT is looked for.
    pub recovery_limit: Duration,
}

/// Why a transaction has nothing to keep.
enum NotKept {
    /// Every order was refused or is repeated: no COMMIT is needed, and so no flush.
    NothingBought(Vec<Decided>),
    Database(DatabaseError),
}

/// Some of a batch's orders, which go together.
struct Part {
    positions: Vec<usize>,
    repeats: u32,
}

impl Part {
    const fn of(positions: Vec<usize>) -> Self {
        Self { positions, repeats: 0 }
    }
}

/// A batch under way, or the recovery of one.
struct Run<'b> {
    batches: &'b Batches,
    requests: &'b Arc<[OrderRequest]>,
    lane: Lane,
    /// When the first COMMIT of these orders was lost. Only a recovery has such orders.
    unknown_since: Option<Instant>,
    verdicts: Vec<Option<Verdict>>,
    parts: VecDeque<Part>,
    /// Parts whose COMMIT was lost, and when the first was.
    lost: Vec<Vec<usize>>,
    lost_since: Option<Instant>,
    transactions: u32,
    held: Rows,
    free: Rows,
}

impl CompleteBatches for Batches {
    fn complete<'b>(
        &'b self,
        requests: &'b Arc<[OrderRequest]>,
        lane: Lane,
        held: &'b Rows,
    ) -> BoxFuture<'b, Ended> {
        self.complete_all(requests, lane, held).boxed()
    }
}

impl Batches {
    async fn complete_all(&self, requests: &Arc<[OrderRequest]>, lane: Lane, held: &Rows) -> Ended {
        let mut run = Run::of(self, requests, lane, None);
        let mut positions: Vec<usize> = (0..requests.len()).collect();
        if lane == Lane::Slow {
            let held = held_throughout(&self.database, held, self.database.lock_timeout()).await;
            positions = run.refuse(positions, &held).await;
        }
        run.parts.push_back(Part::of(positions));
        run.go_on().await;
        run.ended()
    }

    /// Parts go again as they went, so that who was found to be at fault by halving is not put among others again.
    async fn recover(self, orders: Arc<[OrderRequest]>, parts: Vec<Part>, since: Instant) -> Recovered {
        let mut run = Run::of(&self, &orders, Lane::Fast, Some(since));
        run.parts.extend(parts);
        run.go_on().await;
        run.recovered()
    }

    async fn transaction(&self, requests: Arc<[OrderRequest]>) -> Result<Vec<Decided>, Trouble> {
        let (topic, wake_up) = (self.topic.clone(), self.wake_up.clone());
        let outcome = in_transaction(&self.database, move |transaction| {
            async move {
                transaction.after_commit(move || wake_up.wake());
                let completed = complete_orders(transaction, &requests, &topic, now).await;
                let completed = completed.map_err(NotKept::Database)?;
                if transaction.writes_something() {
                    Ok(completed)
                } else {
                    Err(NotKept::NothingBought(completed))
                }
            }
            .boxed()
        });
        match outcome.await {
            Outcome::Committed(completed)
            | Outcome::RolledBack(RollbackCause::Work(NotKept::NothingBought(completed))) => Ok(completed),
            Outcome::RolledBack(
                RollbackCause::Work(NotKept::Database(error)) | RollbackCause::Database(error),
            ) => Err(Trouble::of(error)),
            Outcome::RolledBack(RollbackCause::Panicked) => Err(Trouble::Panicked),
            Outcome::RolledBack(RollbackCause::Nested | RollbackCause::Unbalanced) => Err(Trouble::Misused),
            Outcome::Unknown(error) => Err(Trouble::Unknown(error.to_string())),
        }
    }

    /// What was bought under the keys of these orders before, for each of them. A committed row is final, and is read
    /// without any lock. Without an answer it is none.
    async fn bought_before(&self, requests: &[OrderRequest]) -> Vec<Option<Decided>> {
        let looking = async { bought_before(&*self.database.session().await?, requests).await };
        self.database.within_limit(looking).await.unwrap_or_else(|error| {
            warn!("earlier orders cannot be told: {error}");
            requests.iter().map(|_| None).collect()
        })
    }
}

impl<'b> Run<'b> {
    fn of(
        batches: &'b Batches,
        requests: &'b Arc<[OrderRequest]>,
        lane: Lane,
        unknown_since: Option<Instant>,
    ) -> Self {
        Self {
            batches,
            requests,
            lane,
            unknown_since,
            verdicts: requests.iter().map(|_| None).collect(),
            parts: VecDeque::new(),
            lost: Vec::new(),
            lost_since: None,
            transactions: 0,
            held: Rows::default(),
            free: Rows::default(),
        }
    }

    async fn go_on(&mut self) {
        while let Some(part) = self.parts.pop_front() {
            if !part.positions.is_empty() {
                self.attempt(part).await;
            }
        }
    }

    fn ended(self) -> Ended {
        let recovery = self.lost_since.map(|since| self.recovery(since));
        let missing = || Verdict::Answer(Err(CheckoutError::Failed("it was not decided".to_owned())));
        let verdicts = self.verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(missing)).collect();
        Ended { verdicts, held: self.held, free: self.free, recovery }
    }

    fn recovery(&self, since: Instant) -> Recovery {
        let mut places = 0..;
        let parts =
            self.lost.iter().map(|lost| Part::of(places.by_ref().take(lost.len()).collect())).collect();
        let orders = self.requests_of(&self.lost.concat());
        let running = self.batches.clone().recover(orders.clone(), parts, since).boxed();
        Recovery { orders, running }
    }

    fn recovered(self) -> Recovered {
        let answer = |verdict| match verdict {
            Some(Verdict::Answer(answer)) => answer,
            Some(Verdict::Postponed | Verdict::Uncertain) | None => {
                Err(CheckoutError::OutcomeUnknown("it was not found out".to_owned()))
            }
        };
        Recovered { answers: self.verdicts.into_iter().map(answer).collect(), free: self.free }
    }

    async fn attempt(&mut self, mut part: Part) {
        self.transactions += 1;
        let requests = self.requests_of(&part.positions);
        let trouble = match self.batches.transaction(requests.clone()).await {
            Ok(completed) => {
                // Where somebody else may have had them, and others may wait for that.
                if self.lane == Lane::Slow || self.unknown_since.is_some() {
                    self.free.extend(&Rows::of(requests.iter()));
                }
                for (position, completed) in part.positions.into_iter().zip(completed) {
                    self.verdicts[position] = Some(Verdict::Answer(completed));
                }
                return;
            }
            Err(trouble) => trouble,
        };
        if let Trouble::Away(_) | Trouble::Unknown(_) = trouble {
            // What took this connection may have taken all of them, without a word: the next one is a new one.
            self.batches.database.close_idle_sessions();
        }
        let now = Instant::now();
        let progress = Progress {
            orders: part.positions.len(),
            repeats: part.repeats,
            uncertain: self.unknown_since.is_some(),
            time_left: self.unknown_since.is_none_or(|since| now < since + self.batches.recovery_limit),
            transactions_left: self.transactions < MOST_TRANSACTIONS,
        };
        let next = step(&trouble, progress);
        warn!("a transaction of {} orders was not committed: {trouble}; {next}", progress.orders);
        if let (
            Trouble::Locked(_) | Trouble::Busy(_) | Trouble::Slow(_),
            Step::GiveUp(CheckoutError::Unavailable(_)),
        ) = (&trouble, &next)
        {
            part.positions = self.tell_again(part.positions).await;
        }
        self.carry_out(next, part, now).await;
    }

    async fn carry_out(&mut self, next: Step, mut part: Part, now: Instant) {
        match next {
            Step::Repeat => {
                if self.unknown_since.is_some() {
                    sleep(pause(part.repeats)).await;
                }
                part.repeats += 1;
                self.parts.push_front(part);
            }
            Step::Recover => {
                for &position in &part.positions {
                    self.verdicts[position] = Some(Verdict::Uncertain);
                }
                self.lost.push(part.positions);
                self.lost_since.get_or_insert(now);
            }
            Step::Halve => {
                let second = part.positions.split_off(part.positions.len() / 2);
                self.parts.push_front(Part { positions: second, repeats: part.repeats });
                self.parts.push_front(part);
            }
            Step::SetAside => {
                let rows = Rows::of(part.positions.iter().map(|&position| &self.requests[position]));
                let held = held_throughout(&self.batches.database, &rows, SET_ASIDE_AFTER).await;
                part.repeats += 1;
                part.positions = self.set_aside(part.positions, &held).await;
                self.parts.push_front(part);
            }
            Step::GiveUp(error) => self.decide(&part.positions, &error),
        }
    }

    /// Takes out the orders that need one of these rows, to wait in the slow lane; what is left.
    async fn set_aside(&mut self, positions: Vec<usize>, held: &Rows) -> Vec<usize> {
        let (stuck, rest) = self.split(positions, held);
        for position in self.tell_again(stuck).await {
            self.verdicts[position] = Some(Verdict::Postponed);
        }
        rest
    }

    /// Takes out the orders that need one of these rows, which they have waited for long enough; what is left.
    async fn refuse(&mut self, positions: Vec<usize>, held: &Rows) -> Vec<usize> {
        let (stuck, rest) = self.split(positions, held);
        let locked = "a product or coupon of the order is locked by somebody else".to_owned();
        let stuck = self.tell_again(stuck).await;
        self.decide(&stuck, &CheckoutError::Unavailable(locked));
        rest
    }

    /// Answers those that were bought before; what is left.
    async fn tell_again(&mut self, positions: Vec<usize>) -> Vec<usize> {
        if positions.is_empty() {
            return positions;
        }
        let earlier = self.batches.bought_before(&self.requests_of(&positions)).await;
        let mut rest = Vec::new();
        for (position, earlier) in positions.into_iter().zip(earlier) {
            match earlier {
                Some(answer) => self.verdicts[position] = Some(Verdict::Answer(answer)),
                None => rest.push(position),
            }
        }
        rest
    }

    fn split(&mut self, positions: Vec<usize>, held: &Rows) -> (Vec<usize>, Vec<usize>) {
        self.held.extend(held);
        positions.into_iter().partition(|&position| held.touch(&self.requests[position]))
    }

    fn decide(&mut self, positions: &[usize], error: &CheckoutError) {
        for &position in positions {
            self.verdicts[position] = Some(Verdict::Answer(Err(error.clone())));
        }
    }

    fn requests_of(&self, positions: &[usize]) -> Arc<[OrderRequest]> {
        if positions.len() == self.requests.len() {
            return self.requests.clone();
        }
        positions.iter().map(|&position| self.requests[position].clone()).collect()
    }
}

/// From 50 ms to a second, doubled with each repeat.
fn pause(repeats: u32) -> Duration {
    (FIRST_PAUSE * 2_u32.saturating_pow(repeats.min(10))).min(LONGEST_PAUSE)
}

/// Whole microseconds: what the database keeps, so that a repeated answer equals the first.
fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}
