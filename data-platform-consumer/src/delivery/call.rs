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
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use tokio::runtime::Handle;

use super::{Event, Fault, Record};
use crate::consumer_group::{AssignmentEpoch, Signal};
use crate::sink::{DeliveryFailure, Sink};

/// A call under way.
pub type RecordCall<'a> = Pin<Box<dyn Future<Output = Result<(), NotDelivered>> + Send + 'a>>;

/// What is done with each record. It must end within a bounded time, and bear being repeated.
pub trait RecordDelivery: Send + Sync + 'static {
    /// `Ok` means that the record needs nothing more.
    fn deliver<'a>(&'a self, record: &'a Arc<Record>) -> RecordCall<'a>;
}

/// A call has come to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotDelivered {
    /// Why.
    pub fault: Fault,
    /// How the log names the event, of which a record that is none has nothing.
    pub event: Option<EventName>,
}

/// How the log names an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventName {
    /// The order it is about.
    pub order_id: i64,
    /// See [`Event::idempotency_key`].
    pub idempotency_key: String,
}

/// Reads each record as an event and hands it to the sink.
pub struct ToSink(pub Arc<dyn Sink>);

impl RecordDelivery for ToSink {
    fn deliver<'a>(&'a self, record: &'a Arc<Record>) -> RecordCall<'a> {
        Box::pin(async move {
            let event = Event::decode(Arc::clone(record))
                .map_err(|cause| NotDelivered { fault: cause.into(), event: None })?;
            self.0.deliver(&event).await.map_err(|failure| {
                let (order_id, idempotency_key) = (event.message.order_id, event.idempotency_key());
                NotDelivered { fault: failure.into(), event: Some(EventName { order_id, idempotency_key }) }
            })
        })
    }
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

/// Starts calls, whose reports go to the poll thread's mailbox.
#[derive(Clone)]
pub(crate) struct Calls {
    runtime: Handle,
    delivery: Arc<dyn RecordDelivery>,
    mailbox: Sender<Signal>,
}

impl Calls {
    pub(crate) fn new(runtime: Handle, delivery: Arc<dyn RecordDelivery>, mailbox: Sender<Signal>) -> Self {
        Self { runtime, delivery, mailbox }
    }

    pub(crate) fn start(&self, call: Call) {
        let delivery = Arc::clone(&self.delivery);
        let pending = Pending::new(&call, self.mailbox.clone());
        self.runtime.spawn(async move {
            let outcome = delivery.deliver(&call.record).await;
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
    /// None until the call has ended by itself.
    outcome: Option<Result<(), NotDelivered>>,
}

impl Pending {
    fn new(call: &Call, mailbox: Sender<Signal>) -> Self {
        let Call { assignment, partition, offset, .. } = *call;
        Self { mailbox, assignment, partition, offset, outcome: None }
    }

    fn ended(mut self, outcome: Result<(), NotDelivered>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or_else(|| {
            let failure = DeliveryFailure::unavailable("the call ended without a result");
            Err(NotDelivered { fault: failure.into(), event: None })
        });
        let Self { assignment, partition, offset, .. } = *self;
        let report = Report { assignment, partition, offset, outcome };
        // Nobody listens any more once the poll thread has ended; then nothing is committed either.
        self.mailbox.send(Signal::Reported(report)).ok();
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
        let delivery = Arc::new(ToSink(Arc::new(PanickingSink)));
        (Calls::new(runtime.handle().clone(), delivery, mailbox), signals)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
    }

    fn report_of(value: Option<&[u8]>) -> Report {
        let runtime = runtime();
        let (calls, signals) = calls(&runtime);
        let position = RecordPosition { topic: "t".into(), partition: 3, offset: 7 };
        let record = Arc::new(Record::new(position, None, None, value, []));
        calls.start(Call { assignment: AssignmentEpoch::default(), partition: 3, offset: 7, record });
        let Signal::Reported(report) = signals.recv_timeout(Duration::from_secs(10)).unwrap() else {
            panic!("a call reports")
        };
        report
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
