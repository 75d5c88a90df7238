//! `simulator`: the fake Wise in the foreground, and a directory for a proxy beside it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{LOGIN_REDIRECT, SimulatorArgs};
use super::failure::{Exit, Failure};
use super::run::control_runtime;
use super::{report, spelling};
use crate::secret::Secret;
use crate::simulator::{Options, Simulator, SimulatorError};
use crate::tls::{KeyType, Request, Subject};

/// The configuration that the directory is made for.
const DEMO: &str = include_str!("../../config/demo.toml");
/// Hosts and client id as they stand in it.
const PLAIN: &str = "https://localhost:8443";
const MTLS: &str = "https://localhost:8444";
const CLIENT_ID: &str = "client_id = \"demo\"";

/// First line of the configuration in a directory of ours: what lies there may be replaced.
const MARK: &str = "# Made by `wise-auth-proxy simulator`, anew at every start.\n";
const CONFIG: &str = "proxy.toml";
/// What the directory holds besides, all of it replaced at every start.
const FILES: [&str; 7] = [
    "ca.pem",
    "client.key",
    "client.pem",
    "client_secret",
    "personal_token",
    "webhook-ca.pem",
    "webhook-key.pem",
];

pub(crate) fn run(args: &SimulatorArgs) -> Result<(), Failure> {
    let options = options(args)?;
    let dir = std::path::absolute(&args.dir).map_err(|error| unwritten(&args.dir, error))?;
    claim(&dir)?;
    control_runtime()?.block_on(async {
        let listen = |kind| signal(kind).map_err(|error| unwritten(&dir, error));
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let (secret, token) = (
            options.client_secret.clone(),
            options.personal_token.clone(),
        );
        let client_id = options.client_id.clone();
        // The one that the control API's codes are made for.
        let redirect = options.redirect_uris.first().cloned().unwrap_or_default();
        let profile = options.business_profiles.first().copied();
        let simulator = Simulator::start(options).await?;
        equip(&dir, &simulator, &secret, &token)?;
        let config = configuration(&simulator.plain_url(), &simulator.mtls_url(), &client_id);
        write(&dir.join(CONFIG), format!("{MARK}{config}").as_bytes())?;
        tell(args, &simulator, &dir, &redirect, profile)?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = simulator.stopped() => {}
        }
        simulator.stop().await;
        Ok(())
    })
}

fn options(args: &SimulatorArgs) -> Result<Options, Failure> {
    let mut options = match &args.options {
        None => Options {
            client_id: "demo".to_owned(),
            ..Options::default()
        },
        Some(path) => {
            let text = fs::read(path).map_err(|error| {
                let error = anyhow::Error::new(error);
                let text = format!("cannot read {}", path.display());
                Failure::new(Exit::Failed, error.context(text)).hint("check the path of --options")
            })?;
            serde_json::from_slice(&text).map_err(|error| {
                // serde's own message could quote a secret.
                let (line, column) = (error.line(), error.column());
                let path = path.display();
                let text = format!("{path}: no options at line {line}, column {column}");
                Failure::new(Exit::Usage, anyhow::Error::msg(text))
                    .hint("the keys are those of the simulator's options; check spelling and types")
            })?
        }
    };
    (options.plain, options.mtls, options.control) = (args.plain, args.mtls, args.control);
    if let Some(client_id) = &args.client_id {
        options.client_id.clone_from(client_id);
    }
    if !args.profile.is_empty() {
        options.business_profiles.clone_from(&args.profile);
    }
    if !options
        .redirect_uris
        .iter()
        .any(|uri| uri == LOGIN_REDIRECT)
    {
        options.redirect_uris.push(LOGIN_REDIRECT.to_owned());
    }
    Ok(options)
}

/// Makes the directory, and refuses one that holds somebody else's key or token.
fn claim(dir: &Path) -> Result<(), Failure> {
    let ours = fs::read_to_string(dir.join(CONFIG)).is_ok_and(|text| text.starts_with(MARK));
    let taken = FILES
        .iter()
        .chain([&CONFIG])
        .find(|name| dir.join(name).symlink_metadata().is_ok());
    if let Some(name) = taken.filter(|_| !ours) {
        let text = format!(
            "{} is there already and was not made by the simulator",
            dir.join(name).display()
        );
        return Err(Failure::new(Exit::Failed, anyhow::Error::msg(text))
            .hint("name another directory with --dir"));
    }
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(dir);
    made.map_err(|error| unwritten(dir, error))?;
    // Marked before anything else is in it, so that a start cut short can be repeated.
    if !ours {
        write(&dir.join(CONFIG), MARK.as_bytes())?;
    }
    Ok(())
}

