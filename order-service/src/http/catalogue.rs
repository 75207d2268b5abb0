//! # Catalogue
//!
//! What can be bought, and the coupons that make it cheaper.

use super::answer;
use super::json_body::JsonBody;
use super::pages::{Page, PageQuery};
use super::problem::{Problem, ProblemType};
use crate::checkout::limits::OrderLimits;
use crate::domain::coupon::Coupon;
use crate::domain::discount::{Discount, Percent};
use crate::domain::ids::{CouponId, OrderId, ProductId, UserId};
use crate::domain::money::Money;
use crate::storage::database::Database;
use crate::storage::{coupons, products, stock};
use actix_web::{HttpResponse, web};
use chrono::{DateTime, Datelike, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use shared_messages::OccurredAt;
use utoipa::ToSchema;

/// A product to be sold.
#[derive(Clone, Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(context(OrderLimits))]
pub struct CreateProduct {
    /// Its name, 1 to 200 characters.
    #[garde(length(chars, max = 200), custom(readable))]
    #[schema(example = "Ring light", min_length = 1, max_length = 200)]
    name: String,
    /// The price of one piece in minor units.
    #[garde(skip)]
    #[schema(example = 1500)]
    price: Money,
    /// Pieces on hand.
    #[garde(range(min = 0))]
    #[schema(example = 100, minimum = 0)]
    stock: i64,
}

/// Pieces that have arrived.
#[derive(Clone, Copy, Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(context(OrderLimits))]
pub struct RestockProduct {
    /// How many.
    #[garde(range(min = 1))]
    #[schema(example = 10, minimum = 1)]
    quantity: i64,
}

/// A product.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    product_id: ProductId,
    name: String,
    price: Money,
    stock: i64,
}

/// A coupon to be issued: exactly one of discountAmount and discountPercent.
#[derive(Clone, Copy, Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[garde(context(OrderLimits))]
pub struct IssueCoupon {
    /// Who may use it.
    #[garde(range(min = 1))]
    #[schema(example = 1)]
    user_id: i64,
    /// What it takes off one order, in minor units.
    #[garde(custom(worth_something))]
    #[schema(value_type = Option<i64>, example = 500, minimum = 1)]
    discount_amount: Option<Money>,
    /// What share of the total it takes off, in whole percent, rounded down to whole minor units.
    #[garde(range(min = 1, max = 100))]
    #[schema(minimum = 1, maximum = 100)]
    discount_percent: Option<i32>,
    /// The most that discountPercent takes off, in minor units; no limit when it is not said.
    #[garde(custom(worth_something))]
    #[schema(value_type = Option<i64>, minimum = 1)]
    max_discount_amount: Option<Money>,
    /// When it expires; never when it is not said.
    #[garde(custom(of_this_era))]
    expires_at: Option<DateTime<Utc>>,
}

/// A coupon.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedCoupon {
    coupon_id: CouponId,
    user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    discount_amount: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discount_percent: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    max_discount_amount: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<OccurredAt>,
    status: CouponStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_by_order_id: Option<OrderId>,
}

/// Whether a coupon can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum CouponStatus {
    /// It can.
    Usable,
    /// An order used it.
    Used,
    /// Its time is over.
    Expired,
}

/// Creates a product
#[utoipa::path(
    post, path = "/products", tag = "catalogue", request_body = CreateProduct,
    responses((status = 201, description = "the product", body = Product, headers(("Location" = String))))
)]
pub async fn create_product(
    database: web::Data<Database>,
    JsonBody(new): JsonBody<CreateProduct>,
) -> Result<HttpResponse, Problem> {
    let CreateProduct { name, price, stock } = new;
    let product = products::create(&database, name, price, stock).await.map_err(Problem::from)?;
    let location = format!("/products/{}", product.id);
    answer::created(Some(location), &Product::from(product))
}

/// Lists the products
#[utoipa::path(
    get, path = "/products", tag = "catalogue", params(PageQuery),
    responses((status = 200, description = "a page of products", body = Page<Product>))
)]
pub async fn list_products(
    database: web::Data<Database>,
    query: web::Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    let query = query.within_bounds()?;
    let mut session = database.session().await.map_err(Problem::from)?;
    let found = products::list(&mut session, query.after(), query.limit());
    let found = database.within_limit(found).await.map_err(Problem::from)?;
    let items = found.into_iter().map(Product::from).collect();
    answer::ok(&Page::new(items, query, |product: &Product| product.product_id.0))
}

/// Reads a product
#[utoipa::path(
    get, path = "/products/{productId}", tag = "catalogue", params(("productId" = i64, Path)),
    responses(
        (status = 200, description = "the product", body = Product),
        (status = 404, description = "there is no such product", content_type = "application/problem+json"),
    )
)]
pub async fn read_product(
    database: web::Data<Database>,
    id: web::Path<i64>,
) -> Result<HttpResponse, Problem> {
    let id = ProductId(id.into_inner());
    let mut session = database.session().await.map_err(Problem::from)?;
    let product = database.within_limit(products::read(&mut session, id)).await.map_err(Problem::from)?;
    answer::ok(&Product::from(product.ok_or_else(|| no_such_product(id))?))
}

