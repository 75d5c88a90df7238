use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::listener::Peer;
use crate::proxy::introduction::{client, length};

const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header is as long as it says, never longer than is believed, and whole: what follows it changes
/// nothing, and a shorter beginning is not taken for it. A client is exactly whom it names.
///
/// The input is what comes on a connection.
pub(crate) fn introduction(input: &[u8]) {
    let measured = length(input);
    let Ok(Some(whole)) = measured else {
        if measured.is_err() {
            let more = [input, b"more"].concat();
            assert!(
                !matches!(length(&more), Ok(Some(_))),
                "{input:?} gets better"
            );
        }
        return;
    };
    assert!(
        whole <= input.len() && whole <= 4096,
        "{whole} of {input:?}"
    );
    let header = &input[..whole];
    assert_eq!(
        length(header),
        Ok(Some(whole)),
        "what follows counts for nothing"
    );
    for cut in 0..whole {
        assert!(
            !matches!(length(&header[..cut]), Ok(Some(_))),
            "{cut} of {header:?}"
        );
    }
    let expected = if header.starts_with(BINARY) {
        binary(header)
    } else {
        text(header)
    };
    assert_eq!(client(header), expected.map(Peer::Tcp), "{header:?}");
}

/// Section 2.2 of the protocol, of a header that is whole.
fn binary(header: &[u8]) -> Option<SocketAddr> {
    let (kind, body) = (&header[12..14], &header[16..]);
    match kind {
        [0x21, 0x11] => {
            let from: [u8; 4] = body[..4].try_into().ok()?;
            let port = u16::from_be_bytes([body[8], body[9]]);
            Some((Ipv4Addr::from(from), port).into())
        }
        [0x21, 0x21] => {
            let from: [u8; 16] = body[..16].try_into().ok()?;
            let port = u16::from_be_bytes([body[32], body[33]]);
            Some((Ipv6Addr::from(from), port).into())
        }
        _ => None,
    }
}

/// Section 2.1.
fn text(header: &[u8]) -> Option<SocketAddr> {
    let words = std::str::from_utf8(header).ok()?.trim_end();
    let mut words = words.split(' ').skip(1);
    let family = words.next()?;
    if !["TCP4", "TCP6"].contains(&family) {
        return None;
    }
    let from: IpAddr = words.next()?.parse().ok()?;
    let port = words.nth(1)?.parse().ok()?;
    Some((from, port).into())
}
