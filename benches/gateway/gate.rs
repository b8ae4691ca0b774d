//! A way to a broker that can be closed: nobody listens there, or who connects is hung up at once,
//! as by a load balancer with nothing behind it. The broker, and who else is with it, live on.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a connection may wait before it is taken.
const NAP: Duration = Duration::from_millis(1);

/// What becomes of who connects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Is led to the broker.
    Open,
    /// Is taken, and hung up.
    HungUp,
    /// Is refused.
    Refused,
}

/// The gate; it is gone when dropped.
pub(crate) struct Gate {
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    /// Its end ends the gate.
    ways: Option<Sender<Way>>,
    thread: Option<JoinHandle<()>>,
}

impl Gate {
    /// An open one before this port.
    pub(crate) fn before(broker: u16) -> Self {
        let listener = listen(0);
        let port = listener.local_addr().unwrap().port();
        let keeper = Keeper { broker, port, listener: Some(listener), led: Vec::new() };
        let (ways, ordered) = channel();
        let thread = Some(thread::spawn(move || keeper.keep(&ordered)));
        Self { port, ways: Some(ways), thread }
    }

    /// Changes the way. Unless it is open, connections that stand are cut.
    pub(crate) fn set(&self, way: Way) -> Instant {
        self.ways.as_ref().unwrap().send(way).unwrap();
        Instant::now()
    }

    /// The setting that names it.
    pub(crate) fn url(&self) -> String {
        format!("url = \"mqtt://127.0.0.1:{}\"", self.port)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.ways = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Keeper {
    broker: u16,
    port: u16,
    listener: Option<TcpListener>,
    led: Vec<TcpStream>,
}

impl Keeper {
    fn keep(mut self, ordered: &Receiver<Way>) {
        let mut way = Way::Open;
        loop {
            match way {
                Way::Refused => self.listener = None,
                Way::HungUp => drop(self.taken()),
                Way::Open => self.lead(),
            }
            match ordered.recv_timeout(NAP) {
                Ok(other) => way = other,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return self.cut(),
            }
            if way != Way::Open {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        // Errors: it has ended by itself.
        self.led.drain(..).for_each(|it| drop(it.shutdown(Shutdown::Both)));
    }

    fn taken(&mut self) -> io::Result<TcpStream> {
        let (client, _) = self.listener.get_or_insert_with(|| listen(self.port)).accept()?;
        client.set_nonblocking(false)?;
        Ok(client)
    }

    fn lead(&mut self) {
        let Ok(client) = self.taken() else { return };
        let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, self.broker)).unwrap();
        for stream in [&client, &broker] {
            stream.set_nodelay(true).unwrap();
            self.led.push(stream.try_clone().unwrap());
        }
        let [to_broker, to_client] = [&broker, &client].map(|it| it.try_clone().unwrap());
        thread::spawn(move || carry(client, to_broker));
        thread::spawn(move || carry(broker, to_client));
    }
}

fn listen(port: u16) -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(some @ 1..) = from.read(&mut buffer)
        && to.write_all(&buffer[..some]).is_ok()
    {}
    // Errors: it has ended by itself.
    drop(to.shutdown(Shutdown::Both));
}
