//! # Problems
//!
//! Every failure is `application/problem+json` (RFC 9457) with a stable `type`, which programs compare, and a
//! `detail`, which people read. Extra members say which field, product or key is meant. The cause of a 5xx
//! stays in the log.

use crate::storage::error::DatabaseError;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use problem_details::ProblemDetails;
use serde_json::{Map, Value};
use std::fmt;
use tracing::{error, warn};

/// What went wrong, as a program tells it apart. Its URI never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemType {
    /// The request is no HTTP that we understand.
    MalformedRequest,
    /// The body is no JSON.
    MalformedJson,
    /// The body is JSON, but a field has no possible value.
    ValidationFailed,
    /// The body is not sent as JSON.
    UnsupportedMediaType,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTooSlow,
    /// Nothing is at this path.
    NotFound,
    /// Something is there, but not for this method.
    MethodNotAllowed,
    /// There is no such order.
    OrderNotFound,
    /// There is no such product to read or restock.
    ProductNotFound,
    /// An order asks for a product that does not exist.
    UnknownProduct,
    /// An order asks for more than is left.
    OutOfStock,
    /// An order names a coupon that does not exist.
    UnknownCoupon,
    /// The coupon belongs to another user.
    CouponNotYours,
    /// The coupon was used.
    CouponUsed,
    /// The coupon's time is over.
    CouponExpired,
    /// The sum of an order, or a stock, is larger than a number holds.
    AmountTooLarge,
    /// The `Idempotency-Key` cannot be one.
    IdempotencyKeyMalformed,
    /// The `Idempotency-Key` was used for another request.
    IdempotencyKeyReused,
    /// More orders wait than are allowed; this request did nothing.
    Overloaded,
    /// The database is away; this request did nothing.
    Unavailable,
    /// Nobody knows whether it was done.
    OutcomeUnknown,
    /// A defect of the service.
    Internal,
}

impl ProblemType {
    /// The `type`, the status and the `title`.
    fn parts(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::MalformedRequest => ("/problems/malformed-request", 400, "The request is malformed"),
            Self::MalformedJson => ("/problems/malformed-json", 400, "The body is not JSON"),
            Self::ValidationFailed => ("/problems/validation-failed", 422, "The request is not valid"),
            Self::UnsupportedMediaType => {
                ("/problems/unsupported-media-type", 415, "The body must be application/json")
            }
            Self::BodyTooLarge => ("/problems/body-too-large", 413, "The body is too large"),
            Self::BodyTooSlow => ("/problems/body-too-slow", 408, "The body is too slow"),
            Self::NotFound => ("/problems/not-found", 404, "There is nothing here"),
            Self::MethodNotAllowed => ("/problems/method-not-allowed", 405, "The method is not allowed"),
            Self::OrderNotFound => ("/problems/order-not-found", 404, "There is no such order"),
            Self::ProductNotFound => ("/problems/product-not-found", 404, "There is no such product"),
            Self::UnknownProduct => ("/problems/unknown-product", 422, "The order has an unknown product"),
            Self::OutOfStock => ("/problems/out-of-stock", 409, "Out of stock"),
            Self::UnknownCoupon => ("/problems/unknown-coupon", 422, "There is no such coupon"),
            Self::CouponNotYours => ("/problems/coupon-not-yours", 403, "The coupon is another user's"),
            Self::CouponUsed => ("/problems/coupon-used", 409, "The coupon was used"),
            Self::CouponExpired => ("/problems/coupon-expired", 409, "The coupon has expired"),
            Self::AmountTooLarge => ("/problems/amount-too-large", 422, "The amount is too large"),
            Self::IdempotencyKeyMalformed => {
                ("/problems/idempotency-key-malformed", 400, "The Idempotency-Key is malformed")
            }
            Self::IdempotencyKeyReused => {
                ("/problems/idempotency-key-reused", 422, "The Idempotency-Key was used for another request")
            }
            Self::Overloaded => ("/problems/overloaded", 503, "Too many orders wait"),
            Self::Unavailable => ("/problems/unavailable", 503, "The service is not available"),
            Self::OutcomeUnknown => ("/problems/outcome-unknown", 503, "The outcome is unknown"),
            Self::Internal => ("/problems/internal", 500, "The service failed"),
        }
    }
}

