//! Which routes there are, and which one a record takes.
//!
//! A sink with one place for all readings has one route, [`Route::output`]: all that is written here is of one that
//! has several.

use std::fmt::Debug;

use crate::codec::{Unwritable, View};
use crate::sealed::Route;

/// The routes of a sink. The engine remembers which one a record took ([`crate::pipeline::router`]).
pub trait Routing: Debug + Send + Sync {
    /// Whether all readings take [`Route::output`].
    fn is_one(&self) -> bool {
        true
    }

    /// What its routes are made of: with the same text here, they are the same.
    fn text(&self) -> String {
        String::new()
    }

    /// Appends what decides the route of a record: with the same bytes here, it is the same.
    fn key(&self, _out: &mut Vec<u8>, _view: &View<'_>) {}

    /// The route of a record, or why it has none.
    fn route(&self, _view: &View<'_>) -> Result<Route, Unwritable> {
        Ok(Route::output())
    }

    /// The route that a batch of readings takes that was written to the spool with a route of this name; `None` where
    /// the settings have no such route.
    fn named(&self, name: &str) -> Option<Route> {
        Route::is_output(name).then(Route::output)
    }

    /// The route of the dead letters of a sensor.
    fn letter_route(&self, _entry: Option<&str>, _sensor: &str) -> Route {
        Route::dead_letters()
    }

    /// The route of dead letters that were written to the spool with a route of this name.
    fn letter_route_named(&self, _name: &str) -> Route {
        Route::dead_letters()
    }
}
