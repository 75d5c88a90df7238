//! Doors behind a balancer that says for whom it connects.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wise_auth_proxy::simulator::Simulator;

use crate::house::{self, House, Plan};
use crate::wire::Wire;

const DOOR: &str = "[{ address = \"127.0.0.1:0\", proxy_protocol = true }]";
const ASK: &str = "GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n";
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

async fn house(wise: &Simulator, door: &str) -> House {
    let plan = plan(wise, door);
    plan.set("runtime.header_timeout", "300ms").start().await
}

fn plan<'a>(wise: &'a Simulator, door: &str) -> Plan<'a> {
    let plan = House::on(wise).lane("personal").logged_out();
    plan.set("door", door)
}

/// Version 2 with these bytes behind the length.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [BINARY, &[0x20 | command, family], &length, body].concat()
}

const TCP4: &[u8] = &[192, 0, 2, 1, 10, 0, 0, 1, 0xc8, 0x22, 0x01, 0xbb];

/// From `2001:db8::1` to `2001:db8::2`, with the ports of [`TCP4`].
fn tcp6() -> Vec<u8> {
    let address = |last| [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[last]].concat();
    [address(1), address(2), TCP4[8..].to_vec()].concat()
}

#[tokio::test]
async fn both_versions_introduce_a_client() {
    let wise = house::wise().await;
    let plan = plan(&wise, DOOR).set("audit.file", "audit.log");
    // Each worker hands over its own: of one they stand in the order of their ends.
    let house = plan.set("runtime.workers", "1").start().await;
    let padded = [TCP4, b"\x04\x08\0", &[0; 2048]].concat();
    let v4 = Some("192.0.2.1:51234");
    let v6 = Some("[2001:db8::1]:51234");
    let mut wanted = Vec::new();
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 51234 443\r\n".to_vec(), v4),
        (
            b"PROXY TCP6 2001:db8::1 2001:db8::2 51234 443\r\n".to_vec(),
            v6,
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (binary(1, 0x11, TCP4), v4),
        (binary(1, 0x11, &padded), v4),
        (binary(1, 0x21, &tcp6()), v6),
        // A health check of the balancer's own.
        (binary(0, 0, b""), None),
    ] {
        // In one piece, cut in two, and byte by byte.
        for cut in [header.len(), header.len() / 2, 1] {
            let mut wire = Wire::to(house.door).await;
            // Whom no header names is who connects.
            let itself = wire.stream().local_addr().unwrap().to_string();
            wanted.push(client.map_or(itself, str::to_owned));
            wire.send(&header[..cut]).await;
            wire.taken().await;
            wire.send(&header[cut..]).await;
            wire.send(ASK).await;
            let head = wire.read_to("\r\n\r\n").await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        }
    }
    assert_eq!(wise.recorded().len(), wanted.len());
    let site = house.site.clone();
    house.stop().await;
    let text = std::fs::read_to_string(site.path("audit.log")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let peers: Vec<String> = lines
        .filter(|line: &serde_json::Value| line["kind"] == "request")
        .map(|line| line["peer"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(peers, wanted, "{text}");
}

#[tokio::test]
async fn a_connection_without_its_header_is_closed_and_said_so() {
    let wise = house::wise().await;
    let house = house(&wise, DOOR).await;
    for (header, said) in [
        (
            ASK.as_bytes().to_vec(),
            "does not begin with a PROXY protocol header",
        ),
        (
            vec![22, 3, 1, 2, 0],
            "does not begin with a PROXY protocol header",
        ),
        (
            b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n".to_vec(),
            "is malformed",
        ),
        (
            b"PROXY TCP9 192.0.2.1 10.0.0.1 1 443\r\n".to_vec(),
            "is malformed",
        ),
        (
            format!("PROXY TCP4 {}", "1".repeat(120)).into_bytes(),
            "is malformed",
        ),
        (binary(3, 0x11, TCP4), "is malformed"),
        (binary(1, 0x11, &TCP4[..8]), "is malformed"),
        (binary(1, 0x11, &[0; 5000]), "is too long"),
    ] {
        let before = house.log().matches(said).count();
        let mut wire = Wire::to(house.door).await;
        wire.say(&header).await;
        assert_eq!(wire.rest().await, b"", "{header:?}");
        house.logs_times(before + 1, said).await;
    }
    // One that does not come is not waited for.
    for begun in [&b""[..], b"PROXY TCP4 192.0.2.1", &BINARY[..7]] {
        let mut wire = Wire::to(house.door).await;
        wire.send(begun).await;
        assert_eq!(wire.rest().await, b"");
    }
    assert_eq!(wise.recorded().len(), 0, "nothing reaches Wise");
}

#[tokio::test]
async fn a_header_at_a_door_that_is_not_set_to_it_is_a_malformed_request() {
    let wise = house::wise().await;
    let house = house(&wise, "[{ address = \"127.0.0.1:0\" }]").await;
    for header in [
        b"PROXY TCP4 192.0.2.1 10.0.0.1 51234 443\r\n".to_vec(),
        binary(1, 0x11, TCP4),
    ] {
        let mut wire = Wire::to(house.door).await;
        wire.send([&header, ASK.as_bytes()].concat()).await;
        assert_eq!(wire.answer().await.status, 400, "{header:?}");
    }
    assert_eq!(wise.recorded().len(), 0, "nothing reaches Wise");
}

#[tokio::test]
async fn a_balancer_s_own_user_is_nobody_whatever_its_header_names() {
    let wise = house::wise().await;
    let own = rustix::process::geteuid().as_raw();
    let plan = House::on(&wise).lane("personal").logged_out();
    let toml = format!(
        "[[door]]\naddress = \"unix:balanced.sock\"\nproxy_protocol = true\ncallers = [\"us\"]\n\
         [[door]]\naddress = \"unix:plain.sock\"\ncallers = [\"us\"]\n\
         [[caller]]\nname = \"us\"\nusers = [\"{own}\"]\nkey = {{ file = \"door_key\" }}\n"
    );
    let site = plan.toml(&toml).prepare().await;
    site.secret("door_key", "planted-door-key");
    let house = site.start().await;
    let ask = async |socket, header: &[u8], field| {
        let path = house.site.path(socket);
        let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
        let host = "Host: localhost\r\nConnection: close";
        let request = format!("GET /v1/me HTTP/1.1\r\n{host}\r\n{field}\r\n");
        stream.write_all(header).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut seen = String::new();
        stream.read_to_string(&mut seen).await.unwrap();
        seen.split(' ').nth(1).unwrap().to_owned()
    };
    let key = "Authorization: Bearer planted-door-key\r\n";
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        binary(0, 0, b""),
        binary(1, 0x31, &[0; 216]),
        b"PROXY TCP4 192.0.2.1 10.0.0.1 51234 443\r\n".to_vec(),
    ] {
        assert_eq!(ask("balanced.sock", &header, "").await, "407", "{header:?}");
        assert_eq!(ask("balanced.sock", &header, key).await, "200");
    }
    assert_eq!(ask("plain.sock", b"", "").await, "200");
    assert_eq!(wise.recorded().len(), 5);
}
