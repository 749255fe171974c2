//! What the codec costs: `cargo bench -p denrei-proto --bench ws`. The best of several rounds, std only.
#![allow(clippy::print_stdout, missing_docs)]

mod timing;

use std::hint::black_box;

use denrei_proto::ws::{Decoder, Event, Limits, Negotiated, Opcode, deflated, frame, testing};
use timing::{best, best_of, nanos};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

fn main() {
    let line = br#"{"type":"message","room":"lobby","payload":{"text":"hello there"},"timestamp":1762300000000}"#;
    let text: Vec<u8> = line.iter().copied().cycle().take(128).collect();

    for frames in [1, 100] {
        let stream = testing::masked(0x81, KEY, &text).repeat(frames);
        per_item(&format!("decode a text frame of 128 bytes, {frames} in a read"), frames, &stream, plain());
    }
    let whole = testing::masked(0x81, KEY, &text);
    let mut decoder = plain();
    let mut reads = [whole[..70].to_vec(), whole[70..].to_vec()];
    let taken = best(|| {
        for (read, original) in reads.iter_mut().zip([&whole[..70], &whole[70..]]) {
            read.copy_from_slice(original);
            drain(&mut decoder, read);
        }
    });
    println!("{:58} {:8.1} ns", "decode the same in two reads", nanos(taken));

    let message: Vec<u8> = line.iter().copied().cycle().take(2048).collect();
    let small = deflated(Opcode::Text, &message, 3, 15).expect("it repeats itself");
    let stream = testing::masked(0xC1, KEY, &small[if small[1] < 126 { 2 } else { 4 }..]);
    let deflate = Negotiated { client_no_context_takeover: true, server_max_window_bits: 15 };
    let decoder = Decoder::new(Limits::default(), Some(deflate));
    per_item("decode a deflated text of 2 KiB", 1, &stream, decoder);

    let taken = best_of(|| drop(black_box(frame(Opcode::Text, black_box(&text)))));
    println!("{:58} {:8.1} ns", "encode a text frame of 128 bytes", taken);
    let taken = best_of(|| drop(black_box(deflated(Opcode::Text, black_box(&message), 3, 15))));
    println!("{:58} {:8.1} ns", "deflate a text of 2 KiB at level 3", taken);

    for size in [128, 4096, 1 << 20] {
        let mut data = vec![b'x'; size];
        let taken = best_of(|| testing::mask(black_box(&mut data), KEY));
        println!("{:58} {:8.2} GB/s", format!("unmask {size} bytes"), size as f64 / taken);
        let ascii = "The quick brown fox. ".repeat(size / 21 + 1);
        let taken = best_of(|| assert!(simdutf8::basic::from_utf8(black_box(&ascii.as_bytes()[..size])).is_ok()));
        println!("{:58} {:8.2} GB/s", format!("validate {size} bytes of ASCII"), size as f64 / taken);
    }
    for size in [4096, 1 << 20] {
        let text = "伝令 – the runner. ".repeat(size / 24).into_bytes();
        let stream = testing::masked(0x81, KEY, &text);
        let mut read = stream.clone();
        let mut decoder = plain();
        let taken = nanos(best(|| {
            read.copy_from_slice(&stream);
            drain(&mut decoder, &mut read);
        }));
        println!("{:58} {:8.2} GB/s", format!("copy, unmask, validate {size} bytes of text"), size as f64 / taken);
    }
}

fn plain() -> Decoder {
    Decoder::new(Limits::default(), None)
}

/// Prints the time of one frame of a read, without that of making the read.
fn per_item(what: &str, items: usize, stream: &[u8], mut decoder: Decoder) {
    let mut read = stream.to_vec();
    let copy = best(|| black_box(&mut read).copy_from_slice(black_box(stream)));
    let both = best(|| {
        black_box(&mut read).copy_from_slice(black_box(stream));
        assert_eq!(drain(&mut decoder, &mut read), items);
    });
    println!("{what:58} {:8.1} ns", (nanos(both) - nanos(copy)) / items as f64);
}

fn drain(decoder: &mut Decoder, read: &mut [u8]) -> usize {
    let (mut rest, mut events) = (read, 0);
    while let (used, Some(event)) = decoder.decode(rest).expect("frames are in order") {
        assert!(matches!(black_box(event), Event::Text(_)));
        events += 1;
        rest = &mut rest[used..];
    }
    events
}
