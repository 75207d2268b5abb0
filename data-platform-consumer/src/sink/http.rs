//! # The sink `http`
//!
//! Posts each event to a URL, or several in one request. One event goes as it came, byte for byte, with its idempotency
//! key, its trace and its CloudEvents attributes as headers. With `sink.http.batch` above 1 the body is always an array, even
//! of one: `[{"idempotencyKey":"…","traceparent":"…","tracestate":"…","event":{…}}, …]`, in which `event` is what came, and
//! the trace is there if the event has one. A key of the whole batch would be of no use, as its next attempt has others in it.
//!
//! What an answer means stands in [`answer`]. A redirect is an answer, too: nobody but the settings says where orders go.
//! So no proxy is taken from the environment either.
//!
//! Connections are kept and used again, for which each answer is read to its end, as far as that is near.

mod answer;
mod request;
mod settings;

use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Request, Response, redirect};

use super::batching::{BatchLimits, Batches, NotTaken, TakesBatches};
use super::{Delivery, Sink, SinkRefused};
use crate::delivery::Event;
use answer::Refusal;
use request::Outgoing;
pub(super) use settings::broken_rule;
pub use settings::{HttpSinkSettings, PlatformUrl};

/// More of an answer is not read; its connection is given up.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Posts events.
pub struct HttpSink {
    way: Way,
}

enum Way {
    OneByOne(Platform),
    InBatches(Batches<Platform>),
}

/// Where to.
struct Platform {
    client: Client,
    url: PlatformUrl,
    timeout: Duration,
}

impl HttpSink {
    /// A sink with these settings. Nothing is connected yet.
    pub fn new(settings: &HttpSinkSettings) -> Result<Self, SinkRefused> {
        let platform =
            Platform { client: client(settings)?, url: settings.url.clone(), timeout: settings.timeout };
        let limits = BatchLimits { events: settings.batch, batches: settings.requests };
        let way = match settings.batch {
            1 => Way::OneByOne(platform),
            _ => Way::InBatches(Batches::new(platform, limits)),
        };
        Ok(Self { way })
    }
}

impl Sink for HttpSink {
    fn deliver<'a>(&'a self, event: &'a Event) -> Delivery<'a> {
        Box::pin(async move {
            let outgoing = Outgoing::of(event);
            match &self.way {
                Way::OneByOne(platform) => {
                    let request = outgoing.request(platform.url.clone());
                    platform.post(request).await.map_err(|refusal| refusal.failure)
                }
                Way::InBatches(batches) => batches.deliver(outgoing).await,
            }
        })
    }
}

impl TakesBatches for Platform {
    type Item = Outgoing;

    fn key(item: &Outgoing) -> &str {
        item.key()
    }

    async fn take(&self, batch: &[Outgoing]) -> Result<(), NotTaken> {
        let request = request::of_batch(self.url.clone(), batch);
        self.post(request).await.map_err(|Refusal { failure, of_content }| {
            if of_content { NotTaken::OneOfThem(failure) } else { NotTaken::Whatever(failure) }
        })
    }
}

impl Platform {
    /// Ends within the time-out, which is the client's, and covers the answer's body.
    async fn post(&self, request: Request) -> Result<(), Refusal> {
        let silent = |error: reqwest::Error| answer::of_silence(error, self.timeout);
        let mut response = self.client.execute(request).await.map_err(silent)?;
        let status = response.status();
        let retry_after = answer::retry_after(response.headers(), std::time::SystemTime::now());
        match (start_of_body(&mut response).await, answer::classify(status, retry_after)) {
            (Ok(_), Ok(())) => Ok(()),
            // What it began to say it has not said.
            (Err(error), Ok(())) => Err(silent(error)),
            (body, Err(classified)) => Err(classified.told_with(status, &body.unwrap_or_default())),
        }
    }
}

/// Reads the body to its end, so that the connection can be used again, unless that is far.
async fn start_of_body(response: &mut Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut start = Vec::new();
    while start.len() <= LONGEST_ANSWER
        && let Some(chunk) = response.chunk().await?
    {
        start.extend_from_slice(&chunk);
    }
    Ok(start)
}

fn client(settings: &HttpSinkSettings) -> Result<Client, SinkRefused> {
    // The client is not built without; an earlier one is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    let builder = Client::builder()
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.timeout)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .tcp_keepalive(Duration::from_secs(15))
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .default_headers(settings.header_map()?);
    trusting(builder, settings)?
        .build()
        .map_err(|error| SinkRefused::new("sink.http.url", answer::innermost(&error)))
}

/// Plain HTTP needs no certificates, and a machine may have none.
fn trusting(builder: ClientBuilder, settings: &HttpSinkSettings) -> Result<ClientBuilder, SinkRefused> {
    if !settings.url.is_encrypted() {
        return Ok(builder.tls_certs_only([]));
    }
    if settings.ca_file.as_os_str().is_empty() {
        return Ok(builder);
    }
    let refused = |cause: String| {
        let file = settings.ca_file.display();
        SinkRefused::new("sink.http.ca_file", format!("{file} is no file of certificates (PEM): {cause}"))
    };
    let pem = std::fs::read(&settings.ca_file).map_err(|error| refused(error.to_string()))?;
    let certificates =
        Certificate::from_pem_bundle(&pem).map_err(|error| refused(answer::innermost(&error)))?;
    if certificates.is_empty() {
        return Err(refused("there is none in it".to_owned()));
    }
    Ok(builder.tls_certs_merge(certificates))
}
