//! MQTT inside WebSocket (MQTT 5 §6, RFC 6455): a byte stream in binary frames.
//!
//! tungstenite does the handshake and the frame headers. The content of a frame is handed on as it arrives: the
//! library would collect whole frames first, and the peer would choose how much memory that takes. Here it is
//! [`WEBSOCKET_BUFFER_BYTES`] for each direction.
//!
//! - Frame borders mean nothing: MQTT packets may share a frame or be cut by one (MQTT 5 §6).
//! - A ping is answered with the next bytes that are read or written. Of several pings only the latest is
//!   answered (RFC 6455 §5.5.3). A close, and any frame that is not binary, ends the stream.

use std::io::{self, Cursor};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::{self, ClientRequestBuilder};

/// Bytes that a connection inside WebSocket reads ahead, and the longest frame that it sends. Frames of any length are read.
pub(super) const WEBSOCKET_BUFFER_BYTES: usize = 16 * 1024;

/// The longest payload of a ping or close (RFC 6455 §5.5).
const CONTROL_BYTES_MAX: u64 = 125;

/// Does the handshake over `stream` and returns the byte stream inside.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    address: &str,
) -> io::Result<WebSocket<S>> {
    let uri: Uri = address.parse().map_err(io::Error::other)?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol("mqtt");
    let (socket, _) = client_async(request, stream).await.map_err(|error| {
        let text = format!(
            "no MQTT over WebSocket there ({error}): name the broker's port and path for WebSocket, or write \
             mqtt:// (mqtts://) if the port is for MQTT itself"
        );
        // An answer without a handshake: the peer is not a broker with WebSocket.
        let answered =
            matches!(&error, tungstenite::Error::Http(it) if it.status().is_client_error());
        let kind = if answered { io::ErrorKind::InvalidData } else { io::ErrorKind::Other };
        io::Error::new(kind, text)
    })?;
    // The library has read nothing ahead: the broker sends only after CONNECT.
    Ok(WebSocket::new(socket.into_inner()))
}

/// What the next bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Header,
    /// This many bytes of a binary frame are left.
    Payload(u64),
    /// A control frame with this many bytes.
    Control(Control, usize),
}

#[derive(Debug)]
pub(super) struct WebSocket<S> {
    stream: S,
    inbound: Box<[u8]>,
    /// The bytes in `inbound` that have arrived and are not handed out.
    filled: Range<usize>,
    part: Part,
    outbound: BytesMut,
    closed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    fn new(stream: S) -> Self {
        let (inbound, outbound) =
            (vec![0; WEBSOCKET_BUFFER_BYTES].into_boxed_slice(), BytesMut::new());
        Self { stream, inbound, filled: 0..0, part: Part::Header, outbound, closed: false }
    }

    /// Hands out the content of binary frames, as much as fits.
    fn unpack(&mut self, to: &mut ReadBuf<'_>) -> io::Result<()> {
        while !self.closed && self.step(to)? {}
        Ok(())
    }

    /// Handles one part, or a piece of it. False if it needs more bytes, or more room.
    fn step(&mut self, to: &mut ReadBuf<'_>) -> io::Result<bool> {
        let came = self.inbound.get(self.filled.clone()).expect("what has arrived lies in it");
        let (used, part) = match self.part {
            Part::Header => {
                let Some((part, length)) = header(came)? else { return Ok(false) };
                (length, part)
            }
            Part::Payload(0) => (0, Part::Header),
            Part::Payload(left) => {
                let fits = came.len().min(to.remaining());
                let now = usize::try_from(left).map_or(fits, |left| left.min(fits));
                if now == 0 {
                    return Ok(false);
                }
                to.put_slice(came.get(..now).expect("no more than has arrived"));
                (now, Part::Payload(left - now as u64))
            }
            Part::Control(control, bytes) => {
                let Some(payload) = came.get(..bytes) else { return Ok(false) };
                let payload = payload.to_vec();
                self.control(control, &payload)?;
                (bytes, Part::Header)
            }
        };
        self.filled.start += used;
        self.part = part;
        Ok(true)
    }

    fn control(&mut self, control: Control, payload: &[u8]) -> io::Result<()> {
        match control {
            // A waiting answer also answers the earlier ping.
            Control::Ping if self.outbound.is_empty() => {
                self.frame(OpCode::Control(Control::Pong), payload)
            }
            Control::Close => {
                self.closed = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn frame(&mut self, opcode: OpCode, payload: &[u8]) -> io::Result<()> {
        // The mask must not follow from a seed: then nobody can make a client write bytes that a cache on the
        // way would understand (RFC 6455 §10.3).
        let mask: [u8; 4] = rand::random();
        let header = FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() };
        let writer = &mut (&mut self.outbound).writer();
        header.format(payload.len() as u64, writer).map_err(io::Error::other)?;
        self.outbound.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        Ok(())
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbound.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.outbound))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbound.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// The frame header at the start of `bytes`, and its length; `None` if it is not complete.
fn header(bytes: &[u8]) -> io::Result<Option<(Part, usize)>> {
    let mut cursor = Cursor::new(bytes);
    let Some((header, payload)) = FrameHeader::parse(&mut cursor).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let length = usize::try_from(cursor.position()).map_err(io::Error::other)?;
    if header.mask.is_some() || header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(broken("a WebSocket frame that is masked or of an unknown extension"));
    }
    let part = match header.opcode {
        OpCode::Data(Data::Binary | Data::Continue) => Part::Payload(payload),
        OpCode::Control(control) if payload <= CONTROL_BYTES_MAX => {
            Part::Control(control, usize::try_from(payload).map_err(io::Error::other)?)
        }
        other => return Err(broken(&format!("a WebSocket frame of type {other}"))),
    };
    Ok(Some((part, length)))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = to.filled().len();
        loop {
            this.unpack(to)?;
            if let Poll::Ready(answered) = this.poll_write_out(cx) {
                answered?;
            }
            if this.closed || to.filled().len() > before || to.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            // A piece of a header or of a control frame is left: there is room behind it.
            let left = this.filled.len();
            this.inbound.copy_within(this.filled.clone(), 0);
            this.filled = 0..left;
            let space = this.inbound.get_mut(left..).expect("what has arrived lies in it");
            let mut space = ReadBuf::new(space);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut space))?;
            let came = space.filled().len();
            this.filled = 0..left + came;
            if came == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_write_out(cx))?;
        let now = bytes.get(..WEBSOCKET_BUFFER_BYTES).unwrap_or(bytes);
        this.frame(OpCode::Data(Data::Binary), now)?;
        if let Poll::Ready(written) = this.poll_write_out(cx) {
            written?;
        }
        Poll::Ready(Ok(now.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_out(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
