//! What README and the guides in `docs` tell somebody to type works as it stands there, and README's
//! picture shows what happens.
//!
//! Every block marked `sh` must parse, and every command of ours, within the text too, and every flag
//! that it is given must exist. Each document has at least one block that is run. Blocks below
//! `<!-- test -->` are run, in order, in one directory, as a person would: README's first, which
//! leave a simulated Wise and a proxy running, then those of the guides. Fixed ports are replaced:
//! `stays up` starts a program on free ports and learns them from what it says. `aside` runs a block
//! in a copy of the configuration, whose ports nobody has opened, so that what it changes is no
//! other block's; `a record` has a proxy write a record of who called what first, and wants one
//! answer where a block prints several.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use wise_auth_proxy::simulator::{Credential, Door};

use crate::house::{self, CLIENT_ID, House};
use crate::wire::Wire;

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
    ("docs/audit.md", include_str!("../../docs/audit.md")),
    ("deploy/README.md", include_str!("../../deploy/README.md")),
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

/// A shell with our program on its path, and nothing else of ours.
fn shell(script: &str) -> Command {
    let programs = Path::new(PROGRAM).parent().unwrap().display();
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .env_clear()
        .env("PATH", format!("{programs}:{path}"))
        .stdin(Stdio::null());
    shell
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
        let mut shell = shell(&script);
        shell
            .current_dir(self.directory)
            .env("WISE_PROXY_DOOR", "[{ address = \"127.0.0.1:0\" }]")
            .env("WISE_PROXY_ADMIN__ADDRESS", "127.0.0.1:0");
        shell
    }

    fn run(&mut self, commands: &str) {
        ran(commands, &mut self.shell(commands));
        let exports = commands.lines().filter(|line| line.starts_with("export "));
        self.exports.extend(exports.map(|line| format!("{line}\n")));
    }

    /// Runs commands in a directory of their own, with a copy of the configuration and its secrets, as
    /// they stand: nobody has opened the ports that they name.
    fn aside(&self, commands: &str) {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("wise");
        std::fs::create_dir(&copy).unwrap();
        for entry in std::fs::read_dir(self.directory.join("wise")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
        }
        let script = format!("set -eu\n{}{commands}", self.exports);
        ran(commands, shell(&script).current_dir(directory.path()));
    }

    /// Runs commands beside `audit.log`, which a proxy has written that `audit.file` names it to.
    fn with_record(&self, commands: &str) {
        let of_record = "export WISE_PROXY_AUDIT__FILE=\"$PWD/audit.log\"\n";
        let start = format!(
            "{of_record}exec wise-auth-proxy run --set admin.socket=\"$PWD/record.sock\" 2>&1"
        );
        if !self.directory.join("audit.log").exists() {
            let mut proxy = self.shell(&start).stdout(Stdio::piped()).spawn().unwrap();
            let lines = BufReader::new(proxy.stdout.take().unwrap()).lines();
            let mut lines = lines.map_while(Result::ok);
            let door = lines.find_map(|line| {
                let (_, rest) = line.split_once("serving on ")?;
                rest.split([' ', ',']).next().map(str::to_owned)
            });
            let door = door.expect("it comes up");
            std::thread::spawn(move || lines.for_each(drop));
            let asked = format!(
                "for one in 1 2 3 4 5 6 7 8; do curl -fsS http://{door}/v2/profiles; done\n"
            );
            ran(&asked, &mut self.shell(&asked));
            let stop = "wise-auth-proxy shutdown --wait --socket \"$PWD/record.sock\"\n";
            ran(stop, &mut self.shell(stop));
            assert!(proxy.wait().unwrap().success());
        }
        let said = ran(commands, &mut self.shell(&format!("{of_record}{commands}")));
        let hashes = said.lines().filter_map(|line| line.split(' ').next());
        let hashes: BTreeSet<_> = hashes.filter(|word| word.len() == 64).collect();
        assert!(hashes.len() <= 1, "{commands}{said}");
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

/// Runs a shell to its end; what it says.
fn ran(commands: &str, shell: &mut Command) -> String {
    let output = shell.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{commands}failed: {said}{talk}");
    said
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
            "aside" => desk.aside(&block.commands),
            "a record" => desk.with_record(&block.commands),
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
    for (name, text) in documents() {
        // What stands there would be run by nobody.
        assert!(
            !text.contains("```console"),
            "{name} has a block of a console"
        );
    }
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

/// What follows our program's name where it is a command of ours, up to what the shell does with it.
fn typed(text: &str) -> impl Iterator<Item = &str> {
    let name = "wise-auth-proxy ";
    text.match_indices(name).filter_map(move |(at, _)| {
        let before = text[..at].chars().next_back();
        let is_word = before.is_none_or(|letter| letter.is_whitespace() || letter == '(');
        let rest = &text[at + name.len()..];
        let end = rest.find(['|', '>', '<', ';', '&', ')', '#', '\\']);
        let typed = rest[..end.unwrap_or(rest.len())].trim();
        let begins = typed.starts_with(|letter: char| letter.is_ascii_lowercase());
        // A name of ours may stand behind it: that of a user, a unit, a container.
        (is_word && begins && !typed.starts_with(name.trim_end())).then_some(typed)
    })
}

/// What stands between backticks, outside of blocks.
fn quoted(text: &str) -> Vec<String> {
    let prose = text.split("```").step_by(2);
    let quoted = prose.flat_map(|prose| prose.split('`').skip(1).step_by(2));
    quoted.map(|quoted| quoted.replace('\n', " ")).collect()
}

#[test]
fn every_command_and_every_flag_that_is_typed_exists() {
    let mut helps = HashMap::new();
    let mut seen = 0;
    for (name, text) in documents() {
        let blocks = blocks(text).into_iter().map(|block| block.commands);
        let lines = blocks.flat_map(|block| {
            let whole = block.replace("\\\n", " ");
            whole.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        for line in lines.chain(quoted(text)) {
            for typed in typed(&line) {
                exists(name, typed, &mut helps);
                seen += 1;
            }
        }
    }
    assert!(seen > 150, "only {seen} commands of ours");
}

/// The command's help knows every flag that it is given.
fn exists(document: &str, typed: &str, helps: &mut HashMap<String, String>) {
    let words: Vec<_> = typed.split_whitespace().collect();
    // `switch personal` is a command and its argument.
    let nested = [
        "config", "cert", "token", "notify", "migrate", "caller", "policy", "ca", "audit", "jose",
        "sca", "webhook",
    ]
    .contains(&words[0]);
    let command = words.iter().take(if nested { 2 } else { 1 });
    let command: Vec<_> = command.copied().collect();
    let help = helps.entry(command.join(" ")).or_insert_with(|| {
        let mut program = Command::new(PROGRAM);
        let help = program.args(&command).arg("--help").output().unwrap();
        assert!(help.status.success(), "{document}: there is no `{typed}`");
        String::from_utf8(help.stdout).unwrap()
    });
    for flag in words.iter().filter(|word| word.starts_with("--")) {
        let flag = flag.split('=').next().unwrap();
        assert!(
            help.split_whitespace().any(|word| word == flag),
            "{document}: `{typed}`: there is no {flag}"
        );
    }
}

#[test]
fn a_command_of_ours_is_told_from_a_user_and_a_unit_of_its_name() {
    let line = "sudo -u wise-auth-proxy wise-auth-proxy csr --key a > b; systemctl start wise-auth-proxy \
                && x=$(wise-auth-proxy token list) --uid=wise-auth-proxy -p a";
    assert_eq!(
        typed(line).collect::<Vec<_>>(),
        ["csr --key a", "token list"]
    );
    assert_eq!(quoted("a `b\nc` d\n```sh\n`e`\n```\n`f`"), ["b c", "f"]);
}

/// README's picture: what its left side sends arrives as its right side, to the byte.
#[tokio::test]
async fn the_picture_shows_what_happens() {
    let picture = README.split("```text\n").nth(1).unwrap();
    let picture = picture.split("```").next().unwrap();
    let lines: Vec<Vec<char>> = picture.lines().map(|line| line.chars().collect()).collect();
    let column = |wanted: char| {
        lines
            .iter()
            .find_map(|line| line.iter().position(|it| *it == wanted))
    };
    let (first, last) = (column('┌').unwrap(), column('┐').unwrap());
    // Arrows lead into the box and out of it.
    let side = |from: usize, to: usize| -> Vec<String> {
        let cut = lines.iter().map(|line| {
            let cut = line.iter().skip(from).take(to - from).collect::<String>();
            cut.trim_matches([' ', '─', '▶']).to_owned()
        });
        cut.skip(2).filter(|line| !line.is_empty()).collect()
    };
    let (sent, received) = (side(0, first), side(last + 1, usize::MAX));
    assert!(
        sent.len() >= 6 && received.len() >= 9,
        "{sent:?} {received:?}"
    );

    let wise = house::wise().await;
    let house = House::on(&wise).start().await;
    let mut application = Wire::to(house.door).await;
    let request = sent.join("\r\n") + "\r\n\r\n";
    let here = house.door.to_string();
    application
        .send(request.replace("127.0.0.1:8080", &here))
        .await;
    assert_eq!(application.answer().await.status, 200);

    let all = wise.recorded();
    let seen = all
        .iter()
        .find(|seen| seen.target == "/v2/profiles")
        .unwrap();
    assert_eq!((seen.door, &*seen.version), (Door::Mtls, "HTTP/2.0"));
    let tls = seen.tls.as_ref().unwrap();
    let certificate = tls.client_certificate.as_ref().unwrap();
    assert_eq!(
        (&*tls.version, &*certificate.common_name),
        ("TLSv1_3", CLIENT_ID)
    );
    let Credential::User {
        generation,
        live: true,
        ..
    } = seen.credential
    else {
        panic!("{seen:?}");
    };
    let there = wise.mtls_url();
    let authority = seen.authority.as_deref().unwrap();
    assert!(there.ends_with(authority), "{there} {authority}");
    let mut arrived = vec![
        "TLS 1.3, client certificate CN=your-client-id".to_owned(),
        format!(":method: {}", seen.method),
        ":scheme: https".to_owned(),
        ":authority: api-mtls.wise.com".to_owned(),
        format!(":path: {}", seen.target),
    ];
    arrived.extend(seen.headers.0.iter().map(|(name, value)| {
        let token = format!("Bearer <user access token, generation {generation}>");
        let value = if name == "authorization" {
            &token
        } else {
            value
        };
        format!("{name}: {value}")
    }));
    assert_eq!(received, arrived);
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
