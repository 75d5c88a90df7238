//! Somebody who knows nothing, in an empty directory: follows what each message says is next, from
//! `simulator` and `init` to the last step of the guide, and plays the person at Wise's pages.
//!
//! Nothing is typed that a message did not name. What is typed and answered is kept in
//! `docs/tutorial-transcript.md`; `UPDATE_TRANSCRIPT=1` writes it anew, and without it the test
//! holds every word there to those of today.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wise-auth-proxy");
const TRANSCRIPT: &str = "docs/tutorial-transcript.md";

/// The simulator's business profile.
const PROFILE: &str = "30000000";

/// What a newcomer answers where Enter is not enough: a word of the question, and the answer.
const ANSWERS: [(&str, &str); 3] = [
    ("Name of your company", "Example Ltd"),
    ("country", "GB"),
    // The tutorial's port may be taken here: no port, so that a free one is found.
    ("Redirect address", "http://127.0.0.1/callback"),
];

/// The longest way through the guide; more would be a circle.
const MOST: usize = 60;

struct Newcomer {
    directory: tempfile::TempDir,
    running: Vec<Child>,
    /// What differs by run, and what the transcript has in its place.
    named: Vec<(String, String)>,
    transcript: String,
    commands: Vec<String>,
}

impl Newcomer {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let here = directory
            .path()
            .canonicalize()
            .unwrap()
            .display()
            .to_string();
        Self {
            named: vec![(here, "/home/you".to_owned())],
            directory,
            running: Vec::new(),
            transcript: String::new(),
            commands: Vec::new(),
        }
    }

    /// A shell at this desk. Doors and admin page are on free ports.
    fn shell(&self, line: &str) -> Command {
        let programs = Path::new(PROGRAM).parent().unwrap().display();
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", line])
            .current_dir(self.directory.path().canonicalize().unwrap())
            .env_clear()
            .env("PATH", format!("{programs}:{path}"))
            .env("WISE_PROXY_DOOR", "[{ address = \"127.0.0.1:0\" }]")
            .env("WISE_PROXY_ADMIN__ADDRESS", "127.0.0.1:0")
            .stdin(Stdio::null());
        shell
    }

    /// Notes a command that is typed.
    fn types(&mut self, line: &str) {
        self.commands.push(self.told(line));
        let _ = writeln!(self.transcript, "$ {}", self.told(line));
    }

    /// Notes what was answered or done.
    fn notes(&mut self, text: &str) {
        let text = self.told(text);
        self.transcript.push_str(text.trim_end());
        self.transcript.push_str("\n\n");
    }

    /// A text as it stands in the transcript: the same at every run.
    fn told(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (here, there) in &self.named {
            text = text.replace(here, there);
        }
        text
    }

    /// Runs a command to its end; everything it says.
    fn runs(&mut self, line: &str) -> String {
        self.types(line);
        let output = self.shell(&format!("({line}) 2>&1")).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        self.notes(&said);
        assert!(
            output.status.success(),
            "{line}: {said}\n{}",
            self.transcript
        );
        said
    }

    /// Starts a program that stays, and waits for its last word before it serves.
    fn starts(&mut self, line: &str, flags: &str, until: &str) -> String {
        self.types(line);
        let mut shell = self.shell(&format!("exec {line} {flags} 2>&1"));
        let mut child = shell.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        self.running.push(child);
        let mut said = String::new();
        while !said.contains(until) {
            let Some(Ok(line)) = lines.next() else {
                panic!("{line} ended: {said}");
            };
            said.push_str(&line);
            said.push('\n');
        }
        // What it goes on to say must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        said
    }

    /// Answers each question as it comes: Enter, or what [`ANSWERS`] says.
    fn answers(&mut self, line: &str) -> String {
        self.types(line);
        let mut shell = self.shell(&format!("exec {line} 2>&1"));
        let piped = shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut output = child.stdout.take().unwrap();
        let (mut said, mut heard) = (String::new(), 0);
        let mut bytes = [0; 4096];
        loop {
            let count = output.read(&mut bytes).unwrap();
            if count == 0 {
                break;
            }
            said.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            if said[heard..].ends_with(": ") {
                let question = said[heard..].lines().last().unwrap_or_default();
                let answer = ANSWERS.iter().find(|(word, _)| question.contains(word));
                let answer = answer.map_or("", |(_, answer)| answer);
                writeln!(input, "{answer}").unwrap();
                // As a terminal would show it; the command itself breaks the line.
                said.push_str(answer);
                heard = said.len();
            }
        }
        self.notes(&said);
        let status = child.wait().unwrap();
        assert!(status.success(), "{line}: {said}");
        said
    }

    /// A page of Wise's, as a browser gets it; what follows the redirect is not asked.
    fn page(&self, url: &str, form: &[(&str, &str)]) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--cacert", "wise/ca.pem", "-w", "\n%{redirect_url}"]);
        for (name, value) in form {
            curl.arg("--data-urlencode").arg(format!("{name}={value}"));
        }
        let output = curl
            .arg(url)
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{url}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Pastes the request at the Developer Hub and saves the certificate.
    fn at_the_hub(&mut self, hub: &str, request: &str) {
        let request = std::fs::read_to_string(self.directory.path().join(request)).unwrap();
        let form = [("name", "newcomer"), ("csr", request.trim())];
        let page = self.page(hub, &form);
        let begin = page
            .find("-----BEGIN CERTIFICATE")
            .unwrap_or_else(|| panic!("{page}"));
        let end = "-----END CERTIFICATE-----";
        let length = page[begin..].find(end).unwrap() + end.len();
        let pem = &page[begin..begin + length];
        std::fs::write(self.directory.path().join("downloaded.pem"), pem).unwrap();
        self.notes(&format!(
            "(In the browser, at {hub}: the request pasted, the certificate saved as downloaded.pem.)"
        ));
    }

    /// Logs in: opens the page that the command names, picks the business profile and approves.
    fn logs_in(&mut self, line: &str) -> String {
        self.types(line);
        let mut shell = self.shell(&format!("exec {line} 2>said"));
        let mut child = shell.stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        let page = self.page(url.trim(), &[]);
        assert!(page.contains(PROFILE), "{page}");
        let field = |name: &str| {
            let (_, rest) = page
                .split_once(&format!("name=\"{name}\" value=\""))
                .unwrap();
            rest.split_once('"').unwrap().0.replace("&amp;", "&")
        };
        let [client, redirect, state] = ["client_id", "redirect_uri", "state"].map(field);
        let form = [
            ("client_id", client.as_str()),
            ("redirect_uri", &redirect),
            ("state", &state),
            ("profile", PROFILE),
            ("decision", "grant"),
        ];
        let (action, _) = url.trim().split_once('?').unwrap();
        let answer = self.page(action, &form);
        let back = answer.lines().last().unwrap().to_owned();
        let shown = self.page(&back, &[]);
        assert!(shown.contains("Go back to the terminal"), "{shown}");
        let status = child.wait().unwrap();
        let said = std::fs::read_to_string(self.directory.path().join("said")).unwrap();
        assert!(status.success(), "{said}");
        let (_, host) = redirect.split_once("://").unwrap();
        let port = host.split_once(':').unwrap().1.split('/').next().unwrap();
        self.named
            .push((format!("127.0.0.1:{port}"), "127.0.0.1:8976".to_owned()));
        self.named
            .push((format!("127.0.0.1%3A{port}"), "127.0.0.1%3A8976".to_owned()));
        self.named.push((state, "STATE".to_owned()));
        let (first, rest) = said.split_once('\n').unwrap();
        self.notes(&format!(
            "{first}\n{}\n(In the browser: the business profile picked, access granted.)\n{rest}",
            url.trim(),
        ));
        said
    }

    /// Learns what stands for an address that was free here.
    fn learns(&mut self, said: &str, before: &str, there: &str) {
        let (_, rest) = said
            .split_once(before)
            .unwrap_or_else(|| panic!("no {before:?} in {said}"));
        let here: String = rest
            .trim_start()
            .chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || ".:/".contains(*letter))
            .collect();
        let here = here.trim_end_matches('/');
        let host = |text: &str| text.rsplit('/').next().unwrap().to_owned();
        let number = |text: &str| host(text).replace("localhost", "127.0.0.1");
        self.named.push((host(here), host(there)));
        self.named.push((number(here), number(there)));
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a message says is next: the sentence, and the command in it. The last word counts.
fn next(said: &str) -> Option<(String, String)> {
    let (_, text) = said.rsplit_once("next: ")?;
    let text = text.lines().next()?.to_owned();
    let mut command = None;
    for (at, part) in text.split('`').enumerate() {
        if at % 2 == 1 {
            command = Some(part.to_owned());
        }
    }
    Some((text.clone(), command?))
}

