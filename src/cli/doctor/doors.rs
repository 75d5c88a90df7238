//! Whether a proxy runs, and whether its doors answer; for one that does not, whether they could.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::bench::Bench;
use super::check::{Check, Finding, Group, State};
use super::grants::span;
use super::rounds::Rounds;
use crate::cli::admin_client::{AdminClient, AdminError};
use crate::config::{Door, DoorAddress};

/// A door that is to answer has this long.
const ANSWER: Duration = Duration::from_secs(2);

/// A proxy may need so long to read its store.
const SETTLING: Duration = Duration::from_secs(5);

/// Between two looks at it.
const NEXT_LOOK: Duration = Duration::from_millis(50);

/// Asks the proxy itself, over its socket. None that runs is no failure.
pub(super) async fn proxy(rounds: &mut Rounds, bench: &mut Bench) {
    let check = Check::new(Group::Doors, "proxy.running", "the running proxy");
    let socket = bench.config.admin.socket.clone();
    let ask = move || match settled(|| AdminClient::at(socket.clone()).get("/status")) {
        Ok(status) => (running(&status), Some(Some(status))),
        Err(AdminError::NotRunning { socket }) => {
            let text = format!("no proxy runs (nothing listens on {})", socket.display());
            (Finding::skipped(text).fact("running", false), Some(None))
        }
        Err(error) => (Finding::warning(error.to_string(), error.hint()), None),
    };
    let asked = rounds.fetch(check, ask).await;
    bench.may_run = asked.is_none();
    bench.running = asked.flatten();
    let Some(status) = bench.running.clone() else {
        return;
    };
    let check = Check::new(Group::Doors, "proxy.ready", "its readiness");
    let work = async { (ready(bench, &status), None::<()>) };
    rounds.check(check, work).await;
}

/// What a proxy says of itself once it has looked into its store; one that has just been started has
/// a moment for it.
fn settled<E>(mut ask: impl FnMut() -> Result<Value, E>) -> Result<Value, E> {
    let until = Instant::now() + SETTLING;
    loop {
        let status = ask()?;
        let mut tokens = status["tokens"].as_array().into_iter().flatten();
        let is_settled = !tokens.any(|token| token["absence"] == "not_looked_yet");
        if is_settled || Instant::now() >= until {
            return Ok(status);
        }
        std::thread::sleep(NEXT_LOOK);
    }
}

fn running(status: &Value) -> Finding {
    let word = |key: &str| status[key].as_str().unwrap_or("-").to_owned();
    let up = status["uptime_seconds"].as_u64().unwrap_or_default();
    let text = format!(
        "version {}, lane {}, up {}",
        word("version"),
        word("lane"),
        span(Duration::from_secs(up))
    );
    let own = env!("CARGO_PKG_VERSION");
    let finding = if status["version"] == own {
        Finding::good(text)
    } else {
        Finding::warning(
            format!("{text}; this command is version {own}"),
            "restart the proxy to have it run the installed version",
        )
    };
    finding
        .fact("running", true)
        .fact("version", &status["version"])
}

fn ready(bench: &Bench, status: &Value) -> Finding {
    let reasons = status["reasons"].as_array().into_iter().flatten();
    let reasons: Vec<&str> = reasons.filter_map(Value::as_str).collect();
    let reload = status["last_reload"]["error"].as_str();
    match (reasons.as_slice(), reload) {
        ([], None) => Finding::good("it is ready"),
        ([], Some(error)) => Finding::warning(
            format!("it is ready, on the settings before: the last reload failed: {error}"),
            format!("mend it, then {}", bench.command("reload")),
        ),
        (reasons, _) => reasons.iter().fold(
            Finding::failed(
                "it is not ready",
                format!(
                    "mend what fails above; {} shows it too",
                    bench.command("status")
                ),
            ),
            |finding, reason| finding.detail(*reason),
        ),
    }
}

pub(super) async fn knock(rounds: &mut Rounds, bench: &Bench) {
    let opened = bench
        .running
        .as_ref()
        .and_then(|status| status["doors"].as_array());
    for (number, door) in bench.config.doors.iter().enumerate() {
        let check = Check::new(
            Group::Doors,
            format!("door.{number}"),
            format!("door {number}"),
        );
        // In the order of the configuration that it was started with.
        let opened = opened.map(|doors| doors.get(number).and_then(Value::as_str));
        let work = async {
            let finding = match opened {
                Some(opened) => open(bench, door, opened).await,
                None => free(bench, door).await,
            };
            let finding = guarded(bench, door, finding);
            let finding = finding.fact("address", shown(&door.address));
            (finding.fact("callers", &door.callers), None::<()>)
        };
        rounds.check(check, work).await;
    }
}

