//! `init`: what is asked, what is written, and that nothing else is.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A directory in which somebody types.
struct Desk(tempfile::TempDir);

const SECRET: &str = "planted-client-secret-77a1";
const TOKEN: &str = "planted-personal-token-41c9";

/// Every question of a sandbox answered, in the order in which they come.
const ANSWERS: [&str; 12] = [
    "sandbox", "", "acme", "", SECRET, "", TOKEN, "Acme Ltd", "GB", "", "", "",
];

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wise-auth-proxy"));
        command.env_clear().current_dir(self.0.path()).args(args);
        command.env("FAILPOINTS", self.path("failpoints"));
        command
    }

    /// Runs a command with these lines on its standard input.
    fn run(&self, args: &[&str], lines: &[&str]) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let end = if lines.is_empty() { "" } else { "\n" };
        let text = [&lines.join("\n"), end].concat();
        // A command that has read enough does not wait for the rest.
        let _ = input.write_all(text.as_bytes());
        drop(input);
        child.wait_with_output().unwrap()
    }

    /// Names of all that is there, directories with a slash.
    fn files(&self) -> Vec<String> {
        fn walk(dir: &Path, prefix: &str, found: &mut Vec<String>) {
            for entry in fs::read_dir(dir).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                if entry.path().is_dir() {
                    found.push(format!("{prefix}{name}/"));
                    walk(&entry.path(), &format!("{prefix}{name}/"), found);
                } else {
                    found.push(format!("{prefix}{name}"));
                }
            }
        }
        let mut found = Vec::new();
        walk(self.0.path(), "", &mut found);
        found.sort();
        found
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    for secret in [SECRET, TOKEN] {
        assert!(!text.contains(secret), "a secret was shown: {text}");
    }
    text
}

/// As a machine would call it.
const FLAGS: [&str; 8] = [
    "init",
    "--yes",
    "--environment",
    "sandbox",
    "--client-id",
    "acme",
    "--organisation",
    "Acme Ltd",
];