/// The word of a text that follows another.
fn after<'a>(text: &'a str, word: &str) -> &'a str {
    let (_, rest) = text
        .split_once(word)
        .unwrap_or_else(|| panic!("no {word:?}: {text}"));
    rest.split([' ', ',', ';', '`']).next().unwrap()
}

#[test]
fn a_newcomer_gets_through_the_guide_by_what_the_messages_say() {
    let mut newcomer = Newcomer::new();
    // Nothing but the ports: all of them are free ones here, that of the redirect as well.
    let options = r#"{"client-id": "demo", "faults": {"token": {"any-loopback-port": true}}}"#;
    let apart = tempfile::tempdir().unwrap();
    let file = apart.path().join("options.json");
    std::fs::write(&file, options).unwrap();
    let free = format!(
        "--plain 127.0.0.1:0 --mtls 127.0.0.1:0 --control 127.0.0.1:0 --options {}",
        file.display()
    );
    let line = "wise-auth-proxy simulator --dir wise";
    let mut said = newcomer.starts(line, &free, "Ctrl-C ends it");
    newcomer.learns(&said, "plain host", "https://localhost:8443");
    newcomer.learns(&said, "mTLS host", "https://localhost:8444");
    newcomer.learns(&said, "control API", "http://127.0.0.1:8445");
    newcomer.notes(&said);
    let mut status = String::new();

    for _ in 0..MOST {
        let known = next(&said).filter(|(text, command)| {
            // "Wise's Developer Hub" alone is no address.
            !command.contains("FILE") || text.contains("://")
        });
        // After a message without a next step, whoever knows it: `init` has said who.
        let look = "wise-auth-proxy migrate status".to_owned();
        let (text, command) = known.unwrap_or_else(|| (String::new(), look.clone()));
        if command == look {
            said = newcomer.runs(&command);
            if next(&said).is_none() {
                status = said;
                break;
            }
            continue;
        }
        let words: Vec<_> = command.split(' ').collect();
        said = match words[..] {
            ["wise-auth-proxy", "init", ..] => newcomer.answers(&command),
            ["wise-auth-proxy", "cert", "install", ..] => {
                newcomer.at_the_hub(after(&text, "open "), after(&text, "paste "));
                newcomer.runs(&command.replace("FILE", "downloaded.pem"))
            }
            ["wise-auth-proxy", "login", ..] => newcomer.logs_in(&command),
            ["wise-auth-proxy", "doctor", ..] => {
                let said = newcomer.runs(&command);
                let marked = said.lines().map(str::trim_start);
                let wrong: Vec<_> = marked.filter(|line| line.starts_with(['✗', '!'])).collect();
                assert!(said.contains('✓') && wrong.is_empty(), "{said}");
                said
            }
            ["wise-auth-proxy", "run", ..] => {
                let said = newcomer.starts(&command, "", "status on ");
                newcomer.learns(&said, "serving on ", "127.0.0.1:8080");
                newcomer.learns(&said, "status on ", "http://127.0.0.1:8081");
                let told = said
                    .lines()
                    .filter(|line| line.starts_with("serving on") || line.starts_with("status on"));
                let told: Vec<_> = told.map(str::to_owned).collect();
                newcomer.notes(&told.join("\n"));
                told.join("\n")
            }
            ["wise-auth-proxy" | "curl", ..] => newcomer.runs(&command),
            _ => panic!("this cannot be typed: {command}"),
        };
    }

    assert!(
        status.contains("13 of 13 done"),
        "{status}\n{}",
        newcomer.transcript
    );
    for wanted in [
        "csr",
        "cert install",
        "login",
        "doctor",
        "run",
        "curl",
        "switch oauth-mtls",
        "switch personal",
    ] {
        let typed = |command: &String| command.contains(wanted);
        assert!(
            newcomer.commands.iter().any(typed),
            "{wanted}: {:#?}",
            newcomer.commands
        );
    }
    newcomer.compare();
}

