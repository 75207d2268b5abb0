//! In a program of its own, because it sends signals to itself.

use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use service_chassis::stop::{StopSignal, StopSignals};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_signal_that_arrives_before_anybody_waits_is_kept() {
    let mut signals = StopSignals::listen().unwrap();
    for (signal, expected) in [(Signal::TERM, StopSignal::Terminate), (Signal::INT, StopSignal::Interrupt)] {
        kill_process(getpid(), signal).unwrap();
        let received = tokio::time::timeout(PATIENCE, signals.received()).await;
        assert_eq!(received.ok(), Some(expected));
    }
}
