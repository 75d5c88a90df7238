//! Asks the running proxy over its admin socket.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::args::{AdminArgs, Global};
use super::failure::Failure;

/// Longer than an exchange at the token endpoint may take.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A keeper that is in the middle of an exchange is not waited for.
const LOOK: Duration = Duration::from_secs(2);

/// Largest answer; a status with thousands of grants fits.
const LIMIT: usize = 16 * 1024 * 1024;

/// Why the proxy could not be asked, or what it refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("no proxy listens on {}", socket.display())]
    NotRunning { socket: PathBuf },
    #[error("nothing listens at {address}")]
    NobodyThere { address: String },
    #[error("{address} cannot be reached")]
    Unreachable {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("this user may not use the admin socket {}", socket.display())]
    Denied { socket: PathBuf },
    #[error("the proxy did not answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    #[error("the admin socket gave no proper answer")]
    Broken {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{}", refusal(*status, title.as_deref(), detail.as_deref()))]
    Refused {
        status: StatusCode,
        title: Option<String>,
        detail: Option<String>,
        hint: Option<String>,
    },
}

impl AdminError {
    /// What to do next.
    pub(crate) fn hint(&self) -> &str {
        match self {
            Self::NotRunning { .. } => {
                "start it with `wise-auth-proxy run`, or name the socket of one that runs with --socket"
            }
            Self::NobodyThere { .. } => {
                "start the proxy with `wise-auth-proxy run`, or name the address that \
                 `wise-auth-proxy config show` lists as admin.address"
            }
            Self::Unreachable { .. } => {
                "write --address as a host and a port that lead to the proxy"
            }
            Self::Denied { .. } => "ask as the user that the proxy runs as",
            Self::TimedOut | Self::Broken { .. } | Self::Refused { hint: None, .. } => {
                "look at the proxy's log"
            }
            Self::Refused {
                hint: Some(hint), ..
            } => hint,
        }
    }

    pub(super) fn broken(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Broken {
            source: source.into(),
        }
    }
}

fn refusal(status: StatusCode, title: Option<&str>, detail: Option<&str>) -> String {
    match (title, detail) {
        (Some(title), Some(detail)) => format!("{title}: {detail}"),
        (Some(text), None) | (None, Some(text)) => text.to_owned(),
        (None, None) => format!("the proxy answered {status}"),
    }
}

/// The admin socket of a proxy.
#[derive(Debug)]
pub(crate) struct AdminClient {
    socket: PathBuf,
}

impl AdminClient {
    /// The proxy whose socket this is.
    pub(crate) fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The proxy that the command line means.
    pub(crate) fn of(global: &Global, args: &AdminArgs) -> Result<Self, Failure> {
        // A way back must not hang on a configuration file that someone has just broken.
        let socket = match &args.socket {
            Some(socket) => socket.clone(),
            None => global.load()?.config.admin.socket,
        };
        Ok(Self { socket })
    }

    /// Asks within a runtime of the caller's. Cancel safe.
    pub(crate) async fn fetch(&self, path: &str) -> Result<Value, AdminError> {
        let exchange = exchange(&self.socket, &Method::GET, path, None);
        let timed = tokio::time::timeout(TIMEOUT, exchange).await;
        let (status, bytes) = timed.map_err(|_elapsed| AdminError::TimedOut)??;
        understood(status, &bytes)
    }

