//! # A buyer's connection
//!
//! HTTP/1.1 by hand, one request at a time: a client library would take a part of the processors that are
//! measured. It knows as much of an answer as it takes to find its end.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An open connection.
pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: Vec::with_capacity(256), answer: Vec::with_capacity(1024) })
    }

    /// One piece of a product for a user; the answer's status.
    pub(crate) async fn buy(&mut self, user: u64, product: u64) -> Result<u16> {
        use std::io::Write;

        let body = format!(r#"{{"userId":{user},"items":[{{"productId":{product},"quantity":1}}]}}"#);
        self.request.clear();
        write!(
            self.request,
            "POST /orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Some(status) = status_when_whole(&self.answer)? {
                return Ok(status);
            }
        }
    }
}

/// The status, once the whole answer is here.
fn status_when_whole(answer: &[u8]) -> Result<Option<u16>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = answer.windows(END.len()).position(|window| window == END) else { return Ok(None) };
    let malformed = || Error::from(ErrorKind::InvalidData);
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| malformed())?;
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).ok_or_else(malformed)?;
    let length: usize = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(malformed)?;
    Ok((answer.len() >= end + END.len() + length).then_some(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_its_last_byte_and_not_before() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
        for length in 0..answer.len() {
            assert_eq!(status_when_whole(&answer[..length]).unwrap(), None, "{length} bytes");
        }
        assert_eq!(status_when_whole(answer).unwrap(), Some(201));
    }

    #[test]
    fn an_answer_without_a_length_is_an_error() {
        assert!(status_when_whole(b"HTTP/1.1 201 Created\r\n\r\n").is_err());
    }
}
