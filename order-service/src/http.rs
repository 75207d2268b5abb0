//! # HTTP
//!
//! What buyers and operators speak to. A handler turns a request into a call and a result into an answer; the
//! rules are elsewhere. Every failure is a [`problem`] and every answer carries its request's id, but for
//! what is no HTTP at all, which the server turns away before it is a request.
//!
//! - [`orders`]: place and read;
//! - [`catalogue`]: products and coupons;
//! - [`openapi`]: the description of all of it, `/openapi.json`, and a page to try it, `/docs`.

pub mod answer;
pub mod catalogue;
pub mod idempotency_key;
pub mod json_body;
pub mod metrics;
pub mod openapi;
pub mod orders;
pub mod pages;
pub mod problem;
pub mod request_id;

use self::metrics::HttpMetrics;
use self::problem::{Problem, ProblemType};
use crate::checkout::Checkout;
use crate::checkout::limits::OrderLimits;
use crate::settings::HttpSettings;
use crate::storage::database::Database;
use actix_web::dev::Server;
use actix_web::http::header::ALLOW;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Resource};
use std::io;
use std::net::SocketAddr;

/// Binds the buyers' port. The server answers once it is awaited.
///
/// # Errors
/// The address cannot be listened on.
pub fn bind(
    settings: &HttpSettings,
    limits: OrderLimits,
    database: Database,
    checkout: Checkout,
    metrics: HttpMetrics,
) -> io::Result<(Server, SocketAddr)> {
    let body_limit = json_body::BodyLimit { bytes: settings.body_limit, time: settings.body_timeout };
    let server = HttpServer::new(move || {
        App::new()
            .app_data(body_limit)
            .app_data(limits)
            .app_data(web::Data::new(database.clone()))
            .app_data(web::Data::new(checkout.clone()))
            .app_data(web::Data::new(metrics.clone()))
            .configure(routes)
            .wrap(from_fn(request_id::finish_answer))
            .wrap(from_fn(metrics::measure))
            .wrap(request_id::spans())
    })
    .workers(settings.workers)
    // A buyer who closes his connection has hung up: his request is dropped, and not bought if it still waits.
    .h1_allow_half_closed(false)
    .client_request_timeout(settings.head_timeout)
    .shutdown_timeout(settings.shutdown_timeout.as_secs())
    .disable_signals()
    .bind((settings.host.as_str(), settings.port))?;
    let address = server.addrs().first().copied().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((server.run(), address))
}

fn routes(config: &mut ServiceConfig) {
    config
        .app_data(
            web::PathConfig::default().error_handler(|_, request| Problem::nothing_at(request.path()).into()),
        )
        .app_data(web::QueryConfig::default().error_handler(|error, _| {
            Problem::new(ProblemType::ValidationFailed, format!("the query string cannot be read: {error}"))
                .into()
        }))
        .service(resource("/orders", "POST").route(web::post().to(orders::place)))
        .service(
            resource("/orders/{orderId}", "GET, HEAD")
                .route(web::get().to(orders::read))
                .route(web::head().to(orders::read)),
        )
        .service(
            resource("/products", "GET, HEAD, POST")
                .route(web::get().to(catalogue::list_products))
                .route(web::head().to(catalogue::list_products))
                .route(web::post().to(catalogue::create_product)),
        )
        .service(
            resource("/products/{productId}", "GET, HEAD")
                .route(web::get().to(catalogue::read_product))
                .route(web::head().to(catalogue::read_product)),
        )
        .service(
            resource("/products/{productId}/restock", "POST")
                .route(web::post().to(catalogue::restock_product)),
        )
        .service(resource("/coupons", "POST").route(web::post().to(catalogue::issue_coupon)))
        .service(
            resource("/users/{userId}/coupons", "GET, HEAD")
                .route(web::get().to(catalogue::list_coupons))
                .route(web::head().to(catalogue::list_coupons)),
        )
        .configure(openapi::routes)
        .default_service(web::to(|request: HttpRequest| async move {
            Err::<HttpResponse, Problem>(Problem::nothing_at(request.path()))
        }));
}

fn resource(path: &str, allowed: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move |request: HttpRequest| async move {
        let detail = format!("{} is not possible here, but {allowed} is", request.method());
        Err::<HttpResponse, Problem>(
            Problem::new(ProblemType::MethodNotAllowed, detail).with_header(ALLOW, allowed.to_owned()),
        )
    }))
}
