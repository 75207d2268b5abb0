//! # OpenAPI
//!
//! The description of the interface, generated from the handlers, and a page to try it.

use super::{catalogue, orders};
use actix_web::web::ServiceConfig;
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "order-service",
        description = "Completes orders. Ids are numbers, money is an integer of minor units, times are UTC. Every failure is application/problem+json with a stable type."
    ),
    paths(
        orders::place,
        orders::read,
        catalogue::create_product,
        catalogue::list_products,
        catalogue::read_product,
        catalogue::restock_product,
        catalogue::issue_coupon,
        catalogue::list_coupons,
    ),
    tags(
        (name = "orders", description = "Place and read orders"),
        (name = "catalogue", description = "Products and coupons")
    )
)]
struct Description;

/// `/openapi.json` and `/docs`.
pub fn routes(config: &mut ServiceConfig) {
    let docs = SwaggerUi::new("/docs/{_:.*}").url("/openapi.json", Description::openapi());
    config.service(actix_web::web::redirect("/docs", "/docs/")).service(docs);
}
