//! # Quarantining
//!
//! A row that Kafka refuses for good, as it is too large or no valid record, would hold up its key for ever and be sent
//! again for ever. It moves to the table `outbox_quarantine`, and with it each later row of its key that is read: they must
//! not overtake it. Everything else that goes wrong (a missing topic, a permission, time-outs) is trouble of all
//! rows, which a person or time cures: then nothing is moved.
//!
//! A broker refuses a batch, not a row of it. So a row whose batch was refused is only *suspected*, and sent once more with
//! nothing else on its way to its partition: what is refused then is proof (`of_a_batch_that_is_refused_only_what_is_refused_alone_is_quarantined`).
//! What the client refuses when a row is handed over is about that row.
//!
//! Only the instance that publishes moves rows, as only it knows which keys are held: the statement asks whose the lease is
//! (`who_has_lost_the_lease_unnoticed_quarantines_nothing`).

use super::Relay;
use crate::outbox::message::PendingMessage;
use crate::settings::Retention;
use crate::storage::Session;
use crate::storage::error::DatabaseError;
use crate::storage::{quarantine, relay_lease};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// Raised while rows are in quarantine.
pub const OUTBOX_QUARANTINED: &str = "outbox-quarantined";

const DISCARD_EVERY: Duration = Duration::from_mins(1);
/// In one statement.
const MOST_DISCARDED: i64 = 1000;

/// What is known of the quarantine.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Keys of which rows are there, or will be in a moment, each with the lowest seq of those.
    keys: HashMap<String, i64>,
    /// Refused, each with its cause, and not moved yet.
    refused: Vec<(i64, String)>,
    /// Read, of a key that is held, and not moved yet.
    along: Vec<i64>,
    /// Refused together with others.
    suspected: HashSet<i64>,
    /// Taken on, to go with nothing else.
    alone: HashSet<i64>,
    next_discard: Option<Instant>,
}

/// Which partitions a cycle has sent something to, and which it must not send more to. Only kept while rows are suspected.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    used: HashSet<u32>,
    closed: HashSet<u32>,
}

impl Held {
    /// The row is gone, acknowledged or moved.
    fn forget(&mut self, seq: i64) {
        self.suspected.remove(&seq);
        self.alone.remove(&seq);
    }

    /// The table was read as a whole: others have been removed by somebody else.
    pub(super) fn retain(&mut self, seen: &HashSet<i64>) {
        self.suspected.retain(|seq| seen.contains(seq));
    }
}

impl Relay {
    /// Whether a refused batch is still to be taken apart.
    pub(super) fn suspects(&self) -> bool {
        !self.held.suspected.is_empty()
    }

    /// The batch of the row was refused for good. Whether that is proof: it was alone in it.
    pub(super) fn was_refused_alone(&mut self, seq: i64) -> bool {
        let was_alone = self.held.alone.remove(&seq);
        if !was_alone {
            self.held.suspected.insert(seq);
        }
        was_alone
    }

    /// The row was acknowledged.
    pub(super) fn is_beyond_suspicion(&mut self, seq: i64) {
        if !self.held.suspected.is_empty() {
            self.held.forget(seq);
        }
    }

    /// The row was not acknowledged, for another reason.
    pub(super) fn is_not_alone_any_more(&mut self, seq: i64) {
        self.held.alone.remove(&seq);
    }

    /// What is taken before any row is chosen: partitions of rows that go in this cycle, and of one that goes alone.
    pub(super) fn lanes(&self, sent: &HashSet<i64>) -> Lanes {
        if self.held.suspected.is_empty() {
            return Lanes::default();
        }
        let sent = self.in_flight.on_their_way().filter(|(seq, _)| sent.contains(seq));
        let parked = self.parked.keys().map(|key| self.partitions.of_key(key));
        let used = sent.map(|(_, partition)| partition).chain(parked).collect();
        let closed = self.held.alone.iter().filter_map(|seq| self.in_flight.partition_of(*seq)).collect();
        Lanes { used, closed }
    }

    /// Whether the row may go to its partition in this cycle: a suspected one only alone.
    pub(super) fn has_lane(&mut self, row: &PendingMessage, busy: &HashSet<u32>, lanes: &mut Lanes) -> bool {
        if self.held.suspected.is_empty() {
            return true;
        }
        let partition = self.partitions.of_key(&row.message.key);
        if lanes.closed.contains(&partition) {
            return false;
        }
        if self.held.suspected.contains(&row.seq) {
            if busy.contains(&partition) || lanes.used.contains(&partition) {
                return false;
            }
            lanes.closed.insert(partition);
            self.held.alone.insert(row.seq);
        }
        lanes.used.insert(partition);
        true
    }

