//! # A share of the pool
//!
//! Requests that read, or change the catalogue, may have a part of the pool between them, so that however many come, the
//! checkout desk finds a session at once (`readers_that_take_all_they_can_have_do_not_hold_up_an_order`).

use super::Session;
use diesel_async::pooled_connection::deadpool::Object;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many sessions of the pool, and no more at a time. Clones share them.
#[derive(Clone)]
pub(super) struct PoolShare {
    places: Arc<Semaphore>,
    /// How many may be had in all.
    pub(super) size: usize,
}

impl PoolShare {
    pub(super) fn of(size: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(size)), size }
    }

    /// None never comes: the places are not closed.
    pub(super) async fn place(&self, outside: &Outside) -> Option<OwnedSemaphorePermit> {
        let _waits = outside.enter();
        self.places.clone().acquire_owned().await.ok()
    }
}

/// How many wait for a place before they may wait for a session. Clones count together.
#[derive(Clone, Default)]
pub(super) struct Outside(Arc<AtomicUsize>);

impl Outside {
    pub(super) fn waiting(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn enter(&self) -> Waits<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waits(self)
    }
}

struct Waits<'o>(&'o Outside);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A session that goes back to the pool, and its place with it.
pub struct PooledSession {
    // In this order: who gets the place finds the session.
    session: Object<Session>,
    _place: Option<OwnedSemaphorePermit>,
}

impl PooledSession {
    pub(super) fn new(session: Object<Session>, place: Option<OwnedSemaphorePermit>) -> Self {
        Self { session, _place: place }
    }

    /// Takes it from the pool for good.
    pub(super) fn take(self) -> Session {
        Object::take(self.session)
    }
}

impl Deref for PooledSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for PooledSession {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}
