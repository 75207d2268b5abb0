//! # `single_order`
//!
//! What a lone buyer pays for what is built for crowds: an order through the checkout as handlers call it, against
//! `complete_orders` in a transaction, both in this process and without HTTP, on one pool and one database, in turns,
//! order by order.

use super::Bench;
use crate::Failure;
use crate::load::Products;
use crate::report::{Row, Series, figure, say};
use crate::servers;
use futures_util::FutureExt;
use hdrhistogram::Histogram;
use order_service::checkout::complete_orders::complete_orders;
use order_service::checkout::request::OrderRequest;
use order_service::checkout::{Checkout, CheckoutParts};
use order_service::domain::ids::{ProductId, UserId};
use order_service::domain::order::{Basket, OrderItem};
use order_service::outbox::wake_up::WakeUp;
use order_service::settings::Settings;
use order_service::storage::database::Database;
use order_service::storage::transaction_completion::{Outcome, in_transaction};
use std::time::{Duration, Instant, SystemTime};

const SLOWEST_NANOSECONDS: u64 = 60_000_000_000;
const WARM_UP_ORDERS: u32 = 50;

struct Latencies {
    checkout: Histogram<u64>,
    direct: Histogram<u64>,
}

/// The medians of latency.
pub(super) async fn measure(bench: &Bench) -> Result<Row, Failure> {
    say("\nsingle_order")?;
    let (mut ours, mut baseline) = (Series::default(), Series::default());
    for round in 1..=bench.options.rounds {
        let shop = bench.servers.shop().await?;
        let latencies =
            on_threads_of_its_own(servers::settings(&shop.url())?, bench.options.window()).await?;
        let (checkout, direct) = (&latencies.checkout, &latencies.direct);
        let milliseconds = |side: &Histogram<u64>, quantile| side.value_at_quantile(quantile) as f64 / 1e6;
        ours.push(milliseconds(checkout, 0.5));
        baseline.push(milliseconds(direct, 0.5));
        say(&format!(
            "  round {round}: {} orders each; checkout p50 {} ms, p99 {} ms; direct p50 {} ms, p99 {} ms",
            direct.len(),
            figure(milliseconds(checkout, 0.5)),
            figure(milliseconds(checkout, 0.99)),
            figure(milliseconds(direct, 0.5)),
            figure(milliseconds(direct, 0.99))
        ))?;
    }
    let (measure, note) =
        ("single_order".to_owned(), "p50 through the checkout, against complete_orders directly");
    Ok(Row { measure, ours, baseline, unit: "ms", note: note.to_owned() })
}

/// As order-service runs it: a runtime of as many threads as the settings say, and none of ours.
async fn on_threads_of_its_own(settings: Settings, window: Duration) -> Result<Latencies, Failure> {
    let measured = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(settings.http.workers)
            .enable_all()
            .build()?;
        runtime.block_on(in_turns(&settings, window))
    });
    measured.await?
}

async fn in_turns(settings: &Settings, window: Duration) -> Result<Latencies, Failure> {
    let database = Database::new(&settings.database)?;
    let checkout = Checkout::open(CheckoutParts {
        database: database.clone(),
        wake_up: WakeUp::default(),
        topic: settings.kafka.topic.as_str().into(),
        answer_timeout: settings.orders.answer_timeout,
        desk: settings.desk.limits(),
    });
    let new = || Histogram::new_with_bounds(1, SLOWEST_NANOSECONDS, 3);
    let mut latencies = Latencies { checkout: new()?, direct: new()? };
    for number in 0..WARM_UP_ORDERS {
        through_checkout(&checkout, request(number.into())).await?;
        directly(&database, request(number.into())).await?;
    }
    let end = Instant::now() + window;
    let mut number = u64::from(WARM_UP_ORDERS);
    while Instant::now() < end {
        let began = Instant::now();
        through_checkout(&checkout, request(number)).await?;
        let between = Instant::now();
        directly(&database, request(number)).await?;
        latencies.checkout.saturating_record(nanoseconds(between - began));
        latencies.direct.saturating_record(nanoseconds(between.elapsed()));
        number += 1;
    }
    Ok(latencies)
}

/// The way of every order. What takes `Checkout`'s place is put here.
async fn through_checkout(checkout: &Checkout, request: OrderRequest) -> Result<(), Failure> {
    checkout.complete(request).await?;
    Ok(())
}

async fn directly(database: &Database, request: OrderRequest) -> Result<(), Failure> {
    let outcome: Outcome<_, order_service::storage::error::DatabaseError> =
        in_transaction(database, move |transaction| {
            async move {
                let now = || SystemTime::now().into();
                complete_orders(transaction, &[request], "order-completed", now).await
            }
            .boxed()
        })
        .await;
    match outcome {
        Outcome::Committed(completed) => {
            completed.into_iter().next().ok_or("no answer")??;
            Ok(())
        }
        failed @ (Outcome::RolledBack(_) | Outcome::Unknown(_)) => Err(format!("{failed:?}").into()),
    }
}

fn request(number: u64) -> OrderRequest {
    let product_id = ProductId(Products::Many.nth(number).cast_signed());
    let items = vec![OrderItem { product_id, quantity: 1 }];
    OrderRequest::new(Basket { user_id: UserId(1), items, coupon_id: None }, OrderRequest::made_key(), None)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(SLOWEST_NANOSECONDS)
}