#[test]
fn a_fresh_directory_gets_a_configuration_that_can_be_used_and_the_next_command() {
    let desk = Desk::new();
    let output = desk.run(&["init"], &ANSWERS);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    insta::assert_snapshot!(stderr(&output), @"
    A few questions, then wise-auth-proxy.toml and a checklist are written (elsewhere: --config). Enter takes what stands in brackets.
    Which of Wise's environments? sandbox or production: 
    What do your programs use today? personal-token, or client-credentials without mutual TLS [personal-token]: 
    Client id, as Wise gave it to you; later, if it has not yet: 
    How are secrets kept? files (mode 0600), env (variables), systemd (credentials) or exec (a program prints them) [files]: 
    client secret, unseen as you type (Enter leaves it for later): 
    Is there a personal token to fall back on? yes or no [yes]: 
    personal token, unseen as you type (Enter leaves it for later): 
    Name of your company, for the certificate request: 
    Its country in two capital letters, or none [none]: 
    Redirect address, exactly as on file at Wise [http://127.0.0.1:8976/callback]: 
    Profiles to authorise, as ids or name=id; any, to pick one on Wise's page [any]: 
    Directory for grants and the switch, kept over restarts [state]: 
    written: wise-auth-proxy.toml, MIGRATION.md, secrets/client_secret, secrets/personal_token, state/migration.json
    every step from here: MIGRATION.md; `wise-auth-proxy migrate status` says at any time how far you are
    next: `wise-auth-proxy csr --organisation 'Acme Ltd' --country GB`: makes the private key, which stays here, and the request
    ");
    assert_eq!(
        desk.files(),
        [
            "MIGRATION.md",
            "secrets/",
            "secrets/client_secret",
            "secrets/personal_token",
            "state/",
            "state/migration.json",
            "wise-auth-proxy.toml",
        ]
    );
    for (name, mode) in [
        ("secrets", 0o700),
        ("state", 0o700),
        ("secrets/client_secret", 0o600),
        ("secrets/personal_token", 0o600),
        ("state/migration.json", 0o600),
        ("wise-auth-proxy.toml", 0o644),
    ] {
        assert_eq!(desk.mode(name), mode, "{name}");
    }
    assert_eq!(desk.read("secrets/client_secret"), SECRET);
    assert_eq!(desk.read("secrets/personal_token"), TOKEN);
    let checked = desk.run(&["config", "check"], &[]);
    assert_eq!(code(&checked), 0, "{}", stderr(&checked));
    let said = stderr(&checked);
    assert!(said.contains("starts in lane personal"), "{said}");
    // Nothing but the certificate is missing now.
    let checked = desk.run(&["config", "check", "--secrets", "--json"], &[]);
    assert_eq!(code(&checked), 64, "{}", stderr(&checked));
    let checked: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    let findings = checked["findings"].as_array().unwrap();
    let keys: Vec<_> = findings.iter().map(|finding| &finding["key"]).collect();
    assert_eq!(keys, ["mtls"], "{checked:#}");
}

#[test]
fn the_checklist_has_a_command_for_every_step_of_this_configuration() {
    let desk = Desk::new();
    assert_eq!(code(&desk.run(&["init"], &ANSWERS)), 0);
    insta::assert_snapshot!(desk.read("MIGRATION.md"), @"
    # From a personal token to OAuth and mutual TLS in Wise's sandbox

    Written by `wise-auth-proxy init` for wise-auth-proxy.toml. The steps are those of Wise's migration guide.
    `wise-auth-proxy migrate status` judges each by evidence and says what is next.

    1. **configuration**, a configuration:
       done with this configuration
    2. **credentials**, Wise takes the client id and secret:
       unless you gave it to `init`, `(umask 077; cat > secrets/client_secret)`: paste the client secret, press Enter and Ctrl-D; the file is then yours alone (0600)
    3. **request**, a private key and a certificate request:
       `wise-auth-proxy csr --organisation 'Acme Ltd' --country GB`: makes the private key, which stays here, and the request
    4. **certificate**, the client certificate is in place:
       open https://wise-sandbox.com/developer-hub, Authentication > Generate certificate, paste secrets/client.csr and save what it gives to a file; then `wise-auth-proxy cert install FILE`
    5. **grant**, every profile is authorised:
       `wise-auth-proxy login`: opens Wise's page, where you pick the business profile and approve
    6. **proxy**, the proxy runs:
       `wise-auth-proxy run`: starts the proxy, in a terminal of its own or as a service
    7. **applications**, a program's requests go through it:
       `curl -sS http://127.0.0.1:8080/v2/profiles`: a first request; then give your programs that address in the place of Wise's
    8. **way-back**, the way back is open:
       unless you gave it to `init`, `(umask 077; cat > secrets/personal_token)`: paste the personal token, press Enter and Ctrl-D; the file is then yours alone (0600)
    9. **handshake**, Wise takes the certificate:
       `wise-auth-proxy migrate status`: asks Wise, where Wise can be reached
    10. **lane**, requests take lane oauth-mtls:
       `wise-auth-proxy switch oauth-mtls --reason migration`: every new request takes that lane, at once
    11. **traffic**, programs get answers over mutual TLS:
       `curl -sS http://127.0.0.1:8080/v2/profiles`: a request on the new lane, or let a program make one
    12. **rehearsal**, the way back was tried:
       `wise-auth-proxy switch personal --reason rehearsal`: every new request takes that lane, at once
    13. **flows**, the business flows work:
       run the business flows that you live by, and look for the integration on https://wise-sandbox.com/settings; then `wise-auth-proxy migrate confirm flows`

    ## When anything goes wrong

    `wise-auth-proxy switch personal --reason 'what you saw'`:
    every new request goes as it went before, at once and without a restart. Tell Wise what you saw;
    `wise-auth-proxy status` and the proxy's log say what there is to say. Once Wise enforces mutual TLS, that way is closed.

    ## Afterwards

    Production is a configuration of its own, with credentials, certificate and grants of its own:
    `wise-auth-proxy init --environment production --config production.toml`.
    ");
    let production = FLAGS.map(|flag| {
        if flag == "sandbox" {
            "production"
        } else {
            flag
        }
    });
    let production = [&production[..], &["--config", "production.toml"]].concat();
    let output = desk.run(&production, &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    insta::assert_snapshot!(desk.read("MIGRATION-production.md"), @"
    # From a personal token to OAuth and mutual TLS in production

    Written by `wise-auth-proxy init` for production.toml. The steps are those of Wise's migration guide.
    `wise-auth-proxy migrate status --config production.toml` judges each by evidence and says what is next.

    1. **configuration**, a configuration:
       done with this configuration
    2. **credentials**, Wise takes the client id and secret:
       unless you gave it to `init`, `(umask 077; cat > secrets-production/client_secret)`: paste the client secret, press Enter and Ctrl-D; the file is then yours alone (0600)
    3. **request**, a private key and a certificate request:
       `wise-auth-proxy csr --organisation 'Acme Ltd' --country GB --config production.toml`: makes the private key, which stays here, and the request
    4. **certificate**, the client certificate is in place:
       open https://wise.com/developer-hub, Authentication > Generate certificate, paste secrets-production/client.csr and save what it gives to a file; then `wise-auth-proxy cert install FILE --config production.toml`
    5. **grant**, every profile is authorised:
       `wise-auth-proxy login --config production.toml`: opens Wise's page, where you pick the business profile and approve
    6. **proxy**, the proxy runs:
       `wise-auth-proxy run --config production.toml`: starts the proxy, in a terminal of its own or as a service
    7. **applications**, a program's requests go through it:
       `curl -sS http://127.0.0.1:8080/v2/profiles`: a first request; then give your programs that address in the place of Wise's
    8. **way-back**, the way back is open:
       unless you gave it to `init`, `(umask 077; cat > secrets-production/personal_token)`: paste the personal token, press Enter and Ctrl-D; the file is then yours alone (0600)
    9. **handshake**, Wise takes the certificate:
       `wise-auth-proxy migrate status --config production.toml`: asks Wise, where Wise can be reached
    10. **lane**, requests take lane oauth-mtls:
       `wise-auth-proxy switch oauth-mtls --reason migration --config production.toml`: every new request takes that lane, at once
    11. **traffic**, programs get answers over mutual TLS:
       `curl -sS http://127.0.0.1:8080/v2/profiles`: a request on the new lane, or let a program make one
    12. **told**, Wise knows that mutual TLS works:
       tell your Customer Success Manager at Wise that mutual TLS works for you; then `wise-auth-proxy migrate confirm told --config production.toml`
    13. **enforced**, Wise enforces mutual TLS:
       wait for Wise's word that mutual TLS is enforced: from then on the other host, and with it the way back, is closed; then `wise-auth-proxy migrate confirm enforced --config production.toml`
    14. **unused**, nothing uses the personal token:
       wait until a week has passed without it; then `wise-auth-proxy migrate status --config production.toml`
    15. **deleted**, the personal token is deleted:
       `wise-auth-proxy init --personal-token no --config production.toml`: takes it out of the configuration; then restart the proxy

    ## When anything goes wrong

    `wise-auth-proxy switch personal --reason 'what you saw' --config production.toml`:
    every new request goes as it went before, at once and without a restart. Tell Wise what you saw;
    `wise-auth-proxy status --config production.toml` and the proxy's log say what there is to say. Once Wise enforces mutual TLS, that way is closed.

    ## Afterwards

    The certificate lasts a year; the proxy speaks up 30 days before its end. A grant that has ended
    wants a new `login`; the proxy says that, too.
    ");
    let names = desk.files();
    assert!(names.contains(&"state-production/".to_owned()), "{names:?}");
    let config = desk.read("production.toml");
    assert!(
        config.contains("secrets-production/client_secret"),
        "{config}"
    );
}

#[test]
fn the_same_answers_again_change_nothing() {
    let desk = Desk::new();
    assert_eq!(code(&desk.run(&["init"], &ANSWERS)), 0);
    let before = desk.files();
    let config = desk.read("wise-auth-proxy.toml");
    // Enter to everything.
    let output = desk.run(&["init"], &[""; 12]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let said = stderr(&output);
    assert!(
        said.contains("unchanged: wise-auth-proxy.toml, MIGRATION.md"),
        "{said}"
    );
    let silent = desk.run(&["init", "--yes"], &[]);
    assert_eq!(code(&silent), 0, "{}", stderr(&silent));
    assert_eq!(desk.files(), before, "no backup of what did not change");
    assert_eq!(desk.read("wise-auth-proxy.toml"), config);
    assert_eq!(desk.read("secrets/client_secret"), SECRET);
}

#[test]
fn silence_names_every_flag_that_is_missing_at_once() {
    let desk = Desk::new();
    let output = desk.run(&["init", "--yes"], &[]);
    assert_eq!(code(&output), 2);
    insta::assert_snapshot!(stderr(&output), @"
    error: --yes asks nothing, and these have no default: --environment, --client-id
    hint: give them, or leave out --yes to be asked
    ");
    let output = desk.run(
        &["init", "--yes", "--secrets", "exec", "--client-id", "acme"],
        &[],
    );
    assert_eq!(code(&output), 2);
    insta::assert_snapshot!(stderr(&output), @"
    error: --yes asks nothing, and these have no default: --environment, --client-secret-exec, --personal-token-exec, --organisation
    hint: give them, or leave out --yes to be asked
    ");
    assert!(desk.files().is_empty());
}

#[test]
fn an_answer_that_does_not_fit_is_asked_for_again_with_the_reason() {
    let desk = Desk::new();
    let lines = [
        "staging",
        "",
        "sandbox",
        "oauth",
        "personal-token",
        "ac me",
        "acme",
        "vault",
        "files",
        "two words",
        "",
        "maybe",
        "yes",
        "",
        "",
        "Acme Ltd",
        "gb",
        "GB",
        "callback",
        "",
        "main=1 main=2",
        "a/b",
        "30000000 other=30000001",
        "",
    ];
    let output = desk.run(&["init"], &lines);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    insta::assert_snapshot!(stderr(&output), @"
    A few questions, then wise-auth-proxy.toml and a checklist are written (elsewhere: --config). Enter takes what stands in brackets.
    Which of Wise's environments? sandbox or production: 
      say sandbox or production; for a simulator there is --simulator PATH
    Which of Wise's environments? sandbox or production: 
      this has no default
    Which of Wise's environments? sandbox or production: 
    What do your programs use today? personal-token, or client-credentials without mutual TLS [personal-token]: 
      say personal-token or client-credentials
    What do your programs use today? personal-token, or client-credentials without mutual TLS [personal-token]: 
    Client id, as Wise gave it to you; later, if it has not yet: 
      a client id is one word
    Client id, as Wise gave it to you; later, if it has not yet: 
    How are secrets kept? files (mode 0600), env (variables), systemd (credentials) or exec (a program prints them) [files]: 
      say files, env, systemd or exec
    How are secrets kept? files (mode 0600), env (variables), systemd (credentials) or exec (a program prints them) [files]: 
    client secret, unseen as you type (Enter leaves it for later): 
      it has a space or another character that no secret of Wise's has; paste it alone
    client secret, unseen as you type (Enter leaves it for later): 
    Is there a personal token to fall back on? yes or no [yes]: 
      say yes or no
    Is there a personal token to fall back on? yes or no [yes]: 
    personal token, unseen as you type (Enter leaves it for later): 
    Name of your company, for the certificate request: 
      this has no default
    Name of your company, for the certificate request: 
    Its country in two capital letters, or none [none]: 
      the country (C) must be two capital letters, such as GB; Wise reads it from the CSR's subject
    Its country in two capital letters, or none [none]: 
    Redirect address, exactly as on file at Wise [http://127.0.0.1:8976/callback]: 
      write it as a URL, such as http://127.0.0.1:8976/callback
    Redirect address, exactly as on file at Wise [http://127.0.0.1:8976/callback]: 
    Profiles to authorise, as ids or name=id; any, to pick one on Wise's page [any]: 
      two profiles are called main; name them as name=id
    Profiles to authorise, as ids or name=id; any, to pick one on Wise's page [any]: 
      a profile id is a number, or 1 to 64 letters, digits or hyphens
    Profiles to authorise, as ids or name=id; any, to pick one on Wise's page [any]: 
    Directory for grants and the switch, kept over restarts [state]: 
    written: wise-auth-proxy.toml, MIGRATION.md, state/migration.json
    still to come: the client secret, alone, in secrets/client_secret (mode 0600)
    still to come: the personal token, alone, in secrets/personal_token (mode 0600)
    every step from here: MIGRATION.md; `wise-auth-proxy migrate status` says at any time how far you are
    next: `(umask 077; cat > secrets/client_secret)`: paste the client secret, press Enter and Ctrl-D; the file is then yours alone (0600)
    ");
    let config = desk.read("wise-auth-proxy.toml");
    assert!(
        config.contains("profile = 30000000\ndefault = true"),
        "{config}"
    );
    assert!(
        config.contains("name = \"other\"\nprofile = 30000001"),
        "{config}"
    );
}

#[test]
fn a_flag_that_does_not_fit_is_named() {
    let desk = Desk::new();
    for (flag, value, why) in [
        (
            "--environment",
            "staging",
            "--environment: say sandbox or production",
        ),
        ("--country", "gb", "two capital letters"),
        ("--client-id", "a b", "--client-id: a client id is one word"),
        ("--redirect-uri", "x", "--redirect-uri: write it as a URL"),
        ("--profile", "a/b", "--profile: a profile id is a number"),
        (
            "--personal-token",
            "perhaps",
            "--personal-token: say yes or no",
        ),
        ("--door", "0.0.0.0:8080", "--door is no loopback address"),
        (
            "--secrets",
            "vault",
            "--secrets: say files, env, systemd or exec",
        ),
    ] {
        let flags: Vec<_> = FLAGS
            .iter()
            .copied()
            .filter(|given| *given != flag)
            .collect();
        // Its value, too.
        let flags: Vec<_> = flags
            .into_iter()
            .filter(|given| {
                (flag, *given) != ("--environment", "sandbox")
                    && (flag, *given) != ("--client-id", "acme")
            })
            .collect();
        let output = desk.run(&[&flags[..], &[flag, value]].concat(), &[]);
        let said = stderr(&output);
        assert_eq!(code(&output), 2, "{flag}: {said}");
        assert!(said.contains(why), "{flag}: {said}");
    }
    assert!(desk.files().is_empty());
}

#[test]
fn what_is_there_is_shown_as_a_diff_and_changed_only_with_consent() {
    let desk = Desk::new();
    assert_eq!(code(&desk.run(&["init"], &ANSWERS)), 0);
    let old = desk.read("wise-auth-proxy.toml") + "\n[log]\nlevel = \"debug\" # ours\n";
    fs::write(desk.path("wise-auth-proxy.toml"), &old).unwrap();
    let before = desk.files();
    let other = ["init", "--yes", "--client-id", "other"];
    let refused = desk.run(&other, &[]);
    assert_eq!(code(&refused), 1);
    insta::assert_snapshot!(stderr(&refused), @r#"
    --- wise-auth-proxy.toml
    +++ wise-auth-proxy.toml
    @@ -17,5 +17,5 @@
     # The OAuth client that Wise gave you, and the redirect address as on file there.
     [oauth]
    -client_id = "acme"
    +client_id = "other"
     client_secret = { file = "secrets/client_secret" }
     redirect_uri = "http://127.0.0.1:8976/callback"
    error: files that are there would change; nothing was written
    hint: --force writes the changes, and keeps each old file as .bak
    "#);
    let asked = ["init", "--client-id", "other"];
    let lines = [&[""; 11][..], &["no"]].concat();
    let declined = desk.run(&asked, &lines);
    assert_eq!(code(&declined), 1, "{}", stderr(&declined));
    assert_eq!(desk.files(), before);
    assert_eq!(desk.read("wise-auth-proxy.toml"), old);

    let lines = [&[""; 11][..], &["yes"]].concat();
    let agreed = desk.run(&asked, &lines);
    assert_eq!(code(&agreed), 0, "{}", stderr(&agreed));
    assert_eq!(desk.read("wise-auth-proxy.toml.bak"), old);
    let new = desk.read("wise-auth-proxy.toml");
    assert!(new.contains("client_id = \"other\""), "{new}");
    assert!(new.contains("level = \"debug\" # ours"), "{new}");

    let forced = desk.run(&["init", "--yes", "--force", "--personal-token", "no"], &[]);
    assert_eq!(code(&forced), 0, "{}", stderr(&forced));
    let new = desk.read("wise-auth-proxy.toml");
    assert!(
        !new.contains("[personal]") && new.contains("lane = \"oauth-mtls\""),
        "{new}"
    );
    assert_eq!(
        desk.read("secrets/personal_token"),
        TOKEN,
        "a person deletes it"
    );
}

#[test]
fn a_file_that_cannot_be_used_is_left_alone() {
    let desk = Desk::new();
    for (text, why) in [
        ("environment = ", "is not TOML"),
        ("environment = \"sandbox\"\nsurplus = 1\n", "surplus"),
    ] {
        fs::write(desk.path("wise-auth-proxy.toml"), text).unwrap();
        let output = desk.run(&[&FLAGS[..], &["--force"]].concat(), &[]);
        let said = stderr(&output);
        assert_eq!(code(&output), 64, "{said}");
        assert!(said.contains(why) && said.contains("hint:"), "{said}");
        assert_eq!(desk.read("wise-auth-proxy.toml"), text);
        assert_eq!(desk.files(), ["wise-auth-proxy.toml"]);
    }
}

#[test]
fn an_end_of_input_half_way_writes_nothing() {
    let desk = Desk::new();
    for lines in 0..ANSWERS.len() {
        let output = desk.run(&["init"], &ANSWERS[..lines]);
        let said = stderr(&output);
        assert_eq!(code(&output), 1, "after {lines} answers: {said}");
        assert!(said.contains("standard input ended where --"), "{said}");
        assert!(desk.files().is_empty(), "{:?}", desk.files());
    }
}

#[test]
fn a_place_that_cannot_be_written_leaves_nothing_behind() {
    let desk = Desk::new();
    fs::write(desk.path("file"), "").unwrap();
    for flags in [
        &["--state", "file/state"][..],
        &["--config", "file/house.toml"],
    ] {
        let output = desk.run(&[&FLAGS[..], flags].concat(), &[]);
        let said = stderr(&output);
        assert!([1, 77].contains(&code(&output)), "{said}");
        assert!(said.contains("cannot") && said.contains("hint:"), "{said}");
        assert_eq!(desk.files(), ["file"], "{said}");
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn a_disk_that_fills_up_half_way_leaves_nothing_half_written() {
    let desk = Desk::new();
    let mut failed = 0;
    for point in ["durable-write", "durable-sync", "durable-sync-dir"] {
        for turn in 1..=16 {
            fs::write(
                desk.path("failpoints"),
                format!("{point} = ENOSPC @{turn}\n"),
            )
            .unwrap();
            let output = desk.run(&["init"], &ANSWERS);
            let said = stderr(&output);
            if output.status.success() {
                break;
            }
            failed += 1;
            assert!(
                said.contains("nothing was written"),
                "{point} {turn}: {said}"
            );
            assert_eq!(desk.files(), ["failpoints"], "{point} {turn}");
        }
        for name in desk.files().into_iter().filter(|name| name != "failpoints") {
            let path = desk.path(&name);
            let _ = if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
        }
    }
    assert!(failed >= 12, "only {failed} times did the disk fail");
}

#[test]
fn secrets_come_from_files_or_standard_input_and_never_from_the_command_line() {
    let desk = Desk::new();
    let loose = desk.path("loose");
    fs::write(&loose, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&loose, fs::Permissions::from_mode(0o644)).unwrap();
    let from = [
        "--client-secret-file",
        "-",
        "--personal-token-file",
        "loose",
    ];
    let output = desk.run(&[&FLAGS[..], &from].concat(), &[SECRET]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("chmod 600"), "{}", stderr(&output));
    assert_eq!(desk.files(), ["loose"]);
    fs::set_permissions(&loose, fs::Permissions::from_mode(0o600)).unwrap();
    let output = desk.run(&[&FLAGS[..], &from].concat(), &[SECRET]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(desk.read("secrets/client_secret"), SECRET);
    assert_eq!(desk.read("secrets/personal_token"), TOKEN);
    let help = desk.run(&["init", "--help"], &[]);
    let help = String::from_utf8(help.stdout).unwrap();
    for flag in ["--client-secret ", "--personal-token-value", "--secret "] {
        assert!(!help.contains(flag), "{flag}");
    }
}

#[test]
fn every_way_to_keep_secrets_makes_a_configuration() {
    for (how, expected) in [
        ("env", "client_secret = { env = \"WISE_CLIENT_SECRET\" }"),
        (
            "systemd",
            "client_secret = { credential = \"client_secret\" }",
        ),
        (
            "exec",
            "client_secret = { exec = [\"/usr/bin/pass\", \"show\", \"wise\"] }",
        ),
    ] {
        let desk = Desk::new();
        let exec = [
            "--client-secret-exec",
            "/usr/bin/pass show wise",
            "--personal-token",
            "no",
        ];
        let output = desk.run(&[&FLAGS[..], &["--secrets", how], &exec].concat(), &[]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let config = desk.read("wise-auth-proxy.toml");
        assert!(config.contains(expected), "{config}");
        let secrets = fs::read_dir(desk.path("secrets")).unwrap().count();
        assert_eq!(secrets, 0, "no secret was given; the key will come");
        assert_eq!(code(&desk.run(&["config", "check"], &[])), 0);
    }
}

#[test]
fn without_a_client_id_the_personal_token_can_be_served_at_once() {
    let desk = Desk::new();
    let later = [
        "init",
        "--yes",
        "--environment",
        "production",
        "--client-id",
        "later",
    ];
    let none = desk.run(&[&later[..], &["--personal-token", "no"]].concat(), &[]);
    assert_eq!(code(&none), 2);
    assert!(
        stderr(&none).contains("nothing to reach Wise with"),
        "{}",
        stderr(&none)
    );
    let output = desk.run(
        &[&later[..], &["--personal-token-file", "-"]].concat(),
        &[TOKEN],
    );
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    insta::assert_snapshot!(stderr(&output), @"
    written: wise-auth-proxy.toml, MIGRATION.md, secrets/personal_token, state/migration.json
    every step from here: MIGRATION.md; `wise-auth-proxy migrate status` says at any time how far you are
    next: ask your Customer Success Manager at Wise for production client credentials: they want your membership numbers (they begin with P) and the redirect address http://127.0.0.1:8976/callback; then `wise-auth-proxy init`
    ");
    // Wise has answered; the rest comes on top.
    let more = [
        "init",
        "--yes",
        "--force",
        "--client-id",
        "acme",
        "--organisation",
        "Acme Ltd",
    ];
    let output = desk.run(&more, &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let config = desk.read("wise-auth-proxy.toml");
    assert!(
        config.contains("[oauth]") && config.contains("[mtls]"),
        "{config}"
    );
    assert_eq!(code(&desk.run(&["config", "check"], &[])), 0);
}

#[test]
fn programs_read_what_was_written_as_json() {
    let desk = Desk::new();
    let output = desk.run(&[&FLAGS[..], &["--json"]].concat(), &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    insta::assert_json_snapshot!(said, @r#"
    {
      "backups": [],
      "checklist": "MIGRATION.md",
      "configuration": "wise-auth-proxy.toml",
      "next": {
        "command": "(umask 077; cat > secrets/client_secret)",
        "text": "`(umask 077; cat > secrets/client_secret)`: paste the client secret, press Enter and Ctrl-D; the file is then yours alone (0600)"
      },
      "still_to_come": [
        {
          "file": "secrets/client_secret",
          "secret": "client secret"
        },
        {
          "file": "secrets/personal_token",
          "secret": "personal token"
        }
      ],
      "unchanged": [],
      "written": [
        "wise-auth-proxy.toml",
        "MIGRATION.md",
        "state/migration.json"
      ]
    }
    "#);
}

/// A terminal with `init` at its other end; what it shows comes back.
struct Terminal {
    side: fs::File,
    child: std::process::Child,
}

impl Terminal {
    fn open(mut command: Command) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let side = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&side).unwrap();
        unlockpt(&side).unwrap();
        let name = ptsname(&side, Vec::new()).unwrap().into_string().unwrap();
        let other = || {
            fs::File::options()
                .read(true)
                .write(true)
                .open(&name)
                .unwrap()
        };
        let child = command
            .stdin(other())
            .stderr(other())
            .stdout(other())
            .spawn()
            .unwrap();
        Self {
            side: side.into(),
            child,
        }
    }

    /// Reads until the text has come, and returns all that came.
    fn until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&seen).contains(text) {
            match self.side.read(&mut byte) {
                Ok(1) => seen.push(byte[0]),
                ended => panic!(
                    "{ended:?} before {text:?}: {}",
                    String::from_utf8_lossy(&seen)
                ),
            }
        }
        String::from_utf8(seen).unwrap()
    }

    fn types(&mut self, text: &str) {
        self.side.write_all(text.as_bytes()).unwrap();
    }
}

#[test]
fn a_secret_typed_at_a_terminal_is_not_shown_and_the_terminal_is_mended_after_ctrl_c() {
    let desk = Desk::new();
    let flags = [
        "init",
        "--environment",
        "sandbox",
        "--from",
        "personal-token",
        "--client-id",
        "acme",
        "--secrets",
        "files",
    ];
    let mut terminal = Terminal::open(desk.command(&flags));
    terminal.until("unseen as you type");
    terminal.until("): ");
    terminal.types(&format!("{SECRET}\n"));
    let shown = terminal.until("[yes]: ");
    assert!(!shown.contains(SECRET), "{shown}");
    terminal.types("yes\n");
    let shown = terminal.until("): ");
    assert!(shown.contains("yes"), "what is no secret is shown: {shown}");
    let modes = rustix::termios::tcgetattr(&terminal.side)
        .unwrap()
        .local_modes;
    assert!(!modes.contains(rustix::termios::LocalModes::ECHO));
    terminal.types("half a token\u{3}");
    let status = terminal.child.wait().unwrap();
    assert_eq!(status.signal(), Some(2), "as Ctrl-C ends every program");
    let modes = rustix::termios::tcgetattr(&terminal.side)
        .unwrap()
        .local_modes;
    let expected = rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ISIG;
    assert!(modes.contains(expected), "the terminal is as it was");
    assert!(
        desk.files().is_empty(),
        "nothing was written: {:?}",
        desk.files()
    );
}
