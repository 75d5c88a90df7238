//! Where deliveries come in: verified, kept, and only then answered 200.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::envelope;
use super::fault::Fault;
use super::places::Places;
use super::queue::Queue;
use super::shelf::{Change, Delivery, Fields, Outcome};
use super::signature::Signature;
use super::{Arrived, Dress, Webhook};
use crate::failpoint::{self, Point};
use crate::listener::{self, Bound, Connection};
use crate::tls::ClientCertificate;
use crate::wise::webhook_keys::{DELIVERY_ID, SIGNATURE, TEST};

/// Wise waits five seconds for its answer. Who needs as long for a part of what it sends is not
/// Wise.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection is asked to end after this long; Wise opens another.
const LIFE: Duration = Duration::from_mins(1);

/// What is under way then has this long.
const LAST: Duration = Duration::from_secs(10);

/// Bodies in memory at once.
const BODIES: usize = 64;

/// The longest id and the longest of the other fields.
const LONGEST_ID: usize = 128;
const LONGEST_FIELD: usize = 1024;

/// A door and what is behind it.
pub(super) struct Door {
    pub(super) webhook: Arc<Webhook>,
    pub(super) queue: Arc<Queue>,
    pub(super) bodies: Semaphore,
    pub(super) tasks: TaskTracker,
}

impl Door {
    pub(super) fn new(webhook: Arc<Webhook>, queue: Arc<Queue>, tasks: TaskTracker) -> Self {
        Self {
            webhook,
            queue,
            bodies: Semaphore::new(BODIES),
            tasks,
        }
    }

    /// Takes connections in until `stop`.
    pub(super) async fn open(self: Arc<Self>, bound: Bound, stop: CancellationToken) {
        let incoming: listener::Incoming = match bound.incoming() {
            Ok(incoming) => incoming,
            Err(error) => {
                tracing::error!(webhook = self.webhook.name, %error, "the door cannot be watched");
                return;
            }
        };
        let places = Arc::new(Places::default());
        while let Some((stream, peer)) = stop.run_until_cancelled(incoming.next()).await {
            let place = match places.enter(peer) {
                Ok(place) => place,
                Err(why) => {
                    drop(stream);
                    self.webhook.arrived(Arrived::Crowded);
                    self.webhook.crowded(why);
                    continue;
                }
            };
            let (door, stop) = (Arc::clone(&self), stop.clone());
            self.tasks.spawn(async move {
                door.take_in(stream, stop).await;
                drop(place);
            });
        }
    }

