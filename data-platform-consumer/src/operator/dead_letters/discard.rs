//! # Discard
//!
//! Gives up on dead letters: writes for each that it is discarded, and waits until Kafka has it. The dead letter itself stays
//! where it is until the topic's retention takes it, so a mistake is found by `list --all`, and its bytes by `show`.

use shared_messages::dead_letter::{Resolution, ResolutionOutcome};

use super::letter::Letter;
use super::resolutions::{NotAcknowledged, Pending, Resolutions};
use super::{ChangeArguments, DeadLettersError, Workplace, report, write};

/// The producer's queue has room for many times as many.
const AT_A_TIME: usize = 1_000;

pub(super) fn run(
    arguments: &ChangeArguments,
    workplace: &mut Workplace<'_>,
) -> Result<(), DeadLettersError> {
    let ChangeArguments { named, filters, yes } = arguments;
    let (_, letters) = super::read(workplace, filters.patience.kafka_timeout)?;
    let kafka = &workplace.settings.kafka;
    let chosen = named.choose(&letters, filters, &kafka.group_id)?;
    write(workplace.out, &resolved_already(&chosen.resolved))?;
    if chosen.open.is_empty() {
        return write(workplace.out, &["no open dead letter is meant by that".to_owned()]);
    }
    write(workplace.out, &report::lines(chosen.open.iter().copied()))?;
    let all = chosen.open.len();
    if !yes {
        let what = format!("{all} would be discarded and never be delivered; say --yes to do it");
        return write(workplace.out, &[what]);
    }
    let resolutions = Resolutions::connect(kafka, filters.patience.kafka_timeout)?;
    let mut failures: Vec<NotAcknowledged> = Vec::new();
    let mut answered = 0;
    // Sent one behind the other, and only then waited for, as each answer takes a round trip.
    for some in chosen.open.chunks(AT_A_TIME) {
        if workplace.stop.is_asked() {
            write(workplace.out, &[format!("{} discarded", answered - failures.len())])?;
            return Err(DeadLettersError::Stopped);
        }
        let send = |letter: &&Letter| {
            resolutions.write(letter.id, letter.record.key(), ResolutionOutcome::Discarded)
        };
        let sent: Vec<_> = some.iter().map(send).collect();
        failures.extend(sent.into_iter().filter_map(|sent| sent.and_then(Pending::wait).err()));
        answered += some.len();
    }
    let failed = failures.len();
    write(workplace.out, &[format!("{} discarded", all - failed)])?;
    failures
        .into_iter()
        .next()
        .map_or(Ok(()), |cause| Err(DeadLettersError::NotResolved { failed, all, cause }))
}

/// A line for each that was named and needs nothing any more.
pub(super) fn resolved_already(letters: &[&Letter]) -> Vec<String> {
    let line = |letter: &&Letter| {
        let Resolution { outcome, resolved_at, .. } = letter.resolution?;
        Some(format!("{} was {outcome} at {resolved_at} already, and is left as it is", letter.id))
    };
    letters.iter().filter_map(line).collect()
}
