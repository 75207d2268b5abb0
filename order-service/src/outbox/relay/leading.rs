//! # Leading
//!
//! Whose turn it is to publish, and where the one whose turn it is begins to read. All of it is a few small statements a
//! second on the relay's own session: a session that hangs loses the lease, and another instance goes on.

use super::{IN_FLIGHT_FULL, OUTBOX_REFUSED, PUBLISHING_FAILS, Relay};
use crate::outbox::failed_rows::FailedRows;
use crate::storage::Session;
use crate::storage::error::DatabaseError;
use crate::storage::outbox::{self, Unread};
use crate::storage::relay_lease::{self, Claim, Known, Noted};
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

/// How often one that stands by asks for the lease: so soon it goes on where another has stopped cleanly.
const STAND_BY_LOOK: Duration = Duration::from_millis(100);
/// How often the floor is moved at least.
const FLOOR_LOOK: Duration = Duration::from_secs(1);
/// The same while a proposal waits for writers that end soon.
const FLOOR_LOOK_AGAIN: Duration = Duration::from_millis(50);
/// It is moved earlier when so many rows are gone: each of them may be in the way of every read, if a snapshot is held.
const FLOOR_ROWS: usize = 20_000;

/// What was last said of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It is this instance's.
    Publishes,
    /// It is another one's.
    StandsBy,
}

/// What this instance asks for the lease with.
pub(super) fn claim(ttl: Duration) -> Claim {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "an unknown host" } else { host.trim() };
    Claim { holder: Uuid::new_v4(), holder_name: format!("process {} on {host}", std::process::id()), ttl }
}

impl Relay {
    /// What an earlier session has seen of the table is not worth anything in this one: it may be another server's.
    pub(super) fn begin_with_new_session(&mut self) {
        self.lease.lose();
        self.floor.reset();
        self.pace.reset();
        self.give_up_parked();
        self.rescans = None;
        self.next_look_at_floor = Instant::now();
    }

    /// Whether this instance publishes; asks the database when it is time to.
    pub(super) async fn leads(&mut self, session: &Session) -> Result<bool, DatabaseError> {
        let asked_at = Instant::now();
        if self.lease.renew_at().is_some_and(|at| asked_at < at) {
            return Ok(true);
        }
        let take = relay_lease::take(session, &self.claim, self.known());
        let taken = match self.database.within_limit(take).await {
            Err(DatabaseError::Locked(_)) => return Ok(self.leads_beside_lock()),
            taken => taken?,
        };
        self.lease.answered(asked_at, taken.is_some());
        let Some(taken) = taken else {
            self.stand_down(session).await?;
            self.metrics.leads.set(0);
            return Ok(false);
        };
        self.metrics.leads.set(1);
        if self.turn != Turn::Publishes {
            self.turn = Turn::Publishes;
            self.metrics.takeovers.inc();
            info!("this instance publishes the outbox from now on");
        }
        self.look_where_rows_came_back(taken);
        Ok(true)
    }

    /// Somebody, a person perhaps, has the lease's row locked. Nobody can take it meanwhile, but its time may end: then nothing is
    /// published until the row is free.
    fn leads_beside_lock(&mut self) -> bool {
        if self.lease.may_send(Instant::now()) {
            return true;
        }
        if self.turn == Turn::Publishes && self.lease.renew_at().is_some() {
            warn!(
                "another session has the row of table relay_lease locked: nothing is published until it ends"
            );
        }
        self.lease.lose();
        self.metrics.leads.set(0);
        false
    }

    /// Reads begin behind what is published, when this instance begins; and lower again when rows have come back from below.
    /// Not from the beginning, if it is known where: what vacuum has still to remove would be waded through.
    pub(super) fn look_where_rows_came_back(&mut self, noted: Noted) {
        match self.rescans {
            None => self.floor.begin_at(noted.published_up_to),
            Some(before) if before == noted.rescans => {}
            Some(_) if noted.published_up_to == 0 => self.floor.reset(),
            Some(_) => self.floor.is_below(noted.published_up_to + 1),
        }
        self.rescans = Some(noted.rescans);
    }

