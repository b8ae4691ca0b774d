//! The plan that runs, for whoever looks from outside: a reload makes it another one.

use std::sync::{Arc, PoisonError, RwLock};

use super::Plan;

/// The plan that runs.
#[derive(Debug, Clone)]
pub struct Current(Arc<RwLock<Arc<Plan>>>);

impl Current {
    /// This one, from the start.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self(Arc::new(RwLock::new(plan)))
    }

    /// The one of now.
    pub fn get(&self) -> Arc<Plan> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// It is this one from now on.
    pub fn set(&self, plan: Arc<Plan>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = plan;
    }
}
