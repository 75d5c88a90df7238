//! One attempt to have a request answered by Wise, and the one rule about sending it again.
//!
//! Within an attempt a request moves to another connection only if not a byte of it has left
//! (hyper hands it back), or if Wise's HTTP/2 says that it was not processed (RFC 9113 §8.7:
//! `REFUSED_STREAM`, or a GOAWAY without error). Everything else is ambiguous and ends here.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, request, uri};
use tokio::time::Instant;

use crate::proxy::alarms::Alarms;
use crate::proxy::body::{Download, Gate, Source, Upload};
use crate::proxy::fault::{self, Fault};
use crate::proxy::policy;
use crate::proxy::record::Record;
use crate::proxy::target::Target;
use crate::proxy::token::Pass;
use crate::proxy::worker::Worker;
use crate::telemetry::meter::Meter;
use crate::upstream::{AnswerBody, DialError, Endpoint, Lease, SendError};

/// Wise's word to go on is awaited for this long, then the body leaves anyway (RFC 9110 §10.1.1).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// Connections tried when each turned out dead before a byte was sent.
const TRIES: usize = 3;

/// The longest 401 or 403 that is read so that its connection can go on.
const DISCARD_LIMIT: u64 = 64 * 1024;

/// And for how long.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// A request ready to leave, possibly more than once.
pub(crate) struct Outgoing<'a> {
    pub(crate) head: &'a mut request::Parts,
    pub(crate) target: Target,
    /// `None`: no body.
    pub(crate) source: Option<Rc<Source>>,
}

impl Outgoing<'_> {
    /// Whether the whole body is still at hand for another attempt.
    pub(crate) fn can_go_again(&self) -> bool {
        self.source.as_ref().is_none_or(|source| source.is_whole())
    }

    /// It will not be sent again: what was kept for that can go.
    pub(crate) fn settle(&self) {
        if let Some(source) = &self.source {
            source.forget();
        }
    }
}

/// Wise's answer, with the connection it comes on.
pub(crate) struct Answer {
    pub(crate) response: Response<AnswerBody>,
    /// `None`: the answer was read to its end, and the connection goes on.
    pub(crate) lease: Option<Lease<Upload>>,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Reads a small answer to its end, so that its connection can go on while somebody thinks about
    /// it; false: it is not small, or not at hand. What comes of it is the same answer.
    pub(crate) async fn keep(self) -> (Self, bool) {
        let (head, body) = self.response.into_parts();
        let (body, is_whole) = body.ahead(DISCARD_LIMIT, DISCARD_TIME).await;
        let response = Response::from_parts(head, body);
        let lease = if is_whole {
            if let Some(lease) = self.lease {
                lease.finish();
            }
            None
        } else {
            self.lease
        };
        (Self { response, lease }, is_whole)
    }

    /// Reads a small answer that nobody wants to its end, so that the connection can go on.
    pub(crate) fn discard(self) {
        let Some(lease) = self.lease else { return };
        let mut download = Download::new(self.response, DISCARD_TIME);
        if download.size_hint().lower() > DISCARD_LIMIT {
            return;
        }
        tokio::task::spawn_local(async move {
            let mut read = 0;
            loop {
                if download.is_end_stream() {
                    return lease.finish();
                }
                match std::future::poll_fn(|cx| download.poll_frame(cx)).await {
                    None => return lease.finish(),
                    Some(Ok(frame)) => {
                        read += frame.data_ref().map_or(0, bytes::Bytes::len) as u64;
                        if read > DISCARD_LIMIT {
                            return;
                        }
                    }
                    Some(Err(_)) => return,
                }
            }
        });
    }
}

