//! Positions and changes in words.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer, ser::SerializeStruct};
use service_chassis::visible::visible;

use super::{Change, Effect, Finding, Look, Members, Position};

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Position", 6)?;
        object.serialize_field("partition", &self.partition)?;
        object.serialize_field("position", &self.committed)?;
        object.serialize_field("oldest", &self.oldest)?;
        object.serialize_field("end", &self.end)?;
        object.serialize_field("lag", &self.lag())?;
        object.serialize_field("finding", &self.finding())?;
        object.end()
    }
}

impl Display for Position {
    /// What is to be said of it; nothing if reading goes on there.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { committed, oldest, end, .. } = self;
        let next = committed.unwrap_or(*oldest);
        match self.finding() {
            Finding::Readable => Ok(()),
            Finding::None => f.write_str("none: it will be read from its beginning"),
            Finding::Lost => {
                write!(f, "lost: offset {next} is to be read next, but the broker has {oldest} to {end}")
            }
            Finding::BeyondTheEnd => {
                write!(
                    f,
                    "beyond the end: offset {next} is to be read next, but the broker has {oldest} to {end}"
                )
            }
        }
    }
}

impl Display for Members {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(members) if members.is_empty() => f.write_str("no members now"),
            Self::Known(members) => {
                write!(f, "{} members now: {}", members.len(), visible(&members.join(", ")))
            }
            Self::Unclear(cause) => write!(f, "whether it has members now is not known ({cause})"),
        }
    }
}

impl Display for Effect {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let offsets = self.offsets();
        let (records, first, last) = (offsets.end - offsets.start, offsets.start, offsets.end - 1);
        match self {
            Self::Gone(_) => {
                write!(f, "{records} records that the group had not committed are gone from the broker")?;
            }
            Self::Skips(_) => {
                write!(f, "SKIPS {records} records that the group has not committed")?;
            }
            Self::Repeats(_) => {
                write!(f, "repeats {records} records below what the group has committed")?;
            }
            Self::MaySkip(_) => {
                write!(f, "SKIPS {records} records, and it is not known whether they were delivered")?;
            }
            Self::MayRepeat(_) => {
                write!(f, "reads {records} records, and it is not known whether they were delivered")?;
            }
        }
        write!(f, " ({first} to {last})")
    }
}

/// All positions of a group, one a line.
pub fn look_table(look: &Look) -> String {
    let Look { group, topic, members, positions } = look;
    let mut lines = vec![
        format!("group {group} on {topic}: {members}"),
        row(["partition", "position", "oldest", "end", "lag"], "finding"),
    ];
    lines.extend(positions.iter().map(|position| {
        let Position { partition, committed, oldest, end } = position;
        let committed = shown(*committed);
        let numbers = [&partition.to_string(), &committed, &oldest.to_string(), &end.to_string()];
        let [partition, committed, oldest, end] = numbers.map(String::as_str);
        row([partition, committed, oldest, end, &position.lag().to_string()], &position.to_string())
    }));
    lines.join("\n")
}

/// What each position is and would be, one a line, and in the last what that means for the records.
pub fn changes_table(changes: &[Change]) -> String {
    let mut lines = vec![row(["partition", "position", "oldest", "end", "becomes"], "which means")];
    lines.extend(changes.iter().map(|change| {
        let Position { partition, committed, oldest, end } = change.from;
        let numbers = [partition.to_string(), shown(committed), oldest.to_string(), end.to_string()];
        let [partition, committed, oldest, end] = numbers.each_ref().map(String::as_str);
        row([partition, committed, oldest, end, &change.to.to_string()], &meaning(change))
    }));
    lines.push(sum(changes));
    lines.join("\n")
}

fn row(columns: [&str; 5], words: &str) -> String {
    let [partition, position, oldest, end, last] = columns;
    let line = format!("{partition:>9}  {position:>12}  {oldest:>12}  {end:>12}  {last:>12}  {words}");
    line.trim_end().to_owned()
}

fn shown(committed: Option<i64>) -> String {
    committed.map_or("none".to_owned(), |next| next.to_string())
}

fn meaning(change: &Change) -> String {
    let late = change.after_the_last_record.then_some("no record is of that time or later: this is the end");
    let effects = change.effects();
    let mut words: Vec<String> = late.map(str::to_owned).into_iter().collect();
    words.extend(effects.iter().map(Effect::to_string));
    if effects.is_empty() {
        words.push(if change.changes() { "reads the same record next" } else { "stays" }.to_owned());
    }
    words.join("; ")
}

fn sum(changes: &[Change]) -> String {
    let effects: Vec<Effect> = changes.iter().flat_map(Change::effects).collect();
    let records = |is_meant: fn(&Effect) -> bool| -> i64 {
        let meant = effects.iter().filter(|effect| is_meant(effect)).map(Effect::offsets);
        meant.map(|offsets| offsets.end - offsets.start).sum()
    };
    let skipped = records(|effect| matches!(effect, Effect::Skips(_) | Effect::MaySkip(_)));
    let repeated = records(|effect| matches!(effect, Effect::Repeats(_) | Effect::MayRepeat(_)));
    let changed = changes.iter().filter(|change| change.changes()).count();
    let gone = match records(|effect| matches!(effect, Effect::Gone(_))) {
        0 => String::new(),
        gone => format!(", {gone} are gone from the broker"),
    };
    format!("{changed} positions change: {skipped} records are SKIPPED, {repeated} are read again{gone}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(committed: Option<i64>, to: i64) -> Change {
        let from = Position { partition: 0, committed, oldest: 20, end: 90 };
        Change { from, to, after_the_last_record: false }
    }

    #[test]
    fn a_change_says_loudly_what_is_skipped() {
        for (committed, to, words) in [
            (Some(50), 90, "SKIPS 40 records that the group has not committed (50 to 89)"),
            (Some(50), 20, "repeats 30 records below what the group has committed (20 to 49)"),
            (Some(50), 50, "stays"),
            (None, 20, "reads the same record next"),
            (Some(5), 20, "15 records that the group had not committed are gone from the broker (5 to 19)"),
            (Some(100), 90, "SKIPS 70 records, and it is not known whether they were delivered (20 to 89)"),
        ] {
            assert_eq!(meaning(&change(committed, to)), words);
        }
        let sum = sum(&[change(Some(50), 90), change(Some(50), 40), change(Some(50), 50)]);
        assert_eq!(sum, "2 positions change: 40 records are SKIPPED, 10 are read again");
        let sum = super::sum(&[change(Some(5), 20), change(Some(50), 90)]);
        assert_eq!(
            sum,
            "2 positions change: 40 records are SKIPPED, 0 are read again, 15 are gone from the broker"
        );
    }

    #[test]
    fn a_finding_is_told_in_words() {
        for (committed, words) in [
            (None, "none: it will be read from its beginning"),
            (Some(5), "lost: offset 5 is to be read next, but the broker has 20 to 90"),
            (Some(91), "beyond the end: offset 91 is to be read next, but the broker has 20 to 90"),
            (Some(90), ""),
        ] {
            assert_eq!(change(committed, 20).from.to_string(), words);
        }
    }
}
