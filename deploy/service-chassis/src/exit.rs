//! # Exit
//!
//! How a program that cannot start, or had to give up, says so: one sentence with its causes on standard
//! error, since logs may not be set up yet or go elsewhere, and an exit code that tells an operator whose turn it
//! is. 0 is a clean stop, SIGTERM included; 1 is a failure of the world around (a port taken, a
//! database away), worth starting again; 2 is a fault in the settings or the command line, which no
//! restart cures.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::settings::SettingsError;
use crate::settings::secrets::hide_passwords_in_urls;
use crate::telemetry::TelemetryError;
use crate::visible::visible;

const FAILED: u8 = 1;
const BAD_SETTINGS: u8 = 2;

/// Says on standard error why `program` ends, and answers the exit code that fits.
///
/// The code is 2 when the error, or one of its causes, is about settings. For that a wrapping error must
/// name the settings error as its source; `#[error(transparent)]` takes it out of the chain.
pub fn failure(program: &str, error: &(dyn Error + 'static)) -> ExitCode {
    // Nobody is left to be told that standard error is closed.
    writeln!(io::stderr().lock(), "{program}: {}", sentence(error)).ok();
    ExitCode::from(code(error))
}

/// Prints what clap answers: help and version to standard output with code 0, a wrong usage to standard error
/// with code 2.
pub fn usage(answer: &clap::Error) -> ExitCode {
    // As above: a closed pipe cannot be told of.
    answer.print().ok();
    if answer.use_stderr() { ExitCode::from(BAD_SETTINGS) } else { ExitCode::SUCCESS }
}

/// The error and its causes in one line, without passwords. A cause that the text before already tells is not
/// told again.
pub fn sentence(error: &(dyn Error + 'static)) -> String {
    let mut told = one_line(error);
    for cause in causes(error).skip(1) {
        let text = one_line(cause);
        if !told.contains(&text) {
            // Writing to a String cannot fail.
            write!(told, ": {text}").ok();
        }
    }
    hide_passwords_in_urls(&told)
}

fn code(error: &(dyn Error + 'static)) -> u8 {
    let about_settings = causes(error).any(|cause| {
        cause.is::<SettingsError>() || matches!(cause.downcast_ref(), Some(TelemetryError::Level { .. }))
    });
    if about_settings { BAD_SETTINGS } else { FAILED }
}

/// What somebody else wrote may stand in an error.
fn one_line(error: &dyn Error) -> String {
    visible(&error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The error, and what it came from, one behind the other.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{BAD_SETTINGS, FAILED, code, sentence};
    use crate::settings::SettingsError;

    #[derive(Debug, thiserror::Error)]
    enum Startup {
        #[error("cannot reach the database at postgres://shop:sesame@db/orders")]
        Database(#[source] io::Error),
        #[error("the settings are wrong")]
        Settings(#[source] SettingsError),
    }

    #[test]
    fn an_error_is_one_line_with_its_causes_and_without_passwords() {
        let error = Startup::Database(io::Error::other("connection\nrefused"));
        assert_eq!(
            sentence(&error),
            "cannot reach the database at postgres://shop:(hidden)@db/orders: connection refused"
        );
    }

    #[test]
    fn a_cause_that_was_told_is_not_told_twice() {
        let error = io::Error::other(io::Error::other("no room"));
        assert_eq!(sentence(&error), "no room");
    }

    #[test]
    fn bad_settings_are_told_from_a_failing_world() {
        let settings = SettingsError::Rejected {
            key: "http.port".into(),
            origin: "default".into(),
            reason: "is too small".into(),
        };
        assert_eq!(code(&Startup::Settings(settings)), BAD_SETTINGS);
        assert_eq!(code(&Startup::Database(io::Error::other("away"))), FAILED);
    }
}
