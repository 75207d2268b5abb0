//! # The command `sink`

use std::io::{self, Write as _};

use clap::Subcommand;
use service_chassis::settings::Loaded;
use service_chassis::telemetry;

use super::{Failure, runtime};
use crate::settings::{self, Settings};
use crate::sink::SinkKind;
use crate::sink::postgres::{self, PrepareError};

#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum SinkCommand {
    /// Make ready what it needs: the table of the sink "postgres". Running it again changes nothing
    Prepare,
}

pub(super) fn prepare(loaded: &Loaded<Settings>) -> Result<(), Failure> {
    let Loaded { settings, report } = loaded;
    let said = match settings.sink.kind {
        SinkKind::Log | SinkKind::Http => {
            "nothing to prepare: only the sink \"postgres\" has a table (sink.kind = \"postgres\")".to_owned()
        }
        SinkKind::Postgres => {
            telemetry::init(&settings.log)?;
            let prepared = runtime()?.block_on(postgres::prepare(&settings.sink.postgres));
            prepared.map_err(|error| match error {
                PrepareError::Settings(refused) => {
                    Failure::Settings(settings::refused_sink(report, &refused))
                }
                other @ (PrepareError::NoDatabase { .. } | PrepareError::Refused { .. }) => {
                    Failure::Prepare(other)
                }
            })?;
            format!("the table {} is ready", postgres::TABLE)
        }
    };
    writeln!(io::stdout().lock(), "{said}").map_err(Failure::Print)
}
