//! The port of a broker that is away: nobody listens on it, and nobody else gets it.
//!
//! The tests of one run share the ports of 127.0.0.1. A gateway goes on asking for its broker while that is
//! away: it must not find the broker of another test there.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// A socket that is bound and does not listen: connections are refused.
#[derive(Debug)]
pub(crate) struct HeldPort(TcpSocket);

impl HeldPort {
    /// Holds a port of 127.0.0.1 that nobody listens on any more; `None` where another has it already.
    pub(crate) fn new(port: u16) -> Option<Self> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.set_reuseaddr(true).ok()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).ok()?;
        Some(Self(socket))
    }

    /// Listens on it. Runs in a runtime.
    pub(crate) fn listen(self) -> io::Result<TcpListener> {
        self.0.listen(1024)
    }
}
