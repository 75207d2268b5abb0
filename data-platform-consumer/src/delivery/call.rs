//! # Calls
//!
//! Runs a delivery on the runtime, so that the thread that polls never waits for the data platform. Every
//! call reports exactly once, whatever becomes of it: a sink that panics has failed, like one that
//! returns an error, or its record would keep its key and its partition waiting for ever
//! (`a_sink_that_panics_has_failed`). The same holds for work that waits: its answer is waited for
//! (`work_that_panics_is_answered_for`).
//!
//! A record is read as an event here, not on the thread that polls: what is none has failed before anybody was called.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::Poll;

use tokio::runtime::Handle;

use super::{Event, Fault, Record};
use crate::consumer_group::{AssignmentEpoch, Signal};
use crate::sink::{DeliveryFailure, Sink};

/// A call has come to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotDelivered {
    /// Why.
    pub(crate) fault: Fault,
    /// How the log names the event, of which a record that is none has nothing.
    pub(crate) event: Option<EventName>,
}

/// How the log names an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventName {
    /// The order it is about.
    pub(crate) order_id: i64,
    /// See [`Event::idempotency_key`].
    pub(crate) idempotency_key: String,
}

/// Reads a record as an event and hands it to the sink.
async fn deliver(sink: &dyn Sink, record: Arc<Record>) -> Outcome {
    let event = Event::decode(record).map_err(|cause| NotDelivered { fault: cause.into(), event: None })?;
    sink.deliver(&event).await.map_err(|failure| {
        let (order_id, idempotency_key) = (event.message.order_id, event.idempotency_key());
        NotDelivered { fault: failure.into(), event: Some(EventName { order_id, idempotency_key }) }
    })
}

/// One attempt to deliver one record.
#[derive(Debug)]
pub(crate) struct Call<R = Arc<Record>> {
    pub(crate) assignment: AssignmentEpoch,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) record: R,
}

/// What became of a call.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) assignment: AssignmentEpoch,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) outcome: Result<(), NotDelivered>,
}

/// What a call came to.
type Outcome = Result<(), NotDelivered>;

/// So few that the runtime's threads share a busy time's work, and so many that a task is worth it.
const CALLS_PER_TASK: usize = 32;

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

    /// Starts all of these, and leaves the list empty.
    ///
    /// A task for each would cost more than most calls do at a busy time. So one task makes the first move of several calls,
    /// and reports together those that ended with it; only a call that has to wait gets a task of its own.
    pub(crate) fn start(&self, calls: &mut Vec<Call>) {
        while !calls.is_empty() {
            let some: Vec<Call> = calls.drain(..calls.len().min(CALLS_PER_TASK)).collect();
            let (runtime, sink) = (self.runtime.clone(), Arc::clone(&self.sink));
            let mut reports = Reports::of(&some, self.mailbox.clone());
            self.runtime.spawn(async move {
                for call in some {
                    let sink = Arc::clone(&sink);
                    let mut under_way = Box::pin(async move { deliver(&*sink, call.record).await });
                    // One that panics must not take those behind it with it.
                    let first_move = std::future::poll_fn(|task| {
                        let first_move = AssertUnwindSafe(|| under_way.as_mut().poll(task));
                        Poll::Ready(catch_unwind(first_move).unwrap_or_else(|_| Poll::Ready(no_result())))
                    });
                    match first_move.await {
                        Poll::Ready(outcome) => reports.ended(outcome),
                        Poll::Pending => {
                            let mut report = reports.hand_over();
                            runtime.spawn(async move { report.ended(under_way.await) });
                        }
                    }
                }
            });
        }
    }

    /// Runs something that waits, and puts what it says into the mailbox, or `otherwise` if it never comes to
    /// say anything.
    pub(crate) fn run_blocking(&self, otherwise: Signal, work: impl FnOnce() -> Signal + Send + 'static) {
        let answer = Answer { mailbox: self.mailbox.clone(), signal: Some(otherwise) };
        self.runtime.spawn_blocking(move || answer.is(work()));
    }
}

/// Answers when it is dropped, as [`Reports`] does.
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

/// Reports when it is dropped: at the end of its calls, however that came.
struct Reports {
    mailbox: Sender<Signal>,
    /// Those whose outcome is known come first.
    reports: Vec<Report>,
    known: usize,
}

impl Reports {
    fn of(calls: &[Call], mailbox: Sender<Signal>) -> Self {
        let unknown = |call: &Call| {
            let Call { assignment, partition, offset, .. } = *call;
            Report { assignment, partition, offset, outcome: Ok(()) }
        };
        Self { mailbox, reports: calls.iter().map(unknown).collect(), known: 0 }
    }

    /// The next call, in their order, has ended.
    fn ended(&mut self, outcome: Outcome) {
        if let Some(report) = self.reports.get_mut(self.known) {
            report.outcome = outcome;
            self.known += 1;
        }
    }

    /// The next call goes on by itself.
    fn hand_over(&mut self) -> Self {
        let report = (self.known < self.reports.len()).then(|| self.reports.remove(self.known));
        Self { mailbox: self.mailbox.clone(), reports: report.into_iter().collect(), known: 0 }
    }
}