fn shown(address: &DoorAddress) -> String {
    match address {
        DoorAddress::Tcp(address) => address.to_string(),
        DoorAddress::Unix { path, .. } => format!("unix:{}", path.display()),
    }
}

/// A door of a running proxy: does the proxy answer there?
async fn open(bench: &Bench, door: &Door, opened: Option<&str>) -> Finding {
    let restart = "restart the proxy: doors are opened at its start only";
    let configured = shown(&door.address);
    let Some(address) = opened.filter(|opened| fits(&door.address, opened)) else {
        return Finding::warning(
            format!("the running proxy has not opened {configured}"),
            restart,
        );
    };
    match answers(door, address).await {
        Ok(true) => match reachable_by(door) {
            (who, false) => {
                let finding = Finding::good(format!("{address} answers; {who}"));
                match closing(bench, door) {
                    Some(way) => finding.detail(way),
                    None => finding,
                }
            }
            (who, true) => Finding::warning(
                format!("{address} answers; {who}"),
                "see that this is what you want: callers (`caller add`), TLS, a tighter mode, or loopback",
            ),
        },
        Ok(false) => Finding::failed(
            format!("{address} answers, and it is another program"),
            restart,
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Finding::warning(
            format!("{address} is not for this user; {}", reachable_by(door).0),
            "ask as a user that may, such as the application's",
        ),
        Err(error) => Finding::failed(
            format!("{address} does not answer: {error}"),
            format!("{}, or restart the proxy", bench.command("status")),
        ),
    }
}

/// Whether an opened address is what the configuration names; port 0 is any.
fn fits(configured: &DoorAddress, opened: &str) -> bool {
    match configured {
        DoorAddress::Tcp(wanted) if wanted.port() == 0 => opened
            .parse::<SocketAddr>()
            .is_ok_and(|opened| opened.ip() == wanted.ip()),
        DoorAddress::Tcp(_) | DoorAddress::Unix { .. } => shown(configured) == opened,
    }
}

/// Whether a proxy answers at a door. `address`: where a TCP door really is.
async fn answers(door: &Door, address: &str) -> io::Result<bool> {
    // As a balancer that asks for itself.
    let header: &[u8] = if door.proxy_protocol {
        b"PROXY UNKNOWN\r\n"
    } else {
        b""
    };
    let asking = async {
        match &door.address {
            DoorAddress::Tcp(_) => ours(TcpStream::connect(address).await?, header).await,
            DoorAddress::Unix { path, .. } => ours(UnixStream::connect(path).await?, header).await,
        }
    };
    // A proxy refuses at once; another program may wait for words of its own.
    let timed = tokio::time::timeout(ANSWER, asking).await;
    timed.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

/// Asks for a host that no door serves: the proxy refuses by itself, and nothing goes to Wise. A door
/// that speaks TLS says that it does.
async fn ours(mut stream: impl AsyncRead + AsyncWrite + Unpin, header: &[u8]) -> io::Result<bool> {
    const QUESTION: &[u8] =
        b"GET /doctor HTTP/1.1\r\nhost: doctor.invalid\r\nconnection: close\r\n\r\n";
    const LONGEST: u64 = 16 * 1024;
    let question = [header, QUESTION].concat();
    let asked = stream.write_all(&question).await;
    let mut answer = Vec::new();
    let heard = stream.take(LONGEST).read_to_end(&mut answer).await;
    // Another program may hang up on what it does not understand.
    if answer.is_empty() {
        asked?;
        heard?;
    }
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.contains("urn:wise-auth-proxy:problem:"))
}

/// Who may use a door, and whether that is more than most want.
fn reachable_by(door: &Door) -> (String, bool) {
    let to_what = match &door.policy {
        Some(policy) => format!(", under the policy `{policy}`"),
        None => String::new(),
    };
    let certified = door.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let clear = if door.tls.is_some() {
        ""
    } else {
        ", in the clear"
    };
    let far = match &door.address {
        DoorAddress::Tcp(address) if !address.ip().is_loopback() => clear,
        DoorAddress::Tcp(_) | DoorAddress::Unix { .. } => "",
    };
    if let Some(callers) = &door.callers {
        let names = callers.join(", ");
        let text = format!("it lets in {names}, and nobody else{to_what}{far}");
        return (text, !far.is_empty());
    }
    match &door.address {
        DoorAddress::Tcp(address) if address.ip().is_loopback() => (
            format!("every program on this machine may use it, whoever runs it{to_what}"),
            false,
        ),
        DoorAddress::Tcp(_) if certified => (
            format!("everybody with a certificate of tls.client_ca may use it{to_what}"),
            false,
        ),
        DoorAddress::Tcp(_) => (
            format!("everybody who reaches this machine may use it{to_what}{far}"),
            true,
        ),
        DoorAddress::Unix { mode, owner, .. } => {
            let (user, group) = holders(owner.as_deref());
            match (mode & 0o007 != 0, mode & 0o070 != 0) {
                (true, _) => (
                    format!("every user of this machine may use it{to_what}"),
                    true,
                ),
                (false, true) => (format!("{user} and {group} may use it{to_what}"), false),
                (false, false) => (format!("{user} alone may use it{to_what}"), false),
            }
        }
    }
}

/// Whose a socket is: the user and the group.
fn holders(owner: Option<&str>) -> (String, String) {
    let owner = owner.unwrap_or_default();
    let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
    let named = |kind: &str, name: &str| match name {
        "" => format!("the proxy's {kind}"),
        name => format!("{kind} `{name}`"),
    };
    (named("user", user), named("group", group))
}

/// The way to close a door that any process of the machine may use.
fn closing(bench: &Bench, door: &Door) -> Option<String> {
    let DoorAddress::Tcp(address) = &door.address else {
        return None;
    };
    let open = door.callers.is_none() && address.ip().is_loopback();
    open.then(|| {
        format!(
            "to close it: {}, or a unix door for its user alone",
            bench.command(&format!("caller add NAME --door {address}"))
        )
    })
}

/// A door of this machine where nothing binds anybody is a way around what binds the callers of others.
fn guarded(bench: &Bench, door: &Door, finding: Finding) -> Finding {
    let asks_nobody = |door: &Door| {
        let certified = door.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        door.callers.is_none() && door.policy.is_none() && !certified
    };
    let others = &bench.config.doors;
    let DoorAddress::Tcp(address) = &door.address else {
        return finding;
    };
    let is_way_around = address.ip().is_loopback()
        && asks_nobody(door)
        && others.iter().any(|other| other.callers.is_some());
    if !is_way_around || finding.state != State::Good {
        return finding;
    }
    let add = bench.command(&format!("caller add NAME --door {address}"));
    Finding::warning(
        format!(
            "{}; other doors have callers, and what binds those can be walked around here",
            finding.text
        ),
        format!("give this door callers ({add}) or a policy, or take it out"),
    )
}

/// A door that is to be opened: is the place free?
async fn free(bench: &Bench, door: &Door) -> Finding {
    let taken = match &door.address {
        DoorAddress::Tcp(address) => free_port(*address),
        DoorAddress::Unix { path, .. } => free_path(path).await,
    };
    let (address, hint) = match taken {
        Ok(finding) => return finding,
        Err(taken) => taken,
    };
    match answers(door, &address).await {
        Ok(true) if bench.may_run => {
            Finding::good(format!("{address} answers; {}", reachable_by(door).0))
        }
        Ok(true) => Finding::failed(
            format!("{address} is taken by a proxy of another configuration"),
            hint,
        ),
        Ok(false) | Err(_) => {
            Finding::failed(format!("{address} is taken by another program"), hint)
        }
    }
}

/// The address, and how to find who has it.
type Taken = (String, String);

/// Takes the address for a moment, without listening: a proxy that starts meanwhile can open it.
fn free_port(address: SocketAddr) -> Result<Finding, Taken> {
    let take = || -> io::Result<()> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)
    };
    let port = address.port();
    match take() {
        Ok(()) => Ok(Finding::good(format!("{address} is free"))),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err((
            address.to_string(),
            format!(
                "`ss -ltnp 'sport = :{port}'` says which; end it, or give the door another port"
            ),
        )),
        Err(error) => Ok(unopened(address, &error)),
    }
}

