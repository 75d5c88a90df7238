//! CONNECT: a tunnel to one of Wise's hosts that ends here, behind a certificate of the local
//! authority, for applications that take a proxy and whose base URL cannot be changed.
//!
//! hyper gives a connection away only to another thread, and ours stay on theirs. So CONNECT is
//! told by its first bytes, before hyper is set up, and read here.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::proxy::fault::{self, Fault};
use crate::proxy::patience::Patience;
use crate::proxy::peer::{Peer, Tunnel};
use crate::proxy::record::Record;
use crate::proxy::serve::Serving;
use crate::proxy::socket::{Incomplete, Opening, Socket};
use crate::proxy::worker::Worker;
use crate::tls::{Acceptor, ClientCertificate};

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Reads CONNECT and opens the tunnel. Hands out its inside and who is known to be there; `None`:
/// there is none, and the connection is over.
///
/// Whoever is refused is told so and may ask again: clients show a password only when asked for one.
pub(crate) async fn open(
    serving: &Serving,
    mut socket: Socket,
    door: usize,
    peer: &Peer,
    patience: &Rc<Patience>,
) -> Option<(Socket, Peer)> {
    let worker = &serving.worker;
    loop {
        let request = match read(serving, &mut socket).await {
            Ok(request) => request,
            Err(Incomplete::Gone) => return None,
            Err(Incomplete::Wrong(status)) => {
                unparsed(worker, &mut socket, status).await;
                return None;
            }
        };
        let mut record = Record::new(worker, door, peer, &request);
        let (head, ()) = request.into_parts();
        match admit(worker, door, peer, &head, &mut record) {
            Ok((tunnel, acceptor)) => {
                patience.renew();
                record.opened(socket.say(ESTABLISHED).await.is_ok());
                return inside(worker, socket, peer, tunnel, &acceptor).await;
            }
            Err(fault) => {
                // What follows a body, nobody knows; and who speaks HTTP/1.0 expects the end.
                let closed = {
                    let view = worker.view();
                    view.snapshot.doors[door].has_closed_to(peer, record.at())
                };
                let asks_again = matches!(fault, Fault::CallerUnknown(_))
                    && head.version == Version::HTTP_11
                    && !has_body(&head.headers)
                    && !closed;
                if !refuse(&mut socket, record, &fault, !asks_again).await || !asks_again {
                    return None;
                }
                patience.renew();
                if socket.opening().await? != Opening::Connect {
                    // It thought better of it: a plain request, perhaps.
                    return Some((socket, peer.clone()));
                }
            }
        }
    }
}

/// Judges a CONNECT. What it looks at is let go of with its return: the client may take its time.
fn admit(
    worker: &Worker,
    door: usize,
    peer: &Peer,
    head: &http::request::Parts,
    record: &mut Record,
) -> Result<(Tunnel, Acceptor), Fault> {
    if !worker.audit.may_serve() {
        return Err(Fault::AuditUnavailable);
    }
    let view = worker.view();
    let (rules, callers) = (&view.snapshot.doors[door], &view.snapshot.callers);
    let (tunnel, caller) = rules.admit_tunnel(head, peer, callers, record.at())?;
    if let Some(caller) = caller {
        record.came_from(caller, &view);
    }
    let tunnels = rules.ways.tunnels.as_ref();
    match tunnels.and_then(|tunnels| tunnels.to(&tunnel.host)) {
        Some(acceptor) => Ok((tunnel, acceptor.clone())),
        // The hosts are the same ones; a reload may just have taken this away.
        None => Err(Fault::ForeignTarget(tunnel.host)),
    }
}

/// The handshake behind the answer to CONNECT.
async fn inside(
    worker: &Rc<Worker>,
    socket: Socket,
    peer: &Peer,
    tunnel: Tunnel,
    acceptor: &Acceptor,
) -> Option<(Socket, Peer)> {
    let (socket, _) = secure(worker, socket, acceptor).await?;
    tracing::debug!(host = tunnel.host, "a tunnel was opened");
    let peer = Peer {
        tunnel: Some(tunnel),
        ..peer.clone()
    };
    Some((socket, peer))
}

/// Goes on inside TLS; whoever comes without is told so. Also hands out the client's
/// certificate. `None`: there was no handshake.
pub(crate) async fn secure(
    worker: &Rc<Worker>,
    mut socket: Socket,
    acceptor: &Acceptor,
) -> Option<(Socket, Option<ClientCertificate>)> {
    if socket.opening().await? != Opening::Handshake {
        let fault = Fault::WithoutTls;
        tracing::debug!("{fault}");
        worker.meter.faults[fault.kind() as usize].add(1);
        let _gone = socket.say(&fault.answer(true)).await;
        return None;
    }
    match socket.shake_hands(acceptor).await {
        Ok(inside) => Some(inside),
        Err(error) => {
            tracing::debug!(%error, "a TLS handshake with an application failed");
            None
        }
    }
}