impl Newcomer {
    /// Holds the page to the words of today, or writes it.
    fn compare(&self) {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(TRANSCRIPT);
        if std::env::var_os("UPDATE_TRANSCRIPT").is_some() {
            std::fs::write(&page, paged(&self.transcript)).unwrap();
            return;
        }
        let kept = std::fs::read_to_string(&page).unwrap_or_default();
        let (kept, today) = (steady(&kept), steady(&paged(&self.transcript)));
        let differ = kept
            .lines()
            .zip(today.lines())
            .find(|(kept, today)| kept != today);
        assert!(
            kept == today,
            "{TRANSCRIPT} is of another day: UPDATE_TRANSCRIPT=1 writes it anew. First differ, there \
             and today: {differ:#?}"
        );
    }
}

/// A transcript without what differs by day, by machine, by user and by chance.
fn steady(text: &str) -> String {
    let mut steady = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("-----BEGIN ") {
            let _request = lines.find(|line| line.starts_with("-----END "));
            steady.push_str("PEM\n");
            continue;
        }
        // What the machine has, and to what its resolver leads.
        let machine = [
            "store.space ",
            "store.filesystem ",
            "dns.plain ",
            "dns.mtls ",
        ];
        let cut = machine
            .iter()
            .find_map(|id| Some(line.find(id)? + id.len()));
        let mut line = line[..cut.unwrap_or(line.len())].to_owned();
        for (shape, word) in SHAPES {
            line = shaped(&line, shape, word);
        }
        if let Some((before, rest)) = line.split_once(" (uid ") {
            let (said, _name) = before.rsplit_once(' ').unwrap();
            let (_uid, rest) = rest.split_once(')').unwrap();
            line = format!("{said} USER{rest}");
        }
        steady.push_str(line.trim_end());
        steady.push('\n');
    }
    steady
}

