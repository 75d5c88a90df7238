//! The rows of `docs/failures.md` about webhooks.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::failures_hooks::hook_row;
use crate::tls_client::{Authority, Client};

const SUBSCRIPTION: &str = "90aa8e14-4ef1-4a56-861c-f3c9cde097ea";

fn of_subscription(id: &str) -> String {
    format!("{{\"data\":\"{id}\",\"subscription_id\":\"{SUBSCRIPTION}\"}}")
}

/// What is heard until the other side closes.
async fn heard(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    let read = stream.read_to_end(&mut heard);
    let _how = tokio::time::timeout(PATIENCE, read).await.unwrap();
    String::from_utf8(heard).unwrap()
}

#[tokio::test]
async fn what_is_refused_is_told_to_wise_and_to_the_operator() {
    let settings =
        format!("path = \"/wise\"\nmax_body = \"1 KiB\"\nsubscriptions = [\"{SUBSCRIPTION}\"]");
    let setup = Setup::with(&settings).await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    let fresh = || setup.sender.delivery("a", of_subscription("a").as_bytes());

    let mut request = fresh();
    *request.uri_mut() = "/other".parse().unwrap();
    let case = hook_row("hook-elsewhere");
    case.answered(&house, &ask(to, request).await).await;
    let mut request = fresh();
    *request.method_mut() = http::Method::PUT;
    let case = hook_row("hook-method");
    case.answered(&house, &ask(to, request).await).await;
    let mut request = fresh();
    request.headers_mut().remove("x-signature-sha256");
    let case = hook_row("hook-malformed");
    case.answered(&house, &ask(to, request).await).await;
    let request = setup.sender.delivery("a", &[b' '; 1025]);
    let case = hook_row("hook-too-large");
    case.answered(&house, &ask(to, request).await).await;
    let request = Sender::new().delivery("a", of_subscription("a").as_bytes());
    let case = hook_row("hook-forged");
    case.answered(&house, &ask(to, request).await).await;
    let case = hook_row("hook-stranger");
    let request = setup.sender.delivery("a", b"{}");
    case.answered(&house, &ask(to, request).await).await;

    let case = hook_row("hook-too-slow");
    let mut stream = TcpStream::connect(to).await.unwrap();
    let head = format!(
        "POST /wise HTTP/1.1\r\nHost: a\r\nX-Delivery-Id: a\r\nX-Signature-SHA256: {}\r\n\
         Content-Length: 10\r\n\r\n{{}}",
        setup.sender.sign(b"{}")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let said = heard(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    let kind = said
        .contains("problem:request-timeout")
        .then_some("request-timeout");
    case.told(&house, 408, kind).await;

    assert_eq!(ask(to, fresh()).await.status, OK);
    let case = hook_row("hook-duplicate");
    case.answered(&house, &ask(to, fresh()).await).await;
    setup.application.got(1).await;
    queued(&house, 0).await;
    assert_eq!(setup.application.ids(), ["a"]);
}

#[tokio::test]
async fn a_full_queue_is_told_to_wise_and_to_the_operator() {
    let setup = Setup::with("max_queued = 1").await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    setup.application.change(|mood| mood.down = true);
    assert_eq!(setup.sender.send(to, "one").await.status, OK);
    let case = hook_row("hook-full");
    case.answered(&house, &setup.sender.send(to, "two").await)
        .await;
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_full_disk_is_told_to_wise_and_to_the_operator() {
    let setup = Setup::new().await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    setup.site.failpoints("webhook-commit = ENOSPC");
    let case = hook_row("hook-disk");
    case.answered(&house, &setup.sender.send(to, "one").await)
        .await;
}

#[tokio::test]
async fn connections_that_are_refused_are_told_to_the_operator() {
    let own = Authority::new();
    let clients = Authority::new();
    let settings = "certificate = \"hook.pem\"\nkey = \"hook.key\"\nclient_ca = \"clients.pem\"\n\
                    client_names = [\"wise\"]";
    let setup = Setup::with(settings).await;
    own.leaf(&["localhost"]).write(&setup.site, "hook");
    std::fs::write(setup.site.path("clients.pem"), &clients.pem).unwrap();
    let house = setup.site.start().await;
    let to = door(&house).await;

    let case = hook_row("hook-no-certificate");
    let client = Client::trusting(&own.pem);
    let stream = TcpStream::connect(to).await.unwrap();
    // In TLS 1.3 the client hears of it with its first read.
    if let Ok(mut stream) = client.shake(stream, "localhost", &[]).await {
        let read = stream.read_u8().await;
        assert!(read.is_err(), "{read:?}");
    }
    case.closed(&house).await;

    let case = hook_row("hook-other-certificate");
    let client = Client::with(&own.pem, Some(&clients.leaf(&["other"])));
    let stream = TcpStream::connect(to).await.unwrap();
    let mut connection = client.http1(stream, "localhost").await.unwrap();
    let request = setup.sender.delivery("one", b"{}");
    let answer = connection.request(request).await.unwrap();
    case.answered(&house, &answer).await;

    let case = hook_row("hook-no-place");
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(TcpStream::connect(to).await.unwrap());
    }
    let mut stream = TcpStream::connect(to).await.unwrap();
    assert!(heard(&mut stream).await.is_empty());
    case.closed(&house).await;
}
