//! `jose list`: Wise's public keys as it hands them out, and ours as they are configured.

use serde_json::{Value, json};

use super::super::args::Global;
use super::super::failure::{Exit, Failure};
use super::super::line::CallError;
use super::super::report::{self, Progress};
use super::super::run::control_runtime;
use super::fingerprint;
use super::partner::{Partner, WiseKey};
use crate::config::{Jose, SigningAlgorithm};
use crate::jose::{KeyFileError, read_decrypting, read_signing};
use crate::wise::jose::{RSA_OAEP_256, Scope};

/// As much of a fingerprint as a person compares.
const SHOWN: usize = 16;

pub(super) fn run(global: &Global, as_json: bool) -> Result<(), Failure> {
    let config = global.load()?.config;
    let ours = ours(&config.jose);
    let line = Partner::line(&config)?;
    let theirs = control_runtime()?.block_on(async {
        let mut progress = Progress::new();
        let asking = async {
            let partner = Partner::introduce(line, &config).await?;
            Ok::<_, Failure>(theirs(&partner).await)
        };
        progress.along("asking Wise for its keys", asking).await
    })?;
    if as_json {
        let theirs: Vec<_> = theirs.iter().map(Published::json).collect();
        let ours: Vec<_> = ours.iter().map(Own::json).collect();
        report::json(&json!({ "wise": theirs, "ours": ours }))?;
    } else {
        let head = ["whose", "scope", "algorithm", "version or id", "SHA-256"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(theirs.iter().map(Published::row));
        rows.extend(ours.iter().map(Own::row));
        report::data(&report::table(&rows))?;
    }
    if ours.is_empty() {
        report::say(&format!(
            "no key of ours is configured; {} makes one",
            global.spell("jose keygen --signing ES512 --out FILE")
        ));
    }
    if theirs.iter().any(|published| published.key.is_ok()) {
        return Ok(());
    }
    let first = theirs
        .into_iter()
        .find_map(|published| published.key.err())
        .map_or_else(|| anyhow::anyhow!("there are none"), Into::into);
    let error = first.context("Wise hands out no key");
    Err(Failure::new(Exit::Failed, error)
        .hint("ask Wise whether JOSE is switched on for this client id"))
}

/// A key of Wise's, if it has one.
struct Published {
    scope: Scope,
    algorithm: &'static str,
    key: Result<WiseKey, CallError>,
}

async fn theirs(partner: &Partner) -> Vec<Published> {
    let signing = SigningAlgorithm::ALL.map(|algorithm| (Scope::Signing, algorithm.name()));
    let all = signing
        .into_iter()
        .chain([(Scope::Encryption, RSA_OAEP_256)]);
    let mut theirs = Vec::new();
    for (scope, algorithm) in all {
        let key = Box::pin(partner.key(scope, algorithm, None)).await;
        theirs.push(Published {
            scope,
            algorithm,
            key,
        });
    }
    theirs
}

impl Published {
    fn row(&self) -> Vec<String> {
        let (version, print) = match &self.key {
            Ok(key) => (key.version.to_string(), shown(&fingerprint(&key.der))),
            Err(error) => ("none".to_owned(), error.to_string()),
        };
        row("Wise", self.scope, self.algorithm, version, print)
    }

    fn json(&self) -> Value {
        let key = self.key.as_ref().ok();
        json!({
            "scope": self.scope,
            "algorithm": self.algorithm,
            "version": key.map(|key| key.version),
            "public_key_sha256": key.map(|key| fingerprint(&key.der)),
            "error": self.key.as_ref().err().map(ToString::to_string),
        })
    }
}

/// A key of ours; its public half, if the file can be read.
struct Own<'a> {
    scope: Scope,
    algorithm: &'static str,
    path: &'a std::path::Path,
    kid: Option<&'a str>,
    print: Result<String, KeyFileError>,
}

fn ours(jose: &Jose) -> Vec<Own<'_>> {
    let signing = jose.signing.iter().map(|key| Own {
        scope: Scope::Signing,
        algorithm: key.algorithm.name(),
        path: &key.path,
        kid: key.kid.as_deref(),
        print: read_signing(key).map(|key| {
            let der = key.public_der();
            der.map_or_else(|error| error.to_string(), |der| fingerprint(&der))
        }),
    });
    let decrypting = jose.decrypting.iter().map(|key| Own {
        scope: Scope::Encryption,
        algorithm: RSA_OAEP_256,
        path: &key.path,
        kid: key.kid.as_deref(),
        print: read_decrypting(key).map(|key| fingerprint(key.public_der())),
    });
    signing.chain(decrypting).collect()
}

impl Own<'_> {
    fn row(&self) -> Vec<String> {
        let kid = self.kid.unwrap_or("not registered").to_owned();
        let print = match &self.print {
            Ok(print) => shown(print),
            Err(error) => error.to_string(),
        };
        row("ours", self.scope, self.algorithm, kid, print)
    }

    fn json(&self) -> Value {
        json!({
            "scope": self.scope,
            "algorithm": self.algorithm,
            "kid": self.kid,
            "key": self.path,
            "public_key_sha256": self.print.as_ref().ok(),
            "error": self.print.as_ref().err().map(ToString::to_string),
        })
    }
}

fn row(whose: &str, scope: Scope, algorithm: &str, which: String, print: String) -> Vec<String> {
    let named = [whose, scope.name(), algorithm].map(str::to_owned);
    named.into_iter().chain([which, print]).collect()
}

fn shown(print: &str) -> String {
    print.chars().take(SHOWN).collect()
}
