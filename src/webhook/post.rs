//! One delivery to the application, over a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::shelf::Delivery;
use crate::config::Webhook;
use crate::upstream::retry_after;
use crate::wise::webhook_keys::{DELIVERY_ID, SIGNATURE, TEST};

/// As much of the application's answer is read, so that it can say it in peace.
const HEARD: usize = 64 * 1024;

/// And for so long: whether the delivery was taken is known by then.
const HEARING: Duration = Duration::from_secs(1);

/// What the application said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// 2xx: it has it.
    Taken,
    /// It may take it another time.
    Later(StatusCode, Option<Duration>),
    /// A 4xx that speaks of the delivery, so that another time does not mend it.
    Refused(StatusCode),
}

/// The application said nothing. Every text is safe to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("the application cannot be reached: {0}")]
    Connect(std::io::ErrorKind),
    #[error("the application did not answer within {} s", .0.as_secs_f32())]
    TooSlow(Duration),
    #[error("the application closed the connection before it answered")]
    Broken,
    #[error("the delivery cannot stand in a request")]
    Unsendable,
}

/// Sends a delivery, body byte for byte, and hears what comes of it: the head of the answer by
/// `forward_timeout`. What stands behind it changes nothing.
///
/// Dropping the future closes the connection; whether the application has the delivery is then unknown.
pub(super) async fn post(target: &Webhook, delivery: &Delivery) -> Result<Verdict, NoAnswer> {
    let limit = target.forward_timeout;
    let begun = Instant::now();
    let too_slow = |_| NoAnswer::TooSlow(limit);
    let request = request(target, delivery).ok_or(NoAnswer::Unsendable)?;
    let opened = timeout(limit, open(target)).await;
    let (mut sender, connection) = opened.map_err(too_slow)??;
    let hear = async {
        let left = limit.saturating_sub(begun.elapsed());
        let answer = timeout(left, sender.send_request(request)).await;
        let answer = answer.map_err(too_slow)?.map_err(|_| NoAnswer::Broken)?;
        let (head, body) = answer.into_parts();
        let _ = timeout(HEARING, Limited::new(body, HEARD).collect()).await;
        Ok(judge(head.status, &head.headers))
    };
    let driven = async {
        let _ = connection.await;
        std::future::pending::<std::convert::Infallible>().await
    };
    tokio::select! {
        biased;
        heard = hear => heard,
        never = driven => match never {},
    }
}

type Line = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

async fn open(target: &Webhook) -> Result<(http1::SendRequest<Full<Bytes>>, Line), NoAnswer> {
    let origin = &target.forward;
    let stream = TcpStream::connect((origin.host.as_str(), origin.port)).await;
    let stream = stream.map_err(|error| NoAnswer::Connect(error.kind()))?;
    let _ = stream.set_nodelay(true);
    let opened = http1::handshake(TokioIo::new(stream)).await;
    opened.map_err(|_| NoAnswer::Broken)
}

fn request(target: &Webhook, delivery: &Delivery) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::new(Full::new(delivery.body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.forward_path.parse::<Uri>().ok()?;
    let fields = &delivery.fields;
    let headers = request.headers_mut();
    headers.insert(HOST, host(target)?);
    let kind = fields.content_type.as_deref();
    let rows = [
        (CONTENT_TYPE, Some(kind.unwrap_or("application/json"))),
        (DELIVERY_ID, Some(fields.id.as_str())),
        (SIGNATURE, Some(fields.signature.as_str())),
        (TEST, fields.test.as_deref()),
        (USER_AGENT, fields.user_agent.as_deref()),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            headers.insert(name, HeaderValue::from_str(value).ok()?);
        }
    }
    Some(request)
}

fn host(target: &Webhook) -> Option<HeaderValue> {
    let origin = &target.forward;
    let host = if origin.host.contains(':') {
        format!("[{}]", origin.host)
    } else {
        origin.host.clone()
    };
    let authority = if origin.port == 80 {
        host
    } else {
        format!("{host}:{}", origin.port)
    };
    HeaderValue::from_str(&authority).ok()
}

fn judge(status: StatusCode, headers: &HeaderMap) -> Verdict {
    // The first five speak of the place and not of the delivery: a gateway says them of everything while
    // what is behind it is put in place.
    let later = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    if status.is_success() {
        Verdict::Taken
    } else if status.is_client_error() && !later.contains(&status) {
        Verdict::Refused(status)
    } else {
        Verdict::Later(status, retry_after(headers))
    }
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;

    use super::*;

    #[test]
    fn what_an_answer_means() {
        let judged = |status: u16| judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(status), Verdict::Taken, "{status}");
        }
        for status in [
            301, 302, 307, 401, 403, 404, 405, 407, 408, 425, 429, 500, 501, 503, 599,
        ] {
            assert!(
                matches!(judged(status), Verdict::Later(_, None)),
                "{status}"
            );
        }
        for status in [400, 402, 406, 409, 410, 413, 415, 422, 451] {
            assert!(matches!(judged(status), Verdict::Refused(_)), "{status}");
        }
    }

    #[test]
    fn seconds_of_a_retry_after_are_heard() {
        let mut headers = HeaderMap::new();
        for (text, wanted) in [
            ("120", Some(Duration::from_mins(2))),
            ("0", Some(Duration::ZERO)),
            ("soon", None),
            ("-1", None),
        ] {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            let status = StatusCode::SERVICE_UNAVAILABLE;
            assert_eq!(judge(status, &headers), Verdict::Later(status, wanted));
        }
    }
}
