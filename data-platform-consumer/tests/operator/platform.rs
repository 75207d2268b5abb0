//! A data platform that a test watches and controls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use data_platform_consumer::delivery::Event;
use data_platform_consumer::sink::{Delivery, DeliveryFailure, Sink};

/// A call, noted when it began, and again when it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) replay: &'static str,
    pub(crate) order_id: i64,
    pub(crate) idempotency_key: String,
}

/// What the platform does with an order.
pub(crate) enum Manner {
    Take,
    TakeAfter(Duration),
    Fail(DeliveryFailure),
}

type Manners = Box<dyn Fn(i64) -> Manner + Send + Sync>;

pub(crate) struct Platform {
    manners: Manners,
    called: Mutex<Vec<Receipt>>,
    taken: Mutex<Vec<Receipt>>,
}

impl Platform {
    pub(crate) fn with(manners: impl Fn(i64) -> Manner + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { manners: Box::new(manners), called: Mutex::default(), taken: Mutex::default() })
    }

    pub(crate) fn taking_everything() -> Arc<Self> {
        Self::with(|_| Manner::Take)
    }

    /// Refuses these orders for good, and takes all others.
    pub(crate) fn refusing(orders: &'static [i64]) -> Arc<Self> {
        Self::with(|order_id| {
            if orders.contains(&order_id) {
                Manner::Fail(DeliveryFailure::rejected(format!("410: order {order_id} is gone")))
            } else {
                Manner::Take
            }
        })
    }

    pub(crate) fn sink_of(self: &Arc<Self>, replay: &'static str) -> Arc<dyn Sink> {
        Arc::new(PlatformSink { platform: Arc::clone(self), replay })
    }

    pub(crate) fn called(&self) -> Vec<i64> {
        self.called.lock().unwrap().iter().map(|receipt| receipt.order_id).collect()
    }

    /// The idempotency keys of all calls.
    pub(crate) fn called_as(&self) -> Vec<String> {
        self.called.lock().unwrap().iter().map(|receipt| receipt.idempotency_key.clone()).collect()
    }

    pub(crate) fn taken(&self) -> Vec<Receipt> {
        self.taken.lock().unwrap().clone()
    }

    pub(crate) fn orders_taken(&self) -> Vec<i64> {
        self.taken().iter().map(|receipt| receipt.order_id).collect()
    }
}

struct PlatformSink {
    platform: Arc<Platform>,
    replay: &'static str,
}

impl Sink for PlatformSink {
    fn deliver<'a>(&'a self, event: &'a Event) -> Delivery<'a> {
        Box::pin(async move {
            let (order_id, idempotency_key) = (event.message.order_id, event.idempotency_key());
            let receipt = Receipt { replay: self.replay, order_id, idempotency_key };
            self.platform.called.lock().unwrap().push(receipt.clone());
            match (self.platform.manners)(order_id) {
                Manner::Take => {}
                Manner::TakeAfter(time) => tokio::time::sleep(time).await,
                Manner::Fail(failure) => return Err(failure),
            }
            self.platform.taken.lock().unwrap().push(receipt);
            Ok(())
        })
    }
}
