//! A TCP proxy on 127.0.0.1 between the gateway and a broker, which a test can cut and stall.

use std::future::pending;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{Monitor, Random, ignore, runtime_thread};

/// How long what was said before the end of a connection may take to be passed on.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// RST on both sides: what is on its way is lost.
    Reset,
    /// FIN on both sides.
    Close,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToBroker,
    ToClient,
}

/// What happens at a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Cut,
    Stall,
}

/// What the proxy did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    /// Connections taken.
    pub(crate) connections: usize,
    /// Connections open now.
    pub(crate) open: usize,
    /// Connections cut.
    pub(crate) cuts: usize,
    /// Stalls at a byte that have begun.
    pub(crate) stalls: usize,
    pub(crate) bytes_to_broker: u64,
    pub(crate) bytes_to_client: u64,
}

/// What the test wants; all connections watch it.
#[derive(Clone, Debug)]
struct Orders {
    target: u16,
    /// Every increase cuts all connections.
    cuts: u64,
    how: Cut,
    stalled: Vec<Way>,
    refuse: bool,
    stop: bool,
    /// Cut each connection after a time from this range, with this seed.
    every: Option<(Range<Duration>, u64)>,
    /// Cut or stall at this many bytes in this direction, over all connections.
    after: Option<(Way, u64, At)>,
    /// Bytes go one by one.
    crumbs: bool,
}

