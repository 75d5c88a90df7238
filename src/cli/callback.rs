//! The way back from Wise's authorisation page: a redirect, caught on loopback or pasted.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::report;
use crate::config::ProfileId;
use crate::secret::Secret;

/// A browser gets this long for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest text of Wise's that is shown.
const LONGEST: usize = 200;

/// What Wise sends along when somebody has approved.
pub(crate) struct Redirect {
    pub(crate) code: Secret,
    /// The profile that was picked.
    pub(crate) profile: Option<ProfileId>,
}

/// Why a redirect is no approval.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedirectError {
    #[error("this answer belongs to another login: its `state` is not the one that was sent")]
    WrongState,
    #[error("Wise's page says: {0}")]
    Refused(String),
    #[error("the address has no `code`")]
    NoCode,
    #[error("the `profileId` of the address is no profile id")]
    BadProfile,
}

impl Redirect {
    /// Reads the query of a redirect (RFC 6749 §4.1.2). Wise adds `profileId`, in any case.
    pub(crate) fn read(query: &str, state: &Secret) -> Result<Self, RedirectError> {
        let find = |wanted: &str| {
            form_urlencoded::parse(query.as_bytes())
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.into_owned())
        };
        let returned = find("state").map(Secret::new);
        let error = find("error").map(|error| match find("error_description") {
            Some(description) => format!("{} ({})", plain(&description), plain(&error)),
            None => plain(&error),
        });
        match (returned, error) {
            // Its link back may come without state; all that it can do is to end this login.
            (None, Some(error)) => return Err(RedirectError::Refused(error)),
            (Some(returned), error) if returned.matches(state) => {
                if let Some(error) = error {
                    return Err(RedirectError::Refused(error));
                }
            }
            (Some(_), _) | (None, None) => return Err(RedirectError::WrongState),
        }
        let profile = find("profileId").map(|id| id.parse()).transpose();
        Ok(Self {
            code: find("code")
                .filter(|code| !code.is_empty())
                .map(Secret::new)
                .ok_or(RedirectError::NoCode)?,
            profile: profile.map_err(|_| RedirectError::BadProfile)?,
        })
    }

    /// As [`Redirect::read`], from a whole address or just its query, as a person pastes it.
    pub(crate) fn pasted(text: &str, state: &Secret) -> Result<Self, RedirectError> {
        let text = text.trim();
        let query = text.split_once('?').map_or(text, |(_, query)| query);
        let query = query.split_once('#').map_or(query, |(query, _)| query);
        Self::read(query, state)
    }
}

/// Text from elsewhere, fit for a terminal.
pub(crate) fn plain(text: &str) -> String {
    let text = text.replace(char::is_control, " ");
    text.trim().chars().take(LONGEST).collect()
}

/// A listener on this machine that a redirect leads to.
pub(crate) struct Callback {
    listeners: Vec<TcpListener>,
    /// The redirect address with the port that is really listened on.
    pub(crate) uri: String,
    page: Arc<Page>,
}

/// What is served, and to whom.
struct Page {
    port: u16,
    path: String,
}

impl Callback {
    /// Listens where the address says, on a free port where it names none.
    ///
    /// `None`: the address is not on this machine, or wants TLS.
    pub(crate) async fn bind(uri: &str) -> io::Result<Option<Self>> {
        let Some((name, port, path)) = loopback(uri) else {
            return Ok(None);
        };
        // A browser may take either for `localhost`.
        let (first, second): (IpAddr, Option<IpAddr>) = match name.as_str() {
            "[::1]" => (Ipv6Addr::LOCALHOST.into(), None),
            "localhost" => (Ipv4Addr::LOCALHOST.into(), Some(Ipv6Addr::LOCALHOST.into())),
            _ => (Ipv4Addr::LOCALHOST.into(), None),
        };
        let listener = TcpListener::bind(SocketAddr::new(first, port.unwrap_or(0))).await?;
        let real = listener.local_addr()?.port();
        let mut listeners = vec![listener];
        if let Some(second) = second {
            // A machine without IPv6 has no such address, and needs none.
            listeners.extend(TcpListener::bind(SocketAddr::new(second, real)).await.ok());
        }
        let uri = match port {
            Some(_) => uri.to_owned(),
            None => format!("http://{name}:{real}{path}"),
        };
        let path = path.split('?').next().unwrap_or("/").to_owned();
        let page = Arc::new(Page { port: real, path });
        Ok(Some(Self {
            listeners,
            uri,
            page,
        }))
    }

    /// Serves until the browser brings an answer for `state`; others are turned away.
    ///
    /// On return the browser has its page. Cancel safe: dropping it closes everything.
    pub(crate) async fn wait(self, state: &Secret) -> Result<Redirect, RedirectError> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                arrived = accept(&self.listeners) => {
                    if let Ok(stream) = arrived {
                        let (page, state) = (Arc::clone(&self.page), state.clone());
                        connections.spawn(async move { page.serve(stream, state).await });
                    }
                }
                Some(served) = connections.join_next() => {
                    if let Ok(Some(outcome)) = served {
                        return outcome;
                    }
                }
            }
        }
    }
}

async fn accept(listeners: &[TcpListener]) -> io::Result<TcpStream> {
    let accepts = listeners.iter().map(|one| Box::pin(one.accept()));
    let (accepted, _, _) = futures_util::future::select_all(accepts).await;
    accepted.map(|(stream, _)| stream)
}

