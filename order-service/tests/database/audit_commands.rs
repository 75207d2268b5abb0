//! `order-service audit` and `order-service events` as an operator runs them: what they print, and their exit codes.

use crate::audit::{place, publish};
use crate::cases;
use crate::relaying::{broker, relay_settings};
use crate::rig::{Rig, Shop};
use engines::kafka::MockBroker;
use serde_json::Value;
use std::process::{Command, Output};
use std::sync::Arc;
use tokio::task::block_in_place;

cases!(
    the_commands_say_what_they_found_and_did_and_end_with_the_code_that_fits,
    a_database_that_is_away_or_has_no_schema_is_named_with_what_to_do,
);

fn order_service(shop: &Shop, broker: &MockBroker, arguments: &[&str]) -> (i32, String, String) {
    order_service_with(&shop.own.url(), &broker.bootstrap_servers(), arguments)
}

fn order_service_with(database: &str, brokers: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_order-service"));
    command
        .args(arguments)
        .env("ORDER_SERVICE__DATABASE__URL", database)
        .env("ORDER_SERVICE__KAFKA__BOOTSTRAP_SERVERS", brokers);
    let Output { status, stdout, stderr } = block_in_place(|| command.output().unwrap());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

async fn the_commands_say_what_they_found_and_did_and_end_with_the_code_that_fits(rig: Arc<Rig>) {
    let (shop, broker) = (rig.shop().await, broker());
    let settings = relay_settings(&shop, &broker, &[]);
    let orders = place(&shop, 5).await;
    let lost = orders[3].id.to_string();
    shop.execute(&format!("DELETE FROM outbox WHERE key = '{lost}'")).await;
    publish(&shop, &settings).await;
    let run = |arguments: &[&str]| order_service(&shop, &broker, arguments);

    let (code, out, err) = run(&["audit", "--last", "1h"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains(&format!("missing: order {lost} of ")), "{out}");
    assert!(err.contains("the audit found 1 order(s) without an event"), "{err}");

    let range = format!("{}..{}", orders[3].id, orders[4].id.0 + 10);
    let (code, out, err) = run(&["events", "republish", "--orders", &range]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("there are 2 orders; 10 ids have none"), "{out}");
    assert!(out.contains("nothing was written"), "{out}");
    assert_eq!(shop.number("SELECT count(*) FROM outbox").await, 0);
    let (code, out, err) = run(&["events", "republish", "--orders", &range, "--yes"]);
    assert!(code == 0 && out.contains("2 events were written"), "{out}{err}");
    let (code, _, err) = run(&["events", "republish", "--orders", "100000..200000", "--yes"]);
    assert!(code == 1 && err.contains("there is no order from 100000 to 200000"), "{err}");
    publish(&shop, &settings).await;

    let (code, out, err) = run(&["audit", "--last", "1h", "--json"]);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["orders"], &report["published"]), (&5.into(), &5.into()), "{report}");
    assert_eq!(report["repeated"]["first"][0]["orderId"], orders[4].id.0, "{report}");
    let (code, _, err) = run(&["audit", "--last", "1h", "--strict"]);
    assert!(code == 1 && err.contains("1 event(s) more than once"), "{err}");
    let (code, _, err) = run(&["audit", "--from", "2026-11-29T08:00:00Z", "--to", "2026-11-29T07:00:00Z"]);
    assert!(code == 2 && err.contains("--from must be earlier than --to"), "{err}");
}

/// They fail before Kafka is asked.
async fn a_database_that_is_away_or_has_no_schema_is_named_with_what_to_do(rig: Arc<Rig>) {
    let without_schema = rig.empty_database().await;
    let away = "postgres://shop:sesame@127.0.0.1:1/orders";
    for command in [
        &["outbox", "status"][..],
        &["outbox", "quarantine", "list"],
        &["audit", "--last", "1h"],
        &["events", "republish", "--orders", "1..2"],
    ] {
        let (code, _, err) = order_service_with(away, "127.0.0.1:1", command);
        assert_eq!(code, 1, "{command:?}: {err}");
        assert!(err.contains("@127.0.0.1:1/orders") && !err.contains("sesame"), "{command:?}: {err}");
        assert!(err.contains("start it, or correct database.url"), "{command:?}: {err}");
        let (code, _, err) = order_service_with(&without_schema.url(), "127.0.0.1:1", command);
        assert!(code == 1 && err.contains("run `order-service migrate` first"), "{command:?}: {err}");
    }
}
