//! The PROXY protocol: a balancer in front says for whom it connects, before anything else.
//!
//! It is believed at doors that are set to it and nowhere else: any client could say to be another.

use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};

use crate::listener::Peer;
use crate::proxy::socket::{Incomplete, Socket};

/// Longer headers are nobody's: nginx stops here, too.
const LONGEST: usize = 4096;

/// What every header of version 2 begins with, and those of version 1.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const TEXT: &[u8] = b"PROXY ";

/// Longest header of version 1, as the protocol has it.
const LONGEST_TEXT: usize = 107;

/// Reads the header, of version 1 or 2, and says who the client is; inside `None`: the balancer
/// itself, whose health check it may be. `None`: the connection is over.
#[allow(
    clippy::option_option,
    reason = "nobody there and nobody named are two things"
)]
pub(crate) async fn read(socket: &mut Socket) -> Option<Option<Peer>> {
    let header = match socket.take(length).await {
        Ok(header) => header,
        Err(Incomplete::Gone) => return None,
        Err(Incomplete::Wrong(wrong)) => {
            tracing::warn!("a connection was closed: {}", wrong.0);
            return None;
        }
    };
    Some(client(&header))
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Wrong(&'static str);

const MISSING: Wrong =
    Wrong("it does not begin with a PROXY protocol header, which the door wants");
const MALFORMED: Wrong = Wrong("its PROXY protocol header is malformed");
const TOO_LONG: Wrong = Wrong("its PROXY protocol header is too long");

/// How long the header is; `None`: more of it must come first.
pub(crate) fn length(begun: &[u8]) -> Result<Option<usize>, Wrong> {
    let fits = |whole: &[u8]| begun.starts_with(whole) || whole.starts_with(begun);
    let longest = if fits(BINARY) {
        LONGEST
    } else if fits(TEXT) {
        LONGEST_TEXT
    } else {
        return Err(MISSING);
    };
    let declared = declared(begun);
    if declared.is_some_and(|whole| whole > longest) {
        return Err(TOO_LONG);
    }
    let begun = &begun[..begun.len().min(longest)];
    match ProxyHeader::parse(begun, config()) {
        Ok((_, length)) => Ok(Some(length)),
        // All of it is there, and what it must hold is not.
        Err(Error::BufferTooShort) if declared.is_some_and(|whole| begun.len() >= whole) => {
            Err(MALFORMED)
        }
        Err(Error::BufferTooShort) if begun.len() < longest => Ok(None),
        Err(Error::BufferTooShort) => Err(TOO_LONG),
        Err(_) => Err(MALFORMED),
    }
}

/// How long a header of version 2 says that it is.
fn declared(begun: &[u8]) -> Option<usize> {
    let rest = begun.strip_prefix(BINARY)?.get(2..4)?;
    Some(BINARY.len() + 4 + usize::from(u16::from_be_bytes([rest[0], rest[1]])))
}

/// The address of the client, if it names one that connects over TCP.
pub(crate) fn client(header: &[u8]) -> Option<Peer> {
    let (header, _) = ProxyHeader::parse(header, config()).ok()?;
    let address = header.proxied_address()?;
    (address.protocol == Protocol::Stream).then_some(Peer::Tcp(address.source))
}

fn config() -> ParseConfig {
    ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    }
}