/// What a time, a day, an id and a span look like, and what stands for them: 0 is any digit, x any of
/// a hexadecimal number.
const SHAPES: [(&str, &str); 5] = [
    ("0000-00-00T00:00:00", "TIME"),
    ("0000-00-00", "DAY"),
    ("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "ID"),
    ("00h 00m left", "SPAN left"),
    ("000 days left", "DAYS left"),
];

fn shaped(line: &str, shape: &str, word: &str) -> String {
    let is_shaped = |text: &[u8]| {
        text.iter()
            .zip(shape.as_bytes())
            .all(|(letter, wanted)| match wanted {
                b'0' => letter.is_ascii_digit(),
                b'x' => letter.is_ascii_hexdigit(),
                wanted => letter == wanted,
            })
    };
    let (mut text, mut from) = (String::new(), 0);
    let mut at = 0;
    while let Some(window) = line.as_bytes().get(at..at + shape.len()) {
        if is_shaped(window) {
            text.push_str(&line[from..at]);
            text.push_str(word);
            from = at + shape.len();
            at = from;
        } else {
            at += 1;
        }
    }
    text + &line[from..]
}

/// The whole page.
fn paged(transcript: &str) -> String {
    format!(
        "# From nothing to migrated, word for word\n\n\
         What a newcomer types against the simulator, and what they read. Every command is one that \
         the message\nbefore it names; only the answers to `init` are their own. A test \
         (`tests/it/newcomer.rs`) does it again at every\nrun and holds this page to it.\n\n\
         ```console\n{}\n```\n",
        transcript.trim_end()
    )
}

#[test]
fn what_is_next_is_the_last_command_of_the_sentence() {
    let said = "done\nnext: open https://x/hub, paste a.csr; then `one` or `two FILE`\nmore";
    let (text, command) = next(said).unwrap();
    assert_eq!(command, "two FILE");
    assert_eq!(after(&text, "open "), "https://x/hub");
    assert_eq!(after(&text, "paste "), "a.csr");
    assert!(next("nothing here").is_none());
    assert!(next("next: think").is_none());
}

#[test]
fn what_differs_by_day_and_machine_is_no_difference() {
    let kept = "-----BEGIN X-----\nab\n-----END X-----\n  ✓ lane  oauth since 2026-11-25T22:16:35Z (just \
                now), by root (uid 0): rehearsal\n  ✓ store.space   1.5 GiB free\n11h 59m left; until \
                2046-11-20\n\"85bc4a80-739d-42af-9d07-ece8b0650976\"\n";
    let today = "-----BEGIN X-----\ncd\nef\n-----END X-----\n  ✓ lane  oauth since 2027-01-02T03:04:05Z (just \
                 now), by ci (uid 1000): rehearsal\n  ✓ store.space   20 GiB free\n11h 58m left; until \
                 2047-01-01\n\"00000000-739d-42af-9d07-ece8b0650976\"\n";
    assert_eq!(steady(kept), steady(today));
    for (from, to) in [
        ("oauth since", "oauth-mtls since"),
        ("✓ lane", "✗ lane"),
        ("rehearsal", "rehearsal over"),
    ] {
        assert_ne!(steady(kept), steady(&kept.replace(from, to)), "{to}");
    }
}
