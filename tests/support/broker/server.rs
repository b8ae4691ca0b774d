//! Moves the bytes of the scripted broker: one task for the listener, one for each connection.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::link::{Fate, Wakers};
use super::state::State;
use crate::support::held_port::HeldPort;
use crate::support::wire::{self, Version};
use crate::support::{Monitor, ignore};

/// What the server shares with the test.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Monitor<State>,
    /// The listener is to look at `listening` again.
    pub(super) listener: Notify,
    pub(super) stop: Notify,
}

/// Serves until told to stop.
pub(super) async fn run(listener: std::net::TcpListener, shared: Arc<Shared>) {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::select! {
        () = listen(listener, address, Arc::clone(&shared)) => {}
        () = shared.stop.notified() => {}
    }
}

async fn listen(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let (mut listener, mut held) = (Some(listener), None);
    let mut tasks = JoinSet::new();
    loop {
        let listening = shared.state.lock().listening;
        if !listening {
            listener = None;
            held = held.or_else(|| HeldPort::new(address.port()));
        } else if listener.is_none() {
            listener = match held.take() {
                Some(held) => held.listen().ok(),
                None => TcpListener::bind(address).await.ok(),
            };
        }
        let accepted = tokio::select! {
            stream = accept(listener.as_ref()) => Some(stream),
            () = shared.listener.notified() => None,
            () = tokio::time::sleep(Duration::from_millis(20)), if listening && listener.is_none() => None,
            Some(_) = tasks.join_next() => None,
        };
        if let Some(stream) = accepted {
            tasks.spawn(serve(stream, Arc::clone(&shared)));
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return pending().await };
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            return stream;
        }
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    ignore(stream.set_nodelay(true), "only slower");
    // It may have been accepted while the broker went away.
    let opened = shared.state.change(|state| state.listening.then(|| state.open()));
    let Some((id, wakers)) = opened else { return };
    let (reader, writer) = stream.split();
    tokio::select! {
        () = read(reader, id, &shared, &wakers) => {}
        () = write(writer, id, &shared, &wakers) => {}
        () = wakers.end.notified() => {}
    }
    let reset = shared.state.change(|state| state.close(id));
    if reset {
        ignore(stream.set_zero_linger(), "then it ends with FIN");
    } else {
        ignore(stream.shutdown().await, "the client was faster");
    }
}

async fn read(mut socket: ReadHalf<'_>, id: u64, shared: &Shared, wakers: &Wakers) {
    let mut version = None;
    let mut buffer = BytesMut::with_capacity(64 << 10);
    let mut heard = Instant::now();
    loop {
        let reading = shared.state.lock().reading(id);
        // A connection that is being finished is closed by its writer.
        let Some((may_read, patience)) = reading else { return pending().await };
        buffer.reserve(16 << 10);
        if !may_read {
            heard = Instant::now();
        }
        // A lever counts before the bytes that came after it.
        let count = tokio::select! {
            biased;
            () = wakers.reader.notified() => continue,
            count = socket.read_buf(&mut buffer), if may_read => count.unwrap_or(0),
            () = silence(heard, patience), if may_read => {
                let text = "silent for more than 1.5 times its keep-alive";
                shared.state.change(|state| {
                    state.violation(id, text, None);
                    state.end_link(id, Fate::Reset);
                });
                return;
            }
        };
        if count == 0 {
            return;
        }
        heard = Instant::now();
        version = version.or_else(|| wire::version_of(&buffer));
        let Some(version) = version else { continue };
        shared.state.change(|state| take_packets(state, id, version, &mut buffer));
    }
}

fn take_packets(state: &mut State, id: u64, version: Version, buffer: &mut BytesMut) {
    if let Some(link) = state.links.get_mut(&id) {
        link.version = version;
    }
    while state.links.get(&id).is_some_and(|link| link.fate == Fate::Open) {
        match wire::read(version, buffer) {
            Ok(Some(packet)) => state.receive(id, packet),
            Ok(None) => return,
            Err(error) => {
                state.violation(id, &format!("malformed packet: {error}"), None);
                state.end_link(id, Fate::Reset);
            }
        }
    }
}

async fn silence(since: Instant, patience: Option<Duration>) {
    match patience {
        Some(patience) => tokio::time::sleep_until(since + patience).await,
        None => pending().await,
    }
}

async fn write(mut socket: WriteHalf<'_>, id: u64, shared: &Shared, wakers: &Wakers) {
    loop {
        let Some(bytes) = shared.state.change(|state| state.output(id)) else { return };
        if bytes.is_empty() {
            wakers.writer.notified().await;
        } else if socket.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
