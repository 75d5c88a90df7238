//! Where a secret is, and how it is fetched.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Error as _, IgnoredAny, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use zeroize::Zeroizing;

use super::SecretSource;
use super::leaf::{List, Parsed};
use super::load;
use crate::secret::{Secret, is_private};

/// Longest secret; keys in PEM and tokens fit many times over.
const LIMIT: usize = 64 * 1024;

const EXEC_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a secret could not be fetched. Names the source, never its contents.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is not there or may not be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("{} is not a plain file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Others than the owner may read the file.
    #[error("{} may be read by others (mode {mode:04o}): run `chmod 600 {}`", path.display(), path.display())]
    Loose {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The variable is not set.
    #[error("the environment variable {name} is not set")]
    NoVariable {
        /// Its name.
        name: String,
    },
    /// The program did not start.
    #[error("{} did not start: {source}", program.display())]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program said that it failed.
    #[error("{} failed ({status}): run it by hand to see why", program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// Its exit status.
        status: std::process::ExitStatus,
    },
    /// The program did not end in time and was stopped.
    #[error("{} did not answer within {} s", program.display(), EXEC_TIMEOUT.as_secs())]
    TimedOut {
        /// The program.
        program: PathBuf,
    },
    /// systemd gave no credentials to this process.
    #[error(
        "the credential {name} is not there: CREDENTIALS_DIRECTORY is not set; \
         add LoadCredential={name}: to the systemd unit"
    )]
    NoCredentials {
        /// Name of the credential.
        name: String,
    },
    /// Nothing there.
    #[error("{what} is empty")]
    Empty {
        /// The source.
        what: String,
    },
    /// More than a secret can be.
    #[error("{what} is larger than {} KiB", LIMIT / 1024)]
    TooLarge {
        /// The source.
        what: String,
    },
    /// Bytes that are no text.
    #[error("{what} is not UTF-8 text")]
    NotText {
        /// The source.
        what: String,
    },
}

impl SecretSource {
    /// Fetches the secret, without a trailing line break. Blocks: on the file system, and up to
    /// ten seconds on a program.
    pub fn read(&self) -> Result<Secret, SecretError> {
        self.read_with(&load::variable)
    }

    fn read_with(
        &self,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Secret, SecretError> {
        let bytes = match self {
            Self::File(path) => {
                let (bytes, found) = read_file(path)?;
                if !is_private(&found) {
                    let path = path.clone();
                    let mode = found.permissions().mode() & 0o7777;
                    return Err(SecretError::Loose { path, mode });
                }
                bytes
            }
            Self::Env(name) => {
                let name = name.clone();
                let value = variable(&name).ok_or(SecretError::NoVariable { name })?;
                Zeroizing::new(value.into_encoded_bytes())
            }
            Self::Exec(command) => run(command)?,
            Self::Credential(name) => {
                let directory = variable("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| SecretError::NoCredentials { name: name.clone() })?;
                // systemd answers for the permissions of what it puts there.
                read_file(&Path::new(&directory).join(name))?.0
            }
        };
        self.text(&bytes)
    }

    fn text(&self, bytes: &[u8]) -> Result<Secret, SecretError> {
        let what = self.to_string();
        if bytes.len() > LIMIT {
            return Err(SecretError::TooLarge { what });
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(SecretError::NotText { what });
        };
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.trim().is_empty() {
            return Err(SecretError::Empty { what });
        }
        Ok(Secret::new(text))
    }

    /// Relative paths start at `base`.
    pub(super) fn below(self, base: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(base.join(path)),
            Self::Env(_) | Self::Exec(_) | Self::Credential(_) => self,
        }
    }
}

impl fmt::Display for SecretSource {
    /// The source without anything that could be the secret: arguments of a program are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::Exec(command) => {
                write!(
                    f,
                    "the output of {}",
                    command.first().map_or("", |word| word)
                )
            }
            Self::Credential(name) => write!(f, "the credential {name}"),
        }
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn read_file(path: &Path) -> Result<(Zeroizing<Vec<u8>>, Metadata), SecretError> {
    let unreadable = |source| SecretError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // Before it is opened: opening a pipe would wait for its other end.
    if !path.metadata().map_err(unreadable)?.is_file() {
        let path = path.to_owned();
        return Err(SecretError::NotAFile { path });
    }
    let file = File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    Ok((read_capped(file).map_err(unreadable)?, found))
}

