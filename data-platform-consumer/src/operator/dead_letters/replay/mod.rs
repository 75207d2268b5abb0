//! # Replay
//!
//! Delivers open dead letters again, to the sink that the settings name, as what they were: the platform is told of the same
//! event id, or the same place in the topic of completed orders, as the first time. What it takes is resolved as
//! `replayed`, and only an acknowledged resolution counts. What still fails stays open, with its first cause in the topic
//! and the new one on the screen; it is not parked again.
//!
//! - `plan` says in which order, `call` delivers and resolves one;
//! - `member` is the replay's member of its own group, `state` what it knows.
//!
//! Which dead letters are meant is decided before the group is joined, so a replay ends: what is parked while it runs is the
//! next one's.
//!
//! The service's own `consumer_group` is not used for this: there a position says what is done, and a failure is tried for
//! ever. Here a resolution says it, and a failure is an answer.

mod call;
mod member;
mod plan;
mod state;

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use service_chassis::visible::visible;
use shared_messages::dead_letter::ResolutionOutcome;
use tokio::runtime::Handle;

use super::letter::{LetterId, Letters};
use super::resolutions::Resolutions;
use super::topic::DeadLetterTopic;
use super::{ChangeArguments, DeadLettersError, ReplayArguments, Workplace, discard, report, write};
use call::{Attempts, Calls};
use member::Member;
use state::{Outcome, State};

/// How often it is looked what another replay has resolved, once there is nothing left to do here.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);

pub(super) fn run(
    arguments: &ReplayArguments,
    workplace: &mut Workplace<'_>,
    runtime: &Handle,
) -> Result<(), DeadLettersError> {
    let ReplayArguments { change: ChangeArguments { named, filters, yes }, .. } = arguments;
    let (topic, letters) = super::read(workplace, filters.patience.kafka_timeout)?;
    let kafka = &workplace.settings.kafka;
    let chosen = named.choose(&letters, filters, &kafka.group_id)?;
    write(workplace.out, &discard::resolved_already(&chosen.resolved))?;
    if chosen.open.is_empty() {
        return write(workplace.out, &["no open dead letter is meant by that".to_owned()]);
    }
    if !yes {
        write(workplace.out, &report::lines(chosen.open.iter().copied()))?;
        let what = format!(
            "{} would be delivered again, to the sink {}; say --yes to do it",
            chosen.open.len(),
            format!("{:?}", workplace.settings.sink.kind).to_lowercase()
        );
        return write(workplace.out, &[what]);
    }
    let chosen: BTreeSet<LetterId> = chosen.open.iter().map(|letter| letter.id).collect();
    let all = chosen.len();
    let (calls, reports) = calls(arguments, workplace, runtime)?;
    let delivery = &workplace.settings.delivery;
    let state = State::new(chosen, calls, reports, delivery.in_flight_limit, delivery.drain_timeout);
    let member = Member::join(kafka, topic.name(), state)?;
    let mut replay = Replay {
        member,
        topic,
        letters,
        patience: filters.patience.kafka_timeout,
        looked_at: Instant::now(),
        told_of_others: false,
    };
    let ran = replay.run(workplace);
    replay.member.leave();
    replay.tell_news(workplace)?;
    ran?;
    replay.conclude(workplace, all)
}

fn calls(
    arguments: &ReplayArguments,
    workplace: &Workplace<'_>,
    runtime: &Handle,
) -> Result<(Calls, mpsc::Receiver<call::Report>), DeadLettersError> {
    let (sender, reports) = mpsc::channel();
    let settings = workplace.settings;
    let calls = Calls {
        runtime: runtime.clone(),
        sink: (workplace.sink)()?,
        resolutions: Arc::new(Resolutions::connect(
            &settings.kafka,
            arguments.change.filters.patience.kafka_timeout,
        )?),
        attempts: Attempts { at_most: arguments.attempts, retry: settings.delivery.retry },
        reports: sender,
    };
    Ok((calls, reports))
}

struct Replay {
    member: Member,
    /// Read beside the group: what others resolve in partitions that are not ours.
    topic: DeadLetterTopic,
    letters: Letters,
    /// How long nothing may change while others have what is left.
    patience: Duration,
    looked_at: Instant,
    told_of_others: bool,
}