/// Sends the request in the pass's lane and waits for the head of Wise's answer.
pub(crate) async fn send(
    worker: &Worker,
    pass: &Pass,
    outgoing: &mut Outgoing<'_>,
    record: &mut Record,
) -> Result<Answer, Fault> {
    let pool = pass.view.pools[pass.lane.index()].as_ref();
    let pool = pool.ok_or(Fault::NotAllowed("the lane is not available any more"))?;
    let waits = outgoing
        .source
        .as_ref()
        .is_some_and(|source| source.waits_for_continue());
    let gate = waits.then(Arc::<Gate>::default);
    let mut body = match &outgoing.source {
        Some(source) => source.upload(gate.clone()).ok_or(Fault::UpstreamBroken)?,
        None => Upload::empty(),
    };
    record.generation = Some(pass.generation).filter(|generation| *generation > 0);
    let slot = pass.view.snapshot.directory.slot(pass.credential);
    let limit = pass.view.snapshot.upstream.answer_timeout;
    let mut tries = 1;
    let mut disclaimed = false;
    loop {
        // From here on: a renewal that begins while we wait for a connection ends our token, too.
        let unanswered = Unanswered::count(worker, slot);
        let mut lease = pool.acquire().await?;
        let sent = Instant::now();
        let outcome = {
            let request = {
                let mut request = prepare(lease.is_http2(), pool.endpoint(), pass, outgoing, body);
                if let Some(gate) = &gate {
                    await_continue(&mut request, gate);
                }
                request
            };
            let sending = std::pin::pin!(lease.send(request));
            within(
                &worker.alarms,
                sending,
                sent,
                limit,
                outgoing.source.as_deref(),
            )
            .await
        };
        drop(unanswered);
        record.upstream += sent.elapsed();
        if matches!(outcome, Err(Fault::UpstreamTimeout)) {
            lease.distrust();
        }
        match outcome? {
            Ok(response) => {
                let lease = Some(lease);
                return Ok(Answer { response, lease });
            }
            Err(SendError {
                unsent: Some(unsent),
                ..
            }) if tries < TRIES => {
                body = unsent;
            }
            Err(SendError {
                was_not_processed: true,
                tls,
                ..
            }) if !disclaimed => {
                // Once: a server that says so again would say so for ever.
                disclaimed = true;
                body = match &outgoing.source {
                    Some(source) => match source.upload(None) {
                        Some(body) => body,
                        None => return Err(fault::of_send(tls)),
                    },
                    None => Upload::empty(),
                };
            }
            Err(SendError {
                unsent: Some(_),
                tls: None,
                ..
            }) => {
                // Each connection was dead before a byte left: nothing was carried out.
                let host = pool.endpoint().origin.host.clone();
                let kind = std::io::ErrorKind::ConnectionReset;
                return Err(Fault::Dial(DialError::Unreachable { host, kind }));
            }
            Err(_) if let Some(refusal) = outgoing.source.as_ref().and_then(|it| it.refusal()) => {
                // Likewise.
                return Err(Fault::Refused(Box::new(refusal)));
            }
            Err(_) if outgoing.source.as_ref().is_some_and(|it| it.is_broken()) => {
                // Wise heard half a request, which it cannot have carried out.
                return Err(Fault::BadRequest(
                    "the request's body is malformed or broke off",
                ));
            }
            Err(SendError { error, tls, .. }) => {
                tracing::debug!(%error, "a request got no answer");
                return Err(fault::of_send(tls));
            }
        }
        tries += 1;
    }
}

/// The request as it goes onto a connection.
pub(super) fn prepare(
    http2: bool,
    endpoint: &Endpoint,
    pass: &Pass,
    outgoing: &mut Outgoing<'_>,
    body: Upload,
) -> Request<Upload> {
    let mut request = Request::new(body);
    *request.method_mut() = outgoing.head.method.clone();
    // Before the copy, which has room for what is there and no more.
    let fields = &mut outgoing.head.headers;
    policy::credential(fields, pass.authorization.clone());
    if http2 {
        fields.remove(HOST);
    } else {
        fields.insert(HOST, endpoint.host.clone());
    }
    *request.headers_mut() = fields.clone();
    let headers = request.headers_mut();
    let mut parts = uri::Parts::default();
    parts.path_and_query = Some(outgoing.target.path_and_query().clone());
    if http2 {
        parts.scheme = Some(endpoint.scheme.clone());
        parts.authority = Some(endpoint.authority.clone());
        headers.remove(EXPECT);
        *request.version_mut() = Version::HTTP_2;
    } else {
        // Said outright, or hyper takes a GET without a length for one without a body.
        if outgoing.source.is_some() && !headers.contains_key(CONTENT_LENGTH) {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    // Scheme and authority come together or not at all, and the path is there: this cannot fail.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    request
}

/// Opens the gate at Wise's `100 Continue`, or after a while.
///
/// The application hears `100 Continue` from us when its body is first read, so it waits exactly
/// as long as Wise makes it wait, and an early refusal spares it the upload.
fn await_continue(request: &mut Request<Upload>, gate: &Arc<Gate>) {
    if request.version() == Version::HTTP_2 {
        gate.open();
        return;
    }
    request
        .headers_mut()
        .insert(EXPECT, HeaderValue::from_static("100-continue"));
    let at_word = Arc::clone(gate);
    hyper::ext::on_informational(request, move |answer| {
        if answer.status() == StatusCode::CONTINUE {
            at_word.open();
        }
    });
    let later = Arc::clone(gate);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(CONTINUE_WAIT).await;
        later.open();
    });
}

/// Bounds the wait for an answer, counted from the last byte of the request.
///
/// While a body is on its way, what counts is that it moves: a slow upload is not a slow Wise.
async fn within<T>(
    alarms: &Alarms,
    mut sending: Pin<&mut impl Future<Output = T>>,
    since: Instant,
    limit: Duration,
    source: Option<&Source>,
) -> Result<T, Fault> {
    let mut deadline = since + limit;
    loop {
        if let Some(outcome) = alarms.until(deadline, &mut sending).await {
            return Ok(outcome);
        }
        match source.map(Source::still) {
            Some((still, _)) if still < limit => {
                deadline = Instant::now() + limit.saturating_sub(still);
            }
            Some((_, true)) => return Err(Fault::RequestTimeout),
            Some((_, false)) | None => return Err(Fault::UpstreamTimeout),
        }
    }
}

/// A request that has its token and no answer yet; a due renewal waits for these.
struct Unanswered<'a>(Option<(&'a Meter, usize)>);

impl<'a> Unanswered<'a> {
    fn count(worker: &'a Worker, slot: Option<usize>) -> Self {
        let counted = slot.map(|slot| (worker.meter.as_ref(), slot));
        if let Some((meter, slot)) = counted {
            meter.unanswered[slot].up();
        }
        Self(counted)
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some((meter, slot)) = self.0 {
            meter.unanswered[slot].down();
        }
    }
}
