//! # Round trips
//!
//! How often a client waits for its server. No clock tells: the answers to requests that are to go together are kept back until all
//! of these are there. A client that wants to see the first answer before it sends the next request is stuck then, and a test sees
//! how far it came. One that sends everything at once gets everything, however the network cuts or delays it.
//!
//! A request is what the server answers by being ready for the next one: a simple query, a Sync, the beginning of a
//! connection. The counts are those of all connections, so they mean something for a client that uses one at a time, and cuts none.

/// What has passed since [`super::TcpProxy::expect_round_trips`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Requests that the client has sent; those that were not answered yet at the beginning are among them.
    pub requests: usize,
    /// How many of them were answered.
    pub answers: usize,
    /// Statements that the client had prepared.
    pub prepared: usize,
}

/// What is expected, and what has passed.
#[derive(Debug, Default)]
pub(super) struct RoundTrips {
    passed: Passed,
    /// How many requests there are at the end of each round trip.
    ends: Vec<usize>,
}

impl RoundTrips {
    /// So many requests in each round trip, from now on.
    pub(super) fn expect(&mut self, requests: &[usize]) {
        self.passed = Passed {
            requests: self.passed.requests.saturating_sub(self.passed.answers),
            ..Passed::default()
        };
        let mut sum = 0;
        self.ends = requests
            .iter()
            .map(|requests| {
                sum += requests;
                sum
            })
            .collect();
    }

    /// The client sends this.
    pub(super) fn sent(&mut self, message: &[u8]) {
        match message.first() {
            Some(b'Q' | b'S') => self.passed.requests += 1,
            Some(b'P') => self.passed.prepared += 1,
            // The first message has no type, its length is first.
            Some(0) if message.get(4..6) == Some(&[0, 3]) => self.passed.requests += 1,
            _ => {}
        }
    }

    /// Whether the client may see the next answer. After the last round trip it may see all.
    pub(super) fn may_be_answered(&self) -> bool {
        let end = self.ends.iter().find(|end| **end > self.passed.answers);
        end.is_none_or(|end| self.passed.requests >= *end)
    }

    /// The client has seen an answer to its end.
    pub(super) fn answered(&mut self) {
        self.passed.answers += 1;
    }

    pub(super) fn passed(&self) -> Passed {
        self.passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTUP: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0u\0\0";
    const PARSE: &[u8] = b"P\0\0\0\x04";
    const SYNC: &[u8] = b"S\0\0\0\x04";
    const QUERY: &[u8] = b"Q\0\0\0\x0aBEGIN\0";

    #[test]
    fn no_answer_is_seen_before_all_requests_of_its_round_trip_were_sent() {
        let mut trips = RoundTrips::default();
        assert!(trips.may_be_answered(), "nothing is expected");
        trips.sent(STARTUP);
        trips.answered();
        // One request is under way already.
        trips.sent(SYNC);
        trips.expect(&[2, 1]);
        assert!(!trips.may_be_answered());
        for message in [PARSE, SYNC] {
            trips.sent(message);
        }
        for _ in 0..2 {
            assert!(trips.may_be_answered());
            trips.answered();
        }
        assert!(!trips.may_be_answered());
        trips.sent(QUERY);
        assert!(trips.may_be_answered());
        trips.answered();
        assert_eq!(trips.passed(), Passed { requests: 3, answers: 3, prepared: 1 });
        assert!(trips.may_be_answered(), "nothing is expected any more");
    }
}
