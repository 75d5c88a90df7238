//! Wise's error bodies, spelled as its pages and live answers show them, and the simulator's own
//! error for a start that failed. There is no single format: every service has its own.

use std::io;
use std::net::SocketAddr;

use http::HeaderValue;
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde_json::Value;
use serde_json::json;

use super::faults::UnauthorizedShape;
use super::reply::Reply;
use super::reply::empty;
use super::reply::json_reply;

/// Why a simulator could not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// A listener could not take its address.
    #[error(
        "cannot listen on {address} for the {listener} listener: {source}; give a free port, or 0 for any"
    )]
    Bind {
        /// Which listener.
        listener: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate authority or a server certificate could not be made.
    #[error(
        "cannot make the simulator's certificates: {0}; check that every extra name is a DNS name or an IP address"
    )]
    Certificates(#[from] rcgen::Error),
    /// rustls refused a configuration built from those certificates.
    #[error(
        "cannot build the simulator's TLS configuration: {0}; this is a defect of the simulator, please report it"
    )]
    Tls(String),
    /// The keys of the webhooks' sender could not be made.
    #[error("cannot send webhooks: {0}")]
    Webhooks(String),
    /// An option contradicts itself.
    #[error("{option}: {hint}")]
    Option {
        /// The option at fault.
        option: &'static str,
        /// What would be right.
        hint: &'static str,
    },
}

/// `{"error":…,"error_description":…}`: the OAuth layer and the token check.
pub(super) fn oauth(status: StatusCode, error: &str, description: &str) -> Reply {
    json_reply(
        status,
        &json!({"error": error, "error_description": description}),
    )
}

/// No `Authorization` at all.
pub(super) fn missing_token() -> Reply {
    oauth(
        StatusCode::UNAUTHORIZED,
        "missing_token",
        "Full authentication is required to access this resource",
    )
}

/// An access token that is unknown, expired, replaced or revoked.
pub(super) fn invalid_token(shape: UnauthorizedShape, token: &str, path: &str, now: &str) -> Reply {
    match shape {
        UnauthorizedShape::InvalidToken => {
            oauth(StatusCode::UNAUTHORIZED, "invalid_token", "Invalid token")
        }
        UnauthorizedShape::EchoesToken => oauth(StatusCode::UNAUTHORIZED, "invalid_token", token),
        UnauthorizedShape::UpperCase => json_reply(
            StatusCode::UNAUTHORIZED,
            &json!({
                "error": "UNAUTHORIZED",
                "message": "Invalid or missing authentication credentials",
                "timestamp": now,
                "path": path,
            }),
        ),
        UnauthorizedShape::Empty => empty(StatusCode::UNAUTHORIZED),
    }
}

/// The caller may not do this at all.
pub(super) fn forbidden(path: &str, now: &str) -> Reply {
    json_reply(StatusCode::FORBIDDEN, &forbidden_body(path, now))
}

/// The body of [`forbidden`], also used by SCA rejections.
pub(super) fn forbidden_body(path: &str, now: &str) -> Value {
    json!({
        "timestamp": now,
        "status": 403,
        "error": "Forbidden",
        "message": "You are forbidden to send this request",
        "path": path,
    })
}

/// The profile exists but is not the caller's.
pub(super) fn foreign_profile(now: &str) -> Reply {
    json_reply(
        StatusCode::FORBIDDEN,
        &json!({"timestamp": now, "status": 403, "error": "unauthorized", "message": "Unauthorized"}),
    )
}

/// Spring's own error page as JSON: no such path, wrong method, unreadable body.
pub(super) fn spring(status: StatusCode, message: &str, path: &str, now: &str) -> Reply {
    json_reply(
        status,
        &json!({
            "timestamp": now,
            "status": status.as_u16(),
            "error": status.canonical_reason().unwrap_or("Error"),
            "message": message,
            "path": path,
        }),
    )
}

/// `{"errors":[{code,message,path,arguments}]}` with one entry.
pub(super) fn field(status: StatusCode, code: &str, path: &str, message: &str) -> Reply {
    json_reply(
        status,
        &json!({"errors": [{"code": code, "message": message, "path": path, "arguments": [path]}]}),
    )
}

/// The gateway's limit.
pub(super) fn too_many_requests(retry_after: u32) -> Reply {
    let mut reply = json_reply(
        StatusCode::TOO_MANY_REQUESTS,
        &json!({"errors": [{"code": "rate_limited", "message": "Too many requests"}]}),
    );
    reply
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(retry_after));
    reply.headers_mut().insert(
        "x-rate-limited-by",
        HeaderValue::from_static("wise-public-api"),
    );
    reply
}

/// A 500 of the services behind the gateway.
pub(super) fn system_error() -> Reply {
    json_reply(
        StatusCode::INTERNAL_SERVER_ERROR,
        &json!({"errors": [{"code": "system_error", "message": "An unexpected error occurred"}]}),
    )
}