/// Adds pieces to a product's stock
#[utoipa::path(
    post, path = "/products/{productId}/restock", tag = "catalogue", request_body = RestockProduct,
    params(("productId" = i64, Path)),
    responses(
        (status = 200, description = "the product", body = Product),
        (status = 404, description = "there is no such product", content_type = "application/problem+json"),
        (status = 422, description = "not valid, or more than a number holds", content_type = "application/problem+json"),
    )
)]
pub async fn restock_product(
    database: web::Data<Database>,
    id: web::Path<i64>,
    JsonBody(arrived): JsonBody<RestockProduct>,
) -> Result<HttpResponse, Problem> {
    let id = ProductId(id.into_inner());
    let mut session = database.session().await.map_err(Problem::from)?;
    // The name first: nothing may fail between the change and its answer.
    let known = database.within_limit(products::read(&mut session, id)).await.map_err(Problem::from)?;
    let known = known.ok_or_else(|| no_such_product(id))?;
    let restocked = database.change_within_limit(stock::restock(&mut session, id, arrived.quantity));
    let restocked = restocked.await.map_err(Problem::from)?;
    let too_much = || {
        let detail = format!("product {id} would have more pieces than a number holds");
        Problem::new(ProblemType::AmountTooLarge, detail).with("productId", id.0)
    };
    let stock = restocked.ok_or_else(too_much)?;
    answer::ok(&Product::from(products::Product { stock, ..known }))
}

/// Issues a coupon
#[utoipa::path(
    post, path = "/coupons", tag = "catalogue", request_body = IssueCoupon,
    responses(
        (status = 201, description = "the coupon", body = IssuedCoupon),
        (status = 422, description = "not valid, such as both or none of the discounts", content_type = "application/problem+json"),
    )
)]
pub async fn issue_coupon(
    database: web::Data<Database>,
    JsonBody(new): JsonBody<IssueCoupon>,
) -> Result<HttpResponse, Problem> {
    let discount = new.discount()?;
    let mut session = database.session().await.map_err(Problem::from)?;
    let issued = coupons::issue(&mut session, UserId(new.user_id), discount, new.expires_at);
    let coupon = database.change_within_limit(issued).await.map_err(Problem::from)?;
    answer::created(None, &IssuedCoupon::from(coupon))
}

/// Lists a user's coupons
#[utoipa::path(
    get, path = "/users/{userId}/coupons", tag = "catalogue", params(("userId" = i64, Path), PageQuery),
    responses((status = 200, description = "a page of coupons", body = Page<IssuedCoupon>))
)]
pub async fn list_coupons(
    database: web::Data<Database>,
    user_id: web::Path<i64>,
    query: web::Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    let user_id = UserId(user_id.into_inner());
    let query = query.within_bounds()?;
    let mut session = database.session().await.map_err(Problem::from)?;
    let found = coupons::by_user(&mut session, user_id, query.after(), query.limit());
    let items = database
        .within_limit(found)
        .await
        .map_err(Problem::from)?
        .into_iter()
        .map(IssuedCoupon::from)
        .collect();
    answer::ok(&Page::new(items, query, |coupon: &IssuedCoupon| coupon.coupon_id.0))
}

impl IssueCoupon {
    fn discount(&self) -> Result<Discount, Problem> {
        let refused =
            |field: &str, why: &str| Err(Problem::invalid_fields(vec![(field.to_owned(), why.to_owned())]));
        match (self.discount_amount, self.discount_percent.and_then(Percent::new)) {
            (Some(_), None) if self.max_discount_amount.is_some() => {
                refused("maxDiscountAmount", "only beside discountPercent")
            }
            (Some(amount), None) => Ok(Discount::Fixed(amount)),
            (None, Some(percent)) => Ok(Discount::Percentage { percent, cap: self.max_discount_amount }),
            (Some(_), Some(_)) => refused("discountPercent", "not beside discountAmount; send one of them"),
            (None, None) => refused("discountAmount", "missing; send it, or discountPercent"),
        }
    }
}

impl From<products::Product> for Product {
    fn from(product: products::Product) -> Self {
        let products::Product { id, name, price, stock } = product;
        Self { product_id: id, name, price, stock }
    }
}

impl From<Coupon> for IssuedCoupon {
    fn from(coupon: Coupon) -> Self {
        let status = match coupon.expires_at {
            _ if coupon.used_by.is_some() => CouponStatus::Used,
            Some(at) if at <= Utc::now() => CouponStatus::Expired,
            Some(_) | None => CouponStatus::Usable,
        };
        let (discount_amount, discount_percent, max_discount_amount) = match coupon.discount {
            Discount::Fixed(amount) => (Some(amount), None, None),
            Discount::Percentage { percent, cap } => (None, Some(percent.get()), cap),
        };
        Self {
            coupon_id: coupon.id,
            user_id: coupon.user_id,
            discount_amount,
            discount_percent,
            max_discount_amount,
            expires_at: coupon.expires_at.map(OccurredAt::from_datetime),
            status,
            used_by_order_id: coupon.used_by,
        }
    }
}

fn no_such_product(id: ProductId) -> Problem {
    Problem::new(ProblemType::ProductNotFound, format!("there is no product {id}"))
}

#[expect(clippy::ref_option, reason = "the signature of a validation rule")]
fn worth_something(amount: &Option<Money>, _limits: &OrderLimits) -> garde::Result {
    if *amount == Some(Money::ZERO) { Err(garde::Error::new("must be at least 1")) } else { Ok(()) }
}

/// What JSON, and everybody who reads it, can hold.
#[expect(clippy::ref_option, reason = "the signature of a validation rule")]
fn of_this_era(moment: &Option<DateTime<Utc>>, _limits: &OrderLimits) -> garde::Result {
    match moment {
        Some(moment) if !(0..=9999).contains(&moment.year()) => {
            Err(garde::Error::new("the year must be from 0 to 9999"))
        }
        Some(_) | None => Ok(()),
    }
}

fn readable(name: &str, _limits: &OrderLimits) -> garde::Result {
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        return Err(garde::Error::new("must be text to read, without control characters"));
    }
    Ok(())
}
