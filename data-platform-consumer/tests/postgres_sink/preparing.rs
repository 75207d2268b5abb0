//! The command `sink prepare`.

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