fn no_result() -> Outcome {
    let failure = DeliveryFailure::unavailable("the call ended without a result");
    Err(NotDelivered { fault: failure.into(), event: None })
}

impl Drop for Reports {
    fn drop(&mut self) {
        let mut reports = std::mem::take(&mut self.reports);
        for unknown in reports.iter_mut().skip(self.known) {
            unknown.outcome = no_result();
        }
        if !reports.is_empty() {
            // Nobody listens any more once the poll thread has ended; then nothing is committed either.
            self.mailbox.send(Signal::Reported(reports)).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver};
    use std::time::Duration;

    use super::*;
    use crate::delivery::{RecordPosition, Undecodable};
    use crate::sink::Delivery;

    const ORDER: &[u8] = br#"{"occurredAt":"2025-05-29T01:43","orderId":15}"#;

    struct PanickingSink;

    impl Sink for PanickingSink {
        fn deliver<'a>(&'a self, _: &'a Event) -> Delivery<'a> {
            Box::pin(async { panic!("a sink that panics, as this test wants") })
        }
    }

    fn calls(runtime: &tokio::runtime::Runtime) -> (Calls, Receiver<Signal>) {
        let (mailbox, signals) = mpsc::channel();
        (Calls::new(runtime.handle().clone(), Arc::new(PanickingSink), mailbox), signals)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
    }

    fn report_of(value: Option<&[u8]>) -> Report {
        let runtime = runtime();
        let (calls, signals) = calls(&runtime);
        let position = RecordPosition { topic: "t".into(), partition: 3, offset: 7 };
        let record = Arc::new(Record::new(position, None, None, value, []));
        calls.start(&mut vec![Call {
            assignment: AssignmentEpoch::default(),
            partition: 3,
            offset: 7,
            record,
        }]);
        reports(&signals).remove(0)
    }

    fn reports(signals: &Receiver<Signal>) -> Vec<Report> {
        let Signal::Reported(reports) = signals.recv_timeout(Duration::from_secs(10)).unwrap() else {
            panic!("a call reports")
        };
        reports
    }

    /// Takes even offsets at once and odd ones a little later, fails with every third, and panics with two.
    struct ManySidedSink;

    const PANICS: [i64; 2] = [40, 99];

    impl Sink for ManySidedSink {
        fn deliver<'a>(&'a self, event: &'a Event) -> Delivery<'a> {
            Box::pin(async move {
                let offset = event.position().offset;
                if offset % 2 == 1 {
                    tokio::task::yield_now().await;
                }
                assert!(!PANICS.contains(&offset), "a sink that panics, as this test wants");
                if offset % 3 == 0 { Err(DeliveryFailure::rejected("third")) } else { Ok(()) }
            })
        }
    }

    #[test]
    fn each_of_many_calls_reports_exactly_once_what_became_of_it() {
        let runtime = runtime();
        let (mailbox, signals) = mpsc::channel();
        let calls = Calls::new(runtime.handle().clone(), Arc::new(ManySidedSink), mailbox);
        let call = |offset| {
            let position = RecordPosition { topic: "t".into(), partition: 0, offset };
            let record = Arc::new(Record::new(position, None, None, Some(ORDER), []));
            Call { assignment: AssignmentEpoch::default(), partition: 0, offset, record }
        };
        let mut all: Vec<Call> = (0..100).map(call).collect();
        calls.start(&mut all);
        assert!(all.is_empty());
        let mut reported = std::collections::BTreeMap::new();
        while reported.len() < 100 {
            for report in reports(&signals) {
                let twice = reported.insert(report.offset, report.outcome.is_ok());
                assert_eq!(twice, None, "{}", report.offset);
            }
        }
        for (offset, delivered) in reported {
            assert_eq!(delivered, offset % 3 != 0 && !PANICS.contains(&offset), "{offset}");
        }
        drop(calls);
        assert!(signals.recv_timeout(Duration::from_secs(10)).is_err(), "nothing reports again");
    }

    #[test]
    fn work_that_panics_is_answered_for() {
        let runtime = runtime();
        let (calls, signals) = calls(&runtime);
        calls.run_blocking(Signal::Stop, || panic!("work that panics, as this test wants"));
        assert!(matches!(signals.recv_timeout(Duration::from_secs(10)).unwrap(), Signal::Stop));
        calls.run_blocking(Signal::Stop, || Signal::Readable);
        assert!(matches!(signals.recv_timeout(Duration::from_secs(10)).unwrap(), Signal::Readable));
    }

    #[test]
    fn a_sink_that_panics_has_failed() {
        let report = report_of(Some(ORDER));
        assert_eq!((report.partition, report.offset), (3, 7));
        assert!(matches!(report.outcome.unwrap_err().fault, Fault::Platform(_)));
    }

    #[test]
    fn a_record_that_is_no_event_has_failed_before_anybody_was_called() {
        let fault = report_of(None).outcome.unwrap_err().fault;
        assert_eq!(fault, Fault::Undecodable(Undecodable::NoValue));
    }
}
