//! Which requests and messages are followed, for OpenTelemetry: those whose sender says so (W3C `traceparent`), and some
//! others by chance; never more of them in a second than may be. What is told of them is [`denrei_hub::span`]'s.

mod traceparent;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use axum::extract::Request;
use denrei_hub::random_number;
use denrei_hub::span::{Span, SpanContext, SpanKind, Spans, Trail};
use http::{HeaderValue, Method};

pub(crate) use self::traceparent::TRACEPARENT;
use self::traceparent::{Said, format, parse};

/// How many traces there are.
#[derive(Clone, Debug)]
pub struct SpansConfig {
    /// The part of the publishes without a `traceparent` that are followed: 0 to 1. Default 1.
    pub sample: f64,
    /// Traces in a second, on this node, whoever wants them. Default 100.
    pub per_second: u32,
}

impl Default for SpansConfig {
    fn default() -> Self {
        Self { sample: 1.0, per_second: 100 }
    }
}

tokio::task_local! {
    /// What the request that the task answers is followed as.
    static ASKED: Option<SpanContext>;
}

/// Decides what is followed.
pub(crate) struct Sampler {
    config: SpansConfig,
    /// None: nothing is.
    spans: Option<Arc<dyn Spans>>,
    started: Instant,
    /// The present second, and the traces that have begun in it: in one number, to be changed at once.
    begun: AtomicU64,
}

/// A request that is followed.
pub(crate) struct Asked {
    context: SpanContext,
    parent: u64,
    begun: SystemTime,
    method: &'static str,
    path: String,
}

impl Sampler {
    pub(crate) fn new(config: SpansConfig, spans: Option<Arc<dyn Spans>>) -> Self {
        Self { config, spans, started: Instant::now(), begun: AtomicU64::new(0) }
    }

    /// Whether anything is followed at all.
    pub(crate) fn is_on(&self) -> bool {
        self.spans.is_some()
    }

    /// Whether what is published now is followed: as a part of the request that the task answers, or by chance.
    pub(crate) fn follow(&self) -> Option<Box<Trail>> {
        self.spans.as_ref()?;
        let context = ASKED.try_with(|asked| *asked).unwrap_or_else(|_| self.begin());
        context.map(Trail::new)
    }

    /// Whether a request is followed. What it is handed on with says so, too.
    pub(crate) fn ask(&self, request: &mut Request) -> Option<Asked> {
        self.spans.as_ref()?;
        let parent = match parse(request.headers()) {
            Said::Follow(context) => self.place().then_some(context),
            Said::Leave => None,
            // Who only looks for something new, and perhaps waits for long, is followed on request.
            Said::Nothing if is_change(request) => self.begin(),
            Said::Nothing => None,
        }?;
        let context = parent.child();
        let header = HeaderValue::from_str(&format(context)).ok()?;
        request.headers_mut().insert(TRACEPARENT, header);
        Some(Asked {
            context,
            parent: parent.span,
            begun: SystemTime::now(),
            method: method(request.method()),
            path: request.uri().path().to_owned(),
        })
    }

    /// What is published while a request is answered is a part of it.
    pub(crate) async fn within<T>(&self, asked: Option<&Asked>, answering: impl Future<Output = T>) -> T {
        if self.is_on() { ASKED.scope(asked.map(|asked| asked.context), answering).await } else { answering.await }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, asked: Asked, route: &str, status: u16, name: &str) {
        let (Some(spans), Asked { context, parent, begun, method, path }) = (&self.spans, asked) else { return };
        let failed = status >= 500;
        let mut attributes = vec![
            ("http.request.method", method.into()),
            ("http.route", route.to_owned().into()),
            ("http.response.status_code", u64::from(status).into()),
            ("url.path", path.into()),
            ("denrei.request.id", name.to_owned().into()),
        ];
        if failed {
            attributes.push(("error.type", status.to_string().into()));
        }
        spans.ended(Span {
            context,
            parent,
            remote: parent != 0,
            name: format!("{method} {route}").into(),
            kind: SpanKind::Server,
            begun,
            ended: SystemTime::now(),
            attributes,
            error: failed.then(|| "the server could not answer".into()),
        });
    }

    /// A trace begins here, by chance.
    fn begin(&self) -> Option<SpanContext> {
        let chosen = self.config.sample >= 1.0 || (random_number() as f64) < self.config.sample * u64::MAX as f64;
        (chosen && self.place()).then(SpanContext::root)
    }

    /// Whether there may be one more trace in this second.
    fn place(&self) -> bool {
        self.place_in(self.started.elapsed().as_secs())
    }

    fn place_in(&self, second: u64) -> bool {
        let next = |begun: u64| {
            let count = if begun >> 32 == second & 0xffff_ffff { begun & 0xffff_ffff } else { 0 };
            (count < u64::from(self.config.per_second)).then_some((second << 32) | (count + 1))
        };
        self.begun.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// Whether a request changes something of the application's.
fn is_change(request: &Request) -> bool {
    !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && request.uri().path().starts_with("/api/")
}

/// A closed set, as the semantic conventions want it.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Spans for Nobody {
        fn ended(&self, _: Span) {}
    }

    fn sampler(sample: f64, per_second: u32) -> Sampler {
        Sampler::new(SpansConfig { sample, per_second }, Some(Arc::new(Nobody)))
    }

    #[test]
    fn a_second_has_as_many_traces_as_it_may() {
        let sampler = sampler(1.0, 3);
        let begun = |second| (0..10).filter(|_| sampler.place_in(second)).count();
        assert_eq!((begun(0), begun(0), begun(1), begun(7)), (3, 0, 3, 3));
    }

    #[test]
    fn chance_is_what_was_said() {
        let chosen = |sample| {
            let sampler = sampler(sample, u32::MAX);
            (0..10_000).filter(|_| sampler.follow().is_some()).count()
        };
        assert_eq!((chosen(0.0), chosen(1.0)), (0, 10_000));
        // A thousand, and twelve standard deviations around it.
        assert!((640..1360).contains(&chosen(0.1)));
    }

    #[test]
    fn nobody_who_is_told_means_nothing_that_is_followed() {
        let sampler = Sampler::new(SpansConfig::default(), None);
        assert!(sampler.follow().is_none());
    }
}
