//! What goes down to the application: Wise's answer as it comes, or a problem document.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
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

/// Hands Wise's answer down, untouched but for hop-by-hop fields.
pub(crate) fn of_wise(
    worker: &Worker,
    answer: Answer,
    mut record: Record,
    source: Option<Rc<Source>>,
) -> Response<Box<Reply>> {
    let Answer {
        mut response,
        lease,
    } = answer;
    let status = response.status();
    let mut headers = std::mem::take(response.headers_mut());
    record.answered(status, &headers);
    policy::response(&mut headers);
    // The connection to the application has a version of its own; hyper's extensions stay here.
    let mut reply = Response::new(Box::new(Reply {
        content: Content::Wise {
            download: Download::new(response, worker.view().snapshot.upstream.body_idle_timeout),
            lease,
        },
        record,
        whole: source.is_none(),
        source,
        _held: None,
    }));
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    reply
}

/// Hands down an answer of Wise's that was signed or encrypted.
pub(crate) fn of_opened(
    opened: Opened,
    mut record: Record,
    source: Option<Rc<Source>>,
) -> Response<Box<Reply>> {
    let Opened {
        status,
        mut headers,
        body,
        held,
    } = opened;
    record.answered(status, &headers);
    policy::response(&mut headers);
    let mut reply = Response::new(Box::new(Reply {
        content: Content::Ours((!body.is_empty()).then_some(body)),
        record,
        whole: source.is_none(),
        source,
        _held: Some(held),
    }));
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    reply
}

/// Tells the application what went wrong.
pub(crate) fn of_fault(
    fault: &Fault,
    mut record: Record,
    source: Option<Rc<Source>>,
) -> Response<Box<Reply>> {
    record.failed(fault);
    let document = fault.document();
    let mut reply = Response::new(Box::new(Reply {
        content: Content::Ours(Some(document)),
        record,
        whole: source.is_none(),
        source,
        _held: None,
    }));
    *reply.status_mut() = fault.status();
    *reply.headers_mut() = fault.headers();
    reply
}

/// Hands down what the door itself has to say.
pub(crate) fn of_here(
    said: Said,
    mut record: Record,
    source: Option<Rc<Source>>,
) -> Response<Box<Reply>> {
    let Said { answer, refused } = said;
    record.answered_here(answer.status(), refused);
    answer.map(|body| {
        Box::new(Reply {
            content: Content::Ours(Some(body)),
            record,
            whole: source.is_none(),
            source,
            _held: None,
        })
    })
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
