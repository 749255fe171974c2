//! Opening compressed messages, RFC 7692 §7.2.2, in bounded steps.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};

use super::Violation;

/// What a sender cut off the end of each message (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// An empty last block: it ends the stream if the message ended between two blocks, and hardly ever otherwise.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];
/// The most that comes out of one step, and so the most that is zeroed in vain.
const MAX_STEP: usize = 16 * 1024;
/// Contexts of 47,552 bytes that a thread keeps for its next compressed messages.
const POOLED: usize = 8;

thread_local! {
    #[expect(clippy::vec_box, reason = "the box moves between pool and decoder, its content stays")]
    static POOL: RefCell<Vec<Box<Inflater>>> = const { RefCell::new(Vec::new()) };
}

/// What an inflate context remembers from one message to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// `client_no_context_takeover`: each message stands alone.
    Nothing,
    /// The window (RFC 7692 §7.2.2).
    Context,
}

/// A connection's agreement to inflate, and its context while it needs one.
#[derive(Debug)]
pub(super) struct Inflation {
    keep: Keep,
    context: Option<Box<Inflater>>,
}

impl Inflation {
    pub(super) fn new(keep: Keep) -> Self {
        Inflation { keep, context: None }
    }

    /// Inflates one piece of a message to the end of `out`, which never grows beyond `limit` + 1 bytes.
    pub(super) fn piece(&mut self, piece: &[u8], last: bool, out: &mut Vec<u8>, limit: usize) -> Result<(), Violation> {
        let context = self.context.get_or_insert_with(Inflater::take);
        context.feed(piece, out, limit)?;
        if last {
            context.finish(self.keep, out, limit)?;
            if self.keep == Keep::Nothing
                && let Some(context) = self.context.take()
            {
                context.give_back();
            }
        }
        Ok(())
    }
}

/// An inflate context and whether the message has fed it since the last stream or message ended.
///
/// The window is always of 15 bits: it reads what was written with any smaller one, and a smaller one would
/// save nothing (zlib-rs allocates the same).
#[derive(Debug)]
struct Inflater {
    context: Decompress,
    unfinished: bool,
}

impl Inflater {
    /// A context that remembers nothing, from the thread's pool if it has one.
    fn take() -> Box<Inflater> {
        let pooled = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten();
        pooled.unwrap_or_else(|| Box::new(Inflater { context: Decompress::new(false), unfinished: false }))
    }

    /// Gives the context to the pool of this thread, which need not be the one it came from.
    fn give_back(mut self: Box<Inflater>) {
        self.context.reset(false);
        self.unfinished = false;
        // No pool any more means that the thread is ending: the context goes with it.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < POOLED {
                pool.push(self);
            }
        });
    }

    fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Violation> {
        if input.is_empty() {
            return Ok(());
        }
        let mut step = input.len().saturating_mul(4).clamp(64, MAX_STEP);
        loop {
            self.unfinished = true;
            let start = out.len();
            // One byte more than allowed, to see whether there is one. `out` never holds more than `limit`
            // here, so there is room for one byte at least and each round makes progress.
            let room = step.min((limit - start).saturating_add(1));
            reserve(out, room, limit.saturating_add(1));
            out.resize(start + room, 0);

            let (total_in, total_out) = (self.context.total_in(), self.context.total_out());
            let status = self.context.decompress(input, &mut out[start..], FlushDecompress::Sync);
            // Both differences are at most the lengths of the slices handed in.
            let consumed = (self.context.total_in() - total_in) as usize;
            let produced = (self.context.total_out() - total_out) as usize;
            out.truncate(start + produced);
            input = input.get(consumed..).unwrap_or_default();

            if out.len() > limit {
                return Err(Violation::MessageTooBig { len: out.len() as u64, limit });
            }
            match status.map_err(|_| Violation::InvalidDeflate)? {
                // BFINAL (RFC 7692 §7.2.3.4). What follows starts anew: no compressor refers across it.
                Status::StreamEnd => {
                    self.context.reset(false);
                    self.unfinished = false;
                    if input.is_empty() {
                        return Ok(());
                    }
                }
                // The inflater may hold back more than there was room for.
                Status::Ok | Status::BufError if produced == room => step = (step * 2).min(MAX_STEP),
                Status::Ok | Status::BufError if input.is_empty() => return Ok(()),
                Status::Ok | Status::BufError => return Err(Violation::InvalidDeflate),
            }
        }
    }

    /// Ends a message: puts back the tail that its sender cut off.
    ///
    /// A message of no bytes, or one that ended with a last block, needs no tail and is accepted as it is.
    fn finish(&mut self, keep: Keep, out: &mut Vec<u8>, limit: usize) -> Result<(), Violation> {
        if self.unfinished {
            self.feed(&TAIL, out, limit)?;
        }
        // A message cut off inside a block swallows the tail and goes on; only an end to the stream shows it. A
        // context that the next message needs cannot be ended: there the next message shows it.
        if keep == Keep::Nothing && self.unfinished {
            self.feed(&LAST_BLOCK, out, limit)?;
            if self.unfinished {
                return Err(Violation::InvalidDeflate);
            }
        }
        self.unfinished = false;
        Ok(())
    }
}

/// Makes room for `more` bytes and as much again as there will be then, but not past `most`.
pub(super) fn reserve(buffer: &mut Vec<u8>, more: usize, most: usize) {
    let needed = buffer.len() + more;
    if needed > buffer.capacity() {
        let target = needed.saturating_mul(2).min(most).max(needed);
        buffer.reserve_exact(target - buffer.len());
    }
}
