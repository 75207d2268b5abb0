//! # Dead letters
//!
//! `dead-letters list`, `show`, `discard` and `replay`: what a person does about records that were parked. The truth is the
//! dead-letter topic alone, where a resolution stands behind each dead letter that is done with:
//!
//! - `topic` reads it, beside everybody else; `letter` folds it into what is open and what is resolved;
//! - `choice` says which of them a command means, `report` and `show` how they look;
//! - `discard` and [`replay`] resolve them, by `resolutions`. Both say first what they would do;
//! - `resume` lets partitions go on of which too many were parked.
//!
//! Nothing here writes to the topic of completed orders, which has other readers.

mod choice;
mod discard;
mod letter;
mod replay;
mod report;
mod resolutions;
mod resume;
mod show;
mod topic;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use service_chassis::visible::visible;
use tokio::runtime::Handle;

use crate::consumer_group::RefusedByClient;
use crate::operator::{Patience, Stop};
use crate::settings::Settings;
use crate::sink::{Sink, SinkRefused};

use choice::{Filters, Named};
use letter::{Letter, Letters};
use report::Summary;
use topic::DeadLetterTopic;

pub use letter::{InvalidLetterId, LetterId};
pub use resolutions::NotAcknowledged;

/// What to do with dead letters.
#[derive(Debug, Clone, Subcommand)]
pub enum DeadLettersCommand {
    /// List those that are open: where each lay, since when it is parked, and why
    List(ListArguments),
    /// Show everything about one: headers, body, and the cause in full
    Show(ShowArguments),
    /// Give up on dead letters: they are never delivered. Says what it would do, and does it only with --yes
    Discard(ChangeArguments),
    /// Deliver dead letters again, to the sink that the settings name, in the order of each key. Says what it would do,
    /// and does it only with --yes. Exit code 0 only if all of them were delivered
    Replay(ReplayArguments),
    /// Let partitions go on that stopped at the ceiling of dead letters. Says which, and does it only with --yes
    Resume(ResumeArguments),
}

/// What `list` takes.
#[derive(Debug, Clone, Args)]
pub struct ListArguments {
    /// Those that are resolved, too, with how and when
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    filters: Filters,
}

/// What `show` takes.
#[derive(Debug, Clone, Args)]
pub struct ShowArguments {
    /// Its name, such as 2:17
    id: LetterId,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    patience: Patience,
}

/// What `discard` takes.
#[derive(Debug, Clone, Args)]
pub struct ChangeArguments {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    filters: Filters,
    /// Do it
    #[arg(long)]
    yes: bool,
}

/// What `replay` takes.
#[derive(Debug, Clone, Args)]
pub struct ReplayArguments {
    #[command(flatten)]
    change: ChangeArguments,
    /// How often a dead letter is tried while the platform is away, fails by itself or wants fewer calls
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
}

/// What `resume` takes.
#[derive(Debug, Clone, Args)]
pub struct ResumeArguments {
    /// Only these partitions, not all that have stopped
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    patience: Patience,
}

/// How it is shown.
#[derive(Debug, Clone, Copy, Args)]
pub struct Form {
    /// As JSON, for a program to read
    #[arg(long)]
    json: bool,
}

