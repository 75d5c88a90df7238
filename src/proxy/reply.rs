//! What goes down to the application: Wise's answer as it comes, or a problem document.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::proxy::attempt::Answer;
use crate::proxy::body::{BodyError, Download, Source, Upload};
use crate::proxy::fault::Fault;
use crate::proxy::jose::{Held, Opened};
use crate::proxy::policy;
use crate::proxy::record::Record;
use crate::proxy::stand_in::Said;
use crate::proxy::worker::Worker;
use crate::upstream::Lease;

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Reply {
    content: Content,
    record: Record,
    /// The request's body, as long as the application may still be sending it.
    source: Option<Rc<Source>>,
    /// The request was read to its end.
    whole: bool,
    /// Of a worker's room, as long as the body needs it.
    _held: Option<Held>,
}

#[derive(Debug)]
enum Content {
    Wise {
        download: Download,
        lease: Option<Lease<Upload>>,
    },
    /// A problem document, what the door itself has to say, or an answer that was held whole.
    Ours(Option<Bytes>),
}

/// What there is to hand down.
#[allow(
    clippy::large_enum_variant,
    reason = "the usual answer has no box, and each lives for a moment"
)]
pub(super) enum Given {
    /// Wise's answer as it comes.
    AsItCame(Answer),
    /// Wise's answer, which was signed or encrypted.
    Opened(Box<Opened>),
    /// What the door itself has to say.
    Here(Box<Said>),
}

/// The answer to the application, or word of what went wrong.
pub(super) fn of(
    worker: &Worker,
    outcome: Result<Given, Fault>,
    mut record: Record,
    source: Option<Rc<Source>>,
) -> Response<Box<Reply>> {
    let (head, content, held) = match outcome {
        // Untouched but for hop-by-hop fields.
        Ok(Given::AsItCame(answer)) => {
            let Answer {
                mut response,
                lease,
            } = answer;
            let mut head = Head::of(response.status(), std::mem::take(response.headers_mut()));
            record.answered(head.status, &head.fields);
            policy::response(&mut head.fields);
            // The connection to the application has a version of its own; hyper's extensions stay
            // here.
            let silence = worker.view().snapshot.upstream.body_idle_timeout;
            let download = Download::new(response, silence);
            (head, Content::Wise { download, lease }, None)
        }
        Ok(Given::Opened(opened)) => {
            let Opened {
                status,
                headers,
                body,
                held,
            } = *opened;
            let mut head = Head::of(status, headers);
            record.answered(status, &head.fields);
            policy::response(&mut head.fields);
            let body = (!body.is_empty()).then_some(body);
            (head, Content::Ours(body), Some(held))
        }
        Ok(Given::Here(said)) => {
            let Said { answer, refused } = *said;
            let (parts, body) = answer.into_parts();
            record.answered_here(parts.status, refused);
            let head = Head::of(parts.status, parts.headers);
            (head, Content::Ours(Some(body)), None)
        }
        Err(fault) => {
            record.failed(&fault);
            let head = Head::of(fault.status(), fault.headers());
            (head, Content::Ours(Some(fault.document())), None)
        }
    };
    let mut reply = Response::new(Box::new(Reply {
        content,
        record,
        whole: source.is_none(),
        source,
        _held: held,
    }));
    *reply.status_mut() = head.status;
    *reply.headers_mut() = head.fields;
    reply
}

/// Status and fields of an answer.
struct Head {
    status: StatusCode,
    fields: HeaderMap,
}

impl Head {
    fn of(status: StatusCode, fields: HeaderMap) -> Self {
        Self { status, fields }
    }
}

impl Reply {
    /// The last byte has been handed down.
    fn end(&mut self) {
        self.record.complete = true;
        if let Content::Wise { lease, .. } = &mut self.content
            && let Some(lease) = lease.take()
        {
            lease.finish();
        }
        if let Some(source) = self.source.take() {
            self.whole = source.is_over();
            source.drain();
        }
    }

    /// Nobody will ask for more. Returns whether the request was read to its end.
    pub(crate) fn finish(&mut self) -> bool {
        // A body of known length is dropped after its last byte, without being asked for more.
        if self.is_end_stream() {
            self.end();
        }
        self.whole
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.content {
            Content::Wise { download, lease } => {
                let frame = std::task::ready!(download.poll_frame(cx));
                if let (Some(Err(BodyError::WiseStalled)), Some(lease)) = (&frame, lease) {
                    lease.distrust();
                }
                frame
            }
            Content::Ours(document) => document.take().map(|bytes| Ok(Frame::data(bytes))),
        };
        if frame.is_none() {
            self.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Wise { download, .. } => download.is_end_stream(),
            Content::Ours(document) => document.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Wise { download, .. } => download.size_hint(),
            Content::Ours(document) => {
                SizeHint::with_exact(document.as_ref().map_or(0, Bytes::len) as u64)
            }
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.finish();
    }
}
