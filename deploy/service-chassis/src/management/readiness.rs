//! # Readiness
//!
//! Whether a service should be sent work, as the sum of named components: it is ready when each of them is. A
//! component that is not says why. The names are fixed at the start, so that a component
//! nobody ever reported on shows as `starting` instead of being forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

const STARTING: &str = "starting";

/// How one component is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentState {
    /// Whether it can do its work.
    pub ready: bool,
    /// Why not; nothing when it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The readiness of a service. A clone is another handle on the same components.
#[derive(Debug, Clone)]
pub struct Readiness {
    components: Arc<Mutex<BTreeMap<&'static str, ComponentState>>>,
}

impl Readiness {
    /// None of these components is ready yet: each is `starting`.
    pub fn new(components: &[&'static str]) -> Self {
        let starting = ComponentState { ready: false, reason: Some(STARTING.to_owned()) };
        let components = components.iter().map(|name| (*name, starting.clone())).collect();
        Self { components: Arc::new(Mutex::new(components)) }
    }

    /// The component can do its work.
    pub fn set_ready(&self, component: &'static str) {
        self.set(component, ComponentState { ready: true, reason: None });
    }

    /// The component cannot do its work, for this reason.
    pub fn set_unready(&self, component: &'static str, reason: impl Into<String>) {
        self.set(component, ComponentState { ready: false, reason: Some(reason.into()) });
    }

    /// Whether every component is ready.
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(|state| state.ready)
    }

    /// Every component, by name.
    pub fn components(&self) -> BTreeMap<&'static str, ComponentState> {
        self.lock().clone()
    }

    /// A change is worth a log line; being told the same again is not.
    fn set(&self, component: &'static str, state: ComponentState) {
        let before = self.lock().insert(component, state.clone());
        if before.as_ref() == Some(&state) {
            return;
        }
        match state.reason {
            None => tracing::info!(component, "{component} is ready"),
            Some(reason) => tracing::warn!(component, reason, "{component} is not ready: {reason}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, ComponentState>> {
        // A panic elsewhere must not take the probes down; no code here can leave the map half changed.
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
