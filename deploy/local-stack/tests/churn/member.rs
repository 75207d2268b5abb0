//! # A consumer's life
//!
//! It serves for a while, something befalls it, it comes back after a while, and so on until the churn is over; then it serves
//! on, thawed. Each life has chances of its own, so that what befalls one does not hang on what another is doing.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use local_stack::multi_call::Service;
use local_stack::service_process::{OnLine, ServiceProcess, ServiceSpec};
use tokio::time::{Instant, sleep, sleep_until};

use crate::chance::Chance;
use crate::faults::{Fault, Faults};
use crate::receipts::Receipts;

/// After so long without a heartbeat the group goes on without a member.
const SESSION: &str = "6s";
/// The data platform takes so long.
const TAKES: &str = "50ms";
/// In milliseconds: how long it serves before something befalls it, and how long it is away or frozen. A freeze is shorter or
/// longer than the session. Of six, one is hurt every three seconds, so that faults meet in one rebalance, and some are quiet.
const SERVES: (u64, u64) = (2_000, 30_000);
const AWAY: (u64, u64) = (0, 4_000);
const FROZEN: (u64, u64) = (500, 12_000);
/// `delivery.drain_timeout` and `kafka.close_timeout` together, which a stop promises to keep, and what a busy machine adds.
const LONGEST_STOP: Duration = Duration::from_secs(25);

pub(crate) struct Member {
    spec: ServiceSpec,
    on_line: OnLine,
    faults: Faults,
}

impl Member {
    pub(crate) fn new(number: u64, servers: &str, topic: &str, receipts: Receipts, faults: Faults) -> Self {
        let settings = vec![
            ("KAFKA__BOOTSTRAP_SERVERS", servers.to_owned()),
            ("KAFKA__TOPIC", topic.to_owned()),
            ("KAFKA__GROUP_ID", topic.to_owned()),
            ("KAFKA__SESSION_TIMEOUT", SESSION.to_owned()),
            ("KAFKA__HEARTBEAT_INTERVAL", "2s".to_owned()),
            ("SINK__KIND", "log".to_owned()),
            ("SINK__LOG__WAIT", TAKES.to_owned()),
            ("MANAGEMENT__PORT", "0".to_owned()),
            ("LOG__FORMAT", "json".to_owned()),
        ];
        let name = format!("consumer-{number}");
        let program = engines::this_executable::path().expect("this program");
        let service = Service::DataPlatformConsumer;
        let spec = ServiceSpec { name: name.clone(), program, service, arguments: Vec::new(), settings };
        let on_line: OnLine = Arc::new(move |line| receipts.read(&name, line));
        Self { spec, on_line, faults }
    }

    fn start(&self) -> ServiceProcess {
        self.spec.start(Arc::clone(&self.on_line)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns with the process that serves on when the churn ends.
    pub(crate) async fn live(self, mut chance: Chance, until: Instant) -> ServiceProcess {
        let mut process = self.start();
        loop {
            let befalls_at = Instant::now() + chance.between(SERVES.0, SERVES.1);
            tokio::select! {
                status = process.exited() => panic!("{} ended by itself: {status}", self.spec.name),
                () = sleep_until(befalls_at.min(until)) => {}
            }
            if befalls_at >= until {
                return process;
            }
            let fault = chance.one_of([Fault::Stopped, Fault::Killed, Fault::Frozen]);
            let away = chance.between(AWAY.0, AWAY.1);
            let frozen = chance.between(FROZEN.0, FROZEN.1);
            match fault {
                Fault::Frozen => {
                    self.faults.befalls(fault, &self.spec.name, &format!(" for {frozen:?}"));
                    process.process().freeze();
                    sleep(frozen).await;
                    process.process().thaw();
                    self.faults.is_over(&self.spec.name);
                    continue;
                }
                Fault::Stopped => {
                    self.faults.befalls(fault, &self.spec.name, "");
                    self.stop(&process).await;
                }
                Fault::Killed => {
                    self.faults.befalls(fault, &self.spec.name, "");
                    process.process().kill();
                    process.exited().await;
                }
            }
            self.faults.is_over(&self.spec.name);
            sleep(away).await;
            process = self.start();
        }
    }

    async fn stop(&self, process: &ServiceProcess) {
        let began = Instant::now();
        let status: ExitStatus = process.stop().await;
        let took = began.elapsed();
        assert!(status.success(), "{} was asked to stop and ended with {status}", self.spec.name);
        assert!(took < LONGEST_STOP, "{} took {took:?} to stop", self.spec.name);
    }
}
