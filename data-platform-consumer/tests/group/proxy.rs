//! A proxy before each broker of a mock cluster, which names the proxies as its brokers, and none of them when it is told to, as
//! Kafka does while all are fenced.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rdkafka::types::RDKafkaApiKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::broker::{Broker, DEADLINE};

/// What names brokers.
const METADATA: i16 = RDKafkaApiKey::Metadata as i16;
const FIND_COORDINATOR: i16 = RDKafkaApiKey::FindCoordinator as i16;
/// The last version of it without tagged fields.
const METADATA_VERSION: i16 = 8;
/// As the mock cluster says it.
const HOST: &str = "127.0.0.1";

/// Runs until it is dropped.
pub(crate) struct Proxy {
    _runtime: Runtime,
    shared: Arc<Shared>,
}

struct Shared {
    /// Of each broker, and of the proxy before it.
    ports: BTreeMap<u16, u16>,
    names_no_broker: AtomicBool,
    /// Answers that named none.
    emptied: Mutex<Vec<Vec<u8>>>,
}

impl Proxy {
    /// For before a client has connected.
    pub(crate) fn before(broker: &Broker) -> Self {
        broker.cluster.apiversion(RDKafkaApiKey::Metadata, None, Some(METADATA_VERSION)).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let servers = broker.bootstrap_servers();
        let servers = servers.split(',').map(|server| server.rsplit_once(':').unwrap().1.parse().unwrap());
        let listeners: Vec<(u16, TcpListener)> = servers
            .map(|port| (port, runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap()))
            .collect();
        let ports = listeners.iter().map(|(port, listener)| (*port, listener.local_addr().unwrap().port()));
        let (names_no_broker, emptied) = (AtomicBool::new(false), Mutex::default());
        let shared = Arc::new(Shared { ports: ports.collect(), names_no_broker, emptied });
        for (port, listener) in listeners {
            runtime.spawn(accept(listener, port, Arc::clone(&shared)));
        }
        Self { _runtime: runtime, shared }
    }

    pub(crate) fn bootstrap_servers(&self) -> String {
        let servers: Vec<_> = self.shared.ports.values().map(|port| format!("{HOST}:{port}")).collect();
        servers.join(",")
    }

    /// Empties the list of brokers in what is answered from now on, or no more.
    pub(crate) fn names_no_broker(&self, none: bool) {
        self.shared.names_no_broker.store(none, Ordering::SeqCst);
    }

    /// Waits until an answer about this topic named none.
    pub(crate) fn await_none_named(&self, topic: &str) {
        let deadline = Instant::now() + DEADLINE;
        // With its length, as one topic's name is another's beginning.
        let length = u16::try_from(topic.len()).unwrap();
        let named = [length.to_be_bytes().as_slice(), topic.as_bytes()].concat();
        let is_named = |answer: &Vec<u8>| answer.windows(named.len()).any(|bytes| bytes == named);
        while !self.shared.emptied.lock().unwrap().iter().any(is_named) {
            assert!(Instant::now() < deadline, "nobody has asked for {topic}");
            std::thread::yield_now();
        }
    }
}

async fn accept(listener: TcpListener, port: u16, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(relay(client, port, Arc::clone(&shared)));
    }
}

/// The end of one way is the end of both.
async fn relay(mut client: TcpStream, port: u16, shared: Arc<Shared>) {
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    // By the request's number: what it asks for.
    let asked = Mutex::new(BTreeMap::new());
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        _ = requests(from_client, to_server, &asked) => {}
        _ = answers(from_server, to_client, &asked, &shared) => {}
    }
}

type Asked = Mutex<BTreeMap<[u8; 4], i16>>;

async fn requests(mut client: ReadHalf<'_>, mut server: WriteHalf<'_>, asked: &Asked) -> io::Result<()> {
    loop {
        let request = frame(&mut client).await?;
        let api = i16::from_be_bytes(request[..2].try_into().unwrap());
        let version = i16::from_be_bytes(request[2..4].try_into().unwrap());
        assert!(api != METADATA || version == METADATA_VERSION, "version {version} of a metadata request");
        asked.lock().unwrap().insert(request[4..8].try_into().unwrap(), api);
        write(&mut server, &request).await?;
    }
}

async fn answers(
    mut server: ReadHalf<'_>,
    mut client: WriteHalf<'_>,
    asked: &Asked,
    shared: &Shared,
) -> io::Result<()> {
    loop {
        let mut answer = frame(&mut server).await?;
        let api = asked.lock().unwrap().remove(&answer[..4]);
        if matches!(api, Some(METADATA | FIND_COORDINATOR)) {
            name_the_proxies(&mut answer, &shared.ports);
        }
        if api == Some(METADATA) && shared.names_no_broker.load(Ordering::SeqCst) {
            answer = without_brokers(&answer);
            shared.emptied.lock().unwrap().push(answer.clone());
        }
        write(&mut client, &answer).await?;
    }
}

async fn frame(from: &mut ReadHalf<'_>) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    from.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn write(to: &mut WriteHalf<'_>, frame: &[u8]) -> io::Result<()> {
    to.write_all(&[&u32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat()).await
}

/// A port always stands behind its host, in four bytes.
fn name_the_proxies(answer: &mut [u8], ports: &BTreeMap<u16, u16>) {
    for (port, proxy) in ports {
        let [named, instead] = [port, proxy].map(|port| u32::from(*port).to_be_bytes());
        let named = [HOST.as_bytes(), &named].concat();
        for start in 0..=answer.len().saturating_sub(named.len()) {
            if answer[start..].starts_with(&named) {
                answer[start + HOST.len()..start + named.len()].copy_from_slice(&instead);
            }
        }
    }
}

/// The answer's number and the throttling come first, then how many brokers there are and, of each, its id, host, port and rack.
fn without_brokers(answer: &[u8]) -> Vec<u8> {
    let (head, rest) = answer.split_at(8);
    let (count, mut rest) = rest.split_at(4);
    for _ in 0..u32::from_be_bytes(count.try_into().unwrap()) {
        rest = behind_text(&rest[4..]);
        rest = behind_text(&rest[4..]);
    }
    [head, &[0; 4], rest].concat()
}

/// The length of one that is not there is -1.
fn behind_text(bytes: &[u8]) -> &[u8] {
    let (length, rest) = bytes.split_at(2);
    let length = i16::from_be_bytes(length.try_into().unwrap());
    &rest[usize::try_from(length).unwrap_or(0)..]
}
