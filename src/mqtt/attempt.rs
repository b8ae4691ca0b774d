//! One attempt to connect: a value that needs nothing of its client while it lasts.

use std::sync::Arc;

use super::Error;
use super::connection::Connection;
use super::look_up::LookUps;
use super::options::Options;
use super::outgoing::Hello;
use super::packet::Greeting;
use super::read_buffer::ReadAhead;
use super::roll_call::RollCall;

/// An attempt that has not begun.
#[derive(Debug)]
pub struct Attempt {
    pub options: Options,
    pub hello: Hello,
    pub ahead: ReadAhead,
    /// Of the client's last attempt.
    pub look_ups: LookUps,
    /// Connects only where the broker keeps our own clients apart.
    pub roll_call: Option<Arc<RollCall>>,
    /// The gateway needs this client: if it is the only one, it may connect to a broker that takes all our
    /// clients for one.
    pub is_needed: bool,
}

/// An attempt that has failed.
#[derive(Debug)]
pub struct Failed {
    pub error: Error,
    /// For the next attempt: a slow look-up goes on.
    pub look_ups: LookUps,
}

impl Attempt {
    pub async fn run(mut self) -> Result<(Connection, Greeting), Failed> {
        let opened = self.open().await;
        opened.map_err(|error| Failed { error, look_ups: self.look_ups })
    }

    async fn open(&mut self) -> Result<(Connection, Greeting), Error> {
        let Self { options, hello, ahead, look_ups, .. } = self;
        match &self.roll_call {
            Some(roll_call) if self.is_needed => roll_call.pass_needed().await?,
            Some(roll_call) => roll_call.pass().await?,
            None => {}
        }
        let opened = Connection::open_with(look_ups, options, hello, ahead.clone()).await;
        if let (Some(roll_call), Err(error)) = (&self.roll_call, &opened)
            && error.is_no_answer()
        {
            roll_call.forget();
        }
        if opened.as_ref().is_ok_and(|(_, it)| it.renames && !hello.clean_start) {
            let (broker, client) = (options.url.to_string(), options.client_id.clone());
            return Err(Error::Renamed { broker, client });
        }
        opened
    }
}