/// An address that nobody has, and that cannot be taken all the same.
fn unopened(address: SocketAddr, error: &io::Error) -> Finding {
    let hint = if error.kind() == io::ErrorKind::AddrNotAvailable {
        "this machine does not have that address: `ip -brief address` lists them"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "ports below 1024 are for root: take a higher one"
    } else {
        "choose another address for the door"
    };
    Finding::failed(format!("{address} cannot be opened: {error}"), hint)
}

async fn free_path(path: &Path) -> Result<Finding, Taken> {
    let name = path.display();
    if !path.parent().is_some_and(Path::is_dir) {
        return Ok(Finding::failed(
            format!("the directory of {name} is not there"),
            "make it, or have systemd make it with RuntimeDirectory=",
        ));
    }
    match path.symlink_metadata() {
        Err(_) => Ok(Finding::good(format!("{name} is free"))),
        Ok(data) if !data.file_type().is_socket() => Ok(Finding::failed(
            format!("{name} is there and is no socket"),
            "move it away, or give the door another path",
        )),
        Ok(_) => match UnixStream::connect(path).await {
            Ok(_) => Err((
                name.to_string(),
                format!("`fuser {name}` says which; end it, or give the door another path"),
            )),
            Err(_) => Ok(Finding::good(format!(
                "{name} is left from before and will be replaced"
            ))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    #[test]
    fn an_opened_door_is_known_by_its_address_whatever_port_the_kernel_chose() {
        let tcp = |text: &str| DoorAddress::Tcp(text.parse().unwrap());
        assert!(fits(&tcp("127.0.0.1:0"), "127.0.0.1:40123"));
        assert!(fits(&tcp("127.0.0.1:8080"), "127.0.0.1:8080"));
        assert!(!fits(&tcp("127.0.0.1:8080"), "127.0.0.1:8081"));
        assert!(!fits(&tcp("[::1]:0"), "127.0.0.1:40123"));
        let unix = DoorAddress::Unix {
            path: "/run/a.sock".into(),
            mode: 0o600,
            owner: None,
        };
        assert!(fits(&unix, "unix:/run/a.sock"));
    }

    /// Whether this user may take a low port is the machine's business.
    #[test]
    fn a_port_that_is_denied_is_told_from_an_address_that_is_not_here() {
        let address = "127.0.0.1:80".parse().unwrap();
        for (kind, hint) in [
            (io::ErrorKind::PermissionDenied, "ports below 1024"),
            (io::ErrorKind::AddrNotAvailable, "`ip -brief address`"),
        ] {
            let finding = unopened(address, &kind.into());
            assert_eq!(finding.state, State::Failed);
            assert!(
                finding.text.starts_with("127.0.0.1:80 cannot be opened: "),
                "{finding:?}"
            );
            assert!(finding.hint.as_ref().unwrap().contains(hint), "{finding:?}");
        }
    }

    #[test]
    fn a_proxy_that_has_just_been_started_may_look_into_its_store_first() {
        let said = |absence: &str| serde_json::json!({ "tokens": [{ "absence": absence }] });
        let mut asked = 0;
        let told = settled(|| {
            asked += 1;
            let absence = if asked < 3 {
                "not_looked_yet"
            } else {
                "never_logged_in"
            };
            Ok::<_, ()>(said(absence))
        });
        assert_eq!((told, asked), (Ok(said("never_logged_in")), 3));
        assert_eq!(settled(|| Err("gone")), Err("gone"));
    }

    #[test]
    fn who_may_use_a_door_is_said_and_too_many_are_a_warning() {
        let mut door = Door::loopback("127.0.0.1:8080".parse().unwrap());
        assert!(!reachable_by(&door).1);
        door.address = DoorAddress::Tcp("0.0.0.0:8080".parse().unwrap());
        assert!(reachable_by(&door).1);
        for (mode, wide) in [(0o600, false), (0o660, false), (0o666, true)] {
            door.address = DoorAddress::Unix {
                path: "/run/a.sock".into(),
                mode,
                owner: None,
            };
            assert_eq!(reachable_by(&door).1, wide, "{mode:o}");
        }
        for (mode, owner, who) in [
            (0o600, None, "the proxy's user alone may"),
            (0o600, Some("app"), "user `app` alone may"),
            (0o660, None, "the proxy's user and the proxy's group may"),
            (0o660, Some("app"), "user `app` and the proxy's group may"),
            (0o660, Some("app:web"), "user `app` and group `web` may"),
            (0o660, Some(":web"), "the proxy's user and group `web` may"),
        ] {
            door.address = DoorAddress::Unix {
                path: "/run/a.sock".into(),
                mode,
                owner: owner.map(str::to_owned),
            };
            let said = reachable_by(&door).0;
            assert!(said.starts_with(who), "{mode:o} {owner:?}: {said}");
        }
    }
}