/// Why a command on dead letters failed.
#[derive(Debug, thiserror::Error)]
pub enum DeadLettersError {
    /// librdkafka does not take the settings.
    #[error(transparent)]
    Client(#[from] RefusedByClient),
    /// The settings make no sink to replay to.
    #[error(transparent)]
    Sink(#[from] SinkRefused),
    /// Nobody answered in time.
    #[error("no answer from Kafka at {servers} within {limit:?} (--kafka-timeout): {cause}")]
    Silent {
        /// Where it is looked for.
        servers: String,
        /// How long it was waited for.
        limit: Duration,
        /// librdkafka's reason, the most telling that it gave.
        cause: String,
    },
    /// There is no dead-letter topic.
    #[error(
        "there is no topic {topic}: run `order-service topics`, which creates it, or correct kafka.topic"
    )]
    TopicMissing {
        /// Its name.
        topic: String,
    },
    /// The brokers do not let this user at the topic.
    #[error(
        "Kafka refuses access: have Describe and Read granted on topic {topic}, and for discard and replay Write"
    )]
    Forbidden {
        /// The topic's name.
        topic: String,
    },
    /// Kafka answers that it cannot be read.
    #[error("topic {topic} cannot be read: {cause}")]
    Unreadable {
        /// Its name.
        topic: String,
        /// Kafka's words.
        cause: String,
    },
    /// Kafka does not tell the group's positions.
    #[error(
        "the positions of group {group} on topic {topic} cannot be looked up: {cause}: correct kafka.topic and kafka.group_id, or \
         have Describe and Read granted on both"
    )]
    PositionsRefused {
        /// The topic's name.
        topic: String,
        /// The group's name.
        group: String,
        /// Kafka's words.
        cause: String,
    },
    /// There is no such partition.
    #[error("{topic} has no partition {partition}: it has 0 to {last}; nothing was done")]
    NoSuchPartition {
        /// The topic's name.
        topic: String,
        /// The one asked for.
        partition: i32,
        /// The highest that there is.
        last: i32,
    },
    /// There is no dead letter of this name.
    #[error("there is no dead letter {id}; see `data-platform-consumer dead-letters list --all`")]
    Unknown {
        /// The name.
        id: LetterId,
    },
    /// It is another group's affair.
    #[error(
        "dead letter {id} is of the consumer group {group}: nothing was done; say --group or --any-group to mean it"
    )]
    OfAnotherGroup {
        /// Its name.
        id: LetterId,
        /// Whose it is.
        group: String,
    },
    /// Some resolutions were written, some were not.
    #[error(
        "{failed} of {all} could not be resolved and are taken to be open, the first because the resolution was not acknowledged \
         by Kafka: {cause}; run it again"
    )]
    NotResolved {
        /// How many failed.
        failed: usize,
        /// Of how many.
        all: usize,
        /// What became of the first.
        cause: NotAcknowledged,
    },
    /// Some partitions that stopped at the ceiling were let go on, some were not.
    #[error(
        "{failed} of {all} partitions could not be let go on and stay stopped, as far as is known, the first because the word for \
         it was not acknowledged by Kafka: {cause}; run it again"
    )]
    NotResumed {
        /// How many failed.
        failed: usize,
        /// Of how many.
        all: usize,
        /// What became of the first.
        cause: NotAcknowledged,
    },
    /// Not all of the chosen ones were delivered.
    #[error("{left} of {all} dead letters were not replayed")]
    NotReplayed {
        /// How many were not.
        left: usize,
        /// Of how many.
        all: usize,
    },
    /// The client of the replay's group has failed for good.
    #[error("the replay cannot go on: {cause}")]
    Broken {
        /// librdkafka's words.
        cause: String,
    },
    /// Standard output.
    #[error("the answer cannot be written")]
    Write(#[from] io::Error),
    /// It has no JSON form.
    #[error("the answer has no JSON form")]
    Json(#[from] serde_json::Error),
    /// Somebody asked it to end.
    #[error("stopped before it was done; run it again")]
    Stopped,
}

impl DeadLettersError {
    /// What librdkafka has against the settings, if that is why.
    pub fn refused_by_the_client(&self) -> Option<&RefusedByClient> {
        if let Self::Client(refused) = self { Some(refused) } else { None }
    }
}

/// What a command works with.
pub struct Workplace<'a> {
    /// Kafka, the group whose dead letters are meant, and how they are delivered.
    pub settings: &'a Settings,
    /// Where a replay delivers to. Nothing else needs it to be there.
    pub sink: &'a dyn Fn() -> Result<Arc<dyn Sink>, SinkRefused>,
    /// Where the answer goes.
    pub out: &'a mut dyn Write,
    /// When to end early.
    pub stop: Stop,
}

