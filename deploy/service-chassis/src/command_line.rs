//! # Command line
//!
//! The arguments that every service understands alike. A service flattens them into its own parser:
//!
//! ```
//! #[derive(clap::Parser)]
//! struct Arguments {
//!     #[command(flatten)]
//!     settings: service_chassis::command_line::SettingsArguments,
//! }
//! ```

use std::io::{self, Write};
use std::path::PathBuf;

use crate::health_check::{self, HealthCheckError, Probe};
use crate::management::ManagementSettings;
use crate::settings::{SettingsReport, SettingsSource};

/// Where a service's settings come from, as said on the command line.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingsArguments {
    /// A TOML file whose settings override the defaults; environment variables override both
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

impl SettingsArguments {
    /// The source that these arguments name, over a service's compiled-in defaults.
    pub fn source(&self, defaults: &'static str, environment_prefix: &'static str) -> SettingsSource {
        SettingsSource { defaults, environment_prefix, file: self.config.clone() }
    }
}

/// Writes the settings in force to standard output: the command `settings`.
pub fn print_settings(report: &SettingsReport) -> io::Result<()> {
    let mut output = io::stdout().lock();
    unless_closed(write!(output, "{report}").and_then(|()| output.flush()))
}

/// Whoever closes the pipe that he reads an answer from, as `head` does, has what he wanted: no failure of the command.
pub fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// How the command `health` is asked for.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct HealthArguments {
    /// Ask only whether the process answers, not whether it can do its work
    #[arg(long)]
    pub live: bool,
}

/// Asks the service that runs with these settings for its health, and writes the answer to standard output: the
/// command `health`. It must come before logs are set up, as its one line is all that it says.
pub fn check_health(
    arguments: HealthArguments,
    management: &ManagementSettings,
    report: &SettingsReport,
) -> Result<(), HealthCheckError> {
    let probe = if arguments.live { Probe::Live } else { Probe::Ready };
    let healthy = health_check::ask(management, report, probe)?;
    // The exit code is the answer; whoever closed standard output does not want the words.
    writeln!(io::stdout().lock(), "{healthy}").ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::unless_closed;

    #[test]
    fn a_closed_pipe_is_an_ordinary_end_and_a_full_disk_is_not() {
        unless_closed(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        unless_closed(Err(io::ErrorKind::StorageFull.into())).unwrap_err();
    }
}
