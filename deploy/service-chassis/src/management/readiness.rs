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
    components: Arc<Mutex<Components>>,
}

type Components = BTreeMap<&'static str, Known>;

#[derive(Debug)]
struct Known {
    state: ComponentState,
    /// What the last log line told.
    logged: Option<ComponentState>,
}

impl Readiness {
    /// None of these components is ready yet: each is `starting`.
    pub fn new(components: &[&'static str]) -> Self {
        let starting = ComponentState { ready: false, reason: Some(STARTING.to_owned()) };
        let known = |name| (name, Known { state: starting.clone(), logged: None });
        let components = components.iter().copied().map(known).collect();
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

    /// The component cannot do its work, for a reason that is not worth a log line: an alarm's line tells it, or it is
    /// expected to pass at once. Once it has passed there is nothing to log either.
    pub fn set_unready_quietly(&self, component: &'static str, reason: impl Into<String>) {
        let state = ComponentState { ready: false, reason: Some(reason.into()) };
        let mut components = self.lock();
        let logged = components.get(component).and_then(|known| known.logged.clone());
        components.insert(component, Known { state, logged });
    }

    /// Whether every component is ready.
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(|known| known.state.ready)
    }

    /// Every component, by name.
    pub fn components(&self) -> BTreeMap<&'static str, ComponentState> {
        self.lock().iter().map(|(name, known)| (*name, known.state.clone())).collect()
    }

    /// What differs from the last line is worth another; being told the same again is not.
    fn set(&self, component: &'static str, state: ComponentState) {
        let before =
            self.lock().insert(component, Known { state: state.clone(), logged: Some(state.clone()) });
        if before.is_some_and(|before| before.logged.as_ref() == Some(&state)) {
            return;
        }
        match state.reason {
            None => tracing::info!(component, "{component} is ready"),
            Some(reason) => tracing::warn!(component, reason, "{component} is not ready: {reason}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Components> {
        // A panic elsewhere must not take the probes down; no code here can leave the map half changed.
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Readiness;
    use crate::captured_lines::CapturedLines;

    #[test]
    fn a_change_is_one_line_and_a_quiet_one_is_none_until_it_is_said_aloud() {
        let readiness = Readiness::new(&["kafka"]);
        let captured = CapturedLines::default();
        let writer = captured.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            readiness.set_ready("kafka");
            readiness.set_ready("kafka");
            readiness.set_unready_quietly("kafka", "joining");
            assert!(!readiness.is_ready());
            readiness.set_ready("kafka");
            readiness.set_unready_quietly("kafka", "joining");
            readiness.set_unready("kafka", "joining");
            readiness.set_unready_quietly("kafka", "joining");
            readiness.set_unready("kafka", "joining");
            readiness.set_ready("kafka");
        });
        let lines = captured.lines();
        let told: Vec<bool> = lines.iter().map(|line| line.contains("kafka is ready")).collect();
        assert_eq!(told, [true, false, true], "{lines:?}");
        assert!(lines[1].contains("WARN") && lines[1].contains("kafka is not ready: joining"), "{lines:?}");
    }
}
