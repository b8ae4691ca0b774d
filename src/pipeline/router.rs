//! Which route a record takes.
//!
//! The engine compares routes and carries them; which there are, and what one means, is its sink's affair
//! ([`Routing`]). Where the sink has one, nothing is asked. Where it has several, the routes are remembered by what
//! decides them, a name or the text of the tags: a route that is known costs no allocation. At most
//! [`ROUTES_REMEMBERED_MAX`] are remembered. Then all are forgotten, and made again: the order of a sensor's
//! readings does not hang on them, because routes are compared by their text.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::codec::{Unwritable, View};
use crate::limits::{ROUTE_KEY_BYTES_MAX, ROUTES_REMEMBERED_MAX};
use crate::sealed::Route;
use crate::sink::routing::Routing;

/// Chooses routes.
#[derive(Debug, Clone)]
pub struct Router {
    routing: Arc<dyn Routing>,
    is_one: bool,
    first: Route,
    /// Places in the list of routes, by what decides them.
    known: HashMap<Box<[u8]>, usize, FixedState>,
    routes: Vec<Route>,
    key: Vec<u8>,
}

impl Router {
    /// To the routes of a sink.
    pub fn new(routing: Arc<dyn Routing>) -> Self {
        let (is_one, first) = (routing.is_one(), Route::output());
        let (known, routes, key) = (HashMap::default(), Vec::new(), Vec::new());
        Self { routing, is_one, first, known, routes, key }
    }

    /// The routes that there are.
    pub fn routing(&self) -> Arc<dyn Routing> {
        Arc::clone(&self.routing)
    }

    /// The route that is open before any record has come.
    pub fn first(&self) -> &Route {
        &self.first
    }

    /// The route of a record, or why it has none.
    pub fn route(&mut self, view: &View<'_>) -> Result<&Route, Unwritable> {
        if self.is_one {
            return Ok(&self.first);
        }
        self.key.clear();
        self.routing.key(&mut self.key, view);
        let at = match self.known.get(&*self.key) {
            Some(at) => *at,
            None => self.make(view)?,
        };
        Ok(self.routes.get(at).expect("what is known is in the list"))
    }

    /// Makes a route, and remembers it. What decides it may be too long for that: it is made again then.
    fn make(&mut self, view: &View<'_>) -> Result<usize, Unwritable> {
        let route = self.routing.route(view)?;
        if self.routes.len() >= ROUTES_REMEMBERED_MAX {
            self.known.clear();
            self.routes.clear();
        }
        let at = self.routes.len();
        self.routes.push(route);
        if self.key.len() <= ROUTE_KEY_BYTES_MAX {
            self.known.insert(self.key.as_slice().into(), at);
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::codec::Whose;
    use crate::record::Arrival;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A route for each value; counts how often one is made.
    #[derive(Debug, Default)]
    struct ByValue(AtomicUsize);

    impl Routing for ByValue {
        fn is_one(&self) -> bool {
            false
        }

        fn key(&self, out: &mut Vec<u8>, view: &View<'_>) {
            out.extend_from_slice(view.value);
        }

        fn route(&self, view: &View<'_>) -> Result<Route, Unwritable> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let value = std::str::from_utf8(view.value).unwrap();
            if value == "bad" { Err(Unwritable(String::new())) } else { Ok(Route::named(value)) }
        }
    }

    fn view(value: &[u8]) -> View<'_> {
        View {
            sensor: Whose::Counted("\"a\"", 1),
            entry: "",
            value,
            timestamp: b"",
            received: Timestamp::from_millis(0),
            labels: b"",
            topic: b"",
            extra: b"",
            arrival: Arrival::default(),
            expires: None,
        }
    }

    #[test]
    fn a_route_that_is_known_is_not_made_again_and_few_are_remembered() {
        let routing = Arc::new(ByValue::default());
        let mut router = Router::new(Arc::clone(&routing) as Arc<dyn Routing>);
        let mut made = |value: &str| {
            assert_eq!(router.route(&view(value.as_bytes())).unwrap().as_str(), value);
            let known = (router.known.len(), router.routes.len());
            assert!(known.0 <= ROUTES_REMEMBERED_MAX && known.1 <= ROUTES_REMEMBERED_MAX);
            routing.0.load(Ordering::Relaxed)
        };
        assert_eq!(["a", "b", "a", "b", "b"].map(&mut made), [1, 2, 2, 2, 2]);
        let long = "x".repeat(ROUTE_KEY_BYTES_MAX + 1);
        assert_eq!([&*long, &long, "a"].map(&mut made), [3, 4, 4]);
        (0..ROUTES_REMEMBERED_MAX).for_each(|it| assert!(made(&it.to_string()) > 4));
        assert_eq!(made("a"), 5 + ROUTES_REMEMBERED_MAX, "forgotten, and made again");
        assert!(router.route(&view(b"bad")).is_err());
    }

    #[test]
    fn a_route_that_is_known_costs_no_allocation() {
        let mut router = Router::new(Arc::new(ByValue::default()));
        router.route(&view(b"a")).unwrap();
        let info = allocation_counter::measure(|| {
            for _ in 0..10 {
                router.route(&view(b"a")).unwrap();
            }
        });
        assert_eq!(info.count_total, 0);
    }
}
