//! A server that speaks as much HTTP/1.1 as these tests need, and answers, or fails to, as it is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// `POST /orders HTTP/1.1`
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// The value of a header, by its name in small letters.
    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Says this, all of it.
    Whole { status: u16, headers: &'static str, body: String },
    /// Says nothing.
    Silence,
    /// Closes the connection instead of answering.
    Close,
    /// Begins to answer with this status, and closes the connection in the middle of the body.
    BreakOff(u16),
    /// Answers with this status and a body without an end.
    Endless(u16),
}

impl Answer {
    pub(crate) fn of(status: u16) -> Self {
        Self::Whole { status, headers: "", body: "as this test wants".to_owned() }
    }
}

type Answering = dyn Fn(&Received) -> Answer + Send + Sync;

/// Runs until the test's runtime ends.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    connections: AtomicUsize,
    received: Mutex<Vec<Received>>,
    answering: Box<Answering>,
}

impl Server {
    pub(crate) async fn start(answering: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_behind(None, answering).await
    }

    pub(crate) async fn start_behind(
        tls: Option<TlsAcceptor>,
        answering: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, received) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let shared = Arc::new(Shared { connections, received, answering: Box::new(answering) });
        tokio::spawn(accept(listener, tls, Arc::clone(&shared)));
        Self { address, shared }
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/orders", self.address.port())
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            match tls {
                None => converse(stream, &shared).await,
                // A client that does not trust us ends it here.
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => converse(stream, &shared).await,
                    Err(_) => None,
                },
            }
        });
    }
}

/// Ends with nothing when the client has gone.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = read(&mut stream).await?;
        let answer = (shared.answering)(&request);
        shared.received.lock().unwrap().push(request);
        match answer {
            Answer::Whole { status, headers, body } => {
                let length = body.len();
                let text =
                    format!("HTTP/1.1 {status} Said\r\n{headers}content-length: {length}\r\n\r\n{body}");
                stream.write_all(text.as_bytes()).await.ok()?;
                stream.flush().await.ok()?;
            }
            Answer::Silence => std::future::pending().await,
            Answer::Close => return None,
            Answer::BreakOff(status) => {
                let text = format!("HTTP/1.1 {status} Said\r\ncontent-length: 100\r\n\r\nthe first half");
                stream.write_all(text.as_bytes()).await.ok()?;
                stream.flush().await.ok()?;
                return None;
            }
            Answer::Endless(status) => {
                let text = format!("HTTP/1.1 {status} Said\r\ncontent-length: 1000000000000\r\n\r\n");
                stream.write_all(text.as_bytes()).await.ok()?;
                loop {
                    stream.write_all(&[b'x'; 4096]).await.ok()?;
                }
            }
        }
    }
}

async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Received> {
    let line = line(stream).await?;
    let mut headers = Vec::new();
    loop {
        let text = self::line(stream).await?;
        let Some((name, value)) = text.split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut received = Received { line, headers, body: Vec::new() };
    let length = received.header("content-length").map_or(0, |length| length.parse().unwrap());
    received.body.resize(length, 0);
    stream.read_exact(&mut received.body).await.ok()?;
    Some(received)
}

async fn line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}
