//! # What needs a database
//!
//! Runs on a real, private PostgreSQL that is started for this run; Kafka's protocol is spoken by a mock
//! cluster in memory, one for each case that needs it. Cases share the server, never a database.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by its panic")]

mod audit;
mod audit_commands;
mod backlog_size;
mod batches;
mod book;
mod broker_faults;
mod catalogue;
mod complete_orders;
mod coupons;
mod crash_points;
mod delay_alarm;
mod held_desk;
mod held_rows;
mod http;
mod idempotency;
mod kafka_watch;
mod locked_rows;
mod lost_commits;
mod metrics;
mod migration_job;
mod overload;
mod pool_share;
mod quarantine;
mod relay;
mod relay_lease;
mod relaying;
mod republication;
mod requests;
mod rig;
mod round_trips;
mod running;
mod scan_floor;
mod schema;
mod transaction_completion;

use libtest_mimic::{Arguments, Trial};
use rig::Rig;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    engines::guard::enter_if_asked();
    if let Some(ended) = crash_points::process::enter_if_asked() {
        return ended;
    }
    // The HTTP client insists on one, although the cases speak plain HTTP; an earlier one is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    let arguments = Arguments::from_args();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let rig = (!arguments.list).then(|| Arc::new(runtime.block_on(Rig::start())));
    let mut trials: Vec<Trial> = Vec::new();
    for cases in [
        transaction_completion::cases(),
        complete_orders::cases(),
        batches::cases(),
        held_rows::cases(),
        lost_commits::cases(),
        round_trips::cases(),
        catalogue::cases(),
        relay::cases(),
        broker_faults::cases(),
        locked_rows::cases(),
        quarantine::cases(),
        relay_lease::cases(),
        scan_floor::cases(),
        audit::cases(),
        audit_commands::cases(),
        republication::cases(),
        delay_alarm::cases(),
        backlog_size::cases(),
        metrics::cases(),
        http::cases(),
        idempotency::cases(),
        overload::cases(),
        pool_share::cases(),
        coupons::cases(),
        kafka_watch::cases(),
        schema::cases(),
        migration_job::cases(),
        crash_points::cases(),
    ] {
        trials.extend(cases.into_iter().map(|case| case.into_trial(rig.clone(), runtime.handle().clone())));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(rig) = rig.and_then(Arc::into_inner) {
        runtime.block_on(rig.stop());
    }
    conclusion.exit_code()
}