    async fn take_in(self: Arc<Self>, stream: Connection, stop: CancellationToken) {
        let dress = self.webhook.dress.load_full();
        let Some(acceptor) = &dress.acceptor else {
            return self.serve(stream, None, stop).await;
        };
        match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let shown = acceptor.shown(&stream);
                self.serve(stream, shown, stop).await;
            }
            Ok(Err(error)) => {
                self.webhook.arrived(Arrived::NoHandshake);
                tracing::debug!(webhook = self.webhook.name, %error, "no handshake");
            }
            Err(_) => self.webhook.arrived(Arrived::NoHandshake),
        }
    }

    /// `shown`: the certificate of the other side, if it has shown one.
    async fn serve<T>(
        self: Arc<Self>,
        io: T,
        shown: Option<ClientCertificate>,
        stop: CancellationToken,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shown = Arc::new(shown);
        let service = service_fn(move |request| {
            let (door, shown) = (Arc::clone(&self), Arc::clone(&shown));
            let answer = async move { door.answer(request, shown.as_ref().as_ref()).await };
            async move { Ok::<_, std::convert::Infallible>(answer.await) }
        });
        let old = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LIFE) => {}
            }
        };
        // Wise speaks HTTP/1.1, so nothing else is spoken here: the windows of HTTP/2 would hold what
        // strangers send before anything is known of them. The time for a head begins when one could
        // come, so that it bounds the first one and idleness, too.
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_buf_size(32 * 1024)
            .serve_connection(TokioIo::new(io), service);
        let mut served = std::pin::pin!(served);
        let outcome = tokio::select! {
            outcome = served.as_mut() => Ok(outcome),
            () = old => {
                served.as_mut().graceful_shutdown();
                tokio::time::timeout(LAST, served).await
            }
        };
        if let Ok(Err(error)) = outcome {
            tracing::debug!(%error, "a webhook's connection ended early");
        }
    }

    /// One request, from its head to its answer.
    ///
    /// Cancel safe: when the sender goes away a delivery that is being kept is kept all the same.
    async fn answer(
        &self,
        request: Request<Incoming>,
        shown: Option<&ClientCertificate>,
    ) -> Response<Full<Bytes>> {
        let dress = self.webhook.dress.load_full();
        // As it is worn now: what a reload has withdrawn counts no more on a connection that was open.
        let taken = if dress.believes(shown, self.webhook.clock.wall()) {
            self.take(&dress, request).await
        } else {
            Err(Fault::Uncertified)
        };
        match taken {
            Ok(arrived) => {
                self.webhook.arrived(arrived);
                Response::new(Full::default())
            }
            Err(fault) => {
                self.webhook.arrived(Arrived::of(fault));
                self.webhook.complain(fault);
                fault.answer()
            }
        }
    }

    async fn take(&self, dress: &Dress, request: Request<Incoming>) -> Result<Arrived, Fault> {
        let (head, body) = request.into_parts();
        let settings = &dress.settings;
        let served = settings.path.as_deref();
        if served.is_some_and(|path| path != head.uri.path()) {
            return Err(Fault::Elsewhere);
        }
        if head.method != Method::POST {
            return Err(Fault::Method);
        }
        let fields = fields(&head.headers)?;
        let signature = Signature::parse(fields.signature.as_bytes());
        let signature = signature.map_err(|_| Fault::BadSignature)?;
        let most = settings.max_body;
        let length = head.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > most as u64) {
            return Err(Fault::TooLarge(most));
        }
        let room = tokio::time::timeout(PATIENCE, self.bodies.acquire()).await;
        let Ok(Ok(_room)) = room else {
            return Err(Fault::Crowded);
        };
        let read = tokio::time::timeout(PATIENCE, Limited::new(body, most).collect()).await;
        let body = match read {
            Err(_) => return Err(Fault::TooSlow),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Fault::TooLarge(most)),
            Ok(Err(_)) => return Err(Fault::Broken),
            Ok(Ok(body)) => body.to_bytes(),
        };
        if !dress.keys.vouch(&body, &signature) {
            return Err(Fault::Forged);
        }
        let ours = &settings.subscriptions;
        if !ours.is_empty() && !envelope::is_of(&body, ours) {
            return Err(Fault::Strange);
        }
        failpoint::pass(Point::WebhookVerified);
        let id = fields.id.clone();
        let change = Change::Keep(Delivery { fields, body });
        match self.queue.make(change).await {
            Ok(Outcome::Kept) => {
                failpoint::pass(Point::WebhookStored);
                tracing::debug!(webhook = self.webhook.name, delivery = id, "kept");
                Ok(Arrived::Stored)
            }
            Ok(Outcome::Duplicate) => Ok(Arrived::Duplicate),
            Ok(Outcome::Full) => Err(Fault::Full),
            Ok(Outcome::Done | Outcome::TakenUp(_)) | Err(_) => Err(Fault::Unavailable),
        }
    }
}

/// What is kept of a head.
pub(super) fn fields(headers: &HeaderMap) -> Result<Fields, Fault> {
    let id = single(headers, &DELIVERY_ID).ok_or(Fault::NoDeliveryId)?;
    let is_word = (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if !is_word {
        return Err(Fault::NoDeliveryId);
    }
    let signature = single(headers, &SIGNATURE).ok_or(Fault::NoSignature)?;
    if signature.len() > 2 * LONGEST_FIELD {
        return Err(Fault::BadSignature);
    }
    let other = |name| {
        let value = single(headers, name);
        value.filter(|value| value.len() <= LONGEST_FIELD)
    };
    Ok(Fields {
        content_type: other(&CONTENT_TYPE),
        user_agent: other(&USER_AGENT),
        test: other(&TEST),
        id,
        signature,
    })
}

/// The value of a field that stands there once.
fn single(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().map(str::to_owned),
        _ => None,
    }
}
