//! # The command `dead-letters`

use std::io;

use service_chassis::settings::Loaded;
use service_chassis::stop::StopSignals;
use service_chassis::telemetry;

use super::{Failure, runtime};
use crate::operator::Stop;
use crate::operator::dead_letters::{self, DeadLettersCommand, DeadLettersError, Workplace};
use crate::settings::{self, Settings};
use crate::sink;

/// It works on a thread that may wait. A signal asks it to end, which it does in a bounded time: what is on its way is not
/// cut off.
pub(super) fn run(command: DeadLettersCommand, loaded: Loaded<Settings>) -> Result<(), Failure> {
    let Loaded { settings, report } = loaded;
    telemetry::init(&settings.log)?;
    let runtime = runtime()?;
    let handle = runtime.handle().clone();
    let stop = Stop::default();
    let asked = stop.clone();
    let ended = runtime.block_on(async {
        let mut signals = StopSignals::listen().map_err(Failure::Runtime)?;
        let mut work = tokio::task::spawn_blocking(move || {
            let sink = || sink::build(&settings.sink);
            // Not locked: the sink `log` writes there, too.
            let mut out = io::stdout();
            let mut workplace = Workplace { settings: &settings, sink: &sink, out: &mut out, stop };
            dead_letters::run(&command, &mut workplace, &handle)
        });
        let done = tokio::select! {
            done = &mut work => done,
            _ = signals.received() => {
                asked.ask();
                tokio::select! {
                    done = &mut work => done,
                    // Who asks twice does not want to wait.
                    _ = signals.received() => return Err(Failure::DeadLetters(DeadLettersError::Stopped)),
                }
            }
        };
        let done = done.map_err(Failure::BrokeDown)?;
        done.map_err(|error| {
            if let Some(cause) = error.refused_by_the_client() {
                return Failure::Settings(settings::refused(&report, cause));
            }
            if let DeadLettersError::Sink(refused) = &error {
                return Failure::Settings(settings::refused_sink(&report, refused));
            }
            Failure::DeadLetters(error)
        })
    });
    runtime.shutdown_background();
    ended
}
