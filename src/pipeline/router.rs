//! Which route a record takes: one function from a record to one of the plan's routes.
//!
//! The engine compares routes and carries them; what a route means is its sink's affair. Today all records take
//! the same one.

use crate::codec::View;
use crate::sealed::Route;
use crate::state::registry::Row;

/// From the row of a record's sensor and the record to a place in the list of routes.
type Choose = fn(&Row, &View<'_>) -> usize;

/// Chooses routes.
#[derive(Debug, Clone)]
pub struct Router {
    routes: Box<[Route]>,
    choose: Choose,
}

impl Router {
    /// All records take this one.
    pub fn constant(route: Route) -> Self {
        Self::new(Box::new([route]), |_, _| 0)
    }

    /// One of these, by this function.
    pub fn new(routes: Box<[Route]>, choose: Choose) -> Self {
        Self { routes, choose }
    }

    /// All that records may take.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    pub fn first(&self) -> &Route {
        self.routes.first().expect("a router has a route")
    }

    /// The route of a record. Where there is only one, nothing is asked.
    pub fn route(&self, row: &Row, view: &View<'_>) -> &Route {
        let route = match &*self.routes {
            [only] => Some(only),
            routes => routes.get((self.choose)(row, view)),
        };
        route.expect("a router chooses of its routes")
    }
}
