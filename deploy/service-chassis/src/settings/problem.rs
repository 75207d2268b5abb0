//! # What can be wrong with settings
//!
//! Every variant reads as one sentence that names the key (or the place), where the value came from, and what
//! was expected instead. No variant holds a secret: what is put in here is made fit to be shown first.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why settings could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file named on the command line cannot be read.
    #[error("cannot read the settings file {}: {cause}", path.display())]
    FileUnreadable {
        /// The file as it was named.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file is not TOML.
    #[error("the settings file {} is not valid TOML {reason}", path.display())]
    FileSyntax {
        /// The file as it was named.
        path: PathBuf,
        /// Line, column and what is wrong there.
        reason: String,
    },
    /// The compiled-in defaults are not TOML: a fault of the service itself.
    #[error("the compiled-in default settings are not valid TOML {0}")]
    Defaults(String),
    /// The layers could not be put together.
    #[error("the settings cannot be combined: {0}")]
    Layers(String),
    /// A variable's value is not Unicode.
    #[error("the environment variable {name} is not valid Unicode")]
    NotUnicode {
        /// The variable.
        name: String,
    },
    /// A variable's name has nothing between, or after, its double underscores.
    #[error(
        "the environment variable {name} names no setting: a part between its double underscores is empty"
    )]
    EmptyLevel {
        /// The variable.
        name: String,
    },
    /// A key that no setting has.
    #[error("unknown setting `{key}` ({origin}): {}", Known(known))]
    UnknownKey {
        /// The full key.
        key: String,
        /// Where it stands.
        origin: String,
        /// The keys that may stand there.
        known: Vec<String>,
    },
    /// A setting that has no default was not given.
    #[error("the setting `{key}` is missing: give it in the file, or as the environment variable {variable}")]
    Missing {
        /// The full key.
        key: String,
        /// The environment variable that would give it.
        variable: String,
    },
    /// A value of the wrong type, or out of its range.
    #[error("the setting `{key}` ({origin}) is {found}, but must be {expected}")]
    Unfit {
        /// The full key.
        key: String,
        /// Where the value came from.
        origin: String,
        /// What was found, `(hidden)` for a secret.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A value that is of the right type, and still not acceptable.
    #[error("the setting `{key}` ({origin}) is not acceptable: {reason}")]
    Rejected {
        /// The full key.
        key: String,
        /// Where the value came from.
        origin: String,
        /// Why not.
        reason: String,
    },
}

struct Known<'a>(&'a [String]);

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("nothing is known here")
        } else {
            write!(f, "known are {}", self.0.join(", "))
        }
    }
}
