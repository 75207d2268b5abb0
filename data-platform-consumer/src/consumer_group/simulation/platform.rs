//! The data platform, with its good and its bad days.

use std::time::Duration;

use super::chance::Chance;
use super::topic::Nature;
use crate::delivery::{Fault, Undecodable};
use crate::sink::DeliveryFailure;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Takes,
    Slow,
    /// Half of the calls fail.
    Shaky,
    /// It takes some of them, but no answer arrives.
    LosesAnswers,
    Fails,
    Throttles,
    Misconfigured,
    /// A release that rejects everything.
    Rejects,
}

const MODES: [Mode; 11] = [
    Mode::Takes,
    Mode::Takes,
    Mode::Takes,
    Mode::Slow,
    Mode::Shaky,
    Mode::LosesAnswers,
    Mode::Fails,
    Mode::Fails,
    Mode::Throttles,
    Mode::Misconfigured,
    Mode::Rejects,
];

#[derive(Debug)]
pub(super) struct Platform {
    mode: Mode,
    is_repaired: bool,
}

/// What came of a call: whether the platform has the record, and what the caller hears.
pub(super) struct Answer {
    pub(super) took: bool,
    pub(super) outcome: Result<(), Fault>,
}

impl Platform {
    pub(super) fn new() -> Self {
        Self { mode: Mode::Takes, is_repaired: false }
    }

    pub(super) fn change(&mut self, chance: &mut Chance) {
        self.mode = chance.one_of(&MODES);
    }

    /// It is well from now on. Whether it takes those now of which each call failed is another question.
    pub(super) fn repair(&mut self, takes_all: bool) {
        *self = Self { mode: Mode::Takes, is_repaired: takes_all };
    }

    pub(super) fn time_of_call(&self, chance: &mut Chance) -> Duration {
        if self.mode == Mode::Slow { chance.millis(500..9_000) } else { chance.millis(1..60) }
    }

    pub(super) fn answer(&self, nature: Nature, chance: &mut Chance) -> Answer {
        let refused = |fault: Fault| Answer { took: false, outcome: Err(fault) };
        let unavailable = || Fault::from(DeliveryFailure::unavailable("503"));
        match (self.mode, nature) {
            (_, Nature::Undecodable) => refused(Undecodable::NoValue.into()),
            (Mode::Fails, _) => refused(unavailable()),
            (Mode::Misconfigured, _) => refused(DeliveryFailure::misconfigured("401").into()),
            (Mode::Throttles, _) => {
                let retry_after = chance.percent(70).then(|| chance.millis(100..15_000));
                refused(DeliveryFailure::throttled("429", retry_after).into())
            }
            (Mode::Rejects, _) | (_, Nature::Rejected) => refused(DeliveryFailure::rejected("400").into()),
            (Mode::Shaky, _) if chance.percent(50) => refused(unavailable()),
            (_, Nature::Failing) if !self.is_repaired => refused(unavailable()),
            (Mode::LosesAnswers, _) if chance.percent(60) => {
                Answer { took: true, outcome: Err(DeliveryFailure::unavailable("no answer in time").into()) }
            }
            (
                Mode::Takes | Mode::Slow | Mode::Shaky | Mode::LosesAnswers,
                Nature::Sound | Nature::Failing,
            ) => Answer { took: true, outcome: Ok(()) },
        }
    }
}
