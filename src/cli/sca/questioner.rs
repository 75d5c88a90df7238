//! Requests of Wise as the proxy makes them: its way out, and the token of the lane in use.

use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Request};

use super::super::args::Global;
use super::super::failure::{Exit, Failure};
use crate::clock::{Clock as _, System};
use crate::config::{Config, Grant, Lane};
use crate::server::Errand;
use crate::upstream::Answer;

pub(super) struct Questioner {
    errand: Errand,
    authorization: HeaderValue,
    timeout: Duration,
}

impl Questioner {
    /// Reads what a request needs. Renews nothing: in the store is what a running proxy renewed last.
    pub(super) fn new(
        global: &Global,
        config: &Config,
        grant: Option<&str>,
    ) -> Result<Self, Failure> {
        let errand = Errand::prepare(config)?;
        let authorization = match errand.lane {
            Lane::Personal => errand.personal.clone().ok_or_else(|| {
                let error = anyhow!("there is no personal token");
                Failure::new(Exit::Config, error).hint("name it as personal.token")
            })?,
            Lane::OAuth | Lane::OAuthMtls => of_user(global, config, &errand, grant)?,
        };
        Ok(Self {
            errand,
            authorization,
            timeout: config.upstream.answer_timeout,
        })
    }

    pub(super) fn lane(&self) -> Lane {
        self.errand.lane
    }

    /// GETs, with these fields.
    pub(super) async fn get(
        &self,
        path: &str,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Answer, Failure> {
        let request = Request::get(path).body(Bytes::new());
        let mut request = request.map_err(|_| {
            Failure::usage("this is no path of Wise's")
                .hint("it begins with /, such as /v2/profiles")
        })?;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        for (name, value) in fields {
            headers.insert(name, value.clone());
        }
        let sending = Box::pin(self.errand.send(request));
        let answer = tokio::time::timeout(self.timeout, sending).await;
        let failed = |error: anyhow::Error| {
            Failure::new(Exit::Failed, error).hint("`wise-auth-proxy doctor` says more")
        };
        answer
            .map_err(|_elapsed| {
                let seconds = self.timeout.as_secs();
                failed(anyhow!("no answer within {seconds} s"))
            })?
            .map_err(|error| failed(error.into()))
    }
}

/// The user token of a grant.
fn of_user(
    global: &Global,
    config: &Config,
    errand: &Errand,
    named: Option<&str>,
) -> Result<HeaderValue, Failure> {
    let is_meant = |grant: &&Grant| match named {
        Some(name) => grant.name == name,
        None => grant.default || config.grants.len() == 1,
    };
    let grant = config.grants.iter().find(is_meant).ok_or_else(|| {
        let names: Vec<&str> = config.grants.iter().map(|it| it.name.as_str()).collect();
        let error = anyhow!("which grant is meant is not known");
        Failure::new(Exit::Usage, error)
            .hint(format!("name one with --grant: {}", names.join(", ")))
    })?;
    let record = errand.store.peek(&grant.name);
    let record = record.map_err(|error| {
        let otherwise = "run it as the user that the proxy runs as";
        Failure::advised(Exit::Failed, &error, otherwise)
    })?;
    let living = record.filter(|record| record.expires > System.wall());
    let Some(record) = living else {
        let error = anyhow!("grant {} has no living token", grant.name);
        let login = global.spell(&format!("login --grant {}", grant.name));
        return Err(Failure::new(Exit::Failed, error)
            .hint(format!("start the proxy, which renews it, or {login}")));
    };
    record
        .access_token
        .bearer()
        .map_err(|error| Failure::new(Exit::Failed, error).hint("log in again"))
}
