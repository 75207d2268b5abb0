//! # Calls
//!
//! Runs a delivery on the runtime, so that the thread that polls never waits for the data platform. Every
//! call reports exactly once, whatever becomes of it: a sink that panics has failed, like one that
//! returns an error, or its record would keep its key and its partition waiting for ever
//! (`a_sink_that_panics_has_failed`). The same holds for work that waits: its answer is waited for
//! (`work_that_panics_is_answered_for`).

use std::sync::Arc;
use std::sync::mpsc::Sender;

use tokio::runtime::Handle;

use super::Event;
use crate::consumer_group::{AssignmentEpoch, Signal};
use crate::sink::{DeliveryFailure, Sink};

/// One attempt to deliver one record.
#[derive(Debug)]
pub(crate) struct Call<E = Event> {
    pub(crate) assignment: AssignmentEpoch,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) event: Arc<E>,
}

/// What became of a call.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) assignment: AssignmentEpoch,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) outcome: Result<(), DeliveryFailure>,
}

/// Starts calls, whose reports go to the poll thread's mailbox.
#[derive(Clone)]
pub(crate) struct Calls {
    runtime: Handle,
    sink: Arc<dyn Sink>,
    mailbox: Sender<Signal>,
}

impl Calls {
    pub(crate) fn new(runtime: Handle, sink: Arc<dyn Sink>, mailbox: Sender<Signal>) -> Self {
        Self { runtime, sink, mailbox }
    }

    pub(crate) fn start(&self, call: Call) {
        let sink = Arc::clone(&self.sink);
        let pending = Pending::new(&call, self.mailbox.clone());
        self.runtime.spawn(async move {
            let outcome = sink.deliver(&call.event).await;
            pending.ended(outcome);
        });
    }

    /// Runs something that waits, and puts what it says into the mailbox, or `otherwise` if it never comes to
    /// say anything.
    pub(crate) fn run_blocking(&self, otherwise: Signal, work: impl FnOnce() -> Signal + Send + 'static) {
        let answer = Answer { mailbox: self.mailbox.clone(), signal: Some(otherwise) };
        self.runtime.spawn_blocking(move || answer.is(work()));
    }
}

/// Answers when it is dropped, as [`Pending`] does.
struct Answer {
    mailbox: Sender<Signal>,
    signal: Option<Signal>,
}

impl Answer {
    fn is(mut self, signal: Signal) {
        self.signal = Some(signal);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(signal) = self.signal.take() {
            // As for a report: nobody listens any more once the poll thread has ended.
            self.mailbox.send(signal).ok();
        }
    }
}

/// Reports when it is dropped: at the end of the call, however that came.
struct Pending {
    mailbox: Sender<Signal>,
    assignment: AssignmentEpoch,
    partition: i32,
    offset: i64,
    outcome: Result<(), DeliveryFailure>,
}

impl Pending {
    fn new(call: &Call, mailbox: Sender<Signal>) -> Self {
        let Call { assignment, partition, offset, .. } = *call;
        let outcome = Err(DeliveryFailure::unavailable("the call ended without a result"));
        Self { mailbox, assignment, partition, offset, outcome }
    }

    fn ended(mut self, outcome: Result<(), DeliveryFailure>) {
        self.outcome = outcome;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Ok(()));
        let Self { assignment, partition, offset, .. } = *self;
        let report = Report { assignment, partition, offset, outcome };
        // Nobody listens any more once the poll thread has ended; then nothing is committed either.
        self.mailbox.send(Signal::Reported(report)).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::delivery::{Record, RecordPosition};
    use crate::sink::Delivery;

    struct PanickingSink;

    impl Sink for PanickingSink {
        fn deliver<'a>(&'a self, _: &'a Event) -> Delivery<'a> {
            Box::pin(async { panic!("a sink that panics, as this test wants") })
        }
    }

    #[test]
    fn work_that_panics_is_answered_for() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (mailbox, signals) = mpsc::channel();
        let calls = Calls::new(runtime.handle().clone(), Arc::new(PanickingSink), mailbox);
        calls.run_blocking(Signal::Stop, || panic!("work that panics, as this test wants"));
        assert!(matches!(signals.recv_timeout(Duration::from_secs(10)).unwrap(), Signal::Stop));
        calls.run_blocking(Signal::Stop, || Signal::Readable);
        assert!(matches!(signals.recv_timeout(Duration::from_secs(10)).unwrap(), Signal::Readable));
    }

    #[test]
    fn a_sink_that_panics_has_failed() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (mailbox, signals) = mpsc::channel();
        let calls = Calls::new(runtime.handle().clone(), Arc::new(PanickingSink), mailbox);
        let position = RecordPosition { topic: "t".into(), partition: 3, offset: 7 };
        let value: &[u8] = br#"{"occurredAt":"2025-05-29T01:43","orderId":15}"#;
        let record = Record::new(position, None, None, Some(value), []);
        let event = Arc::new(Event::decode(Arc::new(record)).unwrap());
        calls.start(Call { assignment: AssignmentEpoch::default(), partition: 3, offset: 7, event });
        let Signal::Reported(report) = signals.recv_timeout(Duration::from_secs(10)).unwrap() else {
            panic!("a call reports")
        };
        assert_eq!((report.partition, report.offset, report.outcome.is_err()), (3, 7, true));
    }
}
