//! # What a client says to PostgreSQL
//!
//! Cuts the client's bytes into messages of the frontend protocol, version 3, without TLS: just enough to know a
//! COMMIT when it passes. Messages are handed on as they came.

/// Type byte and length.
const HEADER: usize = 5;

/// The client's bytes, in whichever pieces they arrive.
#[derive(Debug, Default)]
pub(super) struct Frontend {
    pending: Vec<u8>,
    /// The first message, and requests for encryption before it, have no type byte.
    started: bool,
}

impl Frontend {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next message that has arrived whole, with its header.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let message = cut(&mut self.pending, usize::from(self.started))?;
        self.started |= message.get(4..6) == Some(&[0, 3]);
        Some(message)
    }
}

/// The next message, whose length stands behind `at` bytes.
pub(super) fn cut(pending: &mut Vec<u8>, at: usize) -> Option<Vec<u8>> {
    let stated = pending.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)?;
    // The length counts itself; one that cannot be is handed on for the other end to refuse.
    let end = at + usize::try_from(stated).ok()?.max(4);
    let message: Vec<u8> = pending.get(..end)?.to_vec();
    pending.drain(..end);
    Some(message)
}

/// Whether it is the simple query `COMMIT`.
pub(super) fn is_commit(message: &[u8]) -> bool {
    let Some((b'Q', [_, _, _, _, text @ .., 0])) = message.split_first().map(|(kind, rest)| (*kind, rest))
    else {
        return false;
    };
    message.len() > HEADER && text.trim_ascii().trim_ascii_end().eq_ignore_ascii_case(b"COMMIT")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protocol 3.0, user `u`.
    const STARTUP: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0u\0\0";
    const BEGIN: &[u8] = b"Q\0\0\0\x0aBEGIN\0";
    const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
    const SYNC: &[u8] = b"S\0\0\0\x04";

    fn messages(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
        let mut frontend = Frontend::default();
        let mut messages = Vec::new();
        for piece in pieces {
            frontend.push(&piece);
            messages.extend(std::iter::from_fn(|| frontend.next()));
        }
        assert_eq!(frontend.pending, b"", "nothing is kept back");
        messages
    }

    #[test]
    fn messages_are_found_however_their_bytes_arrive() {
        let encryption = b"\0\0\0\x08\x04\xd2\x16\x2f".as_slice();
        let all = [encryption, STARTUP, BEGIN, SYNC, COMMIT];
        let stream = all.concat();
        for size in 1..=stream.len() {
            assert_eq!(messages(stream.chunks(size).map(<[u8]>::to_vec)), all, "in pieces of {size}");
        }
    }

    #[test]
    fn half_a_message_waits_for_the_rest() {
        let mut frontend = Frontend::default();
        frontend.push(STARTUP);
        assert_eq!(frontend.next().as_deref(), Some(STARTUP));
        frontend.push(&COMMIT[..7]);
        assert_eq!(frontend.next(), None);
        frontend.push(&COMMIT[7..]);
        assert_eq!(frontend.next().as_deref(), Some(COMMIT));
    }

    #[test]
    fn only_the_statement_is_a_commit() {
        assert!(is_commit(COMMIT));
        assert!(is_commit(b"Q\0\0\0\x0dcommit \n\0"));
        let parse = [b"P".as_slice(), &COMMIT[1..]].concat();
        for other in [BEGIN, SYNC, STARTUP, b"Q\0\0\0\x14SELECT 'COMMIT'\0", b"", b"Q", &parse] {
            assert!(!is_commit(other), "{other:?}");
        }
    }
}