/// Writes what a partner of this Wise has: authority, certificate, secrets, and what its webhooks
/// verify with.
fn equip(
    dir: &Path,
    simulator: &Simulator,
    client_secret: &Secret,
    personal_token: &Secret,
) -> Result<(), Failure> {
    let fresh = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(dir)
        .map_err(|error| unwritten(dir, error))?;
    let (key, csr) = (fresh.path().join("client.key"), fresh.path().join("csr"));
    let request = Request::generate(KeyType::P256, &Subject::new("Example Ltd", None, None)?)?;
    request.write(&key, &csr)?;
    let leaf = simulator.sign_csr("simulator", request.csr_pem());
    let leaf =
        leaf.map_err(|error| Failure::advised(Exit::Failed, &error, "report this defect"))?;
    let place = dir.join("client.key");
    fs::rename(&key, &place).map_err(|error| unwritten(&place, error))?;
    for (name, text) in [
        ("ca.pem", simulator.ca_pem().as_str()),
        ("client.pem", &leaf),
        ("client_secret", client_secret.expose()),
        ("personal_token", personal_token.expose()),
        ("webhook-ca.pem", &simulator.webhook_ca_pem()?),
        ("webhook-key.pem", &simulator.webhook_key_pem()?),
    ] {
        write(&dir.join(name), text.as_bytes())?;
    }
    Ok(())
}

/// config/demo.toml, for where this simulator listens.
fn configuration(plain: &str, mtls: &str, client_id: &str) -> String {
    // Both at once: the first's new port may be the second's old one.
    let quoted = serde_json::Value::from(client_id);
    DEMO.replace(PLAIN, "\u{1}")
        .replace(MTLS, "\u{2}")
        .replace('\u{1}', plain)
        .replace('\u{2}', mtls)
        .replace(CLIENT_ID, &format!("client_id = {quoted}"))
}

fn tell(
    args: &SimulatorArgs,
    simulator: &Simulator,
    dir: &Path,
    redirect: &str,
    profile: Option<u64>,
) -> Result<(), Failure> {
    let config = dir.join(CONFIG);
    let (plain, mtls) = (simulator.plain_url(), simulator.mtls_url());
    let control = simulator.control_url();
    if args.json {
        report::json(&json!({
            "plain": plain, "mtls": mtls, "control": control, "dir": dir, "config": config,
            "authorise": simulator.authorise_url(),
        }))?;
    } else {
        let (config_typed, dir_typed) = (spelling::path(&config), spelling::path(dir));
        let (config, dir) = (config.display(), dir.display());
        let profile = profile.unwrap_or_default();
        report::data(&format!(
            "plain host    {plain}\n\
             mTLS host     {mtls}\n\
             control API   {control}\n\
             directory     {dir}\n\
             configuration {config}\n\
             \n\
             wise-auth-proxy login --config {config_typed}\n\
             or, without a browser, with the code that this prints:\n\
             curl -d '{{\"profile\": {profile}}}' {control}/authorise\n\
             wise-auth-proxy login --config {config_typed} --redirect-uri {redirect} --code CODE\n\
             \n\
             wise-auth-proxy run --config {config_typed}\n\
             curl --cacert {dir_typed}/ca.pem -H \"Authorization: Bearer $(cat {dir_typed}/personal_token)\" {plain}/v1/profiles\n\
             curl {control}/requests"
        ))?;
    }
    report::say(&format!(
        "next: in another terminal `wise-auth-proxy init --simulator {}`: a proxy from the start, \
         with a certificate of its own\n\
         a simulated Wise is listening; Ctrl-C ends it",
        spelling::path(&args.dir)
    ));
    Ok(())
}

/// Replaces a file, readable by its owner alone, in one step.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    crate::durable::replace(path, bytes).map_err(|error| unwritten(path, error))
}

fn unwritten(path: &Path, error: io::Error) -> Failure {
    let text = format!("cannot write {}", path.display());
    Failure::new(Exit::Failed, anyhow::Error::new(error).context(text))
        .hint("name a directory of yours with --dir")
}

impl From<SimulatorError> for Failure {
    fn from(error: SimulatorError) -> Self {
        Self::advised(Exit::Failed, &error, "check the options")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_the_usual_addresses_the_configuration_is_the_demo_s() {
        assert_eq!(configuration(PLAIN, MTLS, "demo"), DEMO);
    }

    #[test]
    fn hosts_and_client_are_put_in_everywhere() {
        let text = configuration(MTLS, "https://localhost:9", "ac\"me");
        assert!(!text.contains("8443"), "{text}");
        assert!(
            text.contains("plain = \"https://localhost:8444\""),
            "{text}"
        );
        assert!(
            text.contains("authorise = \"https://localhost:8444/oauth/authorize"),
            "{text}"
        );
        assert!(text.contains("mtls = \"https://localhost:9\""), "{text}");
        assert!(text.contains(r#"client_id = "ac\"me""#), "{text}");
    }
}
