//! # Ending
//!
//! A clean stop: what is on its way has a bounded time to be acknowledged, and the next instance need not wait for the end
//! of the lease.

use super::Relay;
use crate::storage::error::DatabaseError;
use tracing::{info, warn};

impl Relay {
    /// The last acknowledgements are worth a bounded wait: each one that is deleted is a repeat less.
    pub(super) async fn finish(mut self) {
        let (publisher, timeout) = (self.publisher.clone(), self.settings.flush_timeout);
        let flushed = tokio::task::spawn_blocking(move || publisher.flush(timeout)).await;
        self.take_deliveries();
        self.acknowledged.append(&mut self.locked);
        let leads = self.lease.renew_at().is_some();
        if leads || !self.acknowledged.is_empty() {
            let timeout = self.settings.flush_timeout;
            let last = tokio::time::timeout(timeout, self.delete_last()).await;
            if last.ok().is_none_or(|done| done.is_err()) {
                let count = self.acknowledged.len();
                warn!(
                    "{count} acknowledged events could not be deleted and will be repeated; another instance publishes when \
                     the lease of this one is over"
                );
            }
        }
        self.metrics.leads.set(0);
        if let Ok(Ok(())) = flushed {
            info!("the relay has stopped, nothing is on its way");
        } else {
            let count = self.in_flight.awaited();
            warn!("the relay has stopped; {count} events are not acknowledged and stay in the outbox");
        }
    }

    async fn delete_last(&mut self) -> Result<(), DatabaseError> {
        let session = self.database.relay_session().await?;
        self.delete_acknowledged(&session).await?;
        self.give_lease_back(&session).await
    }
}
