//! What the management port answers.

use std::collections::BTreeMap;

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, guard, web};
use serde::Serialize;

use super::StatusPage;
use super::readiness::{ComponentState, Readiness};
use crate::alarms::{Alarm, Alarms};
use crate::metrics::{self, Metrics};

const METHODS: &str = "GET, HEAD";

/// What the pages are about.
pub(super) struct Shown {
    pub(super) readiness: Readiness,
    pub(super) alarms: Alarms,
    pub(super) metrics: Metrics,
    pub(super) status: Option<StatusPage>,
}

#[derive(Serialize)]
struct HealthPage {
    status: &'static str,
    components: BTreeMap<&'static str, ComponentState>,
    alarms: Vec<Alarm>,
}

/// RFC 9457; `about:blank` is its type for what the HTTP status says in full.
#[derive(Serialize)]
struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(page_at("/health/live", live))
        .service(page_at("/health/ready", ready))
        .service(page_at("/metrics", metrics))
        .service(page_at("/status", status))
        .default_service(web::to(unknown_path));
}

fn page_at(path: &str, page: fn(&Shown) -> HttpResponse) -> actix_web::Resource {
    let answer = move |shown: web::Data<Shown>| std::future::ready(page(&shown));
    let readable = guard::Any(guard::Method(Method::GET)).or(guard::Method(Method::HEAD));
    web::resource(path.to_owned())
        .route(web::route().guard(readable).to(answer))
        .default_service(web::to(wrong_method))
}

fn live(shown: &Shown) -> HttpResponse {
    health(StatusCode::OK, shown)
}

fn ready(shown: &Shown) -> HttpResponse {
    let ready = shown.readiness.is_ready();
    health(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, shown)
}

fn metrics(shown: &Shown) -> HttpResponse {
    match shown.metrics.encode() {
        Ok(page) => HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::CONTENT_TYPE, metrics::CONTENT_TYPE))
            .body(page),
        Err(error) => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics cannot be written: {error}"))
        }
    }
}

fn status(shown: &Shown) -> HttpResponse {
    let Some(status) = &shown.status else { return nothing_at("/status") };
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(status())
}

fn health(status: StatusCode, shown: &Shown) -> HttpResponse {
    let components = shown.readiness.components();
    let ready = components.values().all(|state| state.ready);
    HttpResponse::build(status).insert_header((header::CACHE_CONTROL, "no-store")).json(HealthPage {
        status: if ready { "ready" } else { "not ready" },
        components,
        alarms: shown.alarms.active(),
    })
}

async fn unknown_path(request: HttpRequest) -> HttpResponse {
    nothing_at(request.path())
}

fn nothing_at(path: &str) -> HttpResponse {
    let detail = format!(
        "nothing is at {path}; the probes are /health/live and /health/ready, and for Prometheus there is /metrics"
    );
    problem(StatusCode::NOT_FOUND, detail)
}

async fn wrong_method(request: HttpRequest) -> HttpResponse {
    let detail = format!("{} is not possible here, only {METHODS}", request.method());
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, detail);
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(METHODS));
    response
}

fn problem(status: StatusCode, detail: String) -> HttpResponse {
    let problem = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail,
    };
    HttpResponse::build(status)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::CONTENT_TYPE, "application/problem+json"))
        .json(problem)
}