/// Name, port and path with query of an `http` address on this machine.
pub(super) fn loopback(uri: &str) -> Option<(String, Option<u16>, String)> {
    let uri: Uri = uri.parse().ok()?;
    let name = uri.host()?.to_ascii_lowercase();
    let here = matches!(name.as_str(), "127.0.0.1" | "localhost" | "[::1]");
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let port = uri.port_u16().filter(|port| *port != 0);
    (here && uri.scheme_str() == Some("http")).then(|| (name, port, path.to_owned()))
}

impl Page {
    /// One request, one page. Returns what it brought, once the browser has the page.
    async fn serve(
        &self,
        stream: TcpStream,
        state: Secret,
    ) -> Option<Result<Redirect, RedirectError>> {
        let brought = Mutex::new(None);
        let service = service_fn(|request: Request<Incoming>| {
            let (status, text, outcome) = self.answer(&request, &state);
            if outcome.is_some() {
                *brought.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
            }
            std::future::ready(Ok::<_, Infallible>(page(status, text)))
        });
        let _ended = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        brought.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer<B>(
        &self,
        request: &Request<B>,
        state: &Secret,
    ) -> (
        StatusCode,
        &'static str,
        Option<Result<Redirect, RedirectError>>,
    ) {
        // Another name for this address is another site's (DNS rebinding).
        let host = request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok());
        let ours = ["127.0.0.1", "localhost", "[::1]"]
            .map(|name| format!("{name}:{}", self.port))
            .iter()
            .any(|name| host.is_some_and(|host| host.eq_ignore_ascii_case(name)));
        if !ours {
            return (StatusCode::MISDIRECTED_REQUEST, "Not served here.", None);
        }
        if request.uri().path() != self.path {
            return (StatusCode::NOT_FOUND, "There is nothing here.", None);
        }
        if request.method() != Method::GET {
            return (StatusCode::METHOD_NOT_ALLOWED, "Only GET.", None);
        }
        match Redirect::read(request.uri().query().unwrap_or_default(), state) {
            Ok(redirect) => (
                StatusCode::OK,
                "Wise has answered. Go back to the terminal; you can close this page.",
                Some(Ok(redirect)),
            ),
            Err(RedirectError::WrongState) => {
                report::say("a redirect that belongs to another login was turned away");
                (
                    StatusCode::BAD_REQUEST,
                    "This answer belongs to another login. Open the address that the terminal shows.",
                    None,
                )
            }
            Err(error) => (
                StatusCode::OK,
                "Access was not granted. The terminal says why; you can close this page.",
                Some(Err(error)),
            ),
        }
    }
}

/// A page that loads nothing, runs nothing and tells nobody where it was.
fn page(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let html = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>wise-auth-proxy</title>\
         <body style=\"font-family: sans-serif; margin: 4em\"><p>{text}</p>\n"
    );
    let mut response = Response::new(Full::new(Bytes::from(html)));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Redirect, RedirectError> {
        Redirect::read(query, &Secret::new("s-1"))
    }

    #[test]
    fn the_profile_is_found_in_any_spelling() {
        for name in ["profileId", "profileID", "profileid"] {
            let redirect = read(&format!("code=ABC&{name}=30000000&state=s-1")).unwrap();
            assert_eq!(redirect.code.expose(), "ABC");
            assert_eq!(redirect.profile.unwrap().as_str(), "30000000");
        }
        assert!(read("code=A&state=s-1").unwrap().profile.is_none());
    }

    #[test]
    fn a_code_without_its_state_is_refused() {
        for query in ["code=ABC", "code=ABC&state=", "code=ABC&state=s-2"] {
            assert!(
                matches!(read(query), Err(RedirectError::WrongState)),
                "{query}"
            );
        }
        let error = read("error=access_denied&state=s-2");
        assert!(matches!(error, Err(RedirectError::WrongState)));
    }

    #[test]
    fn an_error_of_wises_is_shown_without_control_characters() {
        let query = "error=access_denied&error_description=no%1b%5b31m%0Athanks&state=s-1";
        let Err(RedirectError::Refused(text)) = read(query) else {
            panic!("it must be refused");
        };
        assert_eq!(text, "no [31m thanks (access_denied)");
    }

    #[test]
    fn what_is_pasted_may_be_an_address_or_its_query() {
        let state = Secret::new("s-1");
        for text in [
            "https://app.example/cb?code=A%2FB&state=s-1#top",
            " code=A%2FB&state=s-1\n",
            "?code=A%2FB&state=s-1",
        ] {
            let redirect = Redirect::pasted(text, &state).unwrap();
            assert_eq!(redirect.code.expose(), "A/B", "{text}");
        }
    }

    #[test]
    fn only_plain_http_on_this_machine_can_be_listened_on() {
        let found = loopback("http://127.0.0.1:8976/callback?a=1").unwrap();
        assert_eq!(
            found,
            ("127.0.0.1".into(), Some(8976), "/callback?a=1".into())
        );
        assert_eq!(loopback("http://LOCALHOST").unwrap().1, None);
        assert_eq!(loopback("http://localhost:0/x").unwrap().1, None);
        for elsewhere in [
            "https://127.0.0.1/cb",
            "http://127.0.0.1.example/cb",
            "http://app.example/cb",
            "urn:x",
            "",
        ] {
            assert!(loopback(elsewhere).is_none(), "{elsewhere}");
        }
    }
}
