//! Compressing what the server sends, RFC 7692 §7.2.1: once per message, shared by its readers.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};

use super::Opcode;
use super::encode::{Coding, coded};

/// What a flush ends with and RFC 7692 §7.2.1 cuts off.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// Contexts of up to 380,032 bytes that a thread keeps: one per level and window in use, which is one in practice.
const POOLED: usize = 4;
/// Output space that a thread keeps.
const MAX_SCRATCH: usize = 64 * 1024;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { contexts: Vec::new(), scratch: Vec::new() }) };
}

struct Pool {
    contexts: Vec<Context>,
    scratch: Vec<u8>,
}

struct Context {
    level: u32,
    window_bits: u8,
    compress: Compress,
}

/// One compressed frame, made without context, or `None` if it would not be smaller than the payload.
///
/// Every reader may have it for which [`Negotiated::accepts_shared`](super::Negotiated::accepts_shared) holds; the others get the plain
/// [`frame`](super::frame). `level` is 1 to 9 (0 is none), `window_bits` 9 to 15; with a window of 8, which zlib does
/// not know, only payloads of at most 256 bytes are compressed.
pub fn deflated(opcode: Opcode, payload: &[u8], level: u32, window_bits: u8) -> Option<Bytes> {
    // What is only stored is never smaller, and zlib-rs 0.6.8 panics over some of it.
    if level == 0 {
        return None;
    }
    // A message refers back into itself only. If all of it fits the window, any window does, and a thread needs
    // but one context for all of them.
    let window_bits = match window_bits.min(15) {
        bits if payload.len() <= 1 << bits => 15,
        bits if bits >= 9 => bits,
        _ => return None,
    };
    let level = level.min(9);
    // A thread that is ending has no pool: its last messages go out as they are.
    POOL.try_with(|pool| {
        let Pool { contexts, scratch } = &mut *pool.borrow_mut();
        let context = context(contexts, level, window_bits);
        if scratch.len() < payload.len() + TAIL.len() {
            scratch.resize(payload.len() + TAIL.len(), 0);
        }
        let out = &mut scratch[..payload.len() + TAIL.len()];
        context.reset();
        let status = context.compress(payload, out, FlushCompress::Sync);
        let (consumed, produced) = (context.total_in(), context.total_out() as usize);
        // With the output full there may be more to come; then it is not smaller.
        let done = matches!(status, Ok(Status::Ok)) && consumed == payload.len() as u64 && produced < out.len();
        let frame = out[..produced]
            .strip_suffix(&TAIL)
            .filter(|body| done && body.len() < payload.len())
            .map(|body| coded(opcode, Coding::Deflated, body));
        if scratch.len() > MAX_SCRATCH {
            *scratch = Vec::new();
        }
        frame
    })
    .ok()
    .flatten()
}

/// The thread's context of this kind; the oldest makes room if there are too many kinds.
fn context(contexts: &mut Vec<Context>, level: u32, window_bits: u8) -> &mut Compress {
    let index = contexts.iter().position(|c| c.level == level && c.window_bits == window_bits).unwrap_or_else(|| {
        if contexts.len() >= POOLED {
            contexts.remove(0);
        }
        let compress = Compress::new_with_window_bits(Compression::new(level), false, window_bits);
        contexts.push(Context { level, window_bits, compress });
        contexts.len() - 1
    });
    &mut contexts[index].compress
}
