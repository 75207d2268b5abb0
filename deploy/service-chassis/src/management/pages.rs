//! What the management port answers.

use std::collections::BTreeMap;

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, guard, web};
use serde::Serialize;

use super::readiness::{ComponentState, Readiness};
use crate::alarms::{Alarm, Alarms};

const PROBE_METHODS: &str = "GET, HEAD";

pub(super) struct Health {
    pub(super) readiness: Readiness,
    pub(super) alarms: Alarms,
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
        .service(probe("/health/live", live))
        .service(probe("/health/ready", ready))
        .default_service(web::to(unknown_path));
}

fn probe(path: &str, page: fn(&Health) -> HttpResponse) -> actix_web::Resource {
    let answer = move |health: web::Data<Health>| std::future::ready(page(&health));
    let readable = guard::Any(guard::Method(Method::GET)).or(guard::Method(Method::HEAD));
    web::resource(path.to_owned())
        .route(web::route().guard(readable).to(answer))
        .default_service(web::to(wrong_method))
}

fn live(health: &Health) -> HttpResponse {
    page(StatusCode::OK, health)
}

fn ready(health: &Health) -> HttpResponse {
    let ready = health.readiness.is_ready();
    page(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, health)
}

fn page(status: StatusCode, health: &Health) -> HttpResponse {
    let components = health.readiness.components();
    let ready = components.values().all(|state| state.ready);
    HttpResponse::build(status).insert_header((header::CACHE_CONTROL, "no-store")).json(HealthPage {
        status: if ready { "ready" } else { "not ready" },
        components,
        alarms: health.alarms.active(),
    })
}

async fn unknown_path(request: HttpRequest) -> HttpResponse {
    let detail = format!("nothing is at {}; the probes are /health/live and /health/ready", request.path());
    problem(StatusCode::NOT_FOUND, detail)
}

async fn wrong_method(request: HttpRequest) -> HttpResponse {
    let detail = format!("{} is not possible here, only {PROBE_METHODS}", request.method());
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, detail);
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(PROBE_METHODS));
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
