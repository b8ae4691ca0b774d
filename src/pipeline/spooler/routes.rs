//! The routes that batches on disk may have: those of the settings, and of the settings before a reload.
//!
//! A batch keeps the route that it was sealed for. So what is on disk when the output's topic changes goes where it was to
//! go, and in its turn. After a restart only the routes of the settings are known.

use std::sync::Arc;

use crate::codec::{Unwritable, View};
use crate::sealed::Route;
use crate::sink::routing::Routing;

/// Settings with other routes that are remembered. What is on disk for older ones stays there, for a run that knows them.
const SETTINGS_MAX: usize = 8;

/// The routes of the settings, the newest first.
#[derive(Debug)]
pub(super) struct Routes(Vec<Arc<dyn Routing>>);

impl Routes {
    /// Of the settings of the start.
    pub(super) fn new(routing: Arc<dyn Routing>) -> Self {
        Self(vec![routing])
    }

    /// These come; those before are remembered for what is on disk, or will be. The same are remembered once.
    pub(super) fn become_these(&mut self, routing: Arc<dyn Routing>) {
        self.0.retain(|it| it.text() != routing.text());
        self.0.insert(0, routing);
        self.0.truncate(SETTINGS_MAX);
    }

    fn newest(&self) -> &dyn Routing {
        &**self.0.first().expect("there are always some")
    }
}

impl Routing for Routes {
    fn is_one(&self) -> bool {
        self.newest().is_one()
    }

    fn key(&self, out: &mut Vec<u8>, view: &View<'_>) {
        self.newest().key(out, view);
    }

    fn route(&self, view: &View<'_>) -> Result<Route, Unwritable> {
        self.newest().route(view)
    }

    fn text(&self) -> String {
        self.newest().text()
    }

    fn named(&self, name: &str) -> Option<Route> {
        self.0.iter().find_map(|it| it.named(name))
    }

    fn letter_route(&self, entry: Option<&str>, sensor: &str) -> Route {
        self.newest().letter_route(entry, sensor)
    }

    fn letter_route_named(&self, name: &str) -> Route {
        self.newest().letter_route_named(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has one route.
    #[derive(Debug)]
    struct Only(String);

    impl Routing for Only {
        fn text(&self) -> String {
            self.0.clone()
        }

        fn named(&self, name: &str) -> Option<Route> {
            (name == self.0).then(|| Route::named(name))
        }
    }

    #[test]
    fn routes_of_earlier_settings_are_known_however_often_the_same_come_again() {
        let only = |name: usize| Arc::new(Only(name.to_string()));
        let mut routes = Routes::new(only(0));
        let knows = |it: &Routes, name: usize| it.named(&name.to_string()).is_some();
        (0..100).for_each(|_| routes.become_these(only(1)));
        assert!(knows(&routes, 0) && knows(&routes, 1) && !knows(&routes, 2));
        routes.become_these(only(0));
        assert_eq!((routes.0.len(), routes.newest().text()), (2, "0".to_owned()));
        (2..=SETTINGS_MAX).for_each(|it| routes.become_these(only(it)));
        assert!(!knows(&routes, 1), "the oldest is forgotten");
        assert!([0].into_iter().chain(2..=SETTINGS_MAX).all(|it| knows(&routes, it)));
    }
}
