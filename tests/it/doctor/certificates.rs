//! The client certificate.

use std::time::{Duration, SystemTime};

use wise_auth_proxy::simulator::{MissingCertificate, TlsVersions};

use super::{broken, doctor, plan};
use crate::house::{self, CLIENT_ID, Site};

const DAY: Duration = Duration::from_hours(24);

/// What is done to a healthy house.
type Breaks = fn(&Site);

/// What hangs on a certificate that is taken.
const HANGS: [&str; 4] = [
    "oauth.client.mtls",
    "grant.main.accepted",
    "grant.main.profile",
    "lane.oauth-mtls",
];

/// A pair of the test's own authority, valid between two moments counted from now.
fn pair(site: &Site, name: &str, from: i64, until: i64) {
    let moment = |days: i64| {
        let by = DAY * u32::try_from(days.unsigned_abs()).unwrap();
        let now = SystemTime::now();
        if days < 0 { now - by } else { now + by }
    };
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut leaf = rcgen::CertificateParams::default();
    leaf.distinguished_name = rcgen::DistinguishedName::new();
    leaf.distinguished_name
        .push(rcgen::DnType::OrganizationName, "Acme Ltd");
    leaf.distinguished_name
        .push(rcgen::DnType::CommonName, name);
    leaf.not_before = moment(from).into();
    leaf.not_after = moment(until).into();
    let certificate = leaf.self_signed(&key).unwrap();
    site.secret("client.key", &key.serialize_pem());
    std::fs::write(site.path("client.pem"), certificate.pem()).unwrap();
}

#[tokio::test]
async fn a_key_of_another_certificate_fails_and_the_host_is_still_proven() {
    let wise = house::wise().await;
    let seen = broken(plan(&wise), |site| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        site.secret("client.key", &key.serialize_pem());
    })
    .await;
    seen.only(&[("certificate.pair", "failed")]);
    seen.says(
        "certificate.pair",
        "belongs to none of the certificates",
        "whose CSR was signed",
    );
    assert_eq!(
        seen.state("tls.mtls"),
        "good",
        "the server is as good as before"
    );
    let left = seen.left_out("certificate.pair");
    assert!(HANGS.iter().all(|id| left.contains(id)), "{left:?}");
}

#[tokio::test]
async fn a_key_that_others_may_read_and_files_that_are_not_there_fail() {
    use std::os::unix::fs::PermissionsExt as _;
    let loose: fn(&Site) = |site| {
        let loose = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(site.path("client.key"), loose).unwrap();
    };
    let cases: [(Breaks, &str, &str); 3] = [
        (loose, "others on this machine may read it", "`chmod 600 "),
        (
            |site| std::fs::remove_file(site.path("client.pem")).unwrap(),
            "cannot read ",
            "cert install FILE --config ",
        ),
        (
            |site| std::fs::write(site.path("client.pem"), "hello").unwrap(),
            "should hold a certificate in PEM",
            "copy it again",
        ),
    ];
    for (breaks, text, hint) in cases {
        let wise = house::wise().await;
        let seen = broken(plan(&wise), breaks).await;
        seen.only(&[("certificate.pair", "failed")]);
        seen.says("certificate.pair", text, hint);
    }
}

#[tokio::test]
async fn a_certificate_that_has_ended_or_not_begun_fails_and_wise_is_not_asked_about_it() {
    for (from, until, text, hint) in [
        (-400, -35, "it ended on ", "csr --renew --config "),
        (2, 300, "it is not valid before ", "`date -u`"),
    ] {
        let wise = house::wise().await;
        let seen = broken(plan(&wise), |site| pair(site, CLIENT_ID, from, until)).await;
        seen.only(&[("certificate.days", "failed")]);
        seen.says("certificate.days", text, hint);
        let left = seen.left_out("certificate.days");
        assert!(HANGS.iter().all(|id| left.contains(id)), "{left:?}");
        assert!(left.contains(&"certificate.accepted"), "{left:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_has_ended_fails_where_a_door_with_a_lane_of_its_own_shows_it() {
    for (pinned, state) in [("", "warning"), ("lane = \"oauth-mtls\"\n", "failed")] {
        let wise = house::wise().await;
        let door = format!("[[door]]\naddress = \"unix:old.sock\"\n{pinned}");
        let plan = plan(&wise).lane("personal").toml(&door);
        let seen = broken(plan, |site| pair(site, CLIENT_ID, -400, -35)).await;
        seen.only(&[("certificate.days", state)]);
    }
}

#[tokio::test]
async fn a_certificate_near_its_end_is_a_warning_with_its_notice() {
    for (days, notice) in [(29, 30), (13, 14), (6, 7), (0, 1)] {
        let wise = house::wise().await;
        let site = plan(&wise).prepare().await;
        let lifetime = days * 86_400 + 43_200;
        wise.change_faults(|faults| faults.hub.certificate_lifetime = lifetime);
        site.certificate(&wise, "short");
        let seen = doctor(&site, &[]).await;
        seen.only(&[("certificate.days", "warning")]);
        let notice = format!("(the notice of {notice} days)");
        seen.says(
            "certificate.days",
            &notice,
            "have the hub sign the CSR, then",
        );
        assert_eq!(seen.check("certificate.days")["facts"]["days_left"], days);
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_whichever_way_tls_says_so() {
    for versions in [TlsVersions::Tls12, TlsVersions::Tls13] {
        for http1_only in [false, true] {
            let wise = house::wise().await;
            wise.change_faults(|faults| {
                faults.tls.versions = versions;
                faults.tls.http1_only = http1_only;
            });
            let seen = broken(plan(&wise), |site| pair(site, CLIENT_ID, -1, 300)).await;
            println!("{versions:?}, HTTP/1.1 only: {http1_only}");
            seen.only(&[("certificate.accepted", "failed")]);
            seen.says("certificate.accepted", "Wise refuses it", "cert show");
            let left = seen.left_out("certificate.accepted");
            assert!(HANGS.iter().all(|id| left.contains(id)), "{left:?}");
        }
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_refused() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    wise.revoke_certificate("house").unwrap();
    let seen = doctor(&site, &[]).await;
    seen.only(&[("certificate.accepted", "failed")]);
    seen.says(
        "certificate.accepted",
        "Wise refuses it: the server rejected our client certificate (certificate_revoked)",
        "",
    );
}

#[tokio::test]
async fn an_edge_that_says_in_html_that_it_has_no_certificate_is_understood() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    // It asks, and judges in HTTP: as nginx does with `ssl_verify_client optional`.
    wise.change_faults(|faults| faults.tls.missing_certificate = MissingCertificate::BadRequest);
    let seen = doctor(&site, &[]).await;
    seen.only(&[]);
}

#[tokio::test]
async fn a_certificate_of_another_client_warns_by_its_name_and_fails_where_wise_minds() {
    for (minds, wanted) in [
        (
            true,
            &[
                ("certificate.name", "warning"),
                ("certificate.accepted", "failed"),
            ][..],
        ),
        (false, &[("certificate.name", "warning")]),
    ] {
        let wise = house::wise().await;
        let site = plan(&wise).prepare().await;
        wise.change_faults(|faults| {
            faults.hub.common_name = Some("somebody-else".into());
            faults.tls.check_common_name = minds;
        });
        site.certificate(&wise, "other");
        let seen = doctor(&site, &[]).await;
        seen.only(wanted);
        seen.says(
            "certificate.name",
            "is for `somebody-else`, not for the client id `acme`",
            "cert install FILE",
        );
        if minds {
            seen.says(
                "certificate.accepted",
                "403 Forbidden to every request",
                "for client id acme",
            );
        }
    }
}
