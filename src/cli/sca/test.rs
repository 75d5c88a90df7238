//! `sca test`: whether the configured key signs as Wise verifies.

use anyhow::anyhow;
use http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::super::args::Global;
use super::super::failure::{Exit, Failure};
use super::super::report::{self, Progress};
use super::super::run::control_runtime;
use super::super::spelling;
use super::args::TestArgs;
use super::questioner::Questioner;
use crate::config::{Config, Lane};
use crate::sca::{OneTimeToken, SigningKey};
use crate::wise::headers::{X_2FA_APPROVAL, X_2FA_APPROVAL_RESULT, X_SIGNATURE};

pub(super) fn run(global: &Global, args: &TestArgs) -> Result<(), Failure> {
    let config = global.load()?.config;
    let Some(path) = &config.sca.key else {
        let error = anyhow!("the configuration names no sca.key");
        let make = global.spell("sca keygen --out FILE --write");
        return Err(Failure::new(Exit::Config, error)
            .hint(format!("{make} makes one, and says how to go on")));
    };
    let key = SigningKey::read(path)?;
    // Made up, and of no use at Wise: it may be shown.
    let sample = Uuid::new_v4().to_string();
    let token = OneTimeToken::parse(&sample);
    let token = token.ok_or_else(|| Failure::usage("a UUID is no token").hint("report it"))?;
    let signature = key.sign(&token)?;
    if !key.verifies(&token, &signature)? {
        let error = anyhow!("what the key signs does not verify with its public half");
        return Err(Failure::new(Exit::Failed, error)
            .hint("the file is damaged: make another key, and give Wise its public half"));
    }
    let openssl = format!(
        "printf %s {sample} | openssl dgst -sha256 -sign {} | base64 -w0",
        spelling::path(path)
    );
    let lanes: Vec<&str> = config.sca.lanes.iter().map(Lane::name).collect();
    let asked = args
        .ask
        .as_deref()
        .map(|path| ask(global, args, &config, &key, path));
    let asked = asked.transpose()?;
    let signature = signature.to_str().unwrap_or_default();
    if args.json {
        report::json(&json!({
            "key": path,
            "bits": key.bits(),
            "public_key_sha256": key.fingerprint()?,
            "lanes": lanes,
            "sample": { "one_time_token": sample, "signature": signature, "openssl": openssl },
            "asked": asked.as_ref().map(|asked| json!({
                "lane": asked.lane.name(),
                "outcome": asked.outcome.name(),
                "status": asked.status.as_u16(),
            })),
        }))?;
    } else {
        let bits = format!("{} bits, {}", key.bits(), path.display());
        let mut rows = vec![
            vec!["key".to_owned(), bits],
            vec!["public key, SHA-256".to_owned(), key.fingerprint()?],
            vec!["signs in".to_owned(), lanes.join(", ")],
            vec!["signed and verified".to_owned(), sample.clone()],
            vec!["the same by hand".to_owned(), openssl],
        ];
        if let Some(asked) = &asked {
            let said = format!(
                "{} in lane {}: {} ({})",
                asked.outcome.name(),
                asked.lane,
                asked.outcome.words(),
                asked.status.as_u16()
            );
            rows.push(vec!["asked Wise".to_owned(), said]);
        }
        report::data(&report::table(&rows))?;
    }
    match asked {
        Some(Asked {
            outcome: Outcome::Refused,
            ..
        }) => {
            let error = anyhow!("Wise does not take the signature");
            Err(Failure::new(Exit::Failed, error).hint(
                "compare the public key with those on Wise's page (Settings, API tokens, Manage public \
                 keys); since PSD2 Wise takes signatures for some accounts and operations only",
            ))
        }
        Some(Asked {
            outcome: Outcome::Failed,
            status,
            ..
        }) => {
            let error = anyhow!("Wise answers {}", status.as_u16());
            Err(Failure::new(Exit::Failed, error).hint(format!(
                "{} says what is in the way",
                global.spell("doctor")
            )))
        }
        Some(Asked {
            outcome: Outcome::Accepted | Outcome::NotChallenged,
            ..
        })
        | None => Ok(()),
    }
}

struct Asked {
    lane: Lane,
    status: StatusCode,
    outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Copy)]
enum Outcome {
    /// Wise answered at once.
    NotChallenged,
    /// Wise asked, and took the signature.
    Accepted,
    /// Wise asked, and asks again.
    Refused,
    /// Something else is wrong.
    Failed,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::NotChallenged => "not_challenged",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::NotChallenged => "Wise asked for nothing, so nothing was signed",
            Self::Accepted => "challenged, signed, accepted",
            Self::Refused => "challenged, signed, and challenged again",
            Self::Failed => "no answer to learn from",
        }
    }
}

fn ask(
    global: &Global,
    args: &TestArgs,
    config: &Config,
    key: &SigningKey,
    path: &str,
) -> Result<Asked, Failure> {
    let questioner = Questioner::new(global, config, args.grant.as_deref())?;
    control_runtime()?.block_on(async {
        let mut progress = Progress::new();
        let first = progress
            .along("asking Wise", questioner.get(path, &[]))
            .await?;
        let of = |status: StatusCode, outcome| Asked {
            lane: questioner.lane(),
            status,
            outcome,
        };
        let token = first.headers.get(X_2FA_APPROVAL).and_then(OneTimeToken::of);
        let Some(token) = token.filter(|_| first.status == StatusCode::FORBIDDEN) else {
            let outcome = if first.status.is_success() {
                Outcome::NotChallenged
            } else {
                Outcome::Failed
            };
            return Ok(of(first.status, outcome));
        };
        let fields = [
            (X_2FA_APPROVAL, token.value().clone()),
            (X_SIGNATURE, key.sign(&token)?),
        ];
        let again = progress.along("asking again, signed", questioner.get(path, &fields));
        let again = again.await?;
        let is_challenge = again.headers.contains_key(X_2FA_APPROVAL)
            || again.headers.contains_key(X_2FA_APPROVAL_RESULT);
        let outcome = match again.status {
            StatusCode::FORBIDDEN if is_challenge => Outcome::Refused,
            status if status.is_success() => Outcome::Accepted,
            _ => Outcome::Failed,
        };
        Ok(of(again.status, outcome))
    })
}
