//! Configuration, secrets, clock, client, lanes: one thing broken at a time.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{broken, doctor, plan};
use crate::house::{self, Site};

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

const SECRET: &str = "secret.oauth.client_secret";

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_all_there_is_to_say() {
    let wise = house::wise().await;
    let seen = broken(plan(&wise).logged_out(), |site| {
        let good = std::fs::read_to_string(&site.config).unwrap();
        std::fs::write(&site.config, good.replace("workers = 2", "wokers = 2")).unwrap();
    })
    .await;
    seen.only(&[("config.file", "failed")]);
    assert_eq!(seen.checks().len(), 1);
    seen.says(
        "config.file",
        "the configuration has a problem",
        "`wise-auth-proxy config check --config ",
    );
    let details = seen.check("config.file")["details"].to_string();
    assert!(details.contains("runtime.wokers"), "{details}");
}

#[tokio::test]
async fn a_configuration_that_others_may_write_is_a_warning() {
    let wise = house::wise().await;
    let seen = broken(plan(&wise), |site| mode(&site.config, 0o666)).await;
    seen.only(&[("config.file", "warning")]);
    seen.says("config.file", "others may write", "`chmod go-w ");
}

#[tokio::test]
async fn a_lane_that_the_configuration_no_longer_equips_is_named_with_the_way_out() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    let turned = site
        .cli(&["switch", "personal", "--reason", "step back"])
        .await;
    assert!(turned.status.success(), "{turned:?}");
    let seen = doctor(&site, &["--set", "switch.allow=[\"oauth-mtls\"]"]).await;
    seen.only(&[("config.lane", "failed")]);
    seen.says(
        "config.lane",
        "personal since ",
        "switch oauth-mtls --reason ",
    );
}

#[tokio::test]
async fn a_missing_secret_fails_and_only_what_needs_it_is_left_out() {
    let wise = house::wise().await;
    let seen = broken(plan(&wise), |site| {
        std::fs::remove_file(site.path("client_secret")).unwrap();
    })
    .await;
    seen.only(&[(SECRET, "failed")]);
    seen.says(
        SECRET,
        "client_secret cannot be read: No such file",
        "install -m 0600 /dev/null ",
    );
    assert_eq!(
        seen.left_out(SECRET),
        ["oauth.client.mtls", "oauth.client.plain"]
    );
}

#[tokio::test]
async fn a_secret_that_others_may_read_fails() {
    let wise = house::wise().await;
    let seen = broken(plan(&wise), |site| {
        mode(&site.path("personal_token"), 0o644);
    })
    .await;
    seen.only(&[("secret.personal.token", "failed")]);
    seen.says("secret.personal.token", "(mode 0644)", "`chmod 600 ");
    assert_eq!(seen.left_out("secret.personal.token"), ["lane.personal"]);
}

#[tokio::test]
async fn an_empty_secret_a_variable_that_is_not_set_and_a_program_that_fails_are_told_apart() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    site.secret("empty", " \n");
    for (source, text, hint) in [
        (
            "{ file = \"empty\" }",
            "empty is empty",
            "write the secret into the file",
        ),
        (
            "{ env = \"NO_SUCH\" }",
            "NO_SUCH is not set",
            "NO_SUCH in its environment",
        ),
        (
            "{ exec = [\"/bin/false\"] }",
            "/bin/false failed (exit status: 1)",
            "run /bin/false by hand",
        ),
        (
            "{ exec = [\"/no/such\"] }",
            "/no/such did not start",
            "see that /no/such is there",
        ),
        (
            "{ credential = \"x\" }",
            "the credential x is not there",
            "LoadCredential=x:",
        ),
    ] {
        let set = format!("oauth.client_secret={source}");
        let seen = doctor(&site, &["--set", &set]).await;
        seen.only(&[(SECRET, "failed")]).says(SECRET, text, hint);
    }
}

#[tokio::test]
async fn what_was_pasted_with_a_secret_is_a_warning_beside_the_failure_that_it_makes() {
    let wise = house::wise().await;
    let seen = broken(plan(&wise), |site| {
        site.secret(
            "personal_token",
            &format!("Bearer {}", house::PERSONAL_TOKEN),
        );
    })
    .await;
    seen.only(&[
        ("secret.personal.token", "warning"),
        ("lane.personal", "warning"),
    ]);
    seen.says(
        "secret.personal.token",
        "begins with `Bearer `",
        "write the secret alone",
    );
}

#[tokio::test]
async fn a_clock_that_is_off_is_seen_against_wises() {
    for (offset, state) in [
        (-60, "warning"),
        (60, "warning"),
        (-7_200, "failed"),
        (7_200, "failed"),
    ] {
        let wise = house::wise().await;
        wise.change_faults(|faults| faults.resource.date_offset = offset);
        let seen = broken(plan(&wise), |_| ()).await;
        seen.only(&[("clock.wise", state)]);
        let which = if offset > 0 {
            "behind Wise's"
        } else {
            "ahead of Wise's"
        };
        seen.says("clock.wise", which, "timedatectl");
        let ahead = seen.check("clock.wise")["facts"]["seconds_ahead"]
            .as_i64()
            .unwrap();
        assert!(
            (ahead + i64::from(offset)).abs() <= 2,
            "{ahead} of {offset}"
        );
    }
}

#[tokio::test]
async fn a_wrong_client_secret_fails_where_it_is_used_today_and_warns_where_it_would_be() {
    let wise = house::wise().await;
    let seen = broken(plan(&wise), |site| site.secret("client_secret", "another")).await;
    seen.only(&[
        ("oauth.client.mtls", "failed"),
        ("oauth.client.plain", "warning"),
    ]);
    seen.says(
        "oauth.client.mtls",
        "does not accept the client",
        "Developer Hub",
    );
    seen.says("oauth.client.plain", "no lane in use needs it", "reload");
}

