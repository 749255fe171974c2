//! Links that need no token, for some time: what a page puts into an `img`.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::identity::Secret;

/// Which of the bytes of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    Content,
    Thumbnail,
}

impl Part {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Thumbnail => "thumbnail",
        }
    }
}

/// Signs links.
pub(super) struct Links {
    key: ArcSwap<hmac::Key>,
    lasts: u64,
}

impl Links {
    pub(super) fn new(secret: Option<&Secret>, lasts: Duration) -> Self {
        // Without a secret they end with this process.
        let key =
            secret.map_or_else(|| hmac::Key::new(hmac::HMAC_SHA256, denrei_hub::random_token(43).as_bytes()), derived);
        Self { key: ArcSwap::from_pointee(key), lasts: u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX).max(1) }
    }

    /// Goes by another secret from now on: links of the one before are good for nothing.
    pub(super) fn replace(&self, secret: &Secret) {
        self.key.store(Arc::new(derived(secret)));
    }

    /// When a link ends that is made now, in ms since 1970. For half of its time it is always the same one, so that browsers
    /// find what they have; whoever gets it has it for the other half at least.
    pub(super) fn end(&self, now_ms: u64) -> u64 {
        let half = self.lasts.div_ceil(2);
        (now_ms / half).saturating_add(2).saturating_mul(half)
    }

    pub(super) fn link(&self, id: &str, part: Part, expires: u64) -> String {
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&self.key.load(), said(id, part, expires).as_bytes()));
        format!("/api/files/{id}/{}?expires={expires}&signature={signature}", part.as_str())
    }

    /// Whether a link was made here for this, and has not ended.
    pub(super) fn is_good(&self, id: &str, part: Part, expires: &str, signature: &str, now_ms: u64) -> bool {
        let Ok(expires) = expires.parse::<u64>() else { return false };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        // The time is looked at last: that a link has ended is told to nobody who has made it up.
        hmac::verify(&self.key.load(), said(id, part, expires).as_bytes(), &signature).is_ok() && now_ms < expires
    }
}

fn derived(secret: &Secret) -> hmac::Key {
    secret.derived("denrei links of files, version 1")
}

fn said(id: &str, part: Part, expires: u64) -> String {
    format!("{id}\n{}\n{expires}", part.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        Links::new(Some(&Secret::new([7; 32]).expect("it is long enough")), Duration::from_secs(3600))
    }

    fn parts(link: &str) -> (&str, &str) {
        let (_, query) = link.split_once("?expires=").expect("it has an end");
        query.split_once("&signature=").expect("it has a signature")
    }

    #[test]
    fn a_link_is_good_until_its_end_and_on_every_node_with_the_secret() {
        let link = links().link("abc", Part::Content, 10_000);
        let (expires, signature) = parts(&link);
        assert!(links().is_good("abc", Part::Content, expires, signature, 9_999));
        assert!(!links().is_good("abc", Part::Content, expires, signature, 10_000));
    }

    #[test]
    fn a_link_is_good_for_nothing_else() {
        let link = links().link("abc", Part::Thumbnail, 10_000);
        let (expires, signature) = parts(&link);
        assert!(!links().is_good("abd", Part::Thumbnail, expires, signature, 0));
        assert!(!links().is_good("abc", Part::Content, expires, signature, 0));
        assert!(!links().is_good("abc", Part::Thumbnail, "10001", signature, 0));
        assert!(!links().is_good("abc", Part::Thumbnail, expires, &signature[1..], 0));
        assert!(!links().is_good("abc", Part::Thumbnail, expires, "", 0));
        let other = Links::new(None, Duration::from_secs(3600));
        assert!(!other.is_good("abc", Part::Thumbnail, expires, signature, 0));
    }

    #[test]
    fn a_link_is_the_same_for_half_of_its_time_and_good_for_the_other() {
        let (links, half) = (links(), 1_800_000);
        for now in [half * 5, half * 5 + 1, half * 6 - 1] {
            assert_eq!(links.end(now), half * 7);
        }
        assert!(links.end(u64::MAX) > 0);
    }
}