/// The member that names the key under which a request is to be repeated, as nobody knows what became of it.
pub const IDEMPOTENCY_KEY: &str = "idempotencyKey";

/// A failure on its way to the client.
#[derive(Debug)]
pub struct Problem {
    problem_type: ProblemType,
    detail: String,
    extensions: Map<String, Value>,
    headers: Vec<(HeaderName, String)>,
}

impl Problem {
    /// A problem with a sentence for the person who reads it.
    pub fn new(problem_type: ProblemType, detail: impl Into<String>) -> Self {
        Self { problem_type, detail: detail.into(), extensions: Map::new(), headers: Vec::new() }
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(member.to_owned(), value.into());
        self
    }

    /// Says instead that the request is to be repeated under this key.
    #[must_use]
    pub fn repeat_under(mut self, detail: &str, key: &str) -> Self {
        detail.clone_into(&mut self.detail);
        self.with(IDEMPOTENCY_KEY, key)
    }

    /// A member, if there is one of this name.
    #[cfg(test)]
    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        self.extensions.get(name)
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// What a status means that somebody else gave, without a word of ours.
    pub fn of_status(status: StatusCode, path: &str) -> Self {
        if status == StatusCode::NOT_FOUND {
            Self::nothing_at(path)
        } else if status == StatusCode::METHOD_NOT_ALLOWED {
            Self::new(ProblemType::MethodNotAllowed, "this method is not possible here")
        } else if status == StatusCode::PAYLOAD_TOO_LARGE {
            Self::new(ProblemType::BodyTooLarge, "the request is too large")
        } else if status.is_client_error() {
            Self::new(ProblemType::MalformedRequest, format!("the request cannot be understood ({status})"))
        } else {
            Self::internal()
        }
    }

    /// Nothing is at this path.
    pub fn nothing_at(path: &str) -> Self {
        let detail = format!("there is nothing at {path}; /openapi.json tells what there is");
        Self::new(ProblemType::NotFound, detail)
    }

    /// The database is away; nothing was done, so it may be tried again. Not for an order under a key that its buyer sent.
    pub fn unavailable() -> Self {
        Self::new(ProblemType::Unavailable, "nothing was done; try again in a moment")
            .with_header(RETRY_AFTER, "1".to_owned())
    }

    /// More orders wait than are allowed; this one was not even taken in. Likewise.
    pub fn overloaded() -> Self {
        Self::new(ProblemType::Overloaded, "nothing was done; try again in a moment")
            .with_header(RETRY_AFTER, "1".to_owned())
    }

    /// A defect; the log has the cause under the request's id.
    pub fn internal() -> Self {
        Self::new(ProblemType::Internal, "the log has the cause under this request's id")
    }

    /// The fields that are wrong, each with its path and why.
    pub fn invalid_fields(fields: Vec<(String, String)>) -> Self {
        let detail = fields.iter().map(|(path, why)| format!("{path}: {why}")).collect::<Vec<_>>().join("; ");
        let errors: Vec<Value> = fields
            .into_iter()
            .map(|(field, message)| serde_json::json!({ "field": field, "message": message }))
            .collect();
        Self::new(ProblemType::ValidationFailed, detail).with("errors", errors)
    }
}

/// How a request ends that the database did not serve. The cause goes to the log.
impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(_)
            | DatabaseError::NotAdmitted(_)
            | DatabaseError::Locked(_)
            | DatabaseError::Busy(_)
            | DatabaseError::Cancelled(_) => {
                warn!("a request was not served: {error}");
                Self::unavailable()
            }
            DatabaseError::OutcomeUnknown(_) => {
                warn!("a change may have been made or not: {error}");
                Self::new(ProblemType::OutcomeUnknown, "it may have been done; look before you try again")
            }
            DatabaseError::Duplicate { .. } | DatabaseError::Refused(_) => {
                error!("a request failed: {error}");
                Self::internal()
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.problem_type.parts().0, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.problem_type.parts().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let (uri, status, title) = self.problem_type.parts();
        let mut details = ProblemDetails::new()
            .with_type(http::Uri::from_static(uri))
            .with_title(title)
            .with_detail(self.detail.clone())
            .with_extensions(self.extensions.clone());
        details.status = http::StatusCode::from_u16(status).ok();
        let mut response = details.error_response();
        for (name, value) in &self.headers {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name.clone(), value);
            }
        }
        response
    }
}
