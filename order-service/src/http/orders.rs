//! # Orders
//!
//! `POST /orders` completes an order, `GET /orders/{orderId}` reads it.

use super::answer;
use super::idempotency_key;
use super::json_body::{JsonBody, objects};
use super::problem::{IDEMPOTENCY_KEY, Problem, ProblemType};
use crate::checkout::Checkout;
use crate::checkout::complete_orders::Purchase;
use crate::checkout::error::CheckoutError;
use crate::checkout::limits::OrderLimits;
use crate::checkout::request::OrderRequest;
use crate::domain::coupon::CouponRefusal;
use crate::domain::ids::{CouponId, OrderId, ProductId, UserId};
use crate::domain::money::Money;
use crate::domain::order::{Basket, CompletedOrder, OrderItem, OrderRefusal};
use crate::storage::database::Database;
use crate::storage::orders;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpRequest, HttpResponse, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use shared_messages::OccurredAt;
use shared_messages::headers::{TRACEPARENT, TRACESTATE, TraceContext};
use tracing::{debug, error, info};
use utoipa::ToSchema;
use uuid::Uuid;

/// What a buyer sends.
#[derive(Clone, Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[garde(context(OrderLimits as ctx))]
pub struct PlaceOrder {
    /// The buyer.
    #[garde(range(min = 1))]
    #[schema(example = 1)]
    user_id: i64,
    /// What is bought.
    #[serde(deserialize_with = "objects")]
    #[garde(length(min = 1, max = ctx.max_lines), dive)]
    items: Vec<PlaceOrderItem>,
    /// A coupon of this user.
    #[garde(range(min = 1))]
    coupon_id: Option<i64>,
}

/// A quantity of one product.
#[derive(Clone, Copy, Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[garde(context(OrderLimits as ctx))]
pub struct PlaceOrderItem {
    /// The product.
    #[garde(range(min = 1))]
    #[schema(example = 1)]
    product_id: i64,
    /// How many pieces.
    #[garde(range(min = 1, max = ctx.max_quantity))]
    #[schema(example = 2, minimum = 1)]
    quantity: u32,
}

/// A completed order. Amounts are in minor units.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    order_id: OrderId,
    user_id: UserId,
    #[schema(value_type = String, example = "COMPLETED")]
    status: &'static str,
    lines: Vec<OrderLine>,
    total_amount: Money,
    discount_amount: Money,
    paid_amount: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    coupon_id: Option<CouponId>,
    #[schema(value_type = String, format = DateTime, example = "2025-05-29T01:43:46.137371Z")]
    completed_at: OccurredAt,
    event_id: Uuid,
}

/// A line of an order.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderLine {
    product_id: ProductId,
    quantity: u32,
    unit_price: Money,
    line_amount: Money,
}

/// Completes an order
///
/// Stock check, coupon use and the order itself are one transaction. A repeat with the same `Idempotency-Key` and
/// the same body is answered with the order that the first one bought.
#[utoipa::path(
    post, path = "/orders", tag = "orders", request_body = PlaceOrder,
    params(("Idempotency-Key" = Option<String>, Header, description = "names the request: a repeat buys once")),
    responses(
        (status = 201, description = "the order is complete", body = Order, headers(("Location" = String))),
        (status = 400, description = "malformed JSON or key", content_type = "application/problem+json"),
        (status = 403, description = "the coupon is another user's", content_type = "application/problem+json"),
        (status = 409, description = "out of stock, coupon used or expired", content_type = "application/problem+json"),
        (status = 422, description = "not valid, unknown product or coupon, or the key was used for another request", content_type = "application/problem+json"),
        (status = 503, description = "not available, or the outcome is unknown: with idempotencyKey in the problem, repeat with this key until you are told", content_type = "application/problem+json"),
    )
)]
pub async fn place(
    request: HttpRequest,
    checkout: web::Data<Checkout>,
    JsonBody(order): JsonBody<PlaceOrder>,
) -> Result<HttpResponse, Problem> {
    let key = Key::of(idempotency_key::from_request(&request)?);
    let order = OrderRequest::new(order.into_basket(), key.text().to_owned(), trace_of(&request));
    let purchase = checkout.place(order).await.map_err(|error| problem_of(error, &key))?;
    info!(order.id = purchase.order.id.0, event.id = %purchase.order.event_id, "{}", told(&purchase));
    let completed = purchase.order;
    let location = format!("/orders/{}", completed.id);
    answer::created(Some(location), &Order::from(completed))
}

