//! A data platform that takes events by HTTP, and takes its time as it is told.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::heard::within;

/// Idempotency keys.
#[derive(Clone, Default)]
pub(crate) struct Events {
    pub(crate) taken: BTreeSet<String>,
    /// Asked for, and without an answer for ever.
    pub(crate) held: BTreeSet<String>,
}

/// Runs until the case's runtime ends.
pub(crate) struct Platform {
    address: SocketAddr,
    shared: Arc<Shared>,
}

type Holds = Box<dyn Fn(&str) -> bool + Send>;

struct Shared {
    holds: Mutex<Holds>,
    events: watch::Sender<Events>,
}

impl Platform {
    /// Holds what this says, by the idempotency key, and takes everything else at once.
    pub(crate) async fn that_holds(holds: impl Fn(&str) -> bool + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let events = watch::Sender::new(Events::default());
        let shared = Arc::new(Shared { holds: Mutex::new(Box::new(holds)), events });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move { converse(stream, &shared).await });
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/orders", self.address)
    }

    /// What comes from now on it takes.
    pub(crate) fn takes_everything(&self) {
        *self.shared.holds.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(|_| false);
    }

    /// Returns once that is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Events) -> bool) -> Events {
        let mut events = self.shared.events.subscribe();
        within(what, events.wait_for(is_so)).await.expect("the sender is ours").clone()
    }
}

/// Ends with nothing when the client has gone.
async fn converse(stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut key, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if line.trim_end().is_empty() {
                break;
            }
            match line.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("idempotency-key") => {
                    value.trim().clone_into(&mut key);
                }
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().ok()?;
                }
                Some(_) | None => {}
            }
        }
        stream.read_exact(&mut vec![0; length]).await.ok()?;
        if (shared.holds.lock().unwrap_or_else(PoisonError::into_inner))(&key) {
            shared.events.send_modify(|events| _ = events.held.insert(key));
            // The answer never comes; when the client goes, neither does this connection stay.
            stream.read_u8().await.ok()?;
            return None;
        }
        shared.events.send_modify(|events| _ = events.taken.insert(key));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok()?;
        stream.flush().await.ok()?;
    }
}
