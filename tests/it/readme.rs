//! What README and the guides in `docs` tell somebody to type works as it stands there.
//!
//! Every block marked `sh` must parse, and every flag that it gives to our program must exist. Each
//! document has at least one block that is run. Blocks below `<!-- test -->` are run, in order, in
//! one directory, as a person would: README's first, which leave a simulated Wise and a proxy
//! running, then those of the guides. Fixed ports are replaced: `stays up` starts a program on free
//! ports and learns them from what it says.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const README: &str = include_str!("../../README.md");
/// The guides by their names, in the order in which they are tried.
const GUIDES: &[(&str, &str)] = &[
    ("docs/recipes.md", include_str!("../../docs/recipes.md")),
    (
        "docs/operations.md",
        include_str!("../../docs/operations.md"),
    ),
    ("docs/migration.md", include_str!("../../docs/migration.md")),
    (
        "docs/troubleshooting.md",
        include_str!("../../docs/troubleshooting.md"),
    ),
    ("docs/doctor.md", include_str!("../../docs/doctor.md")),
    ("docs/doors.md", include_str!("../../docs/doors.md")),
    ("docs/security.md", include_str!("../../docs/security.md")),
];

fn documents() -> impl Iterator<Item = (&'static str, &'static str)> {
    std::iter::once(("README.md", README)).chain(GUIDES.iter().copied())
}
const PROGRAM: &str = env!("CARGO_BIN_EXE_wise-auth-proxy");

/// A block of commands and what README's source says about testing it.
#[derive(Debug, Eq, PartialEq)]
struct Block<'a> {
    test: Option<&'a str>,
    commands: String,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let (mut test, mut lines) = (None, text.lines());
    while let Some(line) = lines.next() {
        let mark = line
            .strip_prefix("<!-- test")
            .and_then(|rest| rest.strip_suffix("-->"));
        if let Some(mark) = mark {
            test = Some(mark.trim_start_matches(':').trim());
        } else if line == "```sh" {
            let commands = lines.by_ref().take_while(|line| *line != "```");
            let commands = commands.collect::<Vec<_>>().join("\n") + "\n";
            blocks.push(Block {
                test: test.take(),
                commands,
            });
        } else {
            test = None;
        }
    }
    blocks
}

/// A shell at work in the directory, with our program on its path.
struct Desk<'a> {
    directory: &'a Path,
    /// What earlier blocks exported.
    exports: String,
    /// What README says, and what it is here.
    ports: Vec<(&'static str, String)>,
    running: Vec<Child>,
}

impl Desk<'_> {
    fn shell(&self, commands: &str) -> Command {
        let mut script = format!("set -eu\n{}{commands}", self.exports);
        for (said, here) in &self.ports {
            script = script.replace(said, here);
        }
        let programs = Path::new(PROGRAM).parent().unwrap().display().to_string();
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script])
            .current_dir(self.directory)
            .env_clear()
            .env("PATH", format!("{programs}:{path}"))
            .env("WISE_PROXY_DOOR", "[{ address = \"127.0.0.1:0\" }]")
            .env("WISE_PROXY_ADMIN__ADDRESS", "127.0.0.1:0")
            .stdin(Stdio::null());
        shell
    }

    fn run(&mut self, commands: &str) {
        let output = self.shell(commands).output().unwrap();
        assert!(
            output.status.success(),
            "{commands}failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let exports = commands.lines().filter(|line| line.starts_with("export "));
        self.exports.extend(exports.map(|line| format!("{line}\n")));
    }

    /// Starts the block's last command and waits until it says where it listens.
    fn start(&mut self, commands: &str) {
        let (before, last) = commands
            .trim_end()
            .rsplit_once('\n')
            .unwrap_or(("", commands.trim_end()));
        let free = "--plain 127.0.0.1:0 --mtls 127.0.0.1:0 --control 127.0.0.1:0";
        let (free, wanted): (_, &[(&str, &str)]) = if last.contains(" simulator") {
            (free, &[("control API", "127.0.0.1:8445")])
        } else {
            (
                "",
                &[
                    ("serving on", "127.0.0.1:8080"),
                    ("status on", "127.0.0.1:8081"),
                ],
            )
        };
        let script = format!("{before}\nexec {last} {free} 2>&1");
        let mut child = self.shell(&script).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        self.running.push(child);
        for (words, said) in wanted {
            let mut heard = Vec::new();
            let line = lines
                .by_ref()
                .inspect(|line| heard.push(line.clone()))
                .find(|line| line.contains(words));
            let line = line.unwrap_or_else(|| panic!("{last} did not come up: {heard:#?}"));
            let at = line.rfind("127.0.0.1:").unwrap();
            let here = line[at..].trim_end_matches('/').to_owned();
            // A program that was started anew is somewhere else.
            self.ports.retain(|(known, _)| *known != *said);
            self.ports.push((said, here));
        }
        let plain = std::fs::read_to_string(self.directory.join("wise/proxy.toml"));
        let plain = plain.unwrap_or_default();
        let plain = plain
            .lines()
            .find_map(|line| line.strip_prefix("plain = \"https://"));
        if let Some(plain) = plain {
            let here = plain.trim_end_matches('"').to_owned();
            self.ports.push(("api.wise.com", here));
        }
        // What it goes on to say must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
    }
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

#[test]
fn the_readme_and_the_guides_work_as_they_are_typed() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = Desk {
        directory: directory.path(),
        exports: String::new(),
        ports: Vec::new(),
        running: Vec::new(),
    };
    let mut tried = Vec::new();
    for (name, block) in documents()
        .flat_map(|(name, text)| blocks(text).into_iter().map(move |block| (name, block)))
    {
        let Some(test) = block.test else { continue };
        tried.push(name);
        println!("{name}: {}", block.commands);
        match test {
            "" => desk.run(&block.commands),
            "stays up" => desk.start(&block.commands),
            "demo" => {
                assert_eq!(block.commands, "cargo run --release -- demo\n");
                desk.run("wise-auth-proxy demo --once --door 127.0.0.1:0\n");
            }
            other => panic!("{name} asks for a test that does not exist: {other}"),
        }
    }
    for (name, _) in documents() {
        assert!(tried.contains(&name), "{name} has no block to try");
    }
    assert!(tried.len() >= 30, "there are only {tried:?} to try");
}