/// Does it, on a thread that may wait. Calls of the sink run on `runtime`.
pub fn run(
    command: &DeadLettersCommand,
    workplace: &mut Workplace<'_>,
    runtime: &Handle,
) -> Result<(), DeadLettersError> {
    match command {
        DeadLettersCommand::List(arguments) => list(arguments, workplace),
        DeadLettersCommand::Show(arguments) => show(arguments, workplace),
        DeadLettersCommand::Discard(arguments) => discard::run(arguments, workplace),
        DeadLettersCommand::Replay(arguments) => replay::run(arguments, workplace, runtime),
        DeadLettersCommand::Resume(arguments) => resume::run(arguments, workplace),
    }
}

/// All that is in the topic now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    topic: String,
    open: usize,
    resolved: usize,
    /// Open ones of other groups, which are not listed.
    open_of_other_groups: usize,
    /// Records that look like resolutions, but resolve nothing.
    unreadable_resolutions: Vec<String>,
    dead_letters: Vec<Summary>,
}

fn list(arguments: &ListArguments, workplace: &mut Workplace<'_>) -> Result<(), DeadLettersError> {
    let ListArguments { all, form, filters } = arguments;
    let (topic, letters) = read(workplace, filters.patience.kafka_timeout)?;
    let own = &workplace.settings.kafka.group_id;
    let (mine, others): (Vec<&Letter>, Vec<&Letter>) = letters
        .iter()
        .filter(|letter| filters.pass(letter))
        .partition(|letter| filters.is_of_group(letter, own));
    let is_open = |letter: &&&Letter| letter.resolution.is_none();
    let open = mine.iter().filter(is_open).count();
    let resolved = mine.len() - open;
    let open_of_other_groups = others.iter().filter(is_open).count();
    let shown = mine.into_iter().filter(|letter| *all || letter.resolution.is_none());
    if form.json {
        let dead_letters = shown.map(Summary::of).collect();
        let topic = topic.name().to_owned();
        let unreadable_resolutions = letters.unreadable_resolutions().to_vec();
        let listing =
            Listing { topic, open, resolved, open_of_other_groups, unreadable_resolutions, dead_letters };
        return json(workplace.out, &listing);
    }
    let mut lines = report::lines(shown);
    if lines.len() == 1 {
        lines.clear();
    }
    lines.push(format!("{open} open, {resolved} resolved in {}", topic.name()));
    if open_of_other_groups > 0 {
        lines.push(format!("{open_of_other_groups} more are open of other consumer groups (--any-group)"));
    }
    let unreadable = letters.unreadable_resolutions().iter();
    lines.extend(unreadable.map(|told| format!("a resolution resolves nothing: {}", visible(told))));
    write(workplace.out, &lines)
}

fn show(arguments: &ShowArguments, workplace: &mut Workplace<'_>) -> Result<(), DeadLettersError> {
    let ShowArguments { id, form, patience } = arguments;
    let (_, letters) = read(workplace, patience.kafka_timeout)?;
    let letter = letters.find(*id).ok_or(DeadLettersError::Unknown { id: *id })?;
    if form.json {
        json(workplace.out, &show::Whole::of(letter))
    } else {
        write(workplace.out, &show::lines(letter))
    }
}

fn read(workplace: &Workplace<'_>, limit: Duration) -> Result<(DeadLetterTopic, Letters), DeadLettersError> {
    let mut topic = DeadLetterTopic::connect(&workplace.settings.kafka, limit, workplace.stop.clone())?;
    let mut letters = Letters::default();
    topic.read(&mut letters)?;
    Ok((topic, letters))
}

fn json(out: &mut dyn Write, answer: &impl Serialize) -> Result<(), DeadLettersError> {
    write(out, &[serde_json::to_string_pretty(answer)?])
}

fn write(out: &mut dyn Write, lines: &[String]) -> Result<(), DeadLettersError> {
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}