    /// What is written down for whoever publishes next. A row that is on its way is not published yet, though the floor has
    /// passed it.
    fn known(&self) -> Option<Known> {
        let rescans = self.rescans?;
        let scan_floor = self.floor.get();
        let published_up_to = self.in_flight.lowest().map_or(scan_floor, |seq| scan_floor.min(seq - 1));
        Some(Known { scan_floor, published_up_to, rescans })
    }

    /// Until it is time to ask for the lease again. What was sent while this instance published may still be acknowledged:
    /// deleting it is right whoever does it, and each is a repeat less.
    pub(super) async fn stand_by(
        &mut self,
        session: &Session,
        stop: &CancellationToken,
    ) -> Result<(), DatabaseError> {
        self.take_deliveries();
        self.delete_acknowledged(session).await?;
        self.show_in_flight();
        tokio::select! {
            () = sleep(STAND_BY_LOOK) => {}
            () = stop.cancelled() => {}
        }
        Ok(())
    }

    pub(super) async fn give_lease_back(&mut self, session: &Session) -> Result<(), DatabaseError> {
        self.lease.lose();
        self.database.within_limit(relay_lease::give_back(session, self.claim.holder)).await
    }

    /// A step of [`crate::outbox::scan_floor`], once a second and behind many deleted rows.
    pub(super) async fn look_at_floor_if_due(&mut self, session: &Session) -> Result<(), DatabaseError> {
        if Instant::now() < self.next_look_at_floor && self.deleted_since_look < FLOOR_ROWS {
            return Ok(());
        }
        self.deleted_since_look = 0;
        let mut next = FLOOR_LOOK;
        if !self.floor.wants_proposal() {
            let open = self.database.within_limit(outbox::writers(session)).await?;
            if self.floor.is_settled(&open) {
                let above = self.floor.get();
                let in_flight = self.in_flight.seqs_above(above);
                let lowest = outbox::lowest(session, Unread { above, but: &in_flight });
                self.floor.move_up(self.database.within_limit(lowest).await?);
            } else {
                next = FLOOR_LOOK_AGAIN;
                let reached = self.database.within_limit(outbox::reached(session)).await?;
                self.pace.reached(reached, Instant::now());
            }
        }
        if self.floor.wants_proposal() {
            // One after the other: who has drawn a seq by the first answer is among the second, or has ended.
            let reached = self.database.within_limit(outbox::reached(session)).await?;
            self.pace.reached(reached, Instant::now());
            let writers = self.database.within_limit(outbox::writers(session)).await?;
            self.floor.propose(reached, writers);
            if self.floor.is_new() {
                next = FLOOR_LOOK_AGAIN;
            }
        }
        self.metrics.scan_floor.set(self.floor.get());
        self.metrics.floor_looks.inc();
        self.discard_old_quarantine_if_due(session).await?;
        self.look_at_quarantine(session).await?;
        self.next_look_at_floor = Instant::now() + next;
        Ok(())
    }

    /// Whether another instance publishes.
    pub(super) fn stands_by(&self) -> bool {
        self.turn == Turn::StandsBy
    }

    /// They are read again.
    fn give_up_parked(&mut self) {
        for seq in self.parked.take_all() {
            self.in_flight.finish(seq);
        }
        self.read_again_at = None;
    }

    /// What was not sent belongs to who publishes now, and so do the troubles of it.
    async fn stand_down(&mut self, session: &Session) -> Result<(), DatabaseError> {
        if self.turn == Turn::StandsBy {
            return Ok(());
        }
        let holder = self.database.within_limit(relay_lease::holder_name(session)).await?;
        let holder = holder.unwrap_or_default();
        if self.turn == Turn::Publishes {
            warn!(
                relay.holder = holder,
                "{holder} has taken over publishing, as this instance has not renewed its lease in time; it stands by"
            );
        } else {
            info!(relay.holder = holder, "this instance stands by: {holder} publishes the outbox");
        }
        self.turn = Turn::StandsBy;
        self.give_up_parked();
        self.floor.reset();
        self.metrics.scan_floor.set(0);
        self.rescans = None;
        // What another one puts into quarantine meanwhile must be known before the first row is sent again.
        self.next_look_at_floor = Instant::now();
        self.failed = FailedRows::default();
        self.forget_quarantine();
        for alarm in [PUBLISHING_FAILS, IN_FLIGHT_FULL, OUTBOX_REFUSED] {
            self.alarms.clear(alarm, "");
        }
        Ok(())
    }
}
