//! Opening the spool, before anything connects: what it holds goes first, and a gateway that was started
//! twice must not take the other one's sessions before it finds the spool in use.
//!
//! All of it is read and checked, which takes minutes where the disk is slow and the outage was long. That
//! happens on a thread of its own: the gateway says that it is starting, and why it takes so long, and it
//! can be stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::interval_at;

use super::Error;
use super::spooler::Spooler;
use crate::clock::{self, Now};
use crate::plan::Plan;
use crate::sink::routing::Routing;
use crate::spool::Spool;
use crate::state::board::{Health, Status};
use crate::state::books::Books;
use crate::tasks::thread;

/// How often it is said over HTTP that it is not done.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// How it ended.
#[derive(Debug)]
pub(super) enum Opened {
    /// The spool, if there is to be one.
    Spooler(Option<Box<Spooler>>),
    /// A stop was asked for.
    Stopped,
}

pub(super) async fn open(
    plan: &Arc<Plan>,
    books: &Arc<Books>,
    routing: Arc<dyn Routing>,
    stops: &mut mpsc::Receiver<()>,
) -> Result<Opened, Error> {
    if plan.spool.path.is_none() {
        return Ok(Opened::Spooler(None));
    }
    let now = clock::now();
    let work = (Arc::clone(plan), Arc::clone(books));
    let mut spooler =
        thread("spool", move || read(now, work.0, work.1, routing)).map_err(Error::Thread)?;
    let mut looks = interval_at((now.instant + SAY_EVERY).into(), SAY_EVERY);
    let mut said = false;
    loop {
        tokio::select! {
            spooler = &mut spooler => return Ok(Opened::Spooler(spooler.map_err(|_| Error::Worker)??)),
            Some(()) = stops.recv() => return Ok(Opened::Stopped),
            _ = looks.tick() => {
                if !std::mem::replace(&mut said, true) {
                    tracing::info!("checking what the spool holds: nothing flows before");
                }
                let reason = Some("what the spool holds is being checked".to_owned());
                let looked = clock::now().instant;
                books.board.put_up(Status { health: Health::Starting, reason, looked });
            }
        }
    }
}

fn read(
    now: Now,
    plan: Arc<Plan>,
    books: Arc<Books>,
    routing: Arc<dyn Routing>,
) -> Result<Option<Box<Spooler>>, Error> {
    let settings = &plan.spool;
    let Some(folder) = &settings.path else { return Ok(None) };
    let (spool, set_aside) = Spool::open(folder, settings.bytes_max, now.wall)?;
    if let Some(aside) = set_aside {
        books.metrics.spool_failures.one();
        tracing::error!(
            aside = %aside.display(),
            "the spool was damaged and has been set aside: what it held is not delivered"
        );
    }
    Ok(Some(Box::new(Spooler::new(spool, plan, books, routing)?)))
}
