//! # HTTP metrics
//!
//! How long answers take, by method, route and status: `http_server_request_duration_seconds`, named and bucketed as
//! OpenTelemetry's conventions for HTTP say. A route is the pattern (`/orders/{orderId}`), never the path; what no route
//! knows has none. A request whose client hung up has no answer, and so is not counted here (the desk's outcome
//! `hung_up` is).

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web::Data;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use service_chassis::metrics::Metrics;
use std::time::Instant;

/// Seconds.
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Of all requests. Clones count together.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    durations: Family<Labels, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    http_request_method: &'static str,
    http_route: String,
    http_response_status_code: u16,
}

impl HttpMetrics {
    /// Shown among `metrics`.
    pub fn registered_with(metrics: &mut Metrics) -> Self {
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let (name, help) = ("http_server_request_duration", "From a request's head to its answer's");
        metrics.shared().register_with_unit(name, help, Unit::Seconds, durations.clone());
        Self { durations }
    }
}

/// Measures every request that is answered.
///
/// # Errors
/// Those of the handler, unchanged.
pub async fn measure<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let began = Instant::now();
    let metrics = request.app_data::<Data<HttpMetrics>>().cloned();
    let http_request_method = method(request.method());
    let answered = next.call(request).await;
    if let (Some(metrics), Ok(response)) = (metrics, &answered) {
        let labels = Labels {
            http_request_method,
            http_route: response.request().match_pattern().unwrap_or_default(),
            http_response_status_code: response.status().as_u16(),
        };
        metrics.durations.get_or_create(&labels).observe(began.elapsed().as_secs_f64());
    }
    answered
}

/// Clients may invent methods; each would be a series of its own.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}
