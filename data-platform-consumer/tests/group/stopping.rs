//! The service as a whole: what it cannot start with, and how it ends in bounded time.

use std::time::{Duration, Instant};

use data_platform_consumer::startup::{Service, StartError};

use crate::broker::Broker;
use crate::member::settings;
use crate::platform::Platform;

/// Of the member's own patience: it would wait a session of six seconds, and longer, for a coordinator.
const SHORT: [(&str, &str); 4] = [
    ("KAFKA__COMMIT_INTERVAL", "1h"),
    ("KAFKA__CLOSE_TIMEOUT", "500ms"),
    ("DELIVERY__DRAIN_TIMEOUT", "500ms"),
    ("MANAGEMENT__PORT", "0"),
];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_stop_ends_well_and_in_time_while_no_coordinator_answers() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    broker.order(0, 1);
    let runtime = runtime();
    let ended = runtime.block_on(async {
        let service = Service::start_with(&settings(&broker, &SHORT), platform.sink_of("only")).unwrap();
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(service.run_until_stopped(async move { told.await.unwrap() }));
        platform.await_taken("one, which is not committed", |taken| taken.len() == 1);
        broker.all_down();
        let asked = Instant::now();
        tell.send(()).unwrap();
        (running.await.unwrap(), asked.elapsed())
    });
    runtime.shutdown_background();
    let (ended, time) = ended;
    assert!(ended.is_ok(), "{ended:?}");
    assert!(time < Duration::from_secs(4), "{time:?}, where a second was granted");
}

#[test]
fn what_librdkafka_finds_out_only_at_the_start_ends_the_start() {
    let (broker, platform) = (Broker::with_partitions(1), Platform::taking_everything());
    let unusable = [("MANAGEMENT__PORT", "0"), ("KAFKA__PROPERTIES__FETCH__MAX__BYTES", "1")];
    let runtime = runtime();
    let started = runtime.block_on(async {
        Service::start_with(&settings(&broker, &unusable), platform.sink_of("only")).err()
    });
    let error: StartError = started.expect("it must not start");
    let refused = error.refused_by_the_client().expect("the settings are at fault");
    assert_eq!(refused.property.as_deref(), Some("fetch.max.bytes"), "{refused}");
}
