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
    write!(output, "{report}")?;
    output.flush()
}
