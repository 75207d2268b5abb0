//! # A way to a cluster whose brokers are all fenced
//!
//! Stands between a client and the one broker of a cluster, and while it is told to, leaves the broker out of every answer that
//! lists brokers, and nothing else: what Kafka tells while its controller takes none of them for alive. Otherwise such an answer
//! names the proxy in the broker's place, so that the client goes on to come by it.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

const METADATA: i16 = 3;
/// From this version of the answer on, lengths are variable and fields may be tagged.
const FLEXIBLE: i16 = 9;
/// No frame here is larger.
const LONGEST: usize = 16 * 1024 * 1024;

/// Runs until it is dropped, which cuts what is connected.
#[derive(Debug)]
pub struct FencedProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    broker: String,
    port: u16,
    fenced: AtomicBool,
    emptied: AtomicU64,
}

impl FencedProxy {
    /// Listens on a free port of this machine, in front of `broker`, a host and a port. Must be called in a runtime.
    pub async fn start(broker: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            broker: broker.to_owned(),
            port: address.port(),
            fenced: AtomicBool::new(false),
            emptied: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Where clients connect.
    pub fn bootstrap_servers(&self) -> String {
        self.address.to_string()
    }

    /// From now on no answer lists a broker, or all do again.
    pub fn fence(&self, fenced: bool) {
        self.shared.fenced.store(fenced, Ordering::Relaxed);
    }

    /// How many answers have listed none.
    pub fn emptied(&self) -> u64 {
        self.shared.emptied.load(Ordering::Relaxed)
    }
}

impl Drop for FencedProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // What is connected goes with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move { serve(client, &shared).await.ok() });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut broker = TcpStream::connect(&shared.broker).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_broker, mut to_broker) = broker.split();
    // The version that each request for metadata wants its answer in, by the request's number.
    let asked: Mutex<HashMap<[u8; 4], i16>> = Mutex::default();
    let requests = async {
        loop {
            let frame = read(&mut from_client).await?;
            if let [k1, k2, v1, v2, n1, n2, n3, n4, ..] = frame[..]
                && i16::from_be_bytes([k1, k2]) == METADATA
            {
                let version = i16::from_be_bytes([v1, v2]);
                asked.lock().unwrap_or_else(PoisonError::into_inner).insert([n1, n2, n3, n4], version);
            }
            write(&mut to_broker, &frame).await?;
        }
    };
    let answers = async {
        loop {
            let mut frame = read(&mut from_broker).await?;
            let number = frame.first_chunk::<4>().copied().unwrap_or_default();
            let version = asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            if let Some(version) = version {
                let fenced = shared.fenced.load(Ordering::Relaxed);
                let told = if fenced { None } else { Some(shared.port) };
                frame = with_brokers_at(told, &frame, version)
                    .ok_or_else(|| io::Error::other("an answer that ends too soon"))?;
                shared.emptied.fetch_add(fenced.into(), Ordering::Relaxed);
            }
            write(&mut to_client, &frame).await?;
        }
    };
    tokio::select! {
        ended = requests => ended,
        ended = answers => ended,
    }
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = usize::try_from(from.read_i32().await?).ok().filter(|length| *length <= LONGEST);
    let mut frame = vec![0; length.ok_or_else(|| io::Error::other("no frame of Kafka's protocol"))?];
    from.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn write(to: &mut (impl AsyncWriteExt + Unpin), frame: &[u8]) -> io::Result<()> {
    let length = i32::try_from(frame.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_be_bytes()).await?;
    to.write_all(frame).await
}

/// The same answer with its brokers at this port, or with none. Nothing if it ends too soon.
fn with_brokers_at(port: Option<u16>, answer: &[u8], version: i16) -> Option<Vec<u8>> {
    let mut rest = Rest(answer);
    // The request's number.
    rest.skip(4)?;
    let is_flexible = version >= FLEXIBLE;
    if is_flexible {
        rest.tags()?;
    }
    if version >= 3 {
        // For how long the client is throttled.
        rest.skip(4)?;
    }
    let head = answer.len() - rest.0.len();
    let mut moved = answer.to_vec();
    let brokers = if is_flexible { rest.varint()?.checked_sub(1)? } else { rest.count(4)? };
    for _ in 0..brokers {
        rest.skip(4)?;
        rest.text(is_flexible)?;
        let at = answer.len() - rest.0.len();
        rest.skip(4)?;
        moved[at..at + 4].copy_from_slice(&u32::from(port.unwrap_or_default()).to_be_bytes());
        if version >= 1 {
            // Its rack.
            rest.text(is_flexible)?;
        }
        if is_flexible {
            rest.tags()?;
        }
    }
    if port.is_some() {
        return Some(moved);
    }
    let none: &[u8] = if is_flexible { &[1] } else { &[0; 4] };
    Some([&answer[..head], none, rest.0].concat())
}

/// What was not read yet.
struct Rest<'f>(&'f [u8]);

impl Rest<'_> {
    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    fn count(&mut self, bytes: usize) -> Option<usize> {
        let (number, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(number.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    fn varint(&mut self) -> Option<usize> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.count(1)?;
            number |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
            shift = Some(shift + 7).filter(|shift| *shift < 32)?;
        }
    }

    /// A text, or none.
    fn text(&mut self, is_flexible: bool) -> Option<()> {
        let length = if is_flexible {
            self.varint()?.saturating_sub(1)
        } else {
            Some(self.count(2)?).filter(|length| *length != 0xffff).unwrap_or_default()
        };
        self.skip(length)
    }

    fn tags(&mut self) -> Option<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.skip(length)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_brokers_are_left_out_or_moved() {
        let number = [0, 0, 0, 7];
        let answer = |brokers: &[u8]| [&number[..], &[0, 0, 0, 0], brokers, b"rest"].concat();
        let old = answer(&[0, 0, 0, 1, 0, 0, 0, 1, 0, 1, b'h', 0, 0, 35, 132, 255, 255]);
        assert_eq!(with_brokers_at(None, &old, 3), Some(answer(&[0, 0, 0, 0])));
        let moved = answer(&[0, 0, 0, 1, 0, 0, 0, 1, 0, 1, b'h', 0, 0, 1, 2, 255, 255]);
        assert_eq!(with_brokers_at(Some(0x102), &old, 3), Some(moved));
        let answer = |brokers: &[u8]| [&number[..], &[0], &[0, 0, 0, 0], brokers, b"rest"].concat();
        let new = answer(&[2, 0, 0, 0, 1, 2, b'h', 0, 0, 35, 132, 0, 0]);
        assert_eq!(with_brokers_at(None, &new, 12), Some(answer(&[1])));
        assert_eq!(with_brokers_at(None, &new[..14], 12), None);
    }
}
