//! The way to Wise: name, connection, handshake.

use tokio::net::TcpSocket;
use wise_auth_proxy::simulator::{Options, Simulator};

use super::{broken, doctor, plan};
use crate::house::{self, House, Site};
use crate::names::Names;
use crate::wire::Wire;

#[tokio::test]
async fn a_name_that_does_not_resolve_is_the_first_thing_that_fails() {
    let (wise, names) = (house::wise().await, Names::new(&[]));
    let site = plan(&wise)
        .lane("personal")
        .variable("LD_PRELOAD", names.library.to_str().unwrap())
        .variable("NAMES", names.file().to_str().unwrap())
        .prepare()
        .await;
    let seen = doctor(&site, &["--set", "wise.plain=https://wise.test:8443"]).await;
    seen.only(&[("dns.plain", "failed")]);
    seen.says(
        "dns.plain",
        "wise.test could not be resolved",
        "`getent hosts wise.test`",
    );
    let left = seen.left_out("dns.plain");
    assert_eq!(
        left,
        [
            "tcp.plain",
            "tls.plain",
            "oauth.client.plain",
            "lane.personal",
            "lane.oauth"
        ]
    );
}

#[tokio::test]
async fn a_port_where_nobody_listens_fails_at_the_connection() {
    let wise = house::wise().await;
    // Taken and not listened on: nobody else can open it meanwhile.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let site = plan(&wise).prepare().await;
    for (host, state) in [("mtls", "failed"), ("plain", "warning")] {
        let set = format!("wise.{host}=https://localhost:{port}");
        let seen = doctor(&site, &["--set", &set]).await;
        let id = format!("tcp.{host}");
        seen.only(&[(&id, state)]);
        let hint = format!("`nc -vz localhost {port}`");
        seen.says(&id, "refused the connection", &hint);
        let lane = ["lane.oauth-mtls", "lane.oauth"][usize::from(host == "plain")];
        assert!(seen.left_out(&id).contains(&lane));
    }
}

#[tokio::test]
async fn a_name_of_wises_that_leads_into_a_private_network_is_a_warning() {
    let (wise, names) = (house::wise().await, Names::new(&[]));
    let site = House::on(&wise)
        .variable("LD_PRELOAD", names.library.to_str().unwrap())
        .variable("NAMES", names.file().to_str().unwrap())
        .prepare()
        .await;
    belongs_to(&site, "sandbox");
    // Both are this machine, where nobody listens: what follows is left to other tests.
    let lines = "api.wise-sandbox.com 127.0.0.7\napi-mtls.wise-sandbox.com 127.0.0.8\n";
    std::fs::write(names.file(), lines).unwrap();
    let seen = doctor(&site, &[]).await;
    for (id, name, address) in [
        ("dns.plain", "api.wise-sandbox.com", "127.0.0.7"),
        ("dns.mtls", "api-mtls.wise-sandbox.com", "127.0.0.8"),
    ] {
        assert_eq!(seen.state(id), "warning", "{:#}", seen.check(id));
        let text = format!("{name}: {address}; this is an address of a private network");
        seen.says(id, &text, &format!("`dig +short {name} @1.1.1.1`"));
    }
}

#[tokio::test]
async fn a_server_of_another_authority_fails_and_says_whose_it_is() {
    let (wise, other) = (house::wise().await, house::wise().await);
    let seen = broken(plan(&wise), |site| {
        std::fs::write(site.path("ca.pem"), other.ca_pem()).unwrap();
    })
    .await;
    seen.only(&[("tls.plain", "warning"), ("tls.mtls", "failed")]);
    seen.says("tls.mtls", "no trusted authority vouches", "extra_ca");
    let details = seen.check("tls.mtls")["details"].to_string();
    assert!(
        details.contains(
            "it shows a certificate issued by O=Simulated Wise, CN=Simulated Wise server CA"
        ),
        "{details}"
    );
    assert_eq!(
        seen.left_out("tls.plain"),
        [
            "clock.wise",
            "oauth.client.plain",
            "lane.personal",
            "lane.oauth"
        ]
    );
}