/// One byte more than [`LIMIT`] at most, so that the caller sees what is too large. The buffer
/// never grows: a copy left behind by growing would not be wiped.
fn read_capped(mut from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(vec![0; LIMIT + 1]);
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match from.read(room) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

fn run(command: &[String]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    run_within(command, EXEC_TIMEOUT)
}

fn run_within(command: &[String], limit: Duration) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let (name, arguments) = command
        .split_first()
        .map_or(("", command), |(name, rest)| (name, rest));
    let program = PathBuf::from(name);
    let not_started = |source| SecretError::NotStarted {
        program: program.clone(),
        source,
    };
    let mut child = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // It may say anything, the secret among it.
        .stderr(Stdio::null())
        // A group of its own, so that what it starts ends with it.
        .process_group(0)
        .spawn()
        .map_err(not_started)?;
    let Some(output) = child.stdout.take() else {
        return Err(not_started(io::ErrorKind::BrokenPipe.into()));
    };
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let bytes = read_capped(output);
        if bytes.as_ref().map_or(true, |bytes| bytes.len() > LIMIT) {
            stop(group);
        }
        // Nobody listens any more after the time limit: the bytes are wiped as they drop.
        let _late = tell.send((bytes, child.wait()));
    });
    let Ok((bytes, status)) = told.recv_timeout(limit) else {
        stop(group);
        return Err(SecretError::TimedOut { program });
    };
    let bytes = bytes.map_err(not_started)?;
    if bytes.len() > LIMIT {
        let what = format!("the output of {name}");
        return Err(SecretError::TooLarge { what });
    }
    let status = status.map_err(not_started)?;
    if !status.success() {
        return Err(SecretError::Failed { program, status });
    }
    Ok(bytes)
}

fn stop(group: Option<Pid>) {
    if let Some(group) = group {
        // Fails only if it has ended by itself.
        let _ended = kill_process_group(group, Signal::KILL);
    }
}

/// A [`SecretSource`] as typed.
#[derive(Clone, Debug)]
pub(super) struct Named(pub(super) SecretSource);

/// The four ways to name a secret.
pub(super) const RIGHT: &str = "a source, never the secret itself: { file = \"path\" }, \
     { env = \"NAME\" }, { exec = [\"/absolute/program\", \"argument\"] } or \
     { credential = \"name\" }";

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamedVisitor)
    }
}

struct NamedVisitor;

impl<'de> Visitor<'de> for NamedVisitor {
    type Value = Named;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(RIGHT)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named, A::Error> {
        let wrong = || A::Error::invalid_value(Unexpected::Other("value"), &self);
        let mut named = None;
        while let Some(kind) = map.next_key::<String>()? {
            let source = match kind.as_str() {
                "file" => SecretSource::File(map.next_value::<Parsed<PathBuf>>()?.0),
                "env" => SecretSource::Env(map.next_value::<Parsed<String>>()?.0),
                "exec" => SecretSource::Exec(map.next_value::<List<String>>()?.0),
                "credential" => SecretSource::Credential(map.next_value::<Parsed<String>>()?.0),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    return Err(wrong());
                }
            };
            if named.replace(source).is_some() {
                return Err(wrong());
            }
        }
        let fits = match &named {
            Some(SecretSource::File(_)) => true,
            Some(SecretSource::Env(name)) => !name.contains(['=', '\0']),
            Some(SecretSource::Exec(command)) => command
                .first()
                .is_some_and(|program| Path::new(program).is_absolute()),
            Some(SecretSource::Credential(name)) => {
                // One plain name: it must not lead out of systemd's directory.
                let mut parts = Path::new(name).components();
                matches!(parts.next(), Some(Component::Normal(_)))
                    && parts.next().is_none()
                    && !name.contains('/')
            }
            None => false,
        };
        named.filter(|_| fits).map(Named).ok_or_else(wrong)
    }
}

