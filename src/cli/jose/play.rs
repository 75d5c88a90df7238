//! `jose test`: what of signing and encryption goes well, call by call.

use anyhow::anyhow;
use serde_json::{Value, json};

use super::super::args::Global;
use super::super::failure::{Exit, Failure};
use super::super::report::{self, Progress};
use super::super::run::control_runtime;
use super::partner::Partner;
use super::playground::{CALLS, Call, Playground, Shown, Wrong};

pub(super) fn run(global: &Global, as_json: bool) -> Result<(), Failure> {
    let config = global.load()?.config;
    let jose = &config.jose;
    if jose.signing.is_none() && jose.decrypting.is_none() {
        let make = global.spell("jose keygen --signing ES512 --out FILE");
        let error = anyhow!("the configuration has no key under [jose]");
        return Err(Failure::new(Exit::Config, error)
            .hint(format!("{make} makes one, and says how to go on")));
    }
    let playground = Playground::keys(jose)?;
    let line = Partner::line(&config)?;
    let mut hints: Vec<String> = Vec::new();
    let outcomes = control_runtime()?.block_on(async {
        let mut progress = Progress::new();
        let asking = Partner::introduce(line, &config);
        let partner = progress.along("asking Wise for a token", asking).await?;
        let mut playground = playground(partner);
        let mut outcomes = Vec::new();
        for call in &CALLS {
            let doing = format!("{} {}", call.method, call.path());
            let playing = Box::pin(playground.play(call));
            let result = progress.along(&doing, playing).await;
            if let Err(wrong) = &result {
                let hint = playground.hint(call, wrong, &|command| global.spell(command));
                hints.extend(hint.filter(|hint| !hints.contains(hint)));
            }
            outcomes.push(Outcome { call, result });
        }
        Ok::<_, Failure>(outcomes)
    })?;
    let failed = outcomes.iter().filter(|it| it.state() == "failed").count();
    if as_json {
        let calls: Vec<_> = outcomes.iter().map(Outcome::json).collect();
        let passed = failed == 0;
        report::json(&json!({ "passed": passed, "calls": calls, "hints": hints }))?;
    } else {
        let head = ["call", "method", "state", "what"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(outcomes.iter().map(Outcome::row));
        report::data(&report::table(&rows))?;
    }
    if failed == 0 {
        for hint in hints {
            report::say(&hint);
        }
        return Ok(());
    }
    let made = outcomes.iter().filter(|it| it.state() != "skipped").count();
    let error = anyhow!("{failed} of {made} calls failed");
    let otherwise = format!("{} may say more", global.spell("doctor"));
    Err(Failure::new(Exit::Failed, error).hints(hints, &otherwise))
}

struct Outcome<'a> {
    call: &'a Call,
    result: Result<Shown, Wrong>,
}

impl Outcome<'_> {
    fn state(&self) -> &'static str {
        match &self.result {
            Ok(_) => "ok",
            Err(Wrong::Unconfigured(_)) => "skipped",
            Err(_) => "failed",
        }
    }

    fn detail(&self) -> String {
        let shown = match &self.result {
            Ok(shown) => shown,
            Err(wrong) => return wrong.to_string(),
        };
        let verified = shown.algorithm.zip(shown.version);
        let verified = verified.map(|(algorithm, version)| {
            let again = if shown.fetched_again {
                ", which was fetched once more"
            } else {
                ""
            };
            format!("verified with Wise's {algorithm} key, version {version}{again}")
        });
        let decrypted = shown.decrypted.then(|| "decrypted".to_owned());
        let done: Vec<_> = decrypted.into_iter().chain(verified).collect();
        done.join(", ")
    }

    fn row(&self) -> Vec<String> {
        vec![
            format!("{:4} {}", self.call.method.as_str(), self.call.path()),
            self.call.protection().to_owned(),
            self.state().to_owned(),
            self.detail(),
        ]
    }

    fn json(&self) -> Value {
        let shown = self.result.as_ref().ok();
        json!({
            "call": format!("{} {}", self.call.method, self.call.path()),
            "method": self.call.protection(),
            "state": self.state(),
            "detail": self.detail(),
            "wise_key_version": shown.and_then(|shown| shown.version),
            "wise_key_fetched_again": shown.is_some_and(|shown| shown.fetched_again),
        })
    }
}