    /// The row was refused for good: it moves before the next row of its key is looked at.
    pub(super) fn quarantine(&mut self, seq: i64, key: &str, cause: String) {
        let lowest = self.held.keys.entry(key.to_owned()).or_insert(seq);
        *lowest = seq.min(*lowest);
        self.held.refused.push((seq, cause));
        self.held.forget(seq);
    }

    /// Whether rows were refused for good and are still in the outbox.
    pub(super) fn has_rows_to_quarantine(&self) -> bool {
        !self.held.refused.is_empty()
    }

    /// Whether an earlier row of its key is in quarantine; if so, it follows.
    pub(super) fn follows_into_quarantine(&mut self, row: &PendingMessage) -> bool {
        let follows = self.held.keys.get(&row.message.key).is_some_and(|lowest| row.seq > *lowest);
        if follows {
            self.held.along.push(row.seq);
        }
        follows
    }

    /// Moves what is to be moved.
    pub(super) async fn move_to_quarantine(&mut self, session: &Session) -> Result<(), DatabaseError> {
        while let Some((seq, cause)) = self.held.refused.last() {
            let moved = quarantine::quarantine(session, self.claim.holder, *seq, cause);
            let moved = self.database.within_limit(moved).await?;
            let Some((seq, cause)) = self.held.refused.pop() else { break };
            if moved > 0 {
                self.is_gone(seq);
                error!(
                    outbox.seq = seq,
                    "outbox row {seq} will never be published as it is, and is in quarantine: {cause}; see `order-service outbox \
                     quarantine list`"
                );
            } else {
                // Its key waits with it, and no other.
                let what = format!(
                    "outbox row {seq} is refused for good and does not move to quarantine, as another session has it, or the quarantine, locked, \
                     another event has its seq there, or this instance publishes no more: end that session, or release or discard \
                     that event; {cause}"
                );
                self.fail(seq, &what, Instant::now());
            }
        }
        if !self.held.along.is_empty() {
            let moved = quarantine::move_along(session, self.claim.holder, &self.held.along);
            let moved = self.database.within_limit(moved).await?;
            let released = self.held.along.len() - moved;
            if moved > 0 {
                info!("{moved} rows followed an earlier row of their key into quarantine");
            }
            let along = std::mem::take(&mut self.held.along);
            if released == 0 {
                for seq in along {
                    self.is_gone(seq);
                }
            }
            if released > 0 {
                // An operator has released their key, or is about to.
                self.look_at_quarantine(session).await?;
            }
        }
        Ok(())
    }

    /// Discards what is in quarantine for longer than its retention, every now and then.
    pub(super) async fn discard_old_quarantine_if_due(
        &mut self,
        session: &Session,
    ) -> Result<(), DatabaseError> {
        let Retention::Milliseconds(age) = self.settings.quarantine_retention else { return Ok(()) };
        let now = Instant::now();
        if self.held.next_discard.is_some_and(|at| now < at) {
            return Ok(());
        }
        self.held.next_discard = Some(now + DISCARD_EVERY);
        let age = Duration::from_millis(age.unsigned_abs());
        let discarded = quarantine::discard_older(session, age, MOST_DISCARDED);
        for row in self.database.within_limit(discarded).await? {
            warn!(
                outbox.seq = row.seq,
                event.id = %row.event_id,
                "the event {} of key {} is discarded and never published, as it was in quarantine for longer than \
                 relay.quarantine_retention: {}",
                row.event_id,
                row.key,
                row.cause.as_deref().unwrap_or("an earlier one of its key was refused")
            );
        }
        Ok(())
    }

    /// Which keys are held, as an operator may have released some.
    pub(super) async fn look_at_quarantine(&mut self, session: &Session) -> Result<(), DatabaseError> {
        let keys = self.database.within_limit(quarantine::keys(session)).await?;
        let keys: HashMap<String, i64> = keys.into_iter().collect();
        if self.held.keys.keys().any(|key| !keys.contains_key(key)) {
            // Rows that were released have the seq that they had, and go before later ones of their key. What was discarded is not
            // anywhere. Asked for afterwards: whoever releases tells it with the same COMMIT.
            match self.database.within_limit(relay_lease::noted(session)).await? {
                Some(noted) => self.look_where_rows_came_back(noted),
                None => self.floor.reset(),
            }
        }
        self.held.keys = keys;
        match self.held.keys.len() {
            0 => self.alarms.clear(OUTBOX_QUARANTINED, ""),
            held => {
                let detail = format!(
                    "rows of {held} keys are in quarantine, as Kafka refuses them for good: see `order-service outbox quarantine list`"
                );
                self.alarms.raise(OUTBOX_QUARANTINED, "", detail);
            }
        }
        Ok(())
    }

    /// Another instance publishes, and quarantines.
    pub(super) fn forget_quarantine(&mut self) {
        self.held = Held::default();
        self.alarms.clear(OUTBOX_QUARANTINED, "");
    }
}