#[tokio::test]
async fn authorities_that_cannot_be_read_fail_before_any_handshake() {
    let wise = house::wise().await;
    let seen = broken(plan(&wise), |site| {
        std::fs::remove_file(site.path("ca.pem")).unwrap();
    })
    .await;
    seen.only(&[("tls.roots", "failed")]);
    seen.says("tls.roots", "ca.pem: No such file", "check the path");
    assert!(seen.left_out("tls.roots").contains(&"tls.mtls"));
}

#[tokio::test]
async fn a_server_for_another_name_fails() {
    let wise = house::wise().await;
    let port = wise.plain_address().port();
    let site = plan(&wise).prepare().await;
    let set = [
        "--set".to_owned(),
        format!("wise.plain=https://wise.test:{port}"),
        "--set".to_owned(),
        "upstream.resolve={ localhost = \"127.0.0.1\", \"wise.test\" = \"127.0.0.1\" }".to_owned(),
    ];
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    let seen = doctor(&site, &set).await;
    seen.only(&[("tls.plain", "warning")]);
    seen.says("tls.plain", "is for another name", "upstream.resolve");
}

#[tokio::test]
async fn what_does_not_speak_tls_fails_at_the_handshake() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    let set = format!(
        "wise.plain=https://localhost:{}",
        wise.control_address().port()
    );
    let seen = doctor(&site, &["--set", &set]).await;
    seen.only(&[("tls.plain", "warning")]);
    seen.says("tls.plain", "does not speak TLS", "HTTPS address");
}

#[tokio::test]
async fn a_mutual_tls_host_that_asks_for_no_certificate_is_none() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    let set = format!("wise.mtls={}", wise.plain_url());
    let seen = doctor(&site, &["--set", &set]).await;
    seen.only(&[("tls.mtls", "warning")]);
    seen.says(
        "tls.mtls",
        "does not ask for a client certificate",
        "wise.mtls",
    );
}

#[tokio::test]
async fn the_handshake_is_told_in_full() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    let seen = doctor(&site, &[]).await;
    let facts = &seen.check("tls.mtls")["facts"];
    assert_eq!(
        (&facts["version"], &facts["alpn"]),
        (&"TLS 1.3".into(), &"h2".into())
    );
    assert_eq!(facts["suite"], "TLS13_AES_256_GCM_SHA384");
    assert_eq!(facts["asks_for_certificate"], true);
    assert_eq!(
        facts["accepted_authorities"][0],
        "O=Simulated Wise, CN=Simulated Wise client CA"
    );
    assert_eq!(facts["chain"][0]["subject"], "CN=simulated Wise API");
    assert_eq!(
        seen.check("tls.plain")["facts"]["asks_for_certificate"],
        false
    );
}

/// Leaves out where the simulator is: hosts are those of one of Wise's environments.
fn belongs_to(site: &Site, environment: &str) {
    let config = std::fs::read_to_string(&site.config).unwrap();
    let kept = config.lines().filter(|line| {
        !["plain =", "mtls =", "authorise ="]
            .iter()
            .any(|key| line.starts_with(key))
    });
    let config = kept.collect::<Vec<_>>().join("\n");
    let config = config.replace("\"custom\"", &format!("\"{environment}\""));
    std::fs::write(&site.config, config).unwrap();
}

