//! The sink `postgres` on a real, private PostgreSQL that is started for this run. Cases share the server, never a database.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends by its panic")]

mod events;
mod rig;

mod audit;
mod preparing;
mod refusals;
mod sessions;
mod writing;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use rig::Rig;

fn main() -> ExitCode {
    engines::guard::enter_if_asked();
    let arguments = Arguments::from_args();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let rig = (!arguments.list).then(|| Arc::new(runtime.block_on(Rig::start())));
    let mut trials: Vec<Trial> = Vec::new();
    for cases in [writing::cases(), refusals::cases(), sessions::cases(), preparing::cases(), audit::cases()]
    {
        trials.extend(cases.into_iter().map(|case| case.into_trial(rig.clone(), runtime.handle().clone())));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(rig) = rig.and_then(Arc::into_inner) {
        runtime.block_on(rig.stop());
    }
    conclusion.exit_code()
}
