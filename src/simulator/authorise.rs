//! The pages a person sees: the authorise page and the Developer Hub. Plain HTML, no scripts,
//! nothing loaded from elsewhere.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header::CACHE_CONTROL;
use http::header::CONTENT_SECURITY_POLICY;
use http::header::LOCATION;
use http::request::Parts;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;

use super::errors;
use super::reply;
use super::reply::Reply;
use super::shared::Shared;
use super::times;
use super::upload::Upload;

/// Serves whichever page the path names.
pub(super) async fn page(shared: &Arc<Shared>, head: &Parts, upload: Upload) -> Reply {
    let form = match head.method {
        Method::GET | Method::HEAD => None,
        Method::POST => match upload.whole().await {
            Ok(body) => Some(pairs(&body)),
            Err(_) => return problem("The form could not be read."),
        },
        _ => {
            let now = times::nanoseconds(shared.now());
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return errors::spring(
                status,
                "Request method not supported",
                head.uri.path(),
                &now,
            );
        }
    };
    if head.uri.path().starts_with("/developer-hub") {
        return developer_hub(shared, form.as_ref());
    }
    let query = pairs(head.uri.query().unwrap_or_default().as_bytes());
    match form {
        None => consent(shared, &query),
        Some(form) => decide(shared, &form),
    }
}

fn consent(shared: &Shared, query: &HashMap<String, String>) -> Reply {
    let request = match Asked::read(shared, query) {
        Ok(request) => request,
        Err(why) => return problem(why),
    };
    let mut choices = String::new();
    for (number, (id, name, kind)) in shared.lock().world.choices().into_iter().enumerate() {
        let checked = if number == 0 { " checked" } else { "" };
        let _ = write!(
            choices,
            "<p><label><input type=\"radio\" name=\"profile\" value=\"{id}\"{checked}> {} <small>{kind}, {id}</small></label></p>",
            escape(&name)
        );
    }
    let state = request.state.map_or_else(String::new, |state| {
        format!(
            "<input type=\"hidden\" name=\"state\" value=\"{}\">",
            escape(state)
        )
    });
    document(
        StatusCode::OK,
        "Connect to Wise (simulated)",
        &format!(
            "<p><b>{client}</b> asks to act for one of your profiles.</p>\
             <form method=\"post\" action=\"/oauth/authorize/\">{choices}\
             <input type=\"hidden\" name=\"client_id\" value=\"{client}\">\
             <input type=\"hidden\" name=\"redirect_uri\" value=\"{redirect}\">{state}\
             <p><button name=\"decision\" value=\"grant\">Give access</button> \
             <button name=\"decision\" value=\"deny\">No, thank you</button></p></form>",
            client = escape(&shared.client_id),
            redirect = escape(request.redirect_uri),
        ),
    )
}

fn decide(shared: &Shared, form: &HashMap<String, String>) -> Reply {
    let request = match Asked::read(shared, form) {
        Ok(request) => request,
        Err(why) => return problem(why),
    };
    let mut back = Vec::new();
    if form.get("decision").map(String::as_str) == Some("grant") {
        let Some(profile) = form.get("profile").and_then(|profile| profile.parse().ok()) else {
            return problem("Pick the profile to connect.");
        };
        let Some(code) = shared.authorise(profile, request.redirect_uri) else {
            return problem("That profile is not yours.");
        };
        back.push(("code", code));
        back.push(("profileId", profile.to_string()));
    } else {
        back.push(("error", "access_denied".to_owned()));
        back.push((
            "error_description",
            "The user denied the request".to_owned(),
        ));
    }
    if let Some(state) = request.state {
        back.push(("state", state.to_owned()));
    }
    redirect(request.redirect_uri, &back)
}

/// What a partner asks for, checked before anything is shown or sent.
struct Asked<'a> {
    redirect_uri: &'a str,
    state: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// A wrong client or redirect address gets a page, never a redirect: it may be an attack.
    fn read(shared: &Shared, fields: &'a HashMap<String, String>) -> Result<Self, &'static str> {
        if fields.get("client_id") != Some(&shared.client_id) {
            return Err("This client id is not known. Check client_id.");
        }
        let redirect_uri = fields.get("redirect_uri").map_or("", String::as_str);
        let any_port = shared.lock().faults.token.any_loopback_port;
        if !shared
            .redirect_uris
            .iter()
            .any(|known| same_redirect(known, redirect_uri, any_port))
        {
            return Err(
                "This redirect address is not registered for the client. Check redirect_uri.",
            );
        }
        Ok(Self {
            redirect_uri,
            state: fields.get("state").map(String::as_str),
        })
    }
}