/// Production as a company sees it that lets nothing out but through its own proxy: names and ports
/// are Wise's, and the proxy leads to the simulator.
async fn production(wise: &Simulator, answers: &[(&'static str, bool)]) -> super::Seen {
    let corporate = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let via = format!("http://{}", corporate.local_addr().unwrap());
    let (plain, mtls) = (wise.plain_address(), wise.mtls_address());
    let answers = answers.to_vec();
    tokio::spawn(async move {
        while let Ok((stream, _)) = corporate.accept().await {
            let answers = answers.clone();
            tokio::spawn(async move {
                let mut near = Wire::of(stream);
                let asked = near.read_to("\r\n\r\n").await;
                let name = asked
                    .strip_prefix("CONNECT ")
                    .unwrap()
                    .split(':')
                    .next()
                    .unwrap();
                let known = answers.iter().find(|(known, _)| *known == name);
                let Some((_, mutual)) = known else {
                    near.send("HTTP/1.1 403 Forbidden\r\n\r\n").await;
                    return;
                };
                let far = if *mutual { mtls } else { plain };
                let mut far = tokio::net::TcpStream::connect(far).await.unwrap();
                near.send("HTTP/1.1 200 Connected\r\n\r\n").await;
                let _ended = tokio::io::copy_bidirectional(near.stream(), &mut far).await;
            });
        }
    });
    let site = House::on(wise).prepare().await;
    belongs_to(&site, "production");
    let seen = doctor(&site, &["--set", &format!("upstream.via={via}")]).await;
    assert_eq!(seen.whole["environment"], "production");
    seen
}

async fn wise_by_its_names() -> Simulator {
    let names = [
        "api.wise.com",
        "api-mtls.wise.com",
        "api-mtls.transferwise.com",
    ];
    let options = Options {
        names: names.map(str::to_owned).to_vec(),
        ..house::wise_options()
    };
    Simulator::start(options).await.unwrap()
}

const PLAIN: (&str, bool) = ("api.wise.com", false);
const MTLS: (&str, bool) = ("api-mtls.wise.com", true);
const OTHER: (&str, bool) = ("api-mtls.transferwise.com", true);

#[tokio::test]
async fn in_production_both_names_of_the_mutual_tls_host_are_tried() {
    let wise = wise_by_its_names().await;
    let seen = production(&wise, &[PLAIN, MTLS, OTHER]).await;
    seen.only(&[]);
    seen.says(
        "tls.mtls-other",
        "api-mtls.transferwise.com is not used, and answers too",
        "",
    );
    seen.says("dns.mtls", "the proxy on the way out", "");

    // Only the one in use: nothing is amiss.
    let seen = production(&wise, &[PLAIN, MTLS]).await;
    seen.only(&[("tls.mtls-other", "skipped")]);
    seen.says("tls.mtls-other", "answered 403 to CONNECT", "");

    // Only the other: that is the one to name.
    let seen = production(&wise, &[PLAIN, OTHER]).await;
    seen.only(&[("tls.mtls", "failed"), ("tls.mtls-other", "warning")]);
    let hint = "set `mtls = \"https://api-mtls.transferwise.com\"` under [wise]";
    seen.says("tls.mtls-other", "the name in use does not", hint);
    seen.says("tls.mtls", "answered 403 to CONNECT", "upstream.via");
}

/// The token endpoint on a host of its own, each step of the way to it broken by itself.
#[tokio::test]
async fn a_token_endpoint_elsewhere_fails_at_the_step_that_is_broken() {
    let (wise, names) = (house::wise().await, Names::new(&[]));
    let mut options = house::wise_options();
    options.client_id = "somebody-else".into();
    let other = Simulator::start(options).await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = socket.local_addr().unwrap().port();
    let site = plan(&wise)
        .variable("LD_PRELOAD", names.library.to_str().unwrap())
        .variable("NAMES", names.file().to_str().unwrap())
        .prepare()
        .await;
    let there = other.plain_address().port();
    for (host, id, text, hint) in [
        (
            "wise.test:8443".to_owned(),
            "dns.token",
            "wise.test could not be resolved",
            "`getent hosts wise.test`",
        ),
        (
            format!("localhost:{closed}"),
            "tcp.token",
            "refused the connection",
            "`nc -vz localhost ",
        ),
        (
            format!("localhost:{there}"),
            "tls.token",
            "no trusted authority vouches",
            "extra_ca",
        ),
    ] {
        let set = format!("wise.token_url=https://{host}/oauth/token");
        let seen = doctor(&site, &["--set", &set]).await;
        seen.only(&[(id, "failed")]);
        seen.says(id, text, hint);
        assert!(seen.left_out(id).contains(&"oauth.client.token"));
    }

    let both = [wise.ca_pem(), other.ca_pem()].concat();
    std::fs::write(site.path("ca.pem"), both).unwrap();
    let set = format!("wise.token_url=https://localhost:{there}/oauth/token");
    let seen = doctor(&site, &["--set", &set]).await;
    seen.only(&[("oauth.client.token", "failed")]);
    seen.says("oauth.client.token", "localhost", "oauth.client_id");
}