    /// Has a proxy that runs, if one does, look into the store that was just written to. What
    /// comes of it changes nothing: it looks by itself every second.
    pub(crate) async fn look(&self) {
        let nothing = Value::Object(serde_json::Map::new());
        let look = exchange(&self.socket, &Method::POST, "/store/look", Some(&nothing));
        let _ = tokio::time::timeout(LOOK, look).await;
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, AdminError> {
        self.ask(&Method::GET, path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, AdminError> {
        self.ask(&Method::POST, path, Some(body))
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Value, AdminError> {
        self.ask(&Method::DELETE, path, None)
    }

    /// Whether any proxy answers; a look, within `patience`.
    pub(crate) async fn probe(&self, path: &str, patience: Duration) -> Result<Look, AdminError> {
        let look = async {
            let stream = UnixStream::connect(&self.socket).await;
            let stream = stream.map_err(|error| unreached(&self.socket, error))?;
            converse(stream, "localhost", &Method::GET, path, None).await
        };
        let timed = tokio::time::timeout(patience, look).await;
        timed.map_err(|_elapsed| AdminError::TimedOut)?
    }

    /// A page that is no JSON, as text.
    pub(crate) fn page(&self, path: &str) -> Result<String, AdminError> {
        let (status, bytes) = self.heard(&Method::GET, path, None)?;
        if !status.is_success() {
            return understood(status, &bytes).map(|_| String::new());
        }
        String::from_utf8(bytes.to_vec()).map_err(AdminError::broken)
    }

    fn ask(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, AdminError> {
        let (status, bytes) = self.heard(method, path, body)?;
        understood(status, &bytes)
    }

    /// The answer as it came.
    fn heard(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Look, AdminError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(AdminError::broken)?;
        let exchange = exchange(&self.socket, method, path, body);
        runtime.block_on(async {
            let timed = tokio::time::timeout(TIMEOUT, exchange).await;
            timed.map_err(|_elapsed| AdminError::TimedOut)?
        })
    }
}

/// One request, one answer.
async fn exchange(
    socket: &Path,
    method: &Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Look, AdminError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| unreached(socket, error))?;
    converse(stream, "localhost", method, path, body).await
}

/// An answer as it came.
pub(super) type Look = (StatusCode, Bytes);

/// One request and its answer, on a connection to the admin socket or the admin address.
pub(super) async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    method: &Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Look, AdminError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(AdminError::broken)?;
    let body = body.map(Value::to_string);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json");
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let request = request
        .body(Full::new(Bytes::from(body.unwrap_or_default())))
        .map_err(AdminError::broken)?;

    let answer = async {
        let answer = sender.send_request(request).await;
        let (head, body) = answer.map_err(AdminError::broken)?.into_parts();
        let body = Limited::new(body, LIMIT).collect().await;
        Ok((head.status, body.map_err(AdminError::broken)?.to_bytes()))
    };
    // Its end, good or bad, reaches `answer`, which knows what it means.
    let driver = async {
        let _ended = connection.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        answer = answer => answer,
        never = driver => match never {},
    }
}

fn unreached(socket: &Path, error: io::Error) -> AdminError {
    let socket = socket.to_owned();
    let kind = error.kind();
    if matches!(
        kind,
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    ) {
        AdminError::NotRunning { socket }
    } else if kind == io::ErrorKind::PermissionDenied {
        AdminError::Denied { socket }
    } else {
        AdminError::broken(error)
    }
}

/// What an answer says. An empty one is `null`.
fn understood(status: StatusCode, bytes: &[u8]) -> Result<Value, AdminError> {
    if status.is_success() && bytes.is_empty() {
        return Ok(Value::Null);
    }
    let value: Result<Value, _> = serde_json::from_slice(bytes);
    if status.is_success() {
        return value.map_err(AdminError::broken);
    }
    let value = value.unwrap_or_default();
    let member = |name: &str| value[name].as_str().map(str::to_owned);
    Err(AdminError::Refused {
        status,
        title: member("title"),
        detail: member("detail"),
        hint: member("hint"),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::thread::{self, JoinHandle};

    use serde_json::json;

    use super::super::failure::Exit;
    use super::*;

    /// Answers one request with these bytes, and tells what was asked.
    fn scripted(answer: &'static str) -> (tempfile::TempDir, AdminClient, JoinHandle<String>) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 4096];
            let mut length = 0;
            // A head, and as much body as it announces: here the last byte of a table.
            while !asked[..length].ends_with(b"\r\n\r\n") && !asked[..length].ends_with(b"}") {
                length += stream.read(&mut asked[length..]).unwrap();
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked[..length].to_vec()).unwrap()
        });
        (directory, AdminClient { socket }, server)
    }

    #[test]
    fn a_wish_is_sent_as_json_and_the_answer_read() {
        let (_directory, client, server) =
            scripted("HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"lane\":\"oauth\"}");
        let answer = client.post("/switch", &json!({ "lane": "oauth" })).unwrap();
        assert_eq!(answer, json!({ "lane": "oauth" }));
        let asked = server.join().unwrap();
        assert!(asked.starts_with("POST /switch HTTP/1.1\r\n"), "{asked}");
        assert!(
            asked.contains("content-type: application/json\r\n"),
            "{asked}"
        );
        assert!(asked.contains("host: localhost\r\n"), "{asked}");
        assert!(asked.ends_with(r#"{"lane":"oauth"}"#), "{asked}");
    }

    #[test]
    fn an_empty_answer_is_null() {
        let (_directory, client, server) = scripted("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(client.delete("/tokens/main").unwrap(), Value::Null);
        assert!(server.join().unwrap().starts_with("DELETE /tokens/main "));
    }

    #[test]
    fn a_problem_document_becomes_error_and_hint() {
        let (_directory, client, _server) = scripted(
            "HTTP/1.1 409 Conflict\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\r\n\
             {\"title\":\"Lane not allowed\",\"detail\":\"oauth is not in switch.allow\",\"hint\":\"allow it\"}",
        );
        let failure = Failure::from(client.get("/status").unwrap_err());
        assert_eq!(failure.exit, Exit::Failed);
        assert_eq!(
            failure.error.to_string(),
            "Lane not allowed: oauth is not in switch.allow"
        );
        assert_eq!(failure.hints(), ["allow it"]);
    }

    #[test]
    fn a_refusal_without_a_hint_leads_to_the_log() {
        let (_directory, client, _server) =
            scripted("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n");
        let failure = Failure::from(client.get("/status").unwrap_err());
        assert_eq!(failure.hints(), ["look at the proxy's log"]);
    }

    #[test]
    fn a_connection_that_ends_without_an_answer_is_unavailable() {
        let (_directory, client, _server) = scripted("");
        let failure = Failure::from(client.get("/status").unwrap_err());
        assert_eq!(failure.exit, Exit::Unavailable);
    }

    #[test]
    fn a_proxy_that_does_not_run_is_told_from_one_that_may_not_be_asked() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let client = AdminClient {
            socket: socket.clone(),
        };
        let failure = Failure::from(client.get("/status").unwrap_err());
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.hints()[0].contains("`wise-auth-proxy run`"));

        // A proxy that was killed leaves its socket behind.
        drop(UnixListener::bind(&socket).unwrap());
        let error = client.get("/status").unwrap_err();
        assert!(matches!(error, AdminError::NotRunning { .. }), "{error:?}");

        let denied = unreached(&socket, io::ErrorKind::PermissionDenied.into());
        assert_eq!(Failure::from(denied).exit, Exit::Permission);
    }
}
