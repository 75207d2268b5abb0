//! `order-service events`

use super::ProgramError;
use super::database::usable;
use crate::domain::ids::OrderId;
use crate::outbox::republication::{self, OrderRange, Pace};
use crate::settings::Settings;
use clap::Subcommand;
use service_chassis::command_line::unless_closed;
use std::io::{self, Write};

/// Works on events of stored orders.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum EventsCommand {
    /// Publish the events of stored orders again, under their own event ids: who has one already sees a repeat. Beside a
    /// running service; the relay sends what this writes to the outbox. Without --yes it only counts
    Republish {
        /// One order id, or the lowest and the highest: 15 or 15..2000
        #[arg(long, value_name = "A..B", value_parser = orders)]
        orders: OrderRange,
        /// Write them; without it nothing is written
        #[arg(long)]
        yes: bool,
    },
}

fn orders(text: &str) -> Result<OrderRange, String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let id = |text: &str| match text.trim().parse() {
        Ok(id) if id > 0 => Ok(id),
        Ok(_) | Err(_) => Err(format!("`{text}` is no order id: it must be like 15 or 15..2000")),
    };
    let (first, last) = (id(first)?, id(last)?);
    if first > last {
        return Err(format!("{first} is higher than {last}"));
    }
    Ok(OrderRange { first: OrderId(first), last: OrderId(last) })
}

pub(super) async fn run(settings: &Settings, command: EventsCommand) -> Result<(), ProgramError> {
    let EventsCommand::Republish { orders: range, yes } = command;
    let database = usable(&settings.database).await.map_err(ProgramError::Database)?;
    let count = republication::count(&database, range).await.map_err(ProgramError::Republish)?;
    let (first, last) = (range.first, range.last);
    let absent = (last.0 - first.0).unsigned_abs().saturating_add(1).saturating_sub(count);
    tell(&format!("from {first} to {last} there are {count} orders; {absent} ids have none"))?;
    if !yes {
        return tell(&format!("nothing was written: --yes writes {count} events to the outbox"));
    }
    let written = republication::republish(&database, &settings.kafka.topic, range, Pace::default()).await;
    let written = written.map_err(ProgramError::Republish)?;
    tell(&format!("{written} events were written to the outbox, for the relay to publish"))
}

fn tell(line: &str) -> Result<(), ProgramError> {
    unless_closed(writeln!(io::stdout().lock(), "{line}")).map_err(ProgramError::Show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_id_or_two_that_both_belong_to_it() {
        let range = |first, last| Ok(OrderRange { first: OrderId(first), last: OrderId(last) });
        assert_eq!(orders("15"), range(15, 15));
        assert_eq!(orders("15..2000"), range(15, 2000));
        assert_eq!(orders("1..9223372036854775807"), range(1, i64::MAX));
        for wrong in ["", "..", "1..", "..2", "0", "-1..3", "3..2", "a..b", "1..=3", "1..2..3"] {
            assert!(orders(wrong).is_err(), "{wrong}");
        }
    }
}
