//! How far back a deflate stream refers.
//!
//! zlib-rs inflates with 32 KiB of window whatever it was asked for, so it cannot judge whether a frame keeps to a
//! smaller one. This reads RFC 1951 just to look at the distances; it may panic, as its input is our own.

/// The longest distance in a raw stream that ends with a flush.
pub(super) fn longest(payload: &[u8]) -> usize {
    let data = [payload, &[0x00, 0x00, 0xFF, 0xFF]].concat();
    let mut bits = Bits { data: &data, at: 0 };
    let mut longest = 0;
    while bits.at < data.len() * 8 {
        assert_eq!(bits.take(1), 0, "BFINAL");
        match bits.take(2) {
            0 => bits.skip_stored(),
            1 => {
                let lengths: Vec<_> = (0..288).map(fixed_length).collect();
                longest = longest.max(block(&mut bits, &Code::new(&lengths), &Code::new(&[5; 30])));
            }
            2 => {
                let (literals, distances) = dynamic(&mut bits);
                longest = longest.max(block(&mut bits, &literals, &distances));
            }
            _ => panic!("reserved block type"),
        }
    }
    longest
}

struct Bits<'d> {
    data: &'d [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> usize {
        let bit = |at: usize| usize::from(self.data[at / 8] >> (at % 8) & 1);
        let value = (0..count).map(|n| bit(self.at + n) << n).sum();
        self.at += count;
        value
    }

    fn skip_stored(&mut self) {
        self.at = self.at.next_multiple_of(8);
        let len = self.take(16);
        assert_eq!(self.take(16), !len & 0xFFFF);
        self.at += len * 8;
    }
}

/// A canonical Huffman code (RFC 1951 §3.2.2): its symbols by length, then by value.
struct Code {
    count: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize]) -> Code {
        let mut symbols: Vec<_> = (0..lengths.len()).filter(|&symbol| lengths[symbol] > 0).collect();
        symbols.sort_by_key(|&symbol| lengths[symbol]);
        let mut count = [0; 16];
        symbols.iter().for_each(|&symbol| count[lengths[symbol]] += 1);
        Code { count, symbols }
    }

    fn read(&self, bits: &mut Bits<'_>) -> usize {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.count[1..] {
            code |= bits.take(1);
            if code < first + count {
                return self.symbols[index + code - first];
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        panic!("no such code");
    }
}

/// RFC 1951 §3.2.6.
fn fixed_length(symbol: usize) -> usize {
    match symbol {
        144..256 => 9,
        256..280 => 7,
        _ => 8,
    }
}

/// RFC 1951 §3.2.7.
fn dynamic(bits: &mut Bits<'_>) -> (Code, Code) {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let (literals, distances, lengths) = (bits.take(5) + 257, bits.take(5) + 1, bits.take(4) + 4);
    let mut of_lengths = [0; 19];
    for symbol in &ORDER[..lengths] {
        of_lengths[*symbol] = bits.take(3);
    }
    let code = Code::new(&of_lengths);
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (value, times) = match code.read(bits) {
            16 => (lengths[lengths.len() - 1], 3 + bits.take(2)),
            17 => (0, 3 + bits.take(3)),
            18 => (0, 11 + bits.take(7)),
            length => (length, 1),
        };
        lengths.extend(std::iter::repeat_n(value, times));
    }
    (Code::new(&lengths[..literals]), Code::new(&lengths[literals..]))
}

/// RFC 1951 §3.2.5.
fn block(bits: &mut Bits<'_>, literals: &Code, distances: &Code) -> usize {
    let mut longest = 0;
    loop {
        match literals.read(bits) {
            0..256 => continue,
            256 => return longest,
            // A length; only how many bits it has behind it is of interest.
            symbol @ 265..285 => drop(bits.take((symbol - 261) / 4)),
            _ => {}
        }
        let symbol = distances.read(bits);
        let extra = (symbol / 2).saturating_sub(1);
        let base = if symbol < 4 { symbol + 1 } else { ((2 + symbol % 2) << extra) + 1 };
        longest = longest.max(base + bits.take(extra));
    }
}
