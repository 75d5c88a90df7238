//! Helper paths for transport tests, under `/v1/simulator/`, where Wise has nothing. Each needs a
//! good token of any kind.
//!
//! | Path | Answer |
//! |---|---|
//! | `echo` | JSON: method, target, headers as they came, body length and SHA-256 |
//! | `bytes/{n}` | `n` bytes; `?chunked` without a declared length |
//! | `mirror` | the request body, streamed back |
//! | `slow?head_ms=&chunks=&chunk_ms=` | waits before the head, and between chunks |
//! | `reset` | the connection is reset before any answer |
//! | `close` | the connection ends before any answer |
//! | `truncated/{n}` | declares `n` bytes, sends half, ends the connection; `?reset` resets it |
//! | `gzip` | a gzip body with `Content-Encoding` |
//! | `status/{code}` | that status, without a body |
//! | `early-hints` | 103 before a 200 (HTTP/1.1 only) |
//! | `processing` | 102 before a 200 (HTTP/1.1 only) |
//! | `trailers` | a body with trailers |
//! | `too-large` | 413 before the body was read |
//! | `last` | 200 with `Connection: close` |

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::StatusCode;
use http::Version;
use http::header::CONNECTION;
use http::header::CONTENT_ENCODING;
use http::header::CONTENT_LENGTH;
use http::header::TRAILER;
use http::request::Parts;
use http_body_util::BodyExt as _;
use http_body_util::StreamBody;
use serde_json::Value;
use serde_json::json;

use super::errors;
use super::listener::Connection;
use super::reply;
use super::reply::Reply;
use super::reply::Step;
use super::service::vanish;
use super::shared::Shared;
use super::times;
use super::upload::Upload;

/// Where the helper paths live.
pub(super) const PREFIX: &str = "/v1/simulator/";

const CHUNK: usize = 16 * 1_024;
const OCTETS: &str = "application/octet-stream";

pub(super) async fn answer(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
    head: &Parts,
    upload: Upload,
) -> Reply {
    let path = head.uri.path();
    let rest = path.strip_prefix(PREFIX).unwrap_or_default();
    let (name, argument) = rest.split_once('/').unwrap_or((rest, ""));
    let query = Query(head.uri.query().unwrap_or_default());
    let not_found = || {
        let now = times::nanoseconds(shared.now());
        errors::spring(StatusCode::NOT_FOUND, "No such helper path", path, &now)
    };
    match name {
        "echo" => echo(head, upload).await,
        "mirror" => mirror(upload),
        "bytes" => {
            let Ok(length) = argument.parse() else {
                return not_found();
            };
            drain(upload).await;
            bytes(length, query.has("chunked"))
        }
        "slow" => {
            drain(upload).await;
            tokio::time::sleep(Duration::from_millis(query.number("head_ms").unwrap_or(0))).await;
            slow(
                query.number("chunks").unwrap_or(1),
                query.number("chunk_ms").unwrap_or(0),
            )
        }
        "reset" => {
            drain(upload).await;
            vanish(connection, true).await
        }
        "close" => {
            drain(upload).await;
            vanish(connection, false).await
        }
        "truncated" => {
            let Ok(length) = argument.parse() else {
                return not_found();
            };
            drain(upload).await;
            truncated(length, connection, query.has("reset"))
        }
        "gzip" => {
            drain(upload).await;
            let mut reply = reply::typed(StatusCode::OK, "application/json", gzip(GZIPPED));
            reply
                .headers_mut()
                .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            reply
        }
        "status" => {
            drain(upload).await;
            match argument
                .parse()
                .ok()
                .and_then(|code: u16| StatusCode::from_u16(code).ok())
            {
                Some(code) if code.as_u16() >= 200 => reply::empty(code),
                Some(_) | None => not_found(),
            }
        }
        "early-hints" => {
            drain(upload).await;
            informational(
                head,
                connection,
                "103 Early Hints\r\nlink: </style.css>; rel=preload",
            )
        }
        "processing" => {
            drain(upload).await;
            informational(head, connection, "102 Processing")
        }
        "trailers" => {
            drain(upload).await;
            trailers()
        }
        "too-large" => {
            drop(upload);
            let now = times::nanoseconds(shared.now());
            errors::spring(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Payload Too Large",
                path,
                &now,
            )
        }
        "last" => {
            drain(upload).await;
            let mut reply = reply::json_reply(StatusCode::OK, &json!({"last": true}));
            if head.version != Version::HTTP_2 {
                reply
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            reply
        }
        _ => not_found(),
    }
}

/// The pattern of `bytes/{n}`: byte `i` of the body is `i % 251`.
fn pattern(offset: u64, length: usize) -> Bytes {
    (offset..)
        .take(length)
        .map(|position| (position % 251) as u8)
        .collect()
}

async fn drain(upload: Upload) {
    // A body that breaks off is the caller's business; the answer is for whoever still listens.
    let _ = upload.measure().await;
}

async fn echo(head: &Parts, upload: Upload) -> Reply {
    let Ok(seen) = upload.measure().await else {
        return reply::empty(StatusCode::BAD_REQUEST);
    };
    let headers: Vec<Value> = head
        .headers
        .iter()
        .map(|(name, value)| {
            // An echo that repeats a token would be a leak in every client that logs bodies.
            let value = if name == http::header::AUTHORIZATION {
                "[hidden]".into()
            } else {
                String::from_utf8_lossy(value.as_bytes())
            };
            json!([name.as_str(), value])
        })
        .collect();
    reply::json_reply(
        StatusCode::OK,
        &json!({
            "method": head.method.as_str(),
            "target": head.uri.path_and_query().map_or("/", |target| target.as_str()),
            "version": format!("{:?}", head.version),
            "headers": headers,
            "bytes": seen.bytes,
            "sha256": seen.sha256,
        }),
    )
}

fn mirror(upload: Upload) -> Reply {
    let frames = futures_util::stream::unfold(Some(upload), |upload| async {
        let mut upload = upload?;
        match upload.chunk().await {
            Ok(Some(bytes)) => Some((Ok(http_body::Frame::data(bytes)), Some(upload))),
            Ok(None) | Err(_) => None,
        }
    });
    let mut reply = http::Response::new(StreamBody::new(frames).boxed_unsync());
    reply
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, HeaderValue::from_static(OCTETS));
    reply
}

