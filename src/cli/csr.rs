//! `csr`: a private key, and the request that has Wise sign it.

use anyhow::anyhow;

use super::args::{CsrArgs, Global};
use super::failure::{Exit, Failure};
use super::report;
use crate::tls::{Request, Subject, TlsError};

pub(crate) fn run(global: &Global, args: &CsrArgs) -> Result<(), Failure> {
    let key = match &args.key {
        Some(key) => key.clone(),
        None => global.load()?.config.mtls.ok_or_else(no_mtls)?.key,
    };
    let csr = args
        .out
        .clone()
        .unwrap_or_else(|| key.with_extension("csr"));
    if key.symlink_metadata().is_ok() {
        // Before the seconds that a key of 4096 bits takes.
        return Err(TlsError::Exists { path: key }.into());
    }
    let subject = Subject::new(&args.organisation, args.country.as_deref(), None)?;
    let request = Request::generate(args.key_type, &subject)?;
    request.write(&key, &csr)?;
    if args.out.is_none() {
        report::data(request.csr_pem().trim_end())?;
    }
    report::say(&format!(
        "the private key is in {}: it stays on this machine\n\
         the request is in {}\n\
         next: in Wise's Developer Hub, Authentication > Generate certificate, paste the request; \
         save what it gives to a file and run `wise-auth-proxy cert install FILE{}`",
        key.display(),
        csr.display(),
        args.key
            .as_ref()
            .map_or_else(String::new, |key| format!(" --key {}", key.display())),
    ));
    Ok(())
}

/// A command wants the client certificate's place, and there is none.
pub(super) fn no_mtls() -> Failure {
    Failure::new(Exit::Config, anyhow!("the configuration has no [mtls]"))
        .hint("add [mtls] with `certificate` and `key`, or name the files on the command line")
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        let exit = match &error {
            TlsError::Subject { .. } => Exit::Usage,
            TlsError::Read { .. }
            | TlsError::Write { .. }
            | TlsError::Exists { .. }
            | TlsError::KeyTooOpen { .. }
            | TlsError::Content { .. }
            | TlsError::NotX509 { .. }
            | TlsError::UnusableKey { .. }
            | TlsError::KeyMismatch { .. }
            | TlsError::Unfit { .. }
            | TlsError::NoSystemRoots { .. }
            | TlsError::NoRoots
            | TlsError::UnusableRoot { .. }
            | TlsError::Generate(_)
            | TlsError::Setup(_) => Exit::Failed,
        };
        Self::advised(exit, &error, "mend the file and try again")
    }
}
