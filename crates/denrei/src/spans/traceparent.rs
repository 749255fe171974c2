//! The header `traceparent` of W3C Trace Context (section 3.2).

use denrei_hub::span::SpanContext;
use http::{HeaderMap, HeaderName};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What a request is a part of, and whether that is kept. None when it does not say, or in words that cannot be read:
/// section 4.3 has such a header ignored.
pub(super) fn parse(headers: &HeaderMap) -> Option<(SpanContext, bool)> {
    let mut said = headers.get_all(TRACEPARENT).iter();
    let (Some(one), None) = (said.next(), said.next()) else { return None };
    read(one.to_str().ok()?)
}

fn read(text: &str) -> Option<(SpanContext, bool)> {
    let mut fields = text.split('-');
    let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let version = hex(version, 2)?;
    // What versions to come write behind these four is theirs; this one writes nothing.
    if version == 0xff || version == 0 && fields.next().is_some() {
        return None;
    }
    let (high, low) = trace.split_at_checked(16)?;
    let trace = (hex(high, 16)?, hex(low, 16)?);
    let span = hex(parent, 16)?;
    let sampled = hex(flags, 2)? & 1 == 1;
    if trace == (0, 0) || span == 0 {
        return None;
    }
    Some((SpanContext { trace, span }, sampled))
}

/// A number of exactly so many lower case digits.
fn hex(text: &str, digits: usize) -> Option<u64> {
    let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == digits && text.bytes().all(plain)).then(|| u64::from_str_radix(text, 16).ok())?
}

pub(super) fn format(SpanContext { trace: (high, low), span }: SpanContext) -> String {
    format!("00-{high:016x}{low:016x}-{span:016x}-01")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of section 3.2.4.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_written_can_be_read() {
        let (context, sampled) = read(EXAMPLE).expect("it is one");
        assert!(sampled);
        assert_eq!(context.trace, (0x4bf9_2f35_77b3_4da6, 0xa3ce_929d_0e0e_4736));
        assert_eq!(context.span, 0x00f0_67aa_0ba9_02b7);
        assert_eq!(format(context), EXAMPLE);
    }

    #[test]
    fn flags_say_whether_it_is_kept() {
        let kept = |flags: &str| read(&EXAMPLE.replace("-01", flags)).map(|(_, sampled)| sampled);
        assert_eq!([kept("-00"), kept("-03"), kept("-0e")], [Some(false), Some(true), Some(false)]);
    }

    #[test]
    fn a_later_version_may_say_more() {
        assert!(read(&EXAMPLE.replacen("00", "cc", 1)).is_some());
        let more = format!("{}-what-the-future-will-be-like", EXAMPLE.replacen("00", "cc", 1));
        assert!(read(&more).is_some());
        assert_eq!(read(&format!("{EXAMPLE}-more")), None);
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        let zeros = "0".repeat(32);
        for text in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            &format!("00-{zeros}-00f067aa0ba902b7-01"),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-äää92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn said_twice_is_said_by_nobody() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, EXAMPLE.parse().unwrap());
        assert!(parse(&headers).is_some());
        headers.append(TRACEPARENT, EXAMPLE.parse().unwrap());
        assert_eq!(parse(&headers), None);
    }
}
