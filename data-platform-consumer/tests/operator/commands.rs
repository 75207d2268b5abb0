//! An operator who types commands, and reads what they say.

use std::ffi::OsString;
use std::sync::Arc;

use clap::Parser;
use data_platform_consumer::operator::Stop;
use data_platform_consumer::operator::dead_letters::{self, DeadLettersCommand, DeadLettersError, Workplace};
use data_platform_consumer::settings::{DEFAULTS, ENVIRONMENT_PREFIX, Settings};
use service_chassis::settings::{Loaded, SettingsSource, load_with_environment};

use crate::platform::Platform;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) said: String,
    pub(crate) ended: Result<(), DeadLettersError>,
}

impl Answer {
    /// It did what it was asked to.
    pub(crate) fn said(self) -> String {
        assert!(self.ended.is_ok(), "{self:?}");
        self.said
    }

    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.said()).unwrap()
    }
}

/// `dead-letters` with these arguments, as one replay of this name where it delivers.
pub(crate) fn dead_letters_as(
    name: &'static str,
    brokers: &str,
    platform: &Arc<Platform>,
    arguments: &str,
    stop: &Stop,
) -> Answer {
    let arguments = ["dead-letters"].into_iter().chain(arguments.split_whitespace());
    let Arguments { command } = Arguments::try_parse_from(arguments).unwrap();
    let settings = settings(brokers);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut out = Vec::new();
    let sink = || Ok(platform.sink_of(name));
    let mut workplace = Workplace { settings: &settings, sink: &sink, out: &mut out, stop: stop.clone() };
    let ended = dead_letters::run(&command, &mut workplace, runtime.handle());
    runtime.shutdown_background();
    Answer { said: String::from_utf8(out).unwrap(), ended }
}

pub(crate) fn dead_letters(brokers: &str, arguments: &str) -> Answer {
    let nobody = Platform::with(|order_id| panic!("order {order_id} is delivered"));
    dead_letters_as("nobody", brokers, &nobody, arguments, &Stop::default())
}

pub(crate) fn replay(brokers: &str, platform: &Arc<Platform>, arguments: &str) -> Answer {
    dead_letters_as("only", brokers, platform, &format!("replay {arguments}"), &Stop::default())
}

/// The names of those that are open.
pub(crate) fn open(brokers: &str) -> Vec<String> {
    let listing = dead_letters(brokers, "list --json").json();
    let letters = listing["deadLetters"].as_array().unwrap().iter();
    letters.map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn settings(brokers: &str) -> Settings {
    let different = [
        ("KAFKA__BOOTSTRAP_SERVERS", brokers),
        // The mock cluster waits for so long, less a second, for members to join anew.
        ("KAFKA__SESSION_TIMEOUT", "6s"),
        ("KAFKA__HEARTBEAT_INTERVAL", "200ms"),
        ("DELIVERY__IN_FLIGHT_LIMIT", "2"),
        ("DELIVERY__RETRY__FIRST_WAIT", "10ms"),
        ("DELIVERY__RETRY__LONGEST_WAIT", "100ms"),
    ];
    let environment = different.iter().map(|(name, value)| {
        (OsString::from(format!("{ENVIRONMENT_PREFIX}__{name}")), OsString::from(value))
    });
    let source = SettingsSource { defaults: DEFAULTS, environment_prefix: ENVIRONMENT_PREFIX, file: None };
    let loaded: Loaded<Settings> = load_with_environment(&source, environment).unwrap();
    loaded.settings
}