impl Replay {
    /// Until nothing that is meant is left to try here, and either nothing at all or others do not go on with it.
    fn run(&mut self, workplace: &mut Workplace<'_>) -> Result<(), DeadLettersError> {
        loop {
            self.member.turn()?;
            self.tell_news(workplace)?;
            if workplace.stop.is_asked() {
                self.member.state().halt("it was stopped");
            }
            let (idle, calling, joined, ended, quiet_for) = {
                let state = self.member.state();
                let (idle, nothing_left) = (state.is_idle(), state.unsettled().next().is_none());
                let ended = state.halted.is_some() || (idle && nothing_left);
                (idle, state.is_calling(), state.joined, ended, state.changed_at.elapsed())
            };
            if ended {
                return Ok(());
            }
            if quiet_for >= self.patience && !calling {
                return if joined && idle { Ok(()) } else { Err(self.silent(workplace, joined)) };
            }
            if joined && idle && self.looked_at.elapsed() >= LOOK_AGAIN_AFTER {
                self.look_at_others(workplace)?;
            }
        }
    }

    /// What is not ours is another replay's: what it resolved stands in the topic.
    fn look_at_others(&mut self, workplace: &mut Workplace<'_>) -> Result<(), DeadLettersError> {
        if !self.told_of_others {
            self.told_of_others = true;
            let told = "nothing is left here; waiting for another replay, which has the other partitions";
            write(workplace.out, &[told.to_owned()])?;
        }
        self.topic.read(&mut self.letters)?;
        self.looked_at = Instant::now();
        let mut state = self.member.state();
        let unsettled: Vec<LetterId> = state.unsettled().collect();
        for id in unsettled {
            if let Some(resolution) = self.letters.find(id).and_then(|letter| letter.resolution) {
                state.resolved_elsewhere(id, resolution.outcome);
            }
        }
        Ok(())
    }

    fn silent(&self, workplace: &Workplace<'_>, joined: bool) -> DeadLettersError {
        let kafka = &workplace.settings.kafka;
        let group = member::group_of(kafka);
        let what = if joined { "the topic's end was not reached" } else { "its group could not be joined" };
        let cause = self.member.heard().unwrap_or_else(|| "nothing was heard".to_owned());
        DeadLettersError::Silent {
            servers: kafka.bootstrap_servers.clone(),
            limit: self.patience,
            cause: format!("{what} ({group}): {cause}"),
        }
    }

    fn tell_news(&self, workplace: &mut Workplace<'_>) -> Result<(), DeadLettersError> {
        let news = self.member.state().take_news();
        let lines: Vec<String> = news
            .into_iter()
            .map(|(id, outcome)| {
                let event = self.letters.find(id).and_then(|letter| letter.event.as_ref().ok());
                let order = event.map_or_else(|| "-".to_owned(), |event| event.message.order_id.to_string());
                format!("{id:<8} order {order:<8} {}", visible(&told(&outcome)))
            })
            .collect();
        write(workplace.out, &lines)
    }

    fn conclude(&self, workplace: &mut Workplace<'_>, all: usize) -> Result<(), DeadLettersError> {
        let state = self.member.state();
        let count = |is: fn(&Outcome) -> bool| state.outcomes.values().filter(|outcome| is(outcome)).count();
        let replayed = count(|outcome| matches!(outcome, Outcome::Replayed));
        let by_others = count(|outcome| matches!(outcome, Outcome::Resolved(ResolutionOutcome::Replayed)));
        let discarded = count(|outcome| matches!(outcome, Outcome::Resolved(ResolutionOutcome::Discarded)));
        let failing = count(|outcome| matches!(outcome, Outcome::Failed(_)));
        let held_back = count(|outcome| matches!(outcome, Outcome::HeldBack(_)));
        let gone = count(|outcome| matches!(outcome, Outcome::Gone));
        let untried = state.unsettled().count();
        let parts = [
            (replayed, "replayed"),
            (by_others, "replayed by another replay"),
            (discarded, "discarded by somebody meanwhile"),
            (failing, "still failing"),
            (held_back, "held back by an earlier one of their key"),
            (gone, "no longer in the topic"),
            (untried, "not tried, or another replay's"),
        ];
        let told: Vec<String> =
            parts.iter().filter(|(many, _)| *many > 0).map(|(many, what)| format!("{many} {what}")).collect();
        let mut lines = vec![told.join(", ")];
        if let Some(reason) = &state.halted {
            lines.push(format!("the replay ended early: {}", visible(reason)));
        }
        drop(state);
        write(workplace.out, &lines)?;
        let left = all - replayed - by_others;
        if left == 0 { Ok(()) } else { Err(DeadLettersError::NotReplayed { left, all }) }
    }
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Replayed => "replayed".to_owned(),
        Outcome::Resolved(ResolutionOutcome::Replayed) => "replayed by another replay".to_owned(),
        Outcome::Resolved(ResolutionOutcome::Discarded) => "discarded by somebody meanwhile".to_owned(),
        Outcome::Failed(cause) => format!("still fails: {cause}"),
        Outcome::HeldBack(earlier) => format!("held back by {earlier}, an earlier one of its key"),
        Outcome::Gone => "no longer in the topic".to_owned(),
    }
}
