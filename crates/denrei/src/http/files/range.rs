//! `Range` (RFC 9110 §14): one range, or all.

use std::ops::Range;

/// What of a file is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    All,
    Part(Range<u64>),
    /// The range begins behind the end.
    Nothing,
}

/// What a `Range` header asks of a file of so many bytes. What is not understood is as if it were not there (§14.2), and so
/// are several ranges: who asks for a thousand overlapping ones gets the file once.
pub(super) fn asked(header: Option<&str>, bytes: u64) -> Sent {
    let Some(ranges) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else { return Sent::All };
    let Some((first, last)) = ranges.trim().split_once('-') else { return Sent::All };
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than any file has bytes.
        true if !text.is_empty() => Some(text.parse::<u64>().unwrap_or(u64::MAX)),
        _ => None,
    };
    match (first, number(first), last, number(last)) {
        ("", None, _, Some(0)) => Sent::Nothing,
        ("", None, _, Some(_)) if bytes == 0 => Sent::All,
        ("", None, _, Some(count)) => Sent::Part(bytes.saturating_sub(count)..bytes),
        (_, Some(first), _, Some(last)) if last < first => Sent::All,
        (_, Some(first), ..) if first >= bytes && (last.is_empty() || number(last).is_some()) => Sent::Nothing,
        (_, Some(first), "", None) => Sent::Part(first..bytes),
        (_, Some(first), _, Some(last)) => Sent::Part(first..last.saturating_add(1).min(bytes)),
        _ => Sent::All,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_range_is_a_part() {
        assert_eq!(asked(Some("bytes=0-0"), 10), Sent::Part(0..1));
        assert_eq!(asked(Some("bytes=2-"), 10), Sent::Part(2..10));
        assert_eq!(asked(Some("bytes=-3"), 10), Sent::Part(7..10));
        assert_eq!(asked(Some("bytes=-300"), 10), Sent::Part(0..10));
        assert_eq!(asked(Some("bytes=5-99999999999999999999999"), 10), Sent::Part(5..10));
    }

    #[test]
    fn what_begins_behind_the_end_cannot_be_had() {
        for range in ["bytes=10-", "bytes=10-20", "bytes=18446744073709551615-", "bytes=-0"] {
            assert_eq!(asked(Some(range), 10), Sent::Nothing, "{range}");
        }
        assert_eq!(asked(Some("bytes=0-"), 0), Sent::Nothing);
    }

    #[test]
    fn what_is_not_understood_and_several_ranges_are_all() {
        let bomb = format!("bytes={}", "0-,".repeat(1000));
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-2",
            "lines=0-1",
            "bytes=0-1,5-6",
            "bytes=+1-2",
            &bomb,
        ] {
            assert_eq!(asked(Some(range), 10), Sent::All, "{range}");
        }
        assert_eq!(asked(None, 10), Sent::All);
    }

    proptest! {
        #[test]
        fn a_part_is_within_the_file(header in ".{0,40}|bytes=[0-9]{0,22}-[0-9]{0,22}", bytes in 0_u64..100) {
            if let Sent::Part(range) = asked(Some(&header), bytes) {
                prop_assert!(range.start < range.end && range.end <= bytes);
            }
        }
    }
}
