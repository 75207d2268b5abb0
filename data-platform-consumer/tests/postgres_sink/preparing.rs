//! The command `sink prepare`.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use data_platform_consumer::sink::postgres::prepare;

use crate::cases;
use crate::events::{deliver, event};
use crate::rig::{Rig, settings};

cases!(
    preparing_again_changes_nothing_and_several_at_once_do_no_harm,
    a_table_of_another_shape_is_refused_with_what_to_do,
    another_schema_holds_the_table_where_the_url_says_so,
    a_database_that_is_away_is_waited_for_and_no_longer_than_the_settings_say,
    the_command_names_what_it_waits_for_once_and_preparing_again_says_nothing_of_what_is_there,
);

async fn preparing_again_changes_nothing_and_several_at_once_do_no_harm(rig: Arc<Rig>) {
    let platform = rig.empty_platform().await;
    let at_once: Vec<_> = (0..8)
        .map(|_| {
            let settings = platform.settings(&[]);
            tokio::spawn(async move { prepare(&settings).await })
        })
        .collect();
    for prepared in at_once {
        prepared.await.unwrap().unwrap();
    }
    deliver(&platform.sink(&[]), &event(15)).await.unwrap();
    prepare(&platform.settings(&[])).await.unwrap();
    assert_eq!(platform.number("SELECT count(*) FROM order_completed_events").await, 1);
}

async fn a_table_of_another_shape_is_refused_with_what_to_do(rig: Arc<Rig>) {
    let platform = rig.empty_platform().await;
    platform.execute("CREATE TABLE order_completed_events (occurred_at timestamptz)").await;
    let refusal = prepare(&platform.settings(&[])).await.unwrap_err().to_string();
    assert!(refusal.contains("another shape") && refusal.contains("rename"), "{refusal}");
}

async fn another_schema_holds_the_table_where_the_url_says_so(rig: Arc<Rig>) {
    let platform = rig.empty_platform().await;
    platform.execute("CREATE SCHEMA orders").await;
    let mark = if platform.url().contains('?') { '&' } else { '?' };
    let url = format!("{}{mark}options=-csearch_path%3Dorders", platform.url());
    prepare(&platform.settings(&[("URL", &url)])).await.unwrap();
    deliver(&platform.sink(&[("URL", &url)]), &event(15)).await.unwrap();
    assert_eq!(platform.number("SELECT count(*) FROM orders.order_completed_events").await, 1);
}

async fn a_database_that_is_away_is_waited_for_and_no_longer_than_the_settings_say(rig: Arc<Rig>) {
    let nowhere = settings(&[("URL", "postgres://shop@127.0.0.1:1/platform"), ("WAIT_TIMEOUT", "100ms")]);
    let refusal = prepare(&nowhere).await.unwrap_err().to_string();
    assert!(refusal.contains("Connection refused"), "{refusal}");

    let platform = rig.empty_platform().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = platform.place();
    let url = platform.url().replacen(&behind, &format!("127.0.0.1:{port}"), 1);
    // The first attempt finds nobody who understands it, and the next the database.
    tokio::spawn(async move {
        let (refused, _) = listener.accept().await.unwrap();
        drop(refused);
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = tokio::net::TcpStream::connect(&behind).await.unwrap();
        tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
    });
    let waits = platform.settings(&[("URL", &url), ("WAIT_TIMEOUT", "1m")]);
    tokio::time::timeout(Duration::from_secs(30), prepare(&waits)).await.unwrap().unwrap();
}

/// The program, as an operator runs it.
async fn sink_prepare(url: &str, wait_timeout: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-platform-consumer"));
    command
        .args(["sink", "prepare"])
        .env("DATA_PLATFORM_CONSUMER__SINK__KIND", "postgres")
        .env("DATA_PLATFORM_CONSUMER__SINK__POSTGRES__URL", url)
        .env("DATA_PLATFORM_CONSUMER__SINK__POSTGRES__WAIT_TIMEOUT", wait_timeout);
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

async fn the_command_names_what_it_waits_for_once_and_preparing_again_says_nothing_of_what_is_there(
    rig: Arc<Rig>,
) {
    // Long enough for several attempts, which all fail alike.
    let away = sink_prepare("postgres://shop:hush@127.0.0.1:1/platform", "1200ms").await;
    let complaint = String::from_utf8_lossy(&away.stderr);
    let told = format!("{}{complaint}", String::from_utf8_lossy(&away.stdout));
    assert_eq!(away.status.code(), Some(1), "{told}");
    assert!(complaint.contains("gave up on postgres://shop:(hidden)@127.0.0.1:1/platform"), "{told}");
    assert!(complaint.contains("start it, or correct sink.postgres.url"), "{told}");
    assert_eq!(told.matches("waiting for the database at postgres://").count(), 1, "{told}");
    assert!(!told.contains("hush"), "{told}");

    let platform = rig.empty_platform().await;
    for time in ["the first time", "again"] {
        let prepared = sink_prepare(&platform.url(), "10s").await;
        let told = format!(
            "{}{}",
            String::from_utf8_lossy(&prepared.stdout),
            String::from_utf8_lossy(&prepared.stderr)
        );
        assert!(prepared.status.success(), "{time}: {told}");
        assert_eq!(told.trim(), "the table order_completed_events is ready", "{time}");
    }
}