#[tokio::test]
async fn a_token_endpoint_in_trouble_is_a_warning_and_a_page_in_its_place_a_failure() {
    use wise_auth_proxy::simulator::{Disturb, Disturbance};
    for (kind, state, text) in [
        (
            Disturbance::ServerError,
            "warning",
            "has trouble of its own (status 500)",
        ),
        (Disturbance::TooManyRequests, "warning", "asks to slow down"),
        (Disturbance::Garbage, "failed", "it is not JSON"),
    ] {
        let wise = house::wise().await;
        let site = plan(&wise)
            .set("switch.allow", "[\"oauth-mtls\"]")
            .prepare()
            .await;
        wise.change_faults(|faults| faults.token.disturb = Some(Disturb::always(kind)));
        let seen = doctor(&site, &[]).await;
        seen.only(&[("oauth.client.mtls", state)]);
        seen.says("oauth.client.mtls", text, "");
    }
}

#[tokio::test]
async fn a_revoked_personal_token_fails_on_its_own_lane_and_warns_on_another() {
    for (lane, state) in [("personal", "failed"), ("oauth-mtls", "warning")] {
        let wise = house::wise().await;
        let site = plan(&wise).lane(lane).prepare().await;
        wise.change_faults(|faults| faults.personal.revoked = true);
        let seen = doctor(&site, &[]).await;
        seen.only(&[("lane.personal", state)]);
        seen.says(
            "lane.personal",
            "(401): it was revoked",
            "wise-auth-proxy reload",
        );
    }
}

#[tokio::test]
async fn mutual_tls_that_is_enforced_is_told_by_the_lanes_without_it() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    wise.change_faults(|faults| faults.tls.enforced = true);
    let seen = doctor(&site, &[]).await;
    seen.only(&[
        ("lane.personal", "warning"),
        ("lane.oauth", "warning"),
        ("oauth.client.plain", "warning"),
    ]);
    seen.says(
        "lane.oauth",
        "mutual TLS may be enforced",
        "switch oauth-mtls --reason ",
    );
}

#[tokio::test]
async fn a_check_that_takes_too_long_fails_in_its_time() {
    use wise_auth_proxy::simulator::{Disturb, Disturbance};
    let wise = house::wise().await;
    let site: Site = plan(&wise).prepare().await;
    wise.change_faults(|faults| faults.token.disturb = Some(Disturb::always(Disturbance::Hang)));
    let seen = doctor(&site, &["--timeout", "2s"]).await;
    seen.only(&[
        ("oauth.client.mtls", "failed"),
        ("oauth.client.plain", "warning"),
    ]);
    seen.says("oauth.client.mtls", "no outcome within 2s", "--timeout 60s");
}

#[tokio::test]
async fn a_secret_of_the_operator_s_own_ways_fails_by_itself() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    site.secret("there", "https://alerts.example/room");
    for (key, more) in [
        ("admin.key", ""),
        ("store.seal_key", ""),
        ("mtls.key_passphrase", ""),
        (
            "upstream.via_credentials",
            "upstream.via=http://127.0.0.1:9",
        ),
        ("notify.webhook", ""),
        (
            "notify.authorization",
            "notify.webhook={ file = \"there\" }",
        ),
        ("sca.approval_webhook", ""),
        (
            "sca.approval_authorization",
            "sca.approval_webhook={ file = \"there\" }",
        ),
    ] {
        let missing = format!("{key}={{ file = \"missing\" }}");
        let mut arguments = vec!["--set", &missing];
        if !more.is_empty() {
            arguments.extend(["--set", more]);
        }
        let seen = doctor(&site, &arguments).await;
        let id = format!("secret.{key}");
        seen.only(&[(&id, "failed")]);
        seen.says(&id, "missing", "`install -m 0600 ");
    }
}

#[tokio::test]
async fn a_caller_that_cannot_be_known_fails_by_its_name() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    site.secret("short", "guess");
    let digest = "0123456789abcdef".repeat(4);
    for (known_by, id, state, text, hint) in [
        (
            "key = { file = \"missing\" }".to_owned(),
            "secret.caller.payroll.key",
            "failed",
            "missing cannot be read",
            "`install -m 0600 ",
        ),
        (
            "key = { file = \"short\" }".to_owned(),
            "caller.payroll",
            "failed",
            "is too short",
            "caller rotate payroll",
        ),
        (
            "users = [\"nobody-of-this-name\"]".to_owned(),
            "caller.payroll",
            "failed",
            "this machine knows no user `nobody-of-this-name`",
            "make it, or give its number",
        ),
        (
            "groups = [\"nobody-of-this-name\"]".to_owned(),
            "caller.payroll",
            "failed",
            "this machine knows no group `nobody-of-this-name`",
            "make it, or give its number",
        ),
        (
            format!("hashes = [\"sha256:{digest} until 2020-01-31T00:00:00Z\"]"),
            "caller.payroll",
            "failed",
            "has no key that has not ended",
            "caller rotate payroll",
        ),
        (
            "hashes = [\"sha256:too short\"]".to_owned(),
            "config.file",
            "failed",
            "the configuration has ",
            "config check",
        ),
    ] {
        let set = format!("caller=[{{ name = \"payroll\", {known_by} }}]");
        let seen = doctor(&site, &["--set", &set]).await;
        seen.only(&[(id, state)]);
        seen.says(id, text, hint);
    }
}
