//! What a service said, kept and waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use local_stack::service_log::LogLine;
use local_stack::service_process::OnLine;
use tokio::sync::watch;

/// How long anything may take that must happen. Long, because a loaded machine is no failure.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// A service's lines. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Heard {
    lines: Arc<Mutex<Vec<LogLine>>>,
    count: watch::Sender<usize>,
}

impl Default for Heard {
    fn default() -> Self {
        Self { lines: Arc::default(), count: watch::Sender::new(0) }
    }
}

impl Heard {
    pub(crate) fn listener(&self) -> OnLine {
        let heard = self.clone();
        Arc::new(move |line| {
            heard.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
            heard.count.send_modify(|count| *count += 1);
        })
    }

    /// Returns once what was said holds what is looked for.
    pub(crate) async fn until(&self, what: &str, found: impl Fn(&[LogLine]) -> bool) {
        let mut count = self.count.subscribe();
        let heard = count.wait_for(|_| found(&self.lines.lock().unwrap_or_else(PoisonError::into_inner)));
        within(what, heard).await.expect("the sender is ours");
    }

    /// Returns once a message holds `text`.
    pub(crate) async fn says(&self, text: &str) {
        self.until(text, |lines| lines.iter().any(|line| line.message.contains(text))).await;
    }

    /// Returns once there are more lines than that.
    pub(crate) async fn more_than(&self, lines: usize) {
        self.count.subscribe().wait_for(|count| *count > lines).await.expect("the sender is ours");
    }

    /// The lines behind so many.
    pub(crate) fn after(&self, lines: usize) -> Vec<LogLine> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)[lines..].to_vec()
    }

    /// What the last line says of which something is found.
    pub(crate) fn last<T>(&self, found: impl Fn(&LogLine) -> Option<T>) -> Option<T> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().find_map(found)
    }

    /// The messages so far.
    pub(crate) fn messages(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| line.message.clone()).collect()
    }

    /// The orders that a consumer handed on so far, in that order, repeats included.
    pub(crate) fn delivered(&self) -> Vec<i64> {
        delivered(&self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The orders in these lines.
pub(crate) fn delivered(lines: &[LogLine]) -> Vec<i64> {
    let order = |event: &str| event.rsplit_once("orderId=")?.1.strip_suffix(')')?.parse().ok();
    lines.iter().filter_map(LogLine::delivered).filter_map(order).collect()
}

/// The result of `future`, which must come before the deadline.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(DEADLINE, future).await;
    result.unwrap_or_else(|_| panic!("not within {} s: {what}", DEADLINE.as_secs()))
}
