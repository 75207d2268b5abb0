//! # Request id
//!
//! Every request gets an id of ours. It stands in the answer's header `x-request-id` and in every log line of
//! the request, so that a person who reports a failure can be helped.

use super::problem::Problem;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, ResponseError};
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

/// Puts the id into the answer, and makes a problem of a failure that somebody else has answered without one: an
/// unknown file of the docs, for example.
///
/// # Errors
/// Those of the handler, unchanged.
pub async fn finish_answer<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let id = request.extensions().get::<RequestId>().map(ToString::to_string);
    let mut response = told_as_problem(next.call(request).await?);
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(&id).ok()) {
        response.headers_mut().insert(HEADER, id);
    }
    Ok(response)
}

fn told_as_problem<B: MessageBody>(response: ServiceResponse<B>) -> ServiceResponse<EitherBody<B>> {
    let status = response.status();
    let is_failure = status.is_client_error() || status.is_server_error();
    let told = response.headers().get(CONTENT_TYPE).is_some_and(|value| value == "application/problem+json");
    if told || !is_failure {
        return response.map_into_left_body();
    }
    let (request, _) = response.into_parts();
    let problem = Problem::of_status(status, request.path()).error_response();
    ServiceResponse::new(request, problem).map_into_right_body()
}
