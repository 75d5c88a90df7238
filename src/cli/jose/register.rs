//! `jose register`: Wise gets the public half of a key, the configuration its id.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use toml_edit::Item;
use uuid::Uuid;

use super::super::args::Global;
use super::super::failure::{Exit, Failure};
use super::super::line::CallError;
use super::super::report::{self, Progress};
use super::super::run::control_runtime;
use super::super::sheet::{Sheet, put};
use super::args::RegisterArgs;
use super::partner::Partner;
use super::{fingerprint, flag, trade};
use crate::clock::{Clock as _, System};
use crate::config::{Jose, JoseDecrypting, JoseSigning, Loaded, SigningAlgorithm};
use crate::jose::{read_decrypting, read_signing};
use crate::upstream::OnceError;
use crate::wise::jose::{RSA_OAEP_256, RegisteredMaterial, Registration, Scope};

/// Wise's form of a moment, in UTC.
const MOMENT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

const DAY: Duration = Duration::from_hours(24);

/// How a comment begins that `register` writes behind an id.
const COMMENT: &str = " # valid until ";

pub(super) fn run(global: &Global, args: &RegisterArgs) -> Result<(), Failure> {
    let loaded = global.load()?;
    let keys = chosen(global, args, &loaded)?;
    let line = Partner::line(&loaded.config)?;
    control_runtime()?.block_on(async {
        let mut progress = Progress::new();
        let asking = Partner::introduce(line, &loaded.config);
        let partner = progress.along("asking Wise for a token", asking).await?;
        let mut registered = Vec::new();
        for key in keys {
            registered.push(key.register(global, args, &partner, &mut progress).await?);
        }
        let next = global.typed("jose test");
        report::say(&format!("next: `{next}`"));
        if args.json {
            let next = json!({ "command": next });
            return report::json(&json!({ "registered": registered, "next": next }));
        }
        Ok(())
    })
}

/// A key that is to be registered.
struct Candidate {
    scope: Scope,
    path: PathBuf,
    /// How the configuration is to spell the path; `None`: it names it already.
    spelled: Option<String>,
    /// Of keys that sign.
    signing: Option<SigningAlgorithm>,
    public: Vec<u8>,
}

/// The keys that the command line means, read: before Wise is asked for anything.
fn chosen(
    global: &Global,
    args: &RegisterArgs,
    loaded: &Loaded,
) -> Result<Vec<Candidate>, Failure> {
    let jose = &loaded.config.jose;
    let all = !args.signing && !args.encryption;
    if let Some(path) = &args.key {
        if all {
            return Err(Failure::usage("--key needs --signing or --encryption")
                .hint("say what the key is for"));
        }
        return Ok(vec![named(args, loaded, path)?]);
    }
    let mut keys = Vec::new();
    if let Some(key) = jose.signing.as_ref().filter(|_| all || args.signing) {
        keys.push(Candidate::signing(key)?);
    }
    if let Some(key) = jose.decrypting.as_ref().filter(|_| all || args.encryption) {
        keys.push(Candidate::decrypting(key)?);
    }
    if args.kid.is_some() && keys.len() > 1 {
        return Err(Failure::usage("one --kid is not for two keys")
            .hint("say which with --signing or --encryption"));
    }
    if keys.is_empty() {
        let which = match (args.signing, args.encryption) {
            (true, _) => "no jose.signing_key",
            (_, true) => "no jose.encryption_key",
            (false, false) => "no key under [jose]",
        };
        let what = if args.encryption {
            "--encryption"
        } else {
            "--signing ES512"
        };
        let make = global.spell(&format!("jose keygen {what} --out FILE"));
        return Err(
            Failure::new(Exit::Config, anyhow!("the configuration has {which}"))
                .hint(format!("{make} makes one, and says how to go on")),
        );
    }
    Ok(keys)
}

/// A key in a file that the configuration need not name yet.
fn named(args: &RegisterArgs, loaded: &Loaded, path: &Path) -> Result<Candidate, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::new(Exit::Failed, anyhow!(error)).hint("check the path");
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let mut key = if args.signing {
        let known = loaded.config.jose.signing.as_ref();
        let algorithm = args.algorithm.or(known.map(|known| known.algorithm));
        Candidate::signing(&JoseSigning {
            algorithm: algorithm.unwrap_or(SigningAlgorithm::Es512),
            path: absolute.clone(),
            kid: None,
        })?
    } else {
        Candidate::decrypting(&JoseDecrypting {
            path: absolute.clone(),
            kid: None,
        })?
    };
    let base = loaded.path.as_deref().and_then(Path::parent);
    let inside = base.and_then(|base| absolute.strip_prefix(base).ok());
    let spelled = inside.unwrap_or(&absolute).to_str();
    key.spelled = spelled.map(str::to_owned);
    if key.spelled.is_none() {
        return Err(Failure::usage("the file's name is not UTF-8").hint("give it another name"));
    }
    Ok(key)
}

impl Candidate {
    fn signing(key: &JoseSigning) -> Result<Self, Failure> {
        Ok(Self {
            scope: Scope::Signing,
            path: key.path.clone(),
            spelled: None,
            signing: Some(key.algorithm),
            public: read_signing(key)?.public_der()?,
        })
    }