fn bytes(length: u64, chunked: bool) -> Reply {
    let starts = (0..length).step_by(CHUNK);
    let steps = starts.map(move |offset| {
        let left = usize::try_from(length - offset).unwrap_or(CHUNK);
        Step::Chunk(pattern(offset, left.min(CHUNK)))
    });
    let mut reply = reply::scripted(StatusCode::OK, OCTETS, steps);
    if !chunked {
        reply
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    reply
}

fn slow(chunks: u64, pause: u64) -> Reply {
    let steps = (0..chunks).flat_map(move |number| {
        [
            Step::Wait(Duration::from_millis(pause)),
            Step::Chunk(format!("chunk {number}\n").into()),
        ]
    });
    reply::scripted(StatusCode::OK, "text/plain;charset=UTF-8", steps)
}

fn truncated(length: u64, connection: &Arc<Connection>, reset: bool) -> Reply {
    let half = usize::try_from(length / 2).unwrap_or(0).min(1 << 20);
    let steps = [
        Step::Chunk(pattern(0, half)),
        Step::Cut(Arc::clone(connection), reset),
    ];
    let mut reply = reply::scripted(StatusCode::OK, OCTETS, steps.into_iter());
    reply
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(length));
    reply
}

fn informational(head: &Parts, connection: &Connection, line: &str) -> Reply {
    if head.version == Version::HTTP_11 {
        connection.write_early(format!("HTTP/1.1 {line}\r\n\r\n").as_bytes());
    }
    reply::json_reply(
        StatusCode::OK,
        &json!({"informational": head.version == Version::HTTP_11}),
    )
}

fn trailers() -> Reply {
    let mut fields = HeaderMap::new();
    fields.insert("x-checksum", HeaderValue::from_static("simulated"));
    let steps = [
        Step::Chunk(Bytes::from_static(b"body before trailers")),
        Step::Trailers(fields),
    ];
    let mut reply = reply::scripted(StatusCode::OK, OCTETS, steps.into_iter());
    reply
        .headers_mut()
        .insert(TRAILER, HeaderValue::from_static("x-checksum"));
    reply
}

const GZIPPED: &[u8] = br#"{"message":"this body is gzip on the wire"}"#;

/// A gzip member with one stored block (RFC 1951 §3.2.4, RFC 1952 §2.3).
fn gzip(plain: &[u8]) -> Bytes {
    let length = u16::try_from(plain.len()).unwrap_or_default();
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(plain);
    bytes.extend(crc32(plain).to_le_bytes());
    bytes.extend(u32::from(length).to_le_bytes());
    bytes.into()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

struct Query<'a>(&'a str);

impl Query<'_> {
    fn value(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.0.as_bytes())
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.into_owned())
    }

    fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_gzip_uses() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