/// The proxy; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    orders: Arc<watch::Sender<Orders>>,
    traffic: Arc<Monitor<Traffic>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy in front of this port.
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let orders = Orders {
            target,
            cuts: 0,
            how: Cut::Reset,
            stalled: Vec::new(),
            refuse: false,
            stop: false,
            every: None,
            after: None,
            crumbs: false,
        };
        let orders = Arc::new(watch::Sender::new(orders));
        let traffic = Arc::new(Monitor::new(Traffic::default()));
        let server = listen(listener, Arc::clone(&orders), Arc::clone(&traffic));
        let thread = Some(runtime_thread("proxy", server));
        Self { port, orders, traffic, thread }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `mqtt://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Cuts all connections now.
    pub(crate) fn cut(&self, how: Cut) {
        self.orders.send_modify(|orders| {
            orders.how = how;
            orders.cuts += 1;
        });
    }

    /// Cuts (with RST) when so many more bytes went this way; once.
    pub(crate) fn cut_after(&self, way: Way, bytes: u64) {
        let so_far = self.bytes(way);
        self.orders.send_modify(|orders| orders.after = Some((way, so_far + bytes, At::Cut)));
    }

    /// Holds what comes behind so many more bytes this way, until `resume`.
    pub(crate) fn stall_after(&self, way: Way, bytes: u64) {
        let so_far = self.bytes(way);
        self.orders.send_modify(|orders| orders.after = Some((way, so_far + bytes, At::Stall)));
    }

    /// Cuts (with RST) every connection when it has lived for a random time from this range.
    pub(crate) fn cut_every(&self, life: Range<Duration>, seed: u64) {
        self.orders.send_modify(|orders| orders.every = Some((life, seed)));
    }

    /// Ends `cut_after` and `cut_every`.
    pub(crate) fn spare(&self) {
        self.orders.send_modify(|orders| (orders.every, orders.after) = (None, None));
    }

    /// Passes bytes on one by one from now on.
    pub(crate) fn crumble(&self) {
        self.orders.send_modify(|orders| orders.crumbs = true);
    }

    /// Holds the bytes that go this way.
    pub(crate) fn stall(&self, way: Way) {
        self.orders.send_modify(|orders| orders.stalled.push(way));
    }

    /// Lets the held bytes go on.
    pub(crate) fn resume(&self, way: Way) {
        self.orders.send_modify(|orders| orders.stalled.retain(|stalled| *stalled != way));
    }

    /// Resets every new connection at once, until `accept`.
    pub(crate) fn refuse(&self) {
        self.orders.send_modify(|orders| orders.refuse = true);
    }

    pub(crate) fn accept(&self) {
        self.orders.send_modify(|orders| orders.refuse = false);
    }

    /// Where new connections go.
    pub(crate) fn retarget(&self, port: u16) {
        self.orders.send_modify(|orders| orders.target = port);
    }

    pub(crate) fn traffic(&self) -> Traffic {
        *self.traffic.lock()
    }

    pub(crate) fn bytes(&self, way: Way) -> u64 {
        let traffic = self.traffic();
        match way {
            Way::ToBroker => traffic.bytes_to_broker,
            Way::ToClient => traffic.bytes_to_client,
        }
    }

    #[track_caller]
    pub(crate) fn wait_until(
        &self,
        what: &str,
        deadline: Duration,
        mut shows: impl FnMut(&Traffic) -> bool,
    ) {
        let (traffic, done) = self.traffic.wait(deadline, |traffic| shows(traffic));
        let traffic = *traffic;
        assert!(done, "not within {deadline:?}: {what}; the proxy had {traffic:?}");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders.send_modify(|orders| orders.stop = true);
        if let Some(thread) = self.thread.take() {
            ignore(thread.join(), "its panic was printed");
        }
    }
}

type Shared = (Arc<watch::Sender<Orders>>, Arc<Monitor<Traffic>>);

async fn listen(
    listener: TcpListener,
    orders: Arc<watch::Sender<Orders>>,
    traffic: Arc<Monitor<Traffic>>,
) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut watcher = orders.subscribe();
    let mut tasks = JoinSet::new();
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => accepted,
            stopped = watcher.wait_for(|orders| orders.stop) => {
                ignore(stopped.map(|_| ()), "the proxy is gone");
                return;
            }
            Some(_) = tasks.join_next() => continue,
        };
        let Ok((client, _)) = client else { continue };
        if orders.borrow().refuse {
            ignore(client.set_zero_linger(), "then it ends with FIN");
            continue;
        }
        let shared = (Arc::clone(&orders), Arc::clone(&traffic));
        let number = traffic.change(|traffic| {
            traffic.connections += 1;
            traffic.open += 1;
            traffic.connections as u64
        });
        tasks.spawn(serve(client, number, shared));
    }
}

/// One connection, from accept to its end.
async fn serve(mut client: TcpStream, number: u64, shared: Shared) {
    let target = shared.0.borrow().target;
    let mut how = Cut::Reset;
    if let Ok(mut broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await {
        ignore(client.set_nodelay(true).and(broker.set_nodelay(true)), "only slower");
        how = tokio::select! {
            how = relay(&mut client, &mut broker, &shared) => how,
            how = cut_of(&shared.0, number) => {
                shared.1.change(|traffic| traffic.cuts += 1);
                how
            }
        };
        finish(&mut broker, how).await;
    }
    finish(&mut client, how).await;
    shared.1.change(|traffic| traffic.open -= 1);
}

/// Passes everything on, both ways, until an end comes.
async fn relay(client: &mut TcpStream, broker: &mut TcpStream, shared: &Shared) -> Cut {
    let (client_read, client_write) = client.split();
    let (broker_read, broker_write) = broker.split();
    let to_broker = pin!(pass(client_read, broker_write, Way::ToBroker, shared));
    let to_client = pin!(pass(broker_read, client_write, Way::ToClient, shared));
    let (ended, last_words) = match select(to_broker, to_client).await {
        Either::Left((ended, other)) => (ended, timeout(LAST_WORDS, other).left_future()),
        Either::Right((ended, other)) => (ended, timeout(LAST_WORDS, other).right_future()),
    };
    match ended {
        Ended::Cut => Cut::Reset,
        Ended::HungUp(how) => {
            // What one end said before it hung up still goes to the other.
            ignore(last_words.await, "it has more to say than time");
            how
        }
    }
}

/// How one direction of a connection ended.
#[derive(Clone, Copy, Debug)]
enum Ended {
    /// As ordered.
    Cut,
    /// One of both ends hung up.
    HungUp(Cut),
}

async fn finish(stream: &mut TcpStream, how: Cut) {
    match how {
        Cut::Reset => ignore(stream.set_zero_linger(), "then it ends with FIN"),
        Cut::Close => ignore(stream.shutdown().await, "the other end was faster"),
    }
}

/// Moves bytes one way until an end comes.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    way: Way,
    (orders, traffic): &Shared,
) -> Ended {
    let mut watcher = orders.subscribe();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let most = if orders.borrow().crumbs { 1 } else { buffer.len() };
        let count = match from.read(&mut buffer[..most]).await {
            Ok(0) => {
                ignore(to.shutdown().await, "the other end was faster");
                return Ended::HungUp(Cut::Close);
            }
            Ok(count) => count,
            Err(_) => return Ended::HungUp(Cut::Reset),
        };
        let flows = watcher.wait_for(|orders| !orders.stalled.contains(&way)).await.is_ok();
        let (so_far, last) = traffic.change(|traffic| {
            let total = match way {
                Way::ToBroker => &mut traffic.bytes_to_broker,
                Way::ToClient => &mut traffic.bytes_to_client,
            };
            let so_far = *total;
            *total += count as u64;
            (so_far, stop_here(orders, way, *total))
        });
        let stop =
            last.map_or(count, |(at, _)| usize::try_from(at.saturating_sub(so_far)).unwrap());
        if !flows || to.write_all(&buffer[..stop]).await.is_err() {
            return Ended::HungUp(Cut::Reset);
        }
        match last {
            None => continue,
            Some((_, At::Cut)) => {
                traffic.change(|traffic| traffic.cuts += 1);
                return Ended::Cut;
            }
            Some((_, At::Stall)) => traffic.change(|traffic| traffic.stalls += 1),
        }
        let flows = watcher.wait_for(|orders| !orders.stalled.contains(&way)).await.is_ok();
        if !flows || to.write_all(&buffer[stop..count]).await.is_err() {
            return Ended::HungUp(Cut::Reset);
        }
    }
}

/// The byte to stop at, if it has come; the order is then carried out.
fn stop_here(orders: &watch::Sender<Orders>, way: Way, total: u64) -> Option<(u64, At)> {
    let (_, at, what) = orders.borrow().after.filter(|it| it.0 == way && total >= it.1)?;
    orders.send_modify(|orders| {
        orders.after = None;
        if what == At::Stall {
            orders.stalled.push(way);
        }
    });
    Some((at, what))
}

/// Ends when this connection is to be cut.
async fn cut_of(orders: &watch::Sender<Orders>, number: u64) -> Cut {
    let mut watcher = orders.subscribe();
    let before = watcher.borrow().cuts;
    let born = tokio::time::Instant::now();
    loop {
        let current = watcher.borrow_and_update().clone();
        if current.cuts > before {
            return current.how;
        }
        let random = |seed: u64| Random::new(seed ^ number.wrapping_mul(0x9e37_79b9));
        let life = current.every.map(|(range, seed)| random(seed).duration(range));
        let end = async {
            match life {
                Some(life) => tokio::time::sleep_until(born + life).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = end => return Cut::Reset,
            changed = watcher.changed() => {
                if changed.is_err() {
                    return Cut::Reset;
                }
            }
        }
    }
}
