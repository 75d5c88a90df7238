use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::{is_ours, variable};

/// A message that must arrive is tried again so often, at such a distance.
const TRIES: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Longest `STATUS=`; the rest says little to whoever reads one line.
const STATUS: usize = 512;

/// The way to the service manager. Without one, every word falls to the floor.
#[derive(Debug)]
pub(crate) struct Supervisor {
    line: Option<Line>,
    trouble: Option<io::Error>,
    watchdog: Option<Duration>,
}

/// A connected datagram socket. Connected at the start: a confined process reaches no abstract
/// socket that it is not connected to.
#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Supervisor {
    /// The service manager that `NOTIFY_SOCKET` names, and how often it wants to hear from us.
    pub(crate) fn of_process(variables: &[(OsString, OsString)]) -> Self {
        let (line, trouble) = match variable(variables, "NOTIFY_SOCKET").map(Line::to) {
            None => (None, None),
            Some(Ok(line)) => (Some(line), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let meant =
            variable(variables, "WATCHDOG_PID").is_none() || is_ours(variables, "WATCHDOG_PID");
        let watchdog = variable(variables, "WATCHDOG_USEC").filter(|_| meant);
        let watchdog = watchdog
            .and_then(OsStr::to_str)
            .and_then(|micros| micros.parse().ok())
            .filter(|micros| *micros > 0)
            .map(Duration::from_micros);
        Self {
            line,
            trouble,
            watchdog,
        }
    }

    /// Why there is no way to the service manager that the environment names.
    pub(crate) fn trouble(&self) -> Option<&io::Error> {
        self.trouble.as_ref()
    }

    /// Whether anybody listens.
    pub(crate) fn is_heard(&self) -> bool {
        self.line.is_some()
    }

    /// The time after which silence means that we are dead.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.line.as_ref().and(self.watchdog)
    }

    /// The doors are open.
    pub(crate) async fn ready(&self, status: &str) {
        self.surely(&format!("READY=1\n{}", status_line(status)))
            .await;
    }

    /// A reload has begun; [`Self::reloaded`] ends it, whatever came of it.
    pub(crate) async fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.surely(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"))
            .await;
    }

    pub(crate) async fn reloaded(&self) {
        self.surely("READY=1\n").await;
    }

    /// The stop has begun and takes so long at most, whatever the service manager would allow.
    pub(crate) async fn stopping(&self, at_most: Duration) {
        let micros = at_most.as_micros();
        self.surely(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=stopping\n"
        ))
        .await;
    }

    /// We live, and this is how we are.
    pub(crate) fn alive(&self) {
        self.say("WATCHDOG=1\n");
    }

    /// Whether it was heard.
    pub(crate) fn status(&self, status: &str) -> bool {
        self.say(&status_line(status))
    }

    /// Says it once. What does not arrive is said again anyway, or does not matter.
    fn say(&self, message: &str) -> bool {
        let Some(line) = &self.line else {
            return true;
        };
        let said = line.send(message);
        if let Err(error) = &said {
            tracing::debug!(%error, "the service manager was not reached");
        }
        said.is_ok()
    }

    async fn surely(&self, message: &str) {
        for _ in 0..TRIES {
            if self.say(message) {
                return;
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        let word = message.lines().next().unwrap_or_default();
        tracing::error!("the service manager could not be told {word}");
    }
}

impl Line {
    fn to(place: &OsStr) -> io::Result<Self> {
        let address = match place.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(place)?,
            _ => {
                let kind = "neither a path nor an abstract name";
                return Err(io::Error::new(io::ErrorKind::Unsupported, kind));
            }
        };
        let socket = UnixDatagram::unbound()?;
        // A service manager that hangs must not make us hang.
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        Ok(Self { socket, address })
    }

    fn send(&self, message: &str) -> io::Result<()> {
        let bytes = message.as_bytes();
        let sent = match self.socket.send(bytes) {
            // Whoever listened is gone; another may listen there by now.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                self.socket.connect_addr(&self.address)?;
                self.socket.send(bytes)
            }
            sent => sent,
        };
        sent.map(drop)
    }
}

