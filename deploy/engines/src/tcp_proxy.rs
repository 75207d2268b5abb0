//! # A proxy that fails when it is told to
//!
//! Stands between a service and its PostgreSQL and breaks the connection at the one moment that no other
//! means hits for certain: when a COMMIT passes. Before it is handed on, so that it never arrives; or after the server
//! has answered it, so that it is applied and nobody is told. Broken is either *cut*, both ends see it
//! close, *silent*, nobody sees anything, as when a network dies, or *half open*, the client sees it close and the server
//! does not.
//!
//! It is armed for one COMMIT, whichever connection it comes by. It understands no TLS.
//!
//! And it tells how often a client waits for its server: [`TcpProxy::expect_round_trips`].

mod backend;
mod frontend;
mod round_trips;

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use backend::{Backend, ends_answer};
use frontend::{Frontend, is_commit};
pub use round_trips::Passed;
use round_trips::RoundTrips;

const BUFFER: usize = 16 * 1024;

/// Where a COMMIT is when its connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It does not arrive: nothing is applied.
    NotSent,
    /// The server has answered it: it is applied, and the answer is lost.
    Answered,
}

/// How a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Both ends see it close.
    Cut,
    /// Neither end sees anything, until [`TcpProxy::cut`].
    Silence,
    /// The client sees it close; the server sees nothing, and keeps what the client had locked, until [`TcpProxy::cut`].
    HalfOpen,
}

/// Runs until it is dropped, which cuts what is connected.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    armed: Mutex<Option<(Commit, Break)>>,
    struck: watch::Sender<bool>,
    refusing: AtomicBool,
    /// Counts the cuts; a connection ends at the first one after its beginning.
    cuts: watch::Sender<u64>,
    trips: watch::Sender<RoundTrips>,
}

impl TcpProxy {
    /// Listens on a free port of this machine, in front of `server`. Must be called in a runtime.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server,
            armed: Mutex::new(None),
            struck: watch::Sender::new(false),
            refusing: AtomicBool::new(false),
            cuts: watch::Sender::new(0),
            trips: watch::Sender::new(RoundTrips::default()),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's `url`, but by this proxy.
    pub fn url(&self, url: &str) -> String {
        url.replacen(&self.shared.server.to_string(), &self.address.to_string(), 1)
    }

    /// Breaks the connection of the next COMMIT, once.
    pub fn arm(&self, commit: Commit, how: Break) {
        self.shared.struck.send_replace(false);
        *self.shared.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some((commit, how));
    }

    /// Returns when the COMMIT for which it was armed last has met its fate.
    pub async fn struck(&self) {
        // The sender lives as long as this value.
        self.shared.struck.subscribe().wait_for(|struck| *struck).await.ok();
    }

    /// From now on the answers of each round trip are kept back until the client has sent so many requests: one that needs more
    /// round trips is stuck. What comes after the last one passes.
    pub fn expect_round_trips(&self, requests: &[usize]) {
        self.shared.trips.send_modify(|trips| trips.expect(requests));
    }

    /// What has passed since then.
    pub fn passed(&self) -> Passed {
        self.shared.trips.borrow().passed()
    }

    /// Cuts every connection, silent ones too.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Closes every new connection at once (true), or lets them through again.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::SeqCst);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    fn disarm(&self) -> Option<(Commit, Break)> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // A listener that fails leaves its clients without a server, which a test sees.
    while let Ok((client, _)) = listener.accept().await {
        if !shared.refusing.load(Ordering::SeqCst) {
            tokio::spawn(connect(client, shared.cuts.subscribe(), Arc::clone(&shared)));
        }
    }
}

async fn connect(client: TcpStream, mut cuts: watch::Receiver<u64>, shared: Arc<Shared>) {
    let relayed = async {
        let server = TcpStream::connect(shared.server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        relay(client, server, &shared).await
    };
    // Whichever ends first drops both sockets; an error of either is an end like any other.
    tokio::select! {
        _ = relayed => {}
        _ = cuts.changed() => {}
    }
}

/// One connection. What happens to its COMMIT is decided where the client's messages pass, and known to both ways.
struct Relay<'a> {
    shared: &'a Shared,
    /// Set before the COMMIT is handed on whose answer is to be lost.
    losing: Mutex<Option<Break>>,
    silent: AtomicBool,
    half_open: AtomicBool,
}

async fn relay(mut client: TcpStream, mut server: TcpStream, shared: &Shared) -> io::Result<()> {
    let (silent, half_open) = (AtomicBool::new(false), AtomicBool::new(false));
    let relay = Relay { shared, losing: Mutex::new(None), silent, half_open };
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        ended = relay.requests(from_client, to_server) => ended?,
        ended = relay.answers(from_server, to_client) => ended?,
    }
    if relay.half_open.load(Ordering::SeqCst) {
        drop(client);
        pending::<()>().await;
    }
    Ok(())
}

impl Relay<'_> {
    async fn requests(&self, mut client: ReadHalf<'_>, mut server: WriteHalf<'_>) -> io::Result<()> {
        let (mut frontend, mut buffer) = (Frontend::default(), vec![0; BUFFER]);
        loop {
            let read = client.read(&mut buffer).await?;
            if read == 0 {
                return self.end().await;
            }
            frontend.push(&buffer[..read]);
            while let Some(message) = frontend.next() {
                let fate = if is_commit(&message) { self.shared.disarm() } else { None };
                match fate {
                    Some((Commit::NotSent, how)) => return self.strike(how).await,
                    Some((Commit::Answered, how)) => {
                        *self.losing.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
                    }
                    None => {}
                }
                self.shared.trips.send_modify(|trips| trips.sent(&message));
                server.write_all(&message).await?;
            }
        }
    }

    async fn answers(&self, mut server: ReadHalf<'_>, mut client: WriteHalf<'_>) -> io::Result<()> {
        let (mut backend, mut buffer) = (Backend::default(), vec![0; BUFFER]);
        let mut trips = self.shared.trips.subscribe();
        loop {
            let read = server.read(&mut buffer).await;
            let losing = *self.losing.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(how) = losing {
                return self.strike(how).await;
            }
            let read = read?;
            if read == 0 {
                return self.end().await;
            }
            backend.push(&buffer[..read]);
            while let Some(message) = backend.next() {
                // The sender is there as long as the proxy's connections.
                trips.wait_for(RoundTrips::may_be_answered).await.ok();
                // Before it is handed over: whoever has the answer finds it counted.
                if ends_answer(&message) {
                    self.shared.trips.send_modify(RoundTrips::answered);
                }
                if !self.silent.load(Ordering::SeqCst) {
                    client.write_all(&message).await?;
                }
            }
        }
    }

    async fn strike(&self, how: Break) -> io::Result<()> {
        self.silent.store(how == Break::Silence, Ordering::SeqCst);
        self.half_open.store(how == Break::HalfOpen, Ordering::SeqCst);
        self.shared.struck.send_replace(true);
        self.end().await
    }

    /// The end of one way is the end of both, unless nobody is to notice.
    async fn end(&self) -> io::Result<()> {
        if self.silent.load(Ordering::SeqCst) { pending().await } else { Ok(()) }
    }
}
