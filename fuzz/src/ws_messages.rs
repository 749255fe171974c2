//! Messages of a client that keeps to the protocol.

use denrei_proto::ws::{Decoder, Event, Limits, Negotiated, Opcode, deflated, testing::masked};

/// `d` for a connection with permessage-deflate. Then per message: what it is (below), how many bytes of the input its
/// content takes, how often they are repeated, where it is cut into fragments, the content.
pub fn run(data: &[u8]) {
    let Some((&deflate, mut rest)) = data.split_first() else { return };
    let deflate = deflate == b'd';
    let (mut stream, mut expected, mut total) = (Vec::new(), Vec::new(), 0);
    while let Some((&[what, len, times, cut], behind)) = rest.split_first_chunk() {
        let (content, behind) = behind.split_at(usize::from(len).min(behind.len()));
        rest = behind;
        let content = content.repeat(1 + usize::from(times));
        total += content.len();
        if total > MOST {
            break;
        }
        let message = match what & 3 {
            0 => Sent::Text(String::from_utf8_lossy(&content).into_owned()),
            1 => Sent::Binary(content),
            2 => Sent::Ping(content[..content.len().min(125)].to_vec()),
            _ => Sent::Pong(content[..content.len().min(125)].to_vec()),
        };
        message.write(deflate && what & 4 != 0, cut, what, &mut stream);
        expected.push(message);
    }

    let agreed = Negotiated { client_no_context_takeover: true, server_max_window_bits: 15 };
    let mut decoder = Decoder::new(Limits::default(), deflate.then_some(agreed));
    let (mut rest, mut got) = (&mut stream[..], Vec::new());
    loop {
        let (used, event) = decoder.decode(rest).expect("the client keeps to the protocol");
        let Some(event) = event else { break };
        match event {
            Event::Text(text) => got.push(Sent::Text(text.into())),
            Event::Binary(data) => got.push(Sent::Binary(data.into())),
            // These stand between fragments too.
            Event::Ping(data) if data != BETWEEN => got.push(Sent::Ping(data.into())),
            Event::Ping(_) => {}
            Event::Pong(data) => got.push(Sent::Pong(data.into())),
            Event::Close(_) => panic!("nobody closes"),
        }
        rest = &mut rest[used..];
    }
    assert!(!decoder.is_mid_message());
    expected.retain(|sent| *sent != Sent::Ping(BETWEEN.into()));
    assert!(got == expected, "messages are lost or changed");
}

/// Bytes of all messages: some are longer than 64 KiB, and there are many inputs in a second.
const MOST: usize = 80_000;

const BETWEEN: &[u8] = b"between";

#[derive(PartialEq, Eq)]
enum Sent {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

impl Sent {
    fn write(&self, compressed: bool, cut: u8, seed: u8, stream: &mut Vec<u8>) {
        let key = [seed, cut, 0x55, 0];
        let (opcode, content) = match self {
            Sent::Text(text) => (Opcode::Text, text.as_bytes()),
            Sent::Binary(data) => (Opcode::Binary, &data[..]),
            Sent::Ping(data) => return stream.extend(masked(0x89, key, data)),
            Sent::Pong(data) => return stream.extend(masked(0x8A, key, data)),
        };
        // A thread keeps four compressors, and to make one takes longer than all else here.
        let (level, window) = [(1, 9), (3, 15), (6, 15), (9, 12)][usize::from(seed >> 6)];
        let frame = if compressed { deflated(opcode, content, level, window) } else { None };
        let (rsv1, payload) = match &frame {
            Some(frame) => (0x40, &frame[[2, 4, 10][usize::from(frame[1]).saturating_sub(125)]..]),
            None => (0, content),
        };
        let size = if cut == 0 { usize::MAX } else { usize::from(cut) * 16 };
        let mut pieces = payload.chunks(size.max(payload.len() / 500)).peekable();
        let mut first = opcode as u8 | rsv1;
        loop {
            let piece = pieces.next().unwrap_or_default();
            let last = pieces.peek().is_none();
            stream.extend(masked(first | if last { 0x80 } else { 0 }, key, piece));
            if last {
                return;
            }
            first = 0;
            stream.extend(masked(0x89, key, BETWEEN));
        }
    }
}
