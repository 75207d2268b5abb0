//! # Positions commands
//!
//! `data-platform-consumer positions show` tells where the group reads on; `positions set` decides that it shall read on
//! elsewhere. They need Kafka only, and may run beside the service.

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use clap::{Args, Subcommand};
use service_chassis::settings::{SettingsError, SettingsReport};

use crate::operator::Patience;
use crate::operator::positions::{
    self, Change, GroupPositions, Look, Members, PositionsError, Selection, Target,
};
use crate::settings::{self, KafkaSettings};

/// What to do with the group's positions.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum PositionsCommand {
    /// Show for each partition where the group reads on, what the broker has, and the lag: exit code 1 if a position is
    /// not on the broker, or if it cannot be told
    Show {
        /// As JSON, for a program to read
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        patience: Patience,
    },
    /// Set where the group reads on, while it has no members. Shows what is skipped and what is repeated, and does it only
    /// with --yes
    Set {
        /// earliest, latest, an offset, or a time such as 2026-11-29T08:00Z (the first record of then or later)
        #[arg(long, value_name = "earliest|latest|OFFSET|TIME")]
        to: Target,
        #[command(flatten)]
        which: Which,
        /// Do it
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        patience: Patience,
    },
}

/// Which positions are meant.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// Those of these partitions
    #[arg(long, value_name = "P", num_args = 1.., value_delimiter = ',', value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Those of every partition
    #[arg(long)]
    all_partitions: bool,
    /// Those that are not on the broker, whose partitions stand still with the alarm position-lost
    #[arg(long)]
    lost: bool,
}

/// Why a command ends with a failure.
#[derive(Debug, thiserror::Error)]
pub(super) enum PositionsFailure {
    #[error("the settings cannot be used")]
    Settings(#[source] SettingsError),
    #[error(transparent)]
    Positions(#[from] PositionsError),
    #[error("the answer cannot be written")]
    Write(#[from] io::Error),
    #[error("the answer has no JSON form")]
    Json(#[from] serde_json::Error),
    #[error(
        "the positions of partitions {partitions:?} are not on the broker, so nothing is read there: decide with \
         `data-platform-consumer positions set --lost --to earliest`, or another target"
    )]
    Lost { partitions: BTreeSet<i32> },
}

impl Which {
    fn selection(self) -> Selection {
        if self.all_partitions {
            Selection::All
        } else if self.lost {
            Selection::Lost
        } else {
            Selection::Partitions(self.partition.into_iter().collect())
        }
    }
}

/// Does it, and writes the answer to standard output.
pub(super) fn run(
    command: PositionsCommand,
    kafka: &KafkaSettings,
    report: &SettingsReport,
) -> Result<(), PositionsFailure> {
    match command {
        PositionsCommand::Show { json, patience } => show(&connect(kafka, report, patience)?, json),
        PositionsCommand::Set { to, which, yes, patience } => {
            set(&connect(kafka, report, patience)?, to, &which.selection(), yes)
        }
    }
}

fn connect(
    kafka: &KafkaSettings,
    report: &SettingsReport,
    patience: Patience,
) -> Result<GroupPositions, PositionsFailure> {
    GroupPositions::connect(kafka, patience.kafka_timeout)
        .map_err(|refused| PositionsFailure::Settings(settings::refused(report, &refused)))
}

fn show(group_positions: &GroupPositions, json: bool) -> Result<(), PositionsFailure> {
    let look = group_positions.look()?;
    write(&if json { serde_json::to_string_pretty(&look)? } else { positions::look_table(&look) })?;
    let partitions = look.lost();
    if partitions.is_empty() { Ok(()) } else { Err(PositionsFailure::Lost { partitions }) }
}

fn set(
    group_positions: &GroupPositions,
    target: Target,
    selection: &Selection,
    yes: bool,
) -> Result<(), PositionsFailure> {
    let look = group_positions.look()?;
    let times = group_positions.times(&look, target)?;
    let changes = positions::plan(&look, selection, target, &times).map_err(PositionsError::from)?;
    write(&format!("group {} on {}: {}", look.group, look.topic, look.members))?;
    if changes.is_empty() {
        return write("nothing to set: every position is on the broker");
    }
    write(&positions::changes_table(&changes))?;
    if !changes.iter().any(Change::changes) {
        return write("nothing to set: every position is there already");
    }
    if !yes {
        return write(&dry_run(&look));
    }
    let set = group_positions.set(&changes)?;
    let set: Vec<String> = set
        .iter()
        .map(|position| format!("[{}] {}", position.partition, shown(position.committed)))
        .collect();
    write(&format!("set, and read back from Kafka: {}", set.join(", ")))
}

fn dry_run(look: &Look) -> String {
    let first = match &look.members {
        Members::Known(members) if members.is_empty() => "",
        Members::Known(_) => ", once its consumers are stopped",
        Members::Unclear(_) => ", while it has no members",
    };
    format!("nothing was changed: say --yes to set the positions of group {}{first}", look.group)
}

fn shown(committed: Option<i64>) -> String {
    committed.map_or("none".to_owned(), |next| next.to_string())
}

fn write(text: &str) -> Result<(), PositionsFailure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use service_chassis::alarms::Alarms;
    use service_chassis::management::Readiness;

    use super::super::Arguments;
    use crate::health::{COMPONENTS, Health};

    #[test]
    fn the_commands_that_the_alarm_position_lost_names_run_as_they_are_printed() {
        let alarms = Alarms::new();
        let health = Health::new("orders", Readiness::new(&COMPONENTS), alarms.clone());
        health.position_lost(3, 5, 20, 90);
        let detail = &alarms.active()[0].detail;
        let commands: Vec<&str> =
            detail.split('`').filter(|quoted| quoted.starts_with("data-platform-consumer ")).collect();
        assert!(!commands.is_empty(), "{detail}");
        for command in commands {
            Arguments::try_parse_from(command.split_whitespace()).expect(command);
        }
    }
}
