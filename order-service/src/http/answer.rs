//! # Answers
//!
//! Bodies of requests that went well. A body that cannot be written is a defect, and told as any other.

use super::problem::Problem;
use actix_web::HttpResponse;
use actix_web::HttpResponseBuilder;
use actix_web::http::header::{ContentType, LOCATION};
use serde::Serialize;
use tracing::error;

/// 200 with this body.
///
/// # Errors
/// The body cannot be written.
pub fn ok(body: &impl Serialize) -> Result<HttpResponse, Problem> {
    with_body(&mut HttpResponse::Ok(), body)
}

/// 201 with this body, and where it can be read.
///
/// # Errors
/// The body cannot be written.
pub fn created(location: Option<String>, body: &impl Serialize) -> Result<HttpResponse, Problem> {
    let mut response = HttpResponse::Created();
    if let Some(location) = location {
        response.insert_header((LOCATION, location));
    }
    with_body(&mut response, body)
}

fn with_body(response: &mut HttpResponseBuilder, body: &impl Serialize) -> Result<HttpResponse, Problem> {
    let json = serde_json::to_vec(body).map_err(|cause| {
        error!("an answer cannot be written: {cause}");
        Problem::internal()
    })?;
    Ok(response.content_type(ContentType::json()).body(json))
}
