//! The report that is sent to others.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::plan;
use crate::house::{self, House, PROFILE};

/// Whom a report must not name.
const PEOPLE: [&str; 3] = ["ada@example.com", "Ada Example", "Example Trading"];

async fn written(house: &House, arguments: &[&str]) -> String {
    let file = house.site.path("report.txt");
    let command = [&["doctor", "--report", "report.txt"], arguments].concat();
    let output = house.cli(&command).await;
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{talk}");
    assert_eq!(
        talk,
        "the report is in report.txt; read it before you send it\n"
    );
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(file).unwrap();
    text
}

#[tokio::test]
async fn a_report_tells_everything_but_secrets_and_names() {
    let wise = house::wise().await;
    let house = plan(&wise).start().await;
    house
        .status_until(|status| status["tokens"][0]["state"] == "live")
        .await;
    house.turn("oauth").await;
    let text = written(&house, &[]).await;
    for section in [
        "About\n-----",
        "Checks\n------",
        "Configuration, secrets by their source\n",
        "Status of the running proxy\n",
        "Events of the running proxy\n",
        "Metrics of the running proxy\n",
        "Details of the checks\n",
    ] {
        assert!(text.contains(section), "{section}: {text}");
    }
    for told in [
        "✓ certificate.accepted",
        "\"fingerprint_sha256\"",
        "\"trace_id\"",
        "\"duration_ms\"",
        "wise_proxy_requests_total",
        "oauth.client_id",
        "[left out]",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "it is plain text");
    for name in PEOPLE {
        assert!(!text.contains(name), "{name}: {text}");
    }
    assert!(!text.contains(&PROFILE.to_string()), "{text}");

    let text = written(&house, &["--names"]).await;
    assert!(text.contains(&PROFILE.to_string()) && text.contains("Example Trading"));
}

#[tokio::test]
async fn a_report_is_never_written_over_a_file() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    fs::write(site.path("report.txt"), "mine").unwrap();
    let output = site
        .cli(&["doctor", "--offline", "--report", "report.txt"])
        .await;
    assert_eq!(output.status.code(), Some(1));
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(
        talk.contains("hint: name a file that is not there yet"),
        "{talk}"
    );
    assert_eq!(fs::read_to_string(site.path("report.txt")).unwrap(), "mine");
}

#[tokio::test]
async fn a_report_about_a_configuration_that_cannot_be_read_is_still_one() {
    let wise = house::wise().await;
    let site = plan(&wise).logged_out().prepare().await;
    fs::write(&site.config, "environment = ").unwrap();
    let output = site.cli(&["doctor", "--report", "report.txt"]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = fs::read_to_string(site.path("report.txt")).unwrap();
    assert!(text.contains("✗ config.file"), "{text}");
    assert!(text.contains("Nothing else can be checked"), "{text}");
}