/// Reads an order
#[utoipa::path(
    get, path = "/orders/{orderId}", tag = "orders", params(("orderId" = i64, Path)),
    responses(
        (status = 200, description = "the order", body = Order),
        (status = 404, description = "there is no such order", content_type = "application/problem+json"),
    )
)]
pub async fn read(database: web::Data<Database>, id: web::Path<i64>) -> Result<HttpResponse, Problem> {
    let id = OrderId(id.into_inner());
    let mut session = database.session().await.map_err(Problem::from)?;
    let order = database.within_limit(orders::read(&mut session, id)).await.map_err(Problem::from)?;
    let not_found = || Problem::new(ProblemType::OrderNotFound, format!("there is no order {id}"));
    answer::ok(&Order::from(order.ok_or_else(not_found)?))
}

/// Each order is logged as completed once: a repeat, one that joined it at the desk included, is told it again.
fn told(Purchase { order, is_new }: &Purchase) -> String {
    if *is_new {
        format!("order {} completed, {} to pay", order.id, order.paid())
    } else {
        format!(
            "order {} told again to a repeated request, or after a COMMIT whose answer was lost",
            order.id
        )
    }
}

impl PlaceOrder {
    fn into_basket(self) -> Basket {
        let item = |item: PlaceOrderItem| OrderItem {
            product_id: ProductId(item.product_id),
            quantity: item.quantity,
        };
        Basket {
            user_id: UserId(self.user_id),
            items: self.items.into_iter().map(item).collect(),
            coupon_id: self.coupon_id.map(CouponId),
        }
    }
}

impl From<CompletedOrder> for Order {
    fn from(order: CompletedOrder) -> Self {
        let line = |line: &crate::domain::order::OrderLine| OrderLine {
            product_id: line.product_id,
            quantity: line.quantity,
            unit_price: line.unit_price,
            line_amount: line.line_amount,
        };
        Self {
            order_id: order.id,
            user_id: order.user_id,
            status: "COMPLETED",
            lines: order.lines.iter().map(line).collect(),
            total_amount: order.total,
            discount_amount: order.discount,
            paid_amount: order.paid(),
            coupon_id: order.coupon_id,
            completed_at: OccurredAt::from_datetime(order.completed_at),
            event_id: order.event_id,
        }
    }
}

/// The caller's W3C trace context, when it is one. A malformed one is left out, as the standard says.
fn trace_of(request: &HttpRequest) -> Option<TraceContext> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    TraceContext::from_received(header(TRACEPARENT)?, header(TRACESTATE))
}

/// Under which key an order is placed.
enum Key {
    /// The buyer's own. An earlier request may have come under it, here or elsewhere.
    Sent(String),
    /// One that nobody else has, so this request is all that ever came under it.
    Made(String),
}

impl Key {
    fn of(sent: Option<String>) -> Self {
        sent.map_or_else(|| Self::Made(OrderRequest::made_key()), Self::Sent)
    }

    fn text(&self) -> &str {
        match self {
            Self::Sent(key) | Self::Made(key) => key,
        }
    }

    /// What is said of an order for which this request did nothing. An earlier one under the same key may have bought it
    /// all the same, and its buyer may be here because nobody could tell him: he hears nothing that sounds like an end.
    fn nothing_done(&self, problem: Problem) -> Problem {
        match self {
            Self::Sent(key) => problem.repeat_under(
                "this request did nothing; whether an earlier one with this Idempotency-Key did is not known here: \
                 repeat it with the same key until you are told",
                key,
            ),
            Self::Made(_) => problem,
        }
    }
}

