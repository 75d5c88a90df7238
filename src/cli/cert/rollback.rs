//! `cert rollback`: the pair that the last installation replaced takes its place again. An exchange
//! that was interrupted is completed first, and no more: whoever asks again means the other pair.

use super::super::args::{Global, RollbackArgs};
use super::super::csr::no_mtls;
use super::super::failure::Failure;
use super::super::report;
use super::opening::Passphrases;
use super::{client_id, outcome, tell, tell_when, warn};
use crate::clock::System;
use crate::tls::{Candidate, Pair, complete};

pub(super) fn run(global: &Global, args: &RollbackArgs) -> Result<(), Failure> {
    let config = global.load()?.config;
    let mtls = config.mtls.as_ref().ok_or_else(no_mtls)?;
    let place = Pair::from(mtls);
    let passphrases = Passphrases::gather(Some(mtls), &args.passphrase)?;
    if let Some(identity) = complete(&place, passphrases.of_the_one_in_use())? {
        report::say("an exchange of the pair had been interrupted, and is complete now");
        tell(&identity, &place.certificate);
        let again = global.spell("cert rollback");
        report::say(&format!("{again} again goes to the other pair"));
        tell_when(global, Some(&config));
        if !args.json {
            return Ok(());
        }
        let findings = identity.check(&System, client_id(&config));
        // The pair before is whichever the exchange left there.
        let kept = Some(place.previous()).filter(|it| it.certificate.exists());
        let outcome = outcome(global, &identity, &place, &findings, kept.as_ref());
        return report::json(&outcome);
    }
    let candidate = passphrases.open(|it| Candidate::previous_of(&place, it))?;
    let findings = candidate
        .check(&System, client_id(&config))
        .map_err(|unfit| {
            let mut failure = Failure::from(unfit);
            let text = "the pair before cannot be used any more, and nothing was changed";
            failure.error = failure.error.context(text);
            failure
        })?;
    let installed = candidate.install(&place, passphrases.of_the_one_in_use())?;
    warn(&findings);
    tell(&installed.identity, &place.certificate);
    if let Some(kept) = &installed.kept {
        report::say(&format!(
            "the pair that it replaces is kept in {}; {} again goes forward to it",
            kept.certificate.display(),
            global.spell("cert rollback")
        ));
    }
    tell_when(global, Some(&config));
    if !args.json {
        return Ok(());
    }
    let (identity, kept) = (&installed.identity, installed.kept.as_ref());
    report::json(&outcome(global, identity, &place, &findings, kept))
}
