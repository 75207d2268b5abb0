//! A member of the group, in this process, as the service runs it.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Instant;

use data_platform_consumer::consumer_group::{self, GroupMember};
use data_platform_consumer::health::{COMPONENTS, Health};
use data_platform_consumer::settings::{DEFAULTS, ENVIRONMENT_PREFIX, Settings};
use data_platform_consumer::status::Status;
use service_chassis::alarms::{Alarm, Alarms};
use service_chassis::management::Readiness;
use service_chassis::settings::{Loaded, SettingsSource, load_with_environment};
use tokio::runtime::Runtime;

use crate::broker::{Broker, DEADLINE, TOPIC};
use crate::platform::Platform;

pub(crate) struct Member {
    runtime: Runtime,
    in_group: GroupMember,
    pub(crate) alarms: Alarms,
    pub(crate) readiness: Readiness,
    pub(crate) health: Health,
}

impl Member {
    /// Joins with the default settings, but short times, and what the test wants to be different.
    pub(crate) fn join(
        name: &'static str,
        broker: &Broker,
        platform: &Arc<Platform>,
        different: &[(&str, &str)],
    ) -> Self {
        let settings = settings(broker, different);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (alarms, readiness) = (Alarms::new(), Readiness::new(&COMPONENTS));
        let health = Health::new(TOPIC, readiness.clone(), alarms.clone());
        let sink = platform.sink_of(name);
        let Settings { kafka, delivery, .. } = settings;
        let in_group =
            consumer_group::join(kafka, &delivery, sink, health.clone(), runtime.handle().clone()).unwrap();
        Self { runtime, in_group, alarms, readiness, health }
    }

    /// Asks it to stop and waits until it has left.
    pub(crate) fn stop(self) {
        let Self { runtime, mut in_group, .. } = self;
        in_group.stop();
        let left = runtime.block_on(async { tokio::time::timeout(DEADLINE, in_group.left()).await });
        left.expect("it leaves in time").expect("it leaves by itself");
        runtime.shutdown_background();
    }

    pub(crate) fn await_alarm(&self, name: &str) -> (String, String) {
        self.await_alarm_that(|alarm| alarm.name == name)
    }

    /// Its subject and its detail.
    pub(crate) fn await_alarm_that(&self, is_meant: impl Fn(&Alarm) -> bool) -> (String, String) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let active = self.alarms.active();
            if let Some(alarm) = active.iter().find(|alarm| is_meant(alarm)) {
                return (alarm.subject.clone(), alarm.detail.clone());
            }
            assert!(Instant::now() < deadline, "no such alarm: {active:?}");
            std::thread::yield_now();
        }
    }

    pub(crate) fn await_status(&self, is_meant: impl Fn(&Status) -> bool) -> Status {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.health.status();
            if is_meant(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "no such status: {status:?}");
            std::thread::yield_now();
        }
    }

    pub(crate) fn await_no_alarm(&self) {
        let deadline = Instant::now() + DEADLINE;
        while !self.alarms.active().is_empty() {
            assert!(Instant::now() < deadline, "still active: {:?}", self.alarms.active());
            std::thread::yield_now();
        }
    }

    pub(crate) fn await_ready(&self) {
        let deadline = Instant::now() + DEADLINE;
        while !self.readiness.is_ready() {
            assert!(Instant::now() < deadline, "not ready: {:?}", self.readiness.components());
            std::thread::yield_now();
        }
    }
}

pub(crate) fn settings(broker: &Broker, different: &[(&str, &str)]) -> Settings {
    let servers = broker.bootstrap_servers();
    let short = [
        ("KAFKA__BOOTSTRAP_SERVERS", servers.as_str()),
        ("KAFKA__SESSION_TIMEOUT", "10s"),
        ("KAFKA__HEARTBEAT_INTERVAL", "200ms"),
        ("KAFKA__COMMIT_INTERVAL", "50ms"),
        ("DELIVERY__DRAIN_TIMEOUT", "2s"),
        ("DELIVERY__RETRY__FIRST_WAIT", "10ms"),
        ("DELIVERY__RETRY__LONGEST_WAIT", "100ms"),
        ("DELIVERY__BREAKER__FIRST_WAIT", "10ms"),
        ("DELIVERY__BREAKER__LONGEST_WAIT", "100ms"),
    ];
    let environment = short.iter().chain(different).map(|(name, value)| {
        (OsString::from(format!("{ENVIRONMENT_PREFIX}__{name}")), OsString::from(value))
    });
    let source = SettingsSource { defaults: DEFAULTS, environment_prefix: ENVIRONMENT_PREFIX, file: None };
    let loaded: Loaded<Settings> = load_with_environment(&source, environment).unwrap();
    loaded.settings
}