/// One line, whatever it is made of: a line break would begin another field.
fn status_line(status: &str) -> String {
    let mut line = String::from("STATUS=");
    let clean = status.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.extend(clean.take(STATUS));
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(supervisor: impl AsyncFnOnce(&Supervisor), abstract_name: bool) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let unique = path.to_str().unwrap().to_owned();
        let (ear, place) = if abstract_name {
            let address = SocketAddr::from_abstract_name(&unique).unwrap();
            (
                UnixDatagram::bind_addr(&address).unwrap(),
                format!("@{unique}"),
            )
        } else {
            (UnixDatagram::bind(&path).unwrap(), unique)
        };
        ear.set_nonblocking(true).unwrap();
        let variables = [
            ("NOTIFY_SOCKET", place.as_str()),
            ("WATCHDOG_USEC", "3000000"),
        ]
        .map(|(key, value)| (key.into(), value.into()));
        let sender = Supervisor::of_process(&variables);
        assert_eq!(sender.watchdog(), Some(Duration::from_secs(3)));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(supervisor(&sender));
        let mut heard = Vec::new();
        let mut bytes = [0; 4096];
        while let Ok(length) = ear.recv(&mut bytes) {
            heard.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
        }
        heard
    }

    #[test]
    fn every_word_is_one_message_by_path_and_by_abstract_name() {
        for abstract_name in [false, true] {
            let heard = told(
                async |supervisor: &Supervisor| {
                    supervisor.ready("lane oauth").await;
                    supervisor.alive();
                    supervisor.stopping(Duration::from_secs(65)).await;
                },
                abstract_name,
            );
            let wanted = [
                "READY=1\nSTATUS=lane oauth\n",
                "WATCHDOG=1\n",
                "STOPPING=1\nEXTEND_TIMEOUT_USEC=65000000\nSTATUS=stopping\n",
            ];
            assert_eq!(heard, wanted);
        }
    }

    #[test]
    fn a_reload_is_dated_by_the_monotonic_clock() {
        let before = clock_gettime(ClockId::Monotonic).tv_sec;
        let heard = told(
            async |supervisor: &Supervisor| supervisor.reloading().await,
            false,
        );
        let micros = heard[0]
            .lines()
            .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        let seconds = micros.unwrap().parse::<i64>().unwrap() / 1_000_000;
        assert!((before..before + 60).contains(&seconds), "{heard:?}");
        assert!(heard[0].starts_with("RELOADING=1\n"), "{heard:?}");
    }

    #[test]
    fn a_status_of_several_lines_is_no_other_field() {
        assert_eq!(
            status_line("not ready:\nREADY=1"),
            "STATUS=not ready: READY=1\n"
        );
    }

    #[test]
    fn nobody_to_tell_is_no_trouble() {
        let supervisor = Supervisor::of_process(&[]);
        assert!(!supervisor.is_heard());
        assert!(supervisor.say("READY=1\n"));
        let gone = [("NOTIFY_SOCKET".into(), "/nowhere/notify".into())];
        let supervisor = Supervisor::of_process(&gone);
        assert!(!supervisor.is_heard());
        assert!(supervisor.trouble().is_some());
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let pid = std::os::unix::process::parent_id().to_string();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _ear = UnixDatagram::bind(&path).unwrap();
        let variables = [
            ("NOTIFY_SOCKET", path.to_str().unwrap()),
            ("WATCHDOG_USEC", "3000000"),
            ("WATCHDOG_PID", &pid),
        ]
        .map(|(key, value)| (key.into(), value.into()));
        let supervisor = Supervisor::of_process(&variables);
        assert!(supervisor.is_heard());
        assert_eq!(supervisor.watchdog(), None);
    }
}
