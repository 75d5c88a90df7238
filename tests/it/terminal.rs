//! What a person sees at a terminal, and nobody else: colours, and what takes so long.

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use wise_auth_proxy::simulator::{Disturb, Disturbance};

use crate::house::{self, House, Site};

/// A command at a terminal of its own, and everything that stands there once it has ended.
async fn shown(mut command: Command) -> String {
    let (mut near, far) = pair();
    command
        .env("TERM", "xterm-256color")
        .stdin(Stdio::null())
        .stdout(far.try_clone().unwrap())
        .stderr(far);
    let reading = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        // The terminal is open as long as somebody holds its far end.
        drop(command);
        let mut seen = Vec::new();
        let mut bytes = [0; 4096];
        // With nobody there any more it is an error (EIO), and no end.
        while let Ok(count @ 1..) = near.read(&mut bytes) {
            seen.extend_from_slice(&bytes[..count]);
        }
        child.wait().unwrap();
        String::from_utf8(seen).unwrap()
    });
    let seen = tokio::time::timeout(house::PATIENCE, reading).await;
    seen.expect("the command ends").unwrap()
}

/// Both ends of a new terminal.
fn pair() -> (File, File) {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let name = ptsname(&near, Vec::new()).unwrap();
    let name = name.to_str().unwrap().to_owned();
    let far = File::options().read(true).write(true).open(name).unwrap();
    (near.into(), far)
}

fn typed(site: &Site, arguments: &[&str]) -> Command {
    let mut command = site.command();
    command.args(arguments).arg("--config").arg(&site.config);
    command
}

const COLOUR: &str = "\u{1b}[";

#[tokio::test]
async fn colours_are_for_a_terminal_that_wants_them() {
    let wise = house::wise().await;
    let site = House::on(&wise).prepare().await;
    // Data, and an error with its hint.
    std::fs::remove_file(site.path("personal_token")).unwrap();
    let arguments = ["doctor", "--offline"];
    for (no_color, coloured) in [(None, true), (Some("1"), false)] {
        let mut command = typed(&site, &arguments);
        command.envs(no_color.map(|value| ("NO_COLOR", value)));
        let seen = shown(command).await;
        for (word, line) in [("config.file", '✓'), ("personal_token", '✗')] {
            let mut lines = seen.lines().filter(|shown| shown.contains(line));
            let found = lines.find(|shown| shown.contains(word));
            let found = found.unwrap_or_else(|| panic!("no {word}: {seen}"));
            assert_eq!(found.contains(COLOUR), coloured, "{no_color:?}: {found:?}");
        }
        for word in ["error:", "hint:"] {
            let mut lines = seen.lines().rev();
            let found = lines.find(|shown| shown.contains(word)).unwrap();
            assert_eq!(found.contains(COLOUR), coloured, "{no_color:?}: {found:?}");
        }
        assert_eq!(seen.contains(COLOUR), coloured, "{seen:?}");
    }
    let piped = site.cli(&arguments).await;
    for said in [piped.stdout, piped.stderr] {
        assert!(!String::from_utf8(said).unwrap().contains(COLOUR));
    }
}

#[tokio::test]
async fn what_takes_long_is_said_at_a_terminal_and_taken_back() {
    let wise = house::wise().await;
    let site = House::on(&wise).prepare().await;
    wise.change_faults(|faults| faults.token.disturb = Some(Disturb::always(Disturbance::Hang)));
    let arguments = ["doctor", "--timeout", "1s", "--json"];
    let seen = shown(typed(&site, &arguments)).await;
    let waiting = "checking the client id and secret …";
    let lines: Vec<&str> = seen.split('\r').collect();
    assert!(lines.iter().any(|line| line.ends_with(waiting)), "{seen:?}");
    // It is over: blanks stand where it stood.
    let last = lines.iter().rposition(|line| line.ends_with(waiting));
    let after = lines[last.unwrap() + 1];
    assert!(
        after.len() >= waiting.chars().count() && after.chars().all(|letter| letter == ' '),
        "{after:?}"
    );
    let piped = site.cli(&arguments).await;
    assert!(
        !String::from_utf8(piped.stderr)
            .unwrap()
            .contains("checking")
    );
}
