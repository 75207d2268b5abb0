//! # What PostgreSQL answers
//!
//! Cuts the server's bytes into messages, as [`super::frontend`] does the client's: just enough to know where an answer ends.

use super::frontend::cut;

/// The server's bytes, in whichever pieces they arrive.
#[derive(Debug, Default)]
pub(super) struct Backend {
    pending: Vec<u8>,
    started: bool,
}

impl Backend {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next message that has arrived whole, with its header.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        // To a request for encryption it says yes or no by one byte; no conversation begins by a message of either type.
        if !self.started && matches!(self.pending.first()?, b'N' | b'S') {
            return Some(self.pending.drain(..1).collect());
        }
        self.started = true;
        cut(&mut self.pending, 1)
    }
}

/// Whether it is the end of an answer: the server is ready for the next request.
pub(super) fn ends_answer(message: &[u8]) -> bool {
    message.first() == Some(&b'Z')
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHENTICATED: &[u8] = b"R\0\0\0\x08\0\0\0\0";
    const NOTICE: &[u8] = b"N\0\0\0\x05\0";
    const READY: &[u8] = b"Z\0\0\0\x05I";

    #[test]
    fn answers_are_found_however_their_bytes_arrive() {
        let all = [b"N".as_slice(), AUTHENTICATED, NOTICE, READY, READY];
        let stream = all.concat();
        for size in 1..=stream.len() {
            let mut backend = Backend::default();
            let mut messages = Vec::new();
            for piece in stream.chunks(size) {
                backend.push(piece);
                messages.extend(std::iter::from_fn(|| backend.next()));
            }
            assert_eq!(messages, all, "in pieces of {size}");
            let ends: Vec<bool> = messages.iter().map(|message| ends_answer(message)).collect();
            assert_eq!(ends, [false, false, false, true, true]);
        }
    }
}