fn problem_of(error: CheckoutError, key: &Key) -> Problem {
    match error {
        CheckoutError::Refused(refusal) => refusal_problem(refusal),
        CheckoutError::KeyReused => Problem::new(
            ProblemType::IdempotencyKeyReused,
            "this Idempotency-Key is used by another request of this user; send another key",
        ),
        CheckoutError::Overloaded => key.nothing_done(Problem::overloaded()),
        // The desk has told it once, for all orders that it met.
        CheckoutError::Unavailable(cause) => {
            debug!("an order was not completed: {cause}");
            key.nothing_done(Problem::unavailable())
        }
        CheckoutError::OutcomeUnknown(cause) => {
            debug!("the outcome of an order is unknown: {cause}");
            let detail = "the order may be complete; repeat the request with this Idempotency-Key to know";
            Problem::new(ProblemType::OutcomeUnknown, detail)
                .with(IDEMPOTENCY_KEY, key.text())
                .with_header(RETRY_AFTER, "1".to_owned())
        }
        CheckoutError::Failed(cause) => {
            error!("an order failed: {cause}");
            match key {
                Key::Sent(key) => Problem::internal().with(IDEMPOTENCY_KEY, key.as_str()),
                Key::Made(_) => Problem::internal(),
            }
        }
    }
}

fn refusal_problem(refusal: OrderRefusal) -> Problem {
    let detail = refusal.to_string();
    match refusal {
        OrderRefusal::UnknownProduct(id) => {
            Problem::new(ProblemType::UnknownProduct, detail).with("productId", id.0)
        }
        OrderRefusal::OutOfStock(shortage) => Problem::new(ProblemType::OutOfStock, detail)
            .with("productId", shortage.product_id.0)
            .with("wanted", shortage.wanted)
            .with("left", shortage.left),
        OrderRefusal::Coupon { id, refusal } => coupon_problem(id, refusal),
        OrderRefusal::Amount(_) => Problem::new(ProblemType::AmountTooLarge, detail),
    }
}

fn coupon_problem(id: CouponId, refusal: CouponRefusal) -> Problem {
    let problem = match refusal {
        CouponRefusal::Unknown => {
            Problem::new(ProblemType::UnknownCoupon, format!("there is no coupon {id}"))
        }
        CouponRefusal::NotYours => {
            Problem::new(ProblemType::CouponNotYours, format!("coupon {id} belongs to another user"))
        }
        CouponRefusal::Used => {
            Problem::new(ProblemType::CouponUsed, format!("coupon {id} was used by an order"))
        }
        CouponRefusal::Expired { at } => {
            let at = OccurredAt::from_datetime(at).to_string();
            Problem::new(ProblemType::CouponExpired, format!("coupon {id} expired at {at}"))
                .with("expiredAt", at)
        }
    };
    problem.with("couponId", id.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever sent a key may have sent it before, and heard that nobody knows.
    #[test]
    fn who_sent_a_key_never_hears_that_nothing_was_done() {
        let errors = [
            CheckoutError::Overloaded,
            CheckoutError::Unavailable("away".to_owned()),
            CheckoutError::OutcomeUnknown("lost".to_owned()),
            CheckoutError::Failed("a defect".to_owned()),
        ];
        for error in errors {
            let sent = problem_of(error.clone(), &Key::Sent("k".to_owned()));
            assert!(!sent.to_string().contains("nothing was done"), "{sent}");
            assert_eq!(sent.member(IDEMPOTENCY_KEY), Some(&"k".into()), "{sent}");
            let of_one_request = problem_of(error.clone(), &Key::of(None));
            let open = matches!(error, CheckoutError::OutcomeUnknown(_));
            assert_eq!(of_one_request.member(IDEMPOTENCY_KEY).is_some(), open, "{of_one_request}");
        }
    }

    #[test]
    fn an_order_that_a_repeat_is_told_again_is_not_logged_as_completed() {
        let order = CompletedOrder {
            id: OrderId(11),
            event_id: Uuid::nil(),
            user_id: UserId(1),
            lines: Vec::new(),
            total: Money::ZERO,
            discount: Money::ZERO,
            coupon_id: None,
            completed_at: chrono::DateTime::UNIX_EPOCH,
        };
        let new = Purchase { order, is_new: true };
        assert_eq!(told(&new), "order 11 completed, 0 to pay");
        let again = told(&Purchase { is_new: false, ..new });
        assert!(again.starts_with("order 11 told again") && !again.contains("to pay"), "{again}");
    }
}