/// Reads a request's head. An error is the status that says what is wrong with it.
async fn read(serving: &Serving, socket: &mut Socket) -> Result<Request<()>, Incomplete<u16>> {
    let largest = serving.runtime.max_header_size;
    let mut searched = 0;
    let head = socket
        .take(|begun| {
            let end = end(begun, searched);
            searched = begun.len();
            match end {
                Some(length) if length <= largest => Ok(Some(length)),
                None if begun.len() <= largest => Ok(None),
                Some(_) | None => Err(431),
            }
        })
        .await?;
    parse(&head, serving.runtime.max_headers).map_err(Incomplete::Wrong)
}

/// How long a head is of which so much has been searched before, without finding its end: that may
/// begin there. `None`: more of it must come.
fn end(begun: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(3);
    let mut fours = begun.get(from..)?.windows(4);
    let at = fours.position(|four| four == b"\r\n\r\n")?;
    Some(from + at + 4)
}

fn parse(head: &Bytes, max_headers: usize) -> Result<Request<()>, u16> {
    let mut fields = vec![httparse::EMPTY_HEADER; max_headers];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(431),
        // Also of bare line feeds: it would end in the middle of what another reader takes for it.
        Ok(httparse::Status::Complete(_) | httparse::Status::Partial) | Err(_) => return Err(400),
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.version_mut() = match parsed.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    *request.uri_mut() = parsed
        .path
        .and_then(|target| Uri::try_from(target).ok())
        .ok_or(400_u16)?;
    for field in parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| 400_u16)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| 400_u16)?;
        request.headers_mut().append(name, value);
    }
    Ok(request)
}

fn has_body(headers: &http::HeaderMap) -> bool {
    use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
    let empty = |length: &HeaderValue| length.as_bytes() == b"0";
    headers.contains_key(TRANSFER_ENCODING) || !headers.get_all(CONTENT_LENGTH).iter().all(empty)
}

/// Answers a head that never became a request. It has no access line, as elsewhere.
async fn unparsed(worker: &Worker, socket: &mut Socket, status: u16) {
    worker.meter.faults[fault::Kind::BadRequest as usize].add(1);
    if let Some(answer) = fault::unparsed(status) {
        let _gone = socket.say(&answer).await;
    }
}

/// Says why there is no tunnel; false: nobody heard it.
async fn refuse(socket: &mut Socket, mut record: Record, fault: &Fault, closes: bool) -> bool {
    record.failed(fault);
    let heard = socket.say(&fault.answer(closes)).await.is_ok();
    record.complete = heard;
    heard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_becomes_a_request_with_all_its_fields() {
        let head = "CONNECT api.wise.com:443 HTTP/1.0\r\nProxy-Authorization: Basic eDp5\r\nA: 1\r\nA: 2\r\n\r\n";
        let request = parse(&Bytes::from_static(head.as_bytes()), 100).unwrap();
        assert_eq!(request.uri().authority().unwrap(), "api.wise.com:443");
        assert_eq!(request.version(), Version::HTTP_10);
        assert_eq!(request.headers().get_all("a").iter().count(), 2);
        assert_eq!(request.headers()["proxy-authorization"], "Basic eDp5");
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_is_cut() {
        let begun = b"CONNECT a:1 HTTP/1.1\r\n\r\n\x16\x03";
        let length = begun.len() - 2;
        for searched in 0..length {
            assert_eq!(end(&begun[..searched], 0), None, "{searched}");
            assert_eq!(end(begun, searched), Some(length), "{searched}");
        }
    }

    #[test]
    fn a_head_that_is_none_says_which_status_fits() {
        for (head, most, status) in [
            ("CONNECT a:1 HTTP/1.1\r\nA: 1\r\nB: 2\r\n\r\n", 1, 431),
            ("CONNECT a:1 HTTP/2.0\r\n\r\n", 100, 400),
            ("CONNECT  HTTP/1.1\r\n\r\n", 100, 400),
            ("CONNECT a:1 HTTP/1.1\r\nno colon\r\n\r\n", 100, 400),
            ("CONNECT a b:1 HTTP/1.1\r\n\r\n", 100, 400),
            ("CONNECT a:1 HTTP/1.1\r\nA : 1\r\n\r\n", 100, 400),
            ("CONNECT a:1 HTTP/1.1\r\nA: \x01\r\n\r\n", 100, 400),
            ("CONNECT a:1 HTTP/1.1\n\nGET / HTTP/1.1\r\n\r\n", 100, 400),
        ] {
            let refused = parse(&Bytes::from_static(head.as_bytes()), most);
            assert_eq!(refused.map(|_| ()), Err(status), "{head}");
        }
    }
}
