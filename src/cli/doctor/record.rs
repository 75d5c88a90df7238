//! The record of who called what: can it be written, does it end as it should, and is there room?

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{Access, access};

use super::bench::Bench;
use super::check::{Check, Finding, Group, State};
use super::rounds::Rounds;
use super::store;
use crate::audit::{HeadFile, Tail, tail};

const FILE: &str = "audit.file";

/// Nothing is said where nothing is recorded.
pub(super) async fn look(rounds: &mut Rounds, bench: &Bench) {
    let Some(path) = bench.config.audit.file.clone() else {
        return;
    };
    let required = bench.config.audit.required;
    let head = HeadFile::new(&bench.config.store.path, &path);
    let place = path.clone();
    let check = Check::new(Group::Record, FILE, "the record");
    rounds
        .look(check, move || judged(writable(&place), required))
        .await;
    let place = path.clone();
    let check = Check::new(Group::Record, "audit.end", "how the record ends");
    rounds
        .look(check.after([FILE]), move || ending(&place, &head))
        .await;
    let directory = path.parent().map(Path::to_owned).unwrap_or_default();
    let check = Check::new(Group::Record, "audit.space", "the room left for the record");
    rounds
        .look(check.after([FILE]), move || {
            judged(store::space(&directory), required)
        })
        .await;
}

/// What keeps no request from being served is a warning.
fn judged(mut finding: Finding, required: bool) -> Finding {
    if finding.state == State::Failed && !required {
        finding.state = State::Warning;
        finding
            .text
            .push_str(" (it is not required: requests are served all the same)");
    }
    finding
}

fn writable(path: &Path) -> Finding {
    let name = path.display();
    let above = path.parent().unwrap_or(Path::new("/"));
    let data = match fs::metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return if access(above, Access::WRITE_OK).is_ok() {
                Finding::skipped(format!("{name} is not there yet; the next start makes it"))
            } else {
                let above = above.display();
                Finding::failed(
                    format!("{name} is not there, and this user cannot make it"),
                    format!(
                        "make the directory: `install -d -m 0750 -o USER {above}`, USER being the proxy's"
                    ),
                )
            };
        }
        Err(error) => {
            let hint = "look at audit.file and at the directories above it";
            return Finding::failed(format!("{name} cannot be looked at: {error}"), hint);
        }
    };
    let mode = data.permissions().mode() & 0o777;
    if !data.is_file() {
        Finding::failed(format!("{name} is not a file"), "name a file in audit.file")
    } else if mode & 0o037 != 0 {
        Finding::failed(
            format!("{name} has permissions {mode:o}, others could read or change it"),
            format!("run `chmod 600 {name}`, or 640 for a group that may read it"),
        )
    } else if access(path, Access::WRITE_OK).is_err() {
        Finding::failed(
            format!("{name} cannot be written by this user"),
            format!("ask as the proxy does, or give it to its user: `chown USER {name}`"),
        )
    } else {
        Finding::good(format!("{name} can be written")).fact("path", path)
    }
}

fn ending(path: &Path, head: &HeadFile) -> Finding {
    // Before the file, which is never behind it.
    let known = match head.load() {
        Ok(known) => known,
        Err(error) => {
            let text = format!(
                "{}, where it ends, cannot be read: {error}",
                head.path().display()
            );
            return Finding::warning(text, "ask as the proxy's user does");
        }
    };
    if !path.exists() {
        return Finding::skipped("there is none yet");
    }
    let found = match tail(path, known) {
        Ok(found) => found,
        Err(error) => {
            let text = format!("it cannot be read: {error}");
            return Finding::warning(text, "ask as the proxy's user does");
        }
    };
    let verify = "see what `wise-auth-proxy audit verify` says, and keep the file as it is";
    match found {
        Tail::Sound(head) => Finding::good(format!(
            "it ends with line {}, as the store knows",
            head.seq
        ))
        .fact("sequence", head.seq)
        .fact("hash", head.hash.as_str()),
        Tail::Torn(bytes) => Finding::warning(
            format!("its last {bytes} bytes are no whole line, as after a crash"),
            "the next start sets them aside; a proxy that is running completes them",
        ),
        Tail::Unknown => Finding::warning("the store knows nothing of it", verify),
        Tail::Mismatch(known) => Finding::failed(
            format!(
                "it does not have line {}, which the store knows: lines were taken out or changed",
                known.seq
            ),
            verify,
        ),
        Tail::Foreign => Finding::failed(
            "it holds something else than a record",
            "name another audit.file, or move it away",
        ),
    }
}
