//! # Reach
//!
//! For how long a client has reached no broker, as its statistics say once a second, and when that is too long.
//!
//! A client that is cut off finds its brokers again by itself; one that has lost all of them may not. librdkafka 2.12.1 takes
//! brokers that an answer no longer names for gone, those that it was started with too, and Kafka names none while all of
//! them are fenced for a moment (`rd_kafka_metadata_decommission_unavailable_brokers`; confluentinc/librdkafka#5301). It begins
//! again with those that it was started with when it finds that all are down, but it counts them while they go, and
//! misses it now and then. Then there is no broker to ask, none that is down, and nothing is tried any more, though Kafka is
//! well. An outage looks just like that, so whoever has reached none for so long gets a new client, which harms nobody, and
//! again each so long.
//!
//! Pure data.

use std::time::{Duration, Instant};

use rdkafka::statistics::Statistics;

/// How much longer than its session at most.
const LONGEST_MARGIN: Duration = Duration::from_secs(15);

/// One client's.
#[derive(Debug)]
pub(crate) struct Reach {
    patience: Duration,
    nobody_since: Option<Instant>,
}

impl Reach {
    /// A member that has reached nobody for longer than its session is none any more, so a new client costs it nothing; and a
    /// restart of one broker is over by then.
    pub(crate) fn of_a_session(session_timeout: Duration) -> Self {
        let patience = session_timeout.saturating_add(session_timeout.min(LONGEST_MARGIN));
        Self { patience, nobody_since: None }
    }

    /// How long is too long.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    pub(crate) fn looked(&mut self, reaches_a_broker: bool, now: Instant) {
        if reaches_a_broker {
            self.nobody_since = None;
        } else {
            self.nobody_since.get_or_insert(now);
        }
    }

    /// There is another client, of which nothing is known yet.
    pub(crate) fn begin(&mut self) {
        self.nobody_since = None;
    }

    pub(crate) fn is_lost(&self, now: Instant) -> bool {
        self.nobody_since.is_some_and(|since| now.saturating_duration_since(since) >= self.patience)
    }
}

/// Whether there is a connection to any of them.
pub(crate) fn reaches_a_broker(statistics: &Statistics) -> bool {
    statistics.brokers.values().any(|broker| broker.state == "UP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_a_broker_is_lost_once_its_session_is_over_and_then_some() {
        for (session, patience) in [(1, 2), (15, 30), (300, 315)] {
            let mut reach = Reach::of_a_session(Duration::from_secs(session));
            assert_eq!(reach.patience(), Duration::from_secs(patience));
            let begun = Instant::now();
            let after = |seconds| begun + Duration::from_secs(seconds);
            assert!(!reach.is_lost(after(patience)), "nothing is known of it");
            reach.looked(false, begun);
            reach.looked(false, after(patience - 1));
            assert!(!reach.is_lost(after(patience - 1)));
            assert!(reach.is_lost(after(patience)));
        }
    }

    #[test]
    fn one_that_has_reached_a_broker_meanwhile_or_is_new_is_not() {
        let changes: [fn(&mut Reach, Instant); 2] =
            [|reach, now| reach.looked(true, now), |reach, _| reach.begin()];
        for change in changes {
            let (mut reach, begun) = (Reach::of_a_session(Duration::from_secs(15)), Instant::now());
            reach.looked(false, begun);
            let later = begun + Duration::from_secs(20);
            change(&mut reach, later);
            reach.looked(false, later);
            assert!(!reach.is_lost(later + Duration::from_secs(29)));
            assert!(reach.is_lost(later + Duration::from_secs(30)));
        }
    }
}
