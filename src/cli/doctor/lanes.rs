//! What each lane reaches, with the credential that it carries.

use http::StatusCode;
use serde_json::Value;

use super::bench::{Bench, Host, PROFILES};
use super::check::{Check, Finding, Group};
use super::grants::{accepted_id, record_id, token_id};
use super::membership::ask;
use super::rounds::Rounds;
use crate::config::{Grant, Lane};
use crate::credentials::FileStore;
use crate::upstream::Answer;
use crate::wise::headers::{X_2FA_APPROVAL_RESULT, X_TRACE_ID};

const PERSONAL: &str = "secret.personal.token";

/// `unknown`: the grants whose token Wise does not know, which no lane can help.
pub(super) async fn look(
    rounds: &mut Rounds,
    bench: &Bench,
    store: Option<&FileStore>,
    unknown: &[&Grant],
) {
    let default = bench.config.grants.iter().find(|grant| grant.default);
    for lane in bench.config.switch.lanes.iter() {
        let credential = match (lane, default) {
            (Lane::Personal, _) => vec![PERSONAL.to_owned()],
            (Lane::OAuth | Lane::OAuthMtls, Some(grant)) => {
                let known = unknown.contains(&grant).then(|| accepted_id(grant));
                let own = [record_id(grant), token_id(grant)].into_iter();
                own.chain(known).collect()
            }
            (Lane::OAuth | Lane::OAuthMtls, None) => Vec::new(),
        };
        let host = Host::of(lane);
        let check = Check::new(Group::Lanes, format!("lane.{lane}"), format!("lane {lane}"))
            .after(credential.into_iter().chain(host.ground()))
            .serving([lane])
            .over_network();
        let work = async { (reach(bench, lane, default, store).await, None::<()>) };
        rounds.check(check, work).await;
    }
}

async fn reach(
    bench: &Bench,
    lane: Lane,
    default: Option<&Grant>,
    store: Option<&FileStore>,
) -> Finding {
    let answer = match (lane, default) {
        (Lane::Personal, _) => personal(bench).await,
        (Lane::OAuth | Lane::OAuthMtls, Some(grant)) => {
            ask(bench, lane, PROFILES, grant, store).await
        }
        (Lane::OAuth | Lane::OAuthMtls, None) => {
            Err(Finding::skipped("not asked: no grant is the default"))
        }
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(finding) => return finding,
    };
    let trace = answer.headers.get(X_TRACE_ID);
    meaning(bench, lane, default, &answer)
        .fact("status", answer.status.as_u16())
        .fact("trace_id", trace.and_then(|id| id.to_str().ok()))
}

async fn personal(bench: &Bench) -> Result<Answer, Finding> {
    let Some(token) = bench.secrets.get(PERSONAL) else {
        return Err(Finding::skipped("not asked: there is no personal token"));
    };
    let bearer = token.bearer().map_err(|error| {
        let hint = "write the token anew into the place that personal.token names";
        Finding::failed(error.to_string(), hint)
    })?;
    let answer = bench.get(Host::Plain, PROFILES, Some(bearer)).await;
    answer.map_err(|error| error.finding(bench))
}

/// What the answer to a harmless read says about the lane.
fn meaning(bench: &Bench, lane: Lane, default: Option<&Grant>, answer: &Answer) -> Finding {
    let status = answer.status;
    let grant = default.map_or("", |grant| grant.name.as_str());
    if status.is_success() {
        let list = serde_json::from_slice::<Value>(&answer.body).ok();
        return match list.as_ref().and_then(Value::as_array).map(Vec::len) {
            Some(1) => Finding::good("reads 1 profile"),
            Some(count) => Finding::good(format!("reads {count} profiles")),
            None => Finding::failed(
                format!("{PROFILES} answers {status} and no list"),
                "see that what answers there is Wise, and no page of something in between",
            ),
        };
    }
    let login = bench.command(&format!("login --grant {grant}"));
    let challenged = answer.headers.contains_key(X_2FA_APPROVAL_RESULT);
    match (status, lane) {
        (StatusCode::UNAUTHORIZED, Lane::Personal) => Finding::failed(
            "Wise does not take the personal token (401): it was revoked, belongs to another \
             environment, or this machine's address is not on its list",
            format!(
                "make a new one in Wise's settings (API tokens), put it where personal.token says, \
                 and {}",
                bench.command("reload")
            ),
        ),
        (StatusCode::UNAUTHORIZED, Lane::OAuth | Lane::OAuthMtls) => Finding::failed(
            format!("Wise does not take the access token of grant {grant} (401)"),
            format!(
                "the proxy renews it by itself; if `invalid_grant` stands in {}, {login}",
                bench.command("status")
            ),
        ),
        (StatusCode::FORBIDDEN, _) if challenged => Finding::failed(
            "Wise asks for strong customer authentication even for a read (403)",
            "ask Wise why reads of this client need a second factor; quote the trace id of --json",
        ),
        (StatusCode::FORBIDDEN, lane) => forbidden(bench, lane, grant),
        (status, _) => {
            let text = format!("{PROFILES} answers {status}");
            let hint = format!("run {} again in a while", bench.command("doctor"));
            let trouble = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            if trouble {
                Finding::warning(text, hint)
            } else {
                Finding::failed(text, "check the host names under [wise]")
            }
        }
    }
}

/// What a plain 403 means on a lane.
pub(super) fn forbidden(bench: &Bench, lane: Lane, grant: &str) -> Finding {
    let switch = |reason| {
        let turn = format!("switch oauth-mtls --reason \"{reason}\"");
        format!("use the mutual-TLS lane: {}", bench.command(&turn))
    };
    match lane {
        Lane::Personal => Finding::failed(
            "Wise refuses the personal token here (403): mutual TLS may be enforced, or the token's \
             rights have been cut",
            switch("personal token refused"),
        ),
        Lane::OAuth => Finding::failed(
            "Wise refuses OAuth without a client certificate (403): mutual TLS may be enforced",
            switch("mutual TLS is enforced"),
        ),
        Lane::OAuthMtls => Finding::failed(
            "Wise refuses this token under this certificate (403)",
            format!(
                "certificate and token must be of one client: {} says which the certificate is of; \
                 else {}",
                bench.command("cert show"),
                bench.command(&format!("login --grant {grant}"))
            ),
        ),
    }
}
