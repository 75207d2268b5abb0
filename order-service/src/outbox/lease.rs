//! # Lease
//!
//! Answers one question for one instance: *may it start to send now?* One instance per database publishes; the others
//! stand by and take over when the lease is over, or at once when the holder gives it back.
//!
//! The lease only keeps repeats rare, as two publishers at once are safe: each sends a key's next event only after the
//! previous one was acknowledged, and deletes only what was acknowledged. So a holder that was frozen and wakes
//! behind the end of its lease costs repeats at most (`a_publishing_instance_that_is_frozen_behind_its_lease_and_wakes_repeats_at_most`).
//!
//! The end is reckoned from *before* the database was asked, on this machine's monotonic clock, and a little earlier than
//! the database will judge it: clocks run at different speeds.
//!
//! Pure data: the time is passed in.

use std::time::{Duration, Instant};

/// A tenth of the lease's time is not used.
const MARGIN: u32 = 10;
/// It is renewed so often within its time.
const RENEWALS: u32 = 3;

/// What is known of the lease.
#[derive(Clone, Debug)]
pub struct Lease {
    ttl: Duration,
    /// None while somebody else has it.
    asked_at: Option<Instant>,
}

impl Lease {
    /// Not held yet.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, asked_at: None }
    }

    /// The database was asked at this time, before the question was sent, and has answered.
    pub fn answered(&mut self, asked_at: Instant, is_ours: bool) {
        self.asked_at = is_ours.then_some(asked_at);
    }

    /// It was given back, or nobody knows.
    pub fn lose(&mut self) {
        self.asked_at = None;
    }

    /// Whether something may be sent now.
    pub fn may_send(&self, now: Instant) -> bool {
        let good_for = self.ttl.saturating_sub(self.ttl / MARGIN);
        self.asked_at.is_some_and(|asked_at| now.saturating_duration_since(asked_at) < good_for)
    }

    /// When to renew it; it is not held otherwise.
    pub fn renew_at(&self) -> Option<Instant> {
        self.asked_at.map(|asked_at| asked_at + self.ttl / RENEWALS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    #[test]
    fn nothing_is_sent_without_it_nor_near_its_end() {
        let (mut lease, now) = (Lease::new(TTL), Instant::now());
        assert!(!lease.may_send(now));
        lease.answered(now, true);
        assert!(lease.may_send(now + Duration::from_millis(8_999)));
        assert!(
            !lease.may_send(now + Duration::from_secs(9)),
            "the database may judge it over a little later"
        );
        lease.answered(now + Duration::from_secs(9), false);
        assert!(!lease.may_send(now) && lease.renew_at().is_none());
    }

    #[test]
    fn it_is_renewed_well_before_its_end_and_counts_from_the_question() {
        let (mut lease, now) = (Lease::new(TTL), Instant::now());
        lease.answered(now, true);
        let renew_at = lease.renew_at().unwrap();
        assert!(renew_at > now && lease.may_send(renew_at + TTL / 2));
        lease.answered(renew_at, true);
        assert!(lease.may_send(now + TTL));
        lease.lose();
        assert!(!lease.may_send(renew_at));
    }
}
