//! Tests of MQTT inside WebSocket.

use super::*;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, WebSocket as Library};

/// Frames as a server sends them.
fn frames(frames: &[(OpCode, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (opcode, payload) in frames {
        let header = FrameHeader { opcode: *opcode, ..FrameHeader::default() };
        header.format(payload.len() as u64, &mut bytes).unwrap();
        bytes.extend_from_slice(payload);
    }
    bytes
}

/// All that is read from `bytes`, sent in pieces, and what was answered.
async fn unpacked(bytes: Vec<u8>, piece: usize, read: usize) -> (io::Result<Vec<u8>>, Vec<u8>) {
    let (ours, mut theirs) = duplex(1 << 20);
    let mut socket = WebSocket::new(ours);
    let sending = async {
        for piece in bytes.chunks(piece) {
            theirs.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        theirs.shutdown().await.unwrap();
    };
    let reading = async {
        let (mut all, mut space) = (Vec::new(), vec![0; read]);
        loop {
            match socket.read(&mut space).await {
                Ok(0) => return Ok(all),
                Ok(came) => all.extend_from_slice(&space[..came]),
                Err(error) => return Err(error),
            }
        }
    };
    let ((), all) = tokio::join!(sending, reading);
    drop(socket);
    let mut answered = Vec::new();
    theirs.read_to_end(&mut answered).await.unwrap();
    (all, answered)
}

const BINARY: OpCode = OpCode::Data(Data::Binary);

#[tokio::test]
async fn a_ping_is_answered_and_a_close_is_the_end() {
    let control = OpCode::Control;
    let bytes = frames(&[
        (BINARY, b"ab"),
        (control(Control::Ping), b"are you there?"),
        (BINARY, b""),
        (control(Control::Pong), b"x"),
        (BINARY, b"cd"),
        (control(Control::Close), b""),
        (BINARY, b"unheard"),
    ]);
    let (all, answered) = unpacked(bytes, 3, 100).await;
    assert_eq!(all.unwrap(), b"abcd");
    let mut library = Library::from_raw_socket(Cursor::new(answered), Role::Server, None);
    assert_eq!(library.read().unwrap(), Message::Pong("are you there?".into()));
}

#[tokio::test]
async fn what_is_no_binary_stream_is_an_error() {
    for (opcode, payload) in [
        (OpCode::Data(Data::Text), &b"text"[..]),
        (OpCode::Control(Control::Ping), &[0; 126]),
        (OpCode::Data(Data::Reserved(3)), b""),
    ] {
        let (all, _) = unpacked(frames(&[(opcode, payload)]), 1000, 100).await;
        assert!(all.is_err(), "{opcode}");
    }
}

/// A peer that sends bytes in pieces, then ends. It reads nothing if it `is_deaf`.
struct Peer<'a> {
    bytes: &'a [u8],
    rng: SmallRng,
    is_deaf: bool,
}

impl AsyncRead for Peer<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let piece = [1, 9, 3000, 40_000][self.rng.random_range(0..4)];
        let (now, rest) = self.bytes.split_at(piece.min(self.bytes.len()).min(to.remaining()));
        to.put_slice(now);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_deaf { Poll::Pending } else { Poll::Ready(Ok(bytes.len())) }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What is read from any bytes, and whether it ends without an error. The buffer and one answer are held.
fn digested(bytes: &[u8], is_deaf: bool, rng: &mut SmallRng) -> (Vec<u8>, bool) {
    let rng = SmallRng::seed_from_u64(rng.random());
    let mut socket = WebSocket::new(Peer { bytes, rng, is_deaf });
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    let (mut all, mut space) = (Vec::new(), vec![0; 5000]);
    loop {
        let mut to = ReadBuf::new(&mut space);
        let polled = Pin::new(&mut socket).poll_read(cx, &mut to);
        all.extend_from_slice(to.filled());
        assert_eq!(socket.inbound.len(), WEBSOCKET_BUFFER_BYTES);
        assert!(socket.outbound.len() <= 125 + 6, "one answer waits");
        match polled {
            Poll::Ready(Ok(())) if to.filled().is_empty() => return (all, true),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return (all, false),
            Poll::Pending => panic!("nobody would wake it"),
        }
    }
}

#[test]
fn any_frames_give_the_same_bytes_in_any_pieces_within_the_same_memory() {
    let (control, long) = (OpCode::Control, vec![9; 70_000]);
    let all: [(OpCode, &[u8]); 9] = [
        (BINARY, b"abc"),
        (control(Control::Ping), &[7; 125]),
        (OpCode::Data(Data::Continue), &[8; 300]),
        (control(Control::Ping), b""),
        (BINARY, &long),
        (control(Control::Pong), b"x"),
        (BINARY, b""),
        (control(Control::Close), b"\x03\xe8"),
        (OpCode::Data(Data::Text), b"text"),
    ];
    let mut samples: Vec<Vec<u8>> = all.iter().map(|it| frames(&[*it])).collect();
    samples.extend([
        frames(&all[..7]),
        frames(&all),
        b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xffrest".to_vec(),
    ]);
    crate::fuzz::fuzz(10_000, &samples, |bytes, rng| {
        let (whole, is_well) = digested(bytes, false, rng);
        assert!(whole.len() <= bytes.len());
        let (again, again_well) = digested(bytes, true, rng);
        assert_eq!(again_well, is_well);
        // Bytes before an error may not have been handed out.
        assert!(whole == again || !is_well, "{} and {} bytes", whole.len(), again.len());
    });
}

proptest! {
    #[test]
    fn the_bytes_inside_come_out_whatever_the_frames_and_pieces(
        payloads in prop::collection::vec((0_usize..70_000, any::<u8>()), 1..6),
        piece in 1_usize..40_000,
        read in 1_usize..40_000,
    ) {
        let payloads: Vec<Vec<u8>> =
            payloads.iter().map(|(length, byte)| vec![*byte; *length]).collect();
        let sent: Vec<_> = payloads.iter().map(|it| (BINARY, it.as_slice())).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (all, _) = runtime.block_on(unpacked(frames(&sent), piece, read));
        prop_assert_eq!(all.unwrap(), payloads.concat());
    }

    #[test]
    fn a_server_reads_what_we_write(bytes in prop::collection::vec(any::<u8>(), 1..70_000)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let wire = runtime.block_on(async {
            let (ours, mut theirs) = duplex(1 << 20);
            let mut socket = WebSocket::new(ours);
            socket.write_all(&bytes).await.unwrap();
            socket.flush().await.unwrap();
            drop(socket);
            let mut wire = Vec::new();
            theirs.read_to_end(&mut wire).await.unwrap();
            wire
        });
        let mut library = Library::from_raw_socket(Cursor::new(wire), Role::Server, None);
        let mut read = Vec::new();
        while let Ok(message) = library.read() {
            read.extend_from_slice(&message.into_data());
        }
        prop_assert_eq!(read, bytes);
    }
}
