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
use self::traceparent::{format, parse};

/// How many traces there are.
#[derive(Clone, Debug)]
pub struct SpansConfig {
    /// The part of the publishes without a `traceparent` that are followed: 0 to 1. Default 1.
    pub sample: f64,
    /// Whether a `traceparent` says that a request is followed, or not; else it only says of what it is a part. Default true.
    pub parent_decides: bool,
    /// Traces in a second, on this node, whoever wants them. Default 100.
    pub per_second: u32,
}

impl Default for SpansConfig {
    fn default() -> Self {
        Self { sample: 1.0, parent_decides: true, per_second: 100 }
    }
}

tokio::task_local! {
    /// What the request that the task answers is followed as.
    static ASKED: Option<SpanContext>;
}

/// What the request that the task answers tells those whom it asks in turn.
pub(crate) fn traceparent() -> Option<HeaderValue> {
    let asked = ASKED.try_with(|asked| *asked).ok().flatten()?;
    HeaderValue::from_str(&format(asked)).ok()
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

/// A request that is followed. Its span ends with it, also when it is given up before there is an answer.
pub(crate) struct Asked {
    spans: Arc<dyn Spans>,
    context: SpanContext,
    span: Option<Span>,
    status: Option<u16>,
}

impl Sampler {
    pub(crate) fn new(config: SpansConfig, spans: Option<Arc<dyn Spans>>) -> Self {
        Self { config, spans, started: Instant::now(), begun: AtomicU64::new(0) }
    }

    /// Whether what is published now is followed: as a part of the request that the task answers, or by chance.
    pub(crate) fn follow(&self) -> Option<Box<Trail>> {
        self.spans.as_ref()?;
        let context = ASKED.try_with(|asked| *asked).unwrap_or_else(|_| self.begin());
        context.map(Trail::new)
    }

    /// Whether a request is followed. What it is handed on with says so, too.
    pub(crate) fn ask(&self, request: &mut Request, route: &str, name: &str) -> Option<Asked> {
        let spans = self.spans.as_ref()?;
        let parent = match parse(request.headers()) {
            Some((parent, sampled)) if self.config.parent_decides => (sampled && self.place()).then_some(parent),
            Some((parent, _)) => self.begin().map(|_| parent),
            // Who only looks for something new, and perhaps waits for long, is followed on request.
            None if is_change(request) => self.begin(),
            None => None,
        }?;
        let (context, method) = (parent.child(), method(request.method()));
        request.headers_mut().insert(TRACEPARENT, HeaderValue::from_str(&format(context)).ok()?);
        let route = Some(route).filter(|route| route.starts_with('/'));
        let now = SystemTime::now();
        let mut attributes =
            vec![("http.request.method", method.into()), ("denrei.request.id", name.to_owned().into())];
        attributes.extend(route.map(|route| ("http.route", route.to_owned().into())));
        let span = Span {
            context,
            parent: parent.span,
            remote: parent.span != 0,
            name: route.map_or(method.into(), |route| format!("{method} {route}").into()),
            kind: SpanKind::Server,
            begun: now,
            ended: now,
            attributes,
            error: None,
        };
        Some(Asked { spans: Arc::clone(spans), context, span: Some(span), status: None })
    }

    /// What is published while a request is answered is a part of it.
    pub(crate) async fn within<T>(&self, asked: Option<&Asked>, answering: impl Future<Output = T>) -> T {
        match &self.spans {
            Some(_) => ASKED.scope(asked.map(|asked| asked.context), answering).await,
            None => answering.await,
        }
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

impl Asked {
    pub(crate) fn answered(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let Some(mut span) = self.span.take() else { return };
        span.ended = SystemTime::now();
        match self.status {
            Some(status) => {
                span.attributes.push(("http.response.status_code", u64::from(status).into()));
                if status >= 500 {
                    span.attributes.push(("error.type", status.to_string().into()));
                    span.error = Some("the server could not answer".into());
                }
            }
            None => {
                span.attributes.push(("error.type", "given_up".into()));
                span.error = Some("whoever asked has gone".into());
            }
        }
        self.spans.ended(span);
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
        Sampler::new(SpansConfig { sample, per_second, ..SpansConfig::default() }, Some(Arc::new(Nobody)))
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