#[test]
fn every_block_of_commands_is_a_shell_s() {
    let blocks: Vec<_> = documents().flat_map(|(_, text)| blocks(text)).collect();
    assert!(blocks.len() >= 12, "{blocks:?}");
    for block in blocks {
        let mut shell = Command::new("sh")
            .arg("-n")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        shell
            .stdin
            .take()
            .unwrap()
            .write_all(block.commands.as_bytes())
            .unwrap();
        assert!(shell.wait().unwrap().success(), "{}", block.commands);
    }
}

#[test]
fn every_flag_that_is_typed_exists() {
    let mut seen = 0;
    for block in documents().flat_map(|(_, text)| blocks(text)) {
        for line in block.commands.lines() {
            let Some(typed) = line.strip_prefix("wise-auth-proxy ") else {
                continue;
            };
            let words: Vec<_> = typed.split_whitespace().collect();
            let command: Vec<_> = words
                .iter()
                .take(2)
                .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()))
                .collect();
            let mut program = Command::new(PROGRAM);
            // `switch personal` is a command and its argument.
            let nested = [
                "config", "cert", "token", "notify", "migrate", "caller", "policy", "ca", "audit",
                "jose", "sca", "webhook",
            ]
            .contains(command[0]);
            program.args(command.iter().take(if nested { 2 } else { 1 }));
            let help = program.arg("--help").output().unwrap();
            assert!(help.status.success(), "there is no `{typed}`");
            let help = String::from_utf8(help.stdout).unwrap();
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                assert!(
                    help.split_whitespace().any(|word| word == *flag),
                    "`{typed}`: there is no {flag}"
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 8, "README has only {seen} commands of ours");
}

#[test]
fn files_that_a_document_links_to_are_there() {
    let house = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for (name, text) in documents() {
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let path = match file {
                "" => house.join(name),
                file => house.join(name).parent().unwrap().join(file),
            };
            let target = std::fs::read_to_string(&path);
            assert!(path.exists(), "{name} links to {link}");
            let anchors = target.unwrap_or_default();
            let mut anchors = anchors.lines().filter_map(anchor);
            assert!(
                heading.is_empty() || anchors.any(|anchor| anchor == heading),
                "{name} links to {link}"
            );
            seen += 1;
        }
    }
    assert!(seen > 12, "only {seen} links");
}

/// What a heading is called in links, as GitHub makes it.
fn anchor(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').trim();
    let kept = title.to_lowercase();
    let kept = kept
        .chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    Some(kept.collect::<String>().replace(' ', "-"))
}

#[test]
fn a_mark_belongs_to_the_block_right_below_it() {
    let text = "<!-- test: stays up -->\n```sh\na\nb\n```\n<!-- test -->\nwords\n```sh\nc\n```\n```text\nd\n```\n";
    let block = |test, commands: &str| Block {
        test,
        commands: commands.to_owned(),
    };
    assert_eq!(
        blocks(text),
        [block(Some("stays up"), "a\nb\n"), block(None, "c\n")]
    );
}