    fn decrypting(key: &JoseDecrypting) -> Result<Self, Failure> {
        Ok(Self {
            scope: Scope::Encryption,
            path: key.path.clone(),
            spelled: None,
            signing: None,
            public: read_decrypting(key)?.public_der().to_vec(),
        })
    }

    fn algorithm(&self) -> &'static str {
        self.signing.map_or(RSA_OAEP_256, SigningAlgorithm::name)
    }

    async fn register(
        &self,
        global: &Global,
        args: &RegisterArgs,
        partner: &Partner,
        progress: &mut Progress,
    ) -> Result<Value, Failure> {
        let kid = args.kid.clone();
        let kid = kid.unwrap_or_else(|| Uuid::new_v4().to_string());
        let from = System.wall();
        let till = from + DAY * u32::from(args.valid_days);
        // Before Wise has the key: the configuration must be able to take it.
        let mut sheet = Sheet::open(global)?;
        self.enter(&mut sheet, &kid, till);
        let is_heard = self.kid_in(&sheet.try_out()?.config.jose) == Some(kid.as_str());
        let asked = Registration {
            key_id: &kid,
            scope: self.scope,
            valid_from: moment(from),
            valid_till: moment(till),
            public_key_material: RegisteredMaterial {
                algorithm: self.algorithm(),
                key_material: STANDARD.encode(&self.public),
            },
        };
        let registering = partner.register(&asked);
        let registering = progress.along("registering the key", registering).await;
        registering.map_err(|error| self.refused(global, error))?;
        let trade = trade(self.scope);
        let written = sheet.write().map_err(|failure| {
            failure.hint(format!(
                "Wise has the key: write {trade}_kid = \"{kid}\" under [jose] by hand"
            ))
        })?;
        report::say(&format!(
            "Wise has the {trade} key of {} as {kid}, until {}; keys registered before stay valid",
            self.path.display(),
            day(till),
        ));
        report::say(&format!("{} names it", written.path.display()));
        if !is_heard {
            report::say(&format!(
                "warning: a variable or --set says another jose.{trade}_kid than the file, and wins"
            ));
        }
        if !args.json {
            report::data(&kid)?;
        }
        Ok(json!({
            "scope": self.scope,
            "algorithm": self.algorithm(),
            "kid": kid,
            "key": self.path,
            "public_key_sha256": fingerprint(&self.public),
            "valid_from": asked.valid_from,
            "valid_till": asked.valid_till,
            "file": written.path,
        }))
    }

    /// Writes the id, and what else the configuration does not say yet.
    fn enter(&self, sheet: &mut Sheet, kid: &str, till: SystemTime) {
        let trade = trade(self.scope);
        let document = &mut sheet.document;
        if let Some(spelled) = &self.spelled {
            put(document, "jose", &format!("{trade}_key"), spelled.as_str());
            if let Some(algorithm) = self.signing {
                put(document, "jose", "signing_algorithm", algorithm.name());
            }
        }
        let key = format!("{trade}_kid");
        put(document, "jose", &key, kid);
        let value = document.get_mut("jose").and_then(|jose| jose.get_mut(&key));
        if let Some(value) = value.and_then(Item::as_value_mut) {
            let decor = value.decor_mut();
            let before = decor.suffix().and_then(|suffix| suffix.as_str());
            let before = before.unwrap_or_default();
            // What a person wrote there stays.
            if before.trim().is_empty() || before.starts_with(COMMENT) {
                decor.set_suffix(format!("{COMMENT}{}", day(till)));
            }
        }
    }

    /// The id that a configuration has for keys of this kind.
    fn kid_in<'a>(&self, jose: &'a Jose) -> Option<&'a str> {
        match self.scope {
            Scope::Signing => jose.signing.as_ref()?.kid.as_deref(),
            Scope::Encryption => jose.decrypting.as_ref()?.kid.as_deref(),
        }
    }

    fn refused(&self, global: &Global, error: CallError) -> Failure {
        let hint = match &error {
            CallError::NoAnswer(OnceError::NotSent(_) | OnceError::CertificateRefused(_)) => {
                format!("{} says what is in the way", global.spell("doctor"))
            }
            CallError::NoAnswer(_) | CallError::TimedOut(_) => format!(
                "Wise may have the key or not; run it again: {} once more does no harm",
                flag(self.scope)
            ),
            CallError::Refused { status, .. } if status.as_u16() == 409 => {
                "Wise has a key of this id: leave --kid out, or name another".to_owned()
            }
            CallError::Refused { status, .. } if matches!(status.as_u16(), 401 | 403 | 404) => {
                "ask Wise whether JOSE is switched on for this client id".to_owned()
            }
            CallError::Refused { status, .. } if status.as_u16() < 500 => {
                "try a shorter --valid-days, and another algorithm; ask Wise which it takes"
                    .to_owned()
            }
            CallError::Refused { .. } => "Wise has trouble of its own: try again later".to_owned(),
            CallError::Without(_) | CallError::Request(_) => "report it".to_owned(),
        };
        let trade = trade(self.scope);
        let error = anyhow!(error).context(format!("the {trade} key is not registered"));
        Failure::new(Exit::Failed, error).hint(hint)
    }
}

fn moment(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    at.format(MOMENT).unwrap_or_default()
}

fn day(at: SystemTime) -> String {
    OffsetDateTime::from(at).date().to_string()
}
