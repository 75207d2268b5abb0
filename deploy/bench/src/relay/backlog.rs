//! # A backlog
//!
//! Rows of the outbox as orders leave them: an order of one line, with its headers. All have the same value, and each a
//! key of its own.

use crate::Failure;
use order_service::domain::ids::{OrderId, ProductId, UserId};
use order_service::domain::money::Money;
use order_service::domain::order::{CompletedOrder, OrderLine};
use order_service::outbox::message::{OutboxMessage, order_completed};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls};

/// A drain that takes longer has failed.
const LONGEST: Duration = Duration::from_mins(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// More than are in flight.
const LAST_ROWS: i64 = 20_000;

/// What every row says.
pub(super) fn message() -> Result<OutboxMessage, Failure> {
    let price = Money::from_minor_units(25_000)?;
    let line = OrderLine { product_id: ProductId(1), quantity: 1, unit_price: price, line_amount: price };
    let order = CompletedOrder {
        id: OrderId(1_000_000),
        user_id: UserId(50_000),
        lines: vec![line],
        coupon_id: None,
        total: price,
        discount: Money::ZERO,
        completed_at: SystemTime::UNIX_EPOCH.into(),
        event_id: "01a22602-8c3a-70e7-841b-00288474c8a7".parse()?,
    };
    Ok(order_completed(&order, "order-completed", None)?)
}

/// A session with the database.
pub(super) async fn connect(url: &str) -> Result<Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Commits so many rows with the keys behind `first_key`.
pub(super) async fn fill(client: &Client, rows: u64, first_key: u64) -> Result<(), Failure> {
    let message = message()?;
    let insert = "INSERT INTO outbox (topic, key, event_id, payload, headers) \
                  SELECT $1, n::text, gen_random_uuid(), $2, $3::text::jsonb FROM generate_series($4::bigint, $5::bigint) AS n";
    let (first, last) = (i64::try_from(first_key)?, i64::try_from(first_key + rows - 1)?);
    let headers = message.headers.as_json();
    client.execute(insert, &[&message.topic, &message.payload, &headers, &first, &last]).await?;
    Ok(())
}

/// Until nothing waits any more; when that was.
///
/// Looked for among the last rows, which go last: a look at all of them would wade through those that were deleted.
pub(super) async fn until_empty(client: &Client) -> Result<Instant, Failure> {
    let deadline = Instant::now() + LONGEST;
    let reached: i64 = client.query_one("SELECT last_value FROM outbox_seq_seq", &[]).await?.get(0);
    let last = "SELECT seq FROM outbox WHERE seq > $1 LIMIT 1";
    while client.query_opt(last, &[&(reached - LAST_ROWS)]).await?.is_some() {
        if Instant::now() > deadline {
            return Err("the backlog was not published in time".into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let emptied = Instant::now();
    if client.query_opt("SELECT seq FROM outbox LIMIT 1", &[]).await?.is_some() {
        return Err("rows were left behind the last ones".into());
    }
    Ok(emptied)
}