/// Exact; or else, when the switch allows it, a loopback address with another port.
fn same_redirect(known: &str, asked: &str, any_port: bool) -> bool {
    known == asked
        || any_port
            && ["http://127.0.0.1", "http://localhost", "http://[::1]"]
                .iter()
                .any(|host| {
                    let rest = |uri: &'_ str| -> Option<String> {
                        let rest = uri.strip_prefix(host)?;
                        let rest = rest.strip_prefix(':').map_or(rest, |port| {
                            port.trim_start_matches(|character: char| character.is_ascii_digit())
                        });
                        (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_owned())
                    };
                    rest(known).is_some() && rest(known) == rest(asked)
                })
}

fn redirect(to: &str, fields: &[(&str, String)]) -> Reply {
    let mut target = to.to_owned();
    for (number, (name, value)) in fields.iter().enumerate() {
        let separator = if number > 0 || to.contains('?') {
            '&'
        } else {
            '?'
        };
        let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
        let _ = write!(target, "{separator}{name}={value}");
    }
    let mut reply = reply::empty(StatusCode::SEE_OTHER);
    match HeaderValue::from_str(&target) {
        Ok(target) => {
            reply.headers_mut().insert(LOCATION, target);
            reply
                .headers_mut()
                .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            reply
        }
        Err(_) => problem("The redirect address holds characters that cannot be sent."),
    }
}

fn developer_hub(shared: &Shared, form: Option<&HashMap<String, String>>) -> Reply {
    let field = |name: &str| {
        form.and_then(|form| form.get(name))
            .map_or("", String::as_str)
    };
    let result = match form {
        None => String::new(),
        Some(form) if form.contains_key("revoke") => {
            match shared.revoke_certificate(field("revoke")) {
                Ok(()) => "<p><b>Revoked.</b></p>".to_owned(),
                Err(error) => format!("<p><b>{}</b></p>", escape(&error.to_string())),
            }
        }
        Some(_) => match shared.sign_csr(field("name"), field("csr")) {
            Ok(pem) => format!("<p><b>Your certificate:</b></p><pre>{}</pre>", escape(&pem)),
            Err(error) => format!("<p><b>Refused:</b> {}</p>", escape(&error.to_string())),
        },
    };
    let mut list = String::new();
    for issued in shared
        .lock()
        .hub
        .issued()
        .iter()
        .filter(|issued| !issued.revoked)
    {
        let name = escape(&issued.name);
        let _ = write!(
            list,
            "<li>{name} <small>serial {}</small> <form method=\"post\" style=\"display:inline\">\
             <button name=\"revoke\" value=\"{name}\">Revoke</button></form></li>",
            issued.serial
        );
    }
    document(
        StatusCode::OK,
        "Developer Hub (simulated)",
        &format!(
            "{result}<h2>Generate certificate</h2><form method=\"post\" action=\"/developer-hub\">\
             <p><label>Name<br><input name=\"name\" required></label></p>\
             <p><label>Certificate request (PEM)<br>\
             <textarea name=\"csr\" rows=\"16\" cols=\"70\" required></textarea></label></p>\
             <p><button>Generate</button></p></form>\
             <h2>Active certificates</h2><ul>{list}</ul>\
             <h2>Wise certificate</h2><pre>{}</pre>",
            escape(&shared.ca_pem)
        ),
    )
}

fn problem(why: &str) -> Reply {
    document(
        StatusCode::BAD_REQUEST,
        "Something is wrong with this link",
        &format!("<p>{}</p>", escape(why)),
    )
}

fn document(status: StatusCode, title: &str, body: &str) -> Reply {
    let mut reply = reply::html(
        status,
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}}\
             pre,textarea{{max-width:100%;overflow:auto}}</style><h1>{title}</h1>{body}</html>"
        ),
    );
    // form-action is left open: Chromium applies it to the redirect after the form as well.
    reply.headers_mut().insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    );
    reply
}

fn pairs(text: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(text).into_owned().collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_redirect_may_change_its_port_and_only_if_allowed() {
        let asked = "http://127.0.0.1:4711/callback";
        assert!(same_redirect("http://127.0.0.1/callback", asked, true));
        assert!(!same_redirect("http://127.0.0.1/callback", asked, false));
        assert!(same_redirect(asked, asked, false));
        for (known, asked) in [
            ("http://127.0.0.1/callback", "http://127.0.0.1:4711/other"),
            (
                "http://127.0.0.1/callback",
                "http://127.0.0.1.evil.example/callback",
            ),
            (
                "http://127.0.0.1/callback",
                "http://127.0.0.1:80@evil.example/callback",
            ),
            ("https://a.example/back", "https://a.example:444/back"),
            ("https://a.example/back", "https://a.example/back/more"),
        ] {
            assert!(
                !same_redirect(known, asked, true),
                "{known} must not allow {asked}"
            );
        }
    }
}
