//! # Request id
//!
//! Every request gets an id of ours. It stands in the answer's header `x-request-id` and in every log line of
//! the request, so that a person who reports a failure can be helped.

use actix_web::Error;
use actix_web::HttpMessage;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use tracing::{Span, debug, info_span};
use tracing_actix_web::{RequestId, RootSpanBuilder, TracingLogger};

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The span of a request: its id, and nothing that the handler's own lines do not say better.
pub struct RequestSpan;

/// The middleware that opens [`RequestSpan`]; it must be the outermost.
pub fn spans() -> TracingLogger<RequestSpan> {
    TracingLogger::new()
}

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let id = request.extensions().get::<RequestId>().map(ToString::to_string).unwrap_or_default();
        info_span!("request", request.id = id)
    }

    fn on_request_end<B: MessageBody>(_span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        if let Ok(response) = outcome {
            let (request, status) = (response.request(), response.status());
            debug!(http.status = status.as_u16(), "{} {}: {status}", request.method(), request.path());
        }
    }
}

/// Puts the id into the answer.
///
/// # Errors
/// Those of the handler, unchanged.
pub async fn answer_with_request_id<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let id = request.extensions().get::<RequestId>().map(ToString::to_string);
    let mut response = next.call(request).await?;
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(&id).ok()) {
        response.headers_mut().insert(HEADER, id);
    }
    Ok(response)
}