impl JsonSchema for Named {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("SecretSource")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let text = json!({ "type": "string" });
        let mut schema = Schema::default();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("x-secret".to_owned(), json!(true));
        schema.insert("x-right".to_owned(), json!(RIGHT));
        schema.insert(
            "properties".to_owned(),
            json!({
                "file": text,
                "env": text,
                "exec": { "type": "array", "items": text, "minItems": 1 },
                "credential": text,
            }),
        );
        schema.insert("additionalProperties".to_owned(), json!(false));
        schema.insert("minProperties".to_owned(), json!(1));
        schema.insert("maxProperties".to_owned(), json!(1));
        schema
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn nothing(_: &str) -> Option<OsString> {
        None
    }

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn file(contents: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    fn read_of(contents: &[u8], mode: u32) -> Result<String, String> {
        let (_directory, path) = file(contents, mode);
        let secret = SecretSource::File(path.clone()).read_with(&nothing);
        let secret = secret.map(|secret| secret.expose().to_owned());
        secret.map_err(|error| error.to_string().replace(path.to_str().unwrap(), "PATH"))
    }

    #[test]
    fn a_file_is_read_without_its_one_last_line_break() {
        assert_eq!(read_of(b"marker\n", 0o600), Ok("marker".to_owned()));
        assert_eq!(read_of(b"marker\r\n", 0o400), Ok("marker".to_owned()));
        assert_eq!(read_of(b"marker\n\n", 0o600), Ok("marker\n".to_owned()));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_command_that_helps() {
        let wanted = "PATH may be read by others (mode 0640): run `chmod 600 PATH`";
        assert_eq!(read_of(b"marker", 0o640), Err(wanted.to_owned()));
        assert!(read_of(b"marker", 0o604).unwrap_err().contains("0604"));
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_without_being_shown() {
        assert_eq!(
            read_of(b" \n", 0o600),
            Err("the file PATH is empty".to_owned())
        );
        assert_eq!(
            read_of(b"marker\xff", 0o600),
            Err("the file PATH is not UTF-8 text".to_owned())
        );
        assert_eq!(
            read_of(&vec![b'm'; LIMIT + 1], 0o600),
            Err("the file PATH is larger than 64 KiB".to_owned())
        );
        let directory = tempfile::tempdir().unwrap();
        let error = SecretSource::File(directory.path().to_owned()).read_with(&nothing);
        assert!(matches!(error, Err(SecretError::NotAFile { .. })));
    }

    #[test]
    fn a_variable_is_read_or_named() {
        let source = SecretSource::Env("TOKEN".to_owned());
        let found = source.read_with(&|name| (name == "TOKEN").then(|| "marker".into()));
        assert_eq!(found.unwrap().expose(), "marker");
        let error = source.read_with(&nothing).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the environment variable TOKEN is not set"
        );
    }

    #[test]
    fn a_credential_is_a_file_of_systemds() {
        let (directory, _) = file(b"marker\n", 0o440);
        let source = SecretSource::Credential("secret".to_owned());
        let path = directory.path().as_os_str().to_owned();
        let found =
            source.read_with(&|name| (name == "CREDENTIALS_DIRECTORY").then(|| path.clone()));
        assert_eq!(found.unwrap().expose(), "marker");
        let error = source.read_with(&nothing).unwrap_err();
        assert!(error.to_string().contains("LoadCredential=secret:"));
    }

    #[test]
    fn a_programs_output_is_the_secret_and_its_complaints_are_not_heard() {
        let source = SecretSource::Exec(shell("echo marker; echo noise >&2"));
        assert_eq!(source.read_with(&nothing).unwrap().expose(), "marker");

        let source = SecretSource::Exec(shell("echo marker >&2; echo marker; exit 3"));
        let error = source.read_with(&nothing).unwrap_err();
        assert!(matches!(error, SecretError::Failed { .. }));
        assert!(!format!("{error} {error:?}").contains("marker"));

        let source = SecretSource::Exec(vec!["/nowhere/program".to_owned()]);
        let error = source.read_with(&nothing).unwrap_err();
        assert!(matches!(error, SecretError::NotStarted { .. }));
    }

    #[test]
    fn arguments_of_a_program_are_not_printed() {
        let source = SecretSource::Exec(shell("echo marker"));
        assert_eq!(
            format!("{source} {source:?}"),
            "the output of /bin/sh the output of /bin/sh"
        );
    }

    #[test]
    fn a_program_that_never_ends_is_stopped() {
        let limit = Duration::from_millis(50);
        let error = run_within(&shell("exec /bin/cat /dev/zero >/dev/null"), limit).unwrap_err();
        assert!(matches!(error, SecretError::TimedOut { .. }));
        let error = run(&shell("exec /bin/cat /dev/zero")).unwrap_err();
        assert!(matches!(error, SecretError::TooLarge { .. }));
    }
}
