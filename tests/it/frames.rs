//! HTTP/2 by hand: frames that no library would send, and what comes back.

use std::net::SocketAddr;

use crate::wire::Wire;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame (RFC 9113 §4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A HEADERS frame that ends its block; with `END_STREAM` the request too.
pub fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// Fields as literals that enter no table (RFC 7541 §6.2.2), whatever they hold.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, 7, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A field that enters the table (RFC 7541 §6.2.1), where 0xbe then names it.
pub fn remembered(name: &str, value: &str) -> Vec<u8> {
    let mut field = block(&[(name, value)]);
    field[0] = 0x40;
    field
}

/// RFC 7541 §5.1, with nothing in the bits before the prefix.
fn integer(out: &mut Vec<u8>, prefix: u32, value: usize) {
    let full = (1_usize << prefix) - 1;
    if value < full {
        out.push(u8::try_from(value).unwrap());
        return;
    }
    out.push(u8::try_from(full).unwrap());
    let mut rest = value - full;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

/// What a request became.
#[derive(Debug, Eq, PartialEq)]
pub enum End {
    /// The head of an answer, by its status.
    Answered(u16),
    /// RST_STREAM, with its error code.
    Reset(u32),
    /// GOAWAY with an error, by its code.
    Gone(u32),
    /// The connection ended without a word.
    Closed,
}

/// A connection with HTTP/2 on it.
pub struct Http2 {
    pub wire: Wire,
}

impl Http2 {
    /// Says the preface and empty settings.
    pub async fn to(address: SocketAddr) -> Self {
        Self::with(address, &[]).await
    }

    /// Says the preface and these settings.
    pub async fn with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut wire = Wire::to(address).await;
        wire.send(PREFACE).await;
        wire.send(frame(SETTINGS, 0, 0, &payload)).await;
        Self { wire }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes).await;
    }

    /// The next frame: kind, flags, stream and payload; `None` at the end.
    pub async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let head = self.wire.try_exact(9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.wire.try_exact(length as usize).await?;
        Some((head[3], head[4], stream, payload))
    }

    /// What becomes of a request. Answers pings, and reads over what is not about it.
    pub async fn end_of(&mut self, wanted: u32) -> End {
        while let Some((kind, flags, stream, payload)) = self.next().await {
            let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            match kind {
                HEADERS if stream == wanted => return End::Answered(status(&payload)),
                RST_STREAM if stream == wanted => return End::Reset(code(0)),
                GOAWAY if code(4) != 0 => return End::Gone(code(4)),
                PING if flags & ACK == 0 => {
                    self.wire.try_send(&frame(PING, ACK, 0, &payload)).await;
                }
                _ => {}
            }
        }
        End::Closed
    }

    /// Reads to the end of the connection; the error code of a GOAWAY on the way.
    pub async fn goodbye(&mut self) -> Option<u32> {
        match self.end_of(u32::MAX).await {
            End::Gone(code) => Some(code),
            End::Answered(_) | End::Reset(_) | End::Closed => None,
        }
    }
}

/// The status that a block begins with: indexed, or a literal under its indexed name. Enough for
/// the first answer of a connection.
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let block = match block {
        // A change of the table's size comes first.
        [0x3f, rest @ ..] => &rest[rest.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1..],
        [0x20..=0x3e, rest @ ..] => rest,
        block => block,
    };
    match *block {
        [index @ 0x88..=0x8e, ..] => INDEXED[usize::from(index - 0x88)],
        [0x08 | 0x18 | 0x48, 3, a, b, c, ..] => [a, b, c]
            .iter()
            .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')),
        [0x08 | 0x18 | 0x48, length, ref coded @ ..] if length & 0x80 != 0 => {
            let coded = &coded[..usize::from(length & 0x7f)];
            let bits = coded
                .iter()
                .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
            digits(bits.map(u16::from))
        }
        _ => panic!("no status: {block:02x?}"),
    }
}

/// Three digits in Huffman's code (RFC 7541, appendix B): 0 to 2 have five bits, 3 to 9 six.
fn digits(mut bits: impl Iterator<Item = u16>) -> u16 {
    let mut sum = 0;
    for _ in 0..3 {
        let mut code = 0;
        for _ in 0..5 {
            code = code << 1 | bits.next().unwrap();
        }
        let digit = if code <= 2 {
            code
        } else {
            (code << 1 | bits.next().unwrap()) - 0x19 + 3
        };
        sum = sum * 10 + digit;
    }
    sum
}

#[test]
fn a_status_is_read_in_each_of_its_forms() {
    assert_eq!(status(&[0x88]), 200);
    assert_eq!(
        status(&[0x3f, 0xe1, 0x1f, 0x8c]),
        400,
        "behind a change of the table's size"
    );
    assert_eq!(status(&[0x48, 3, b'4', b'2', b'1']), 421);
    // RFC 7541, appendix C.6.1: 302 in Huffman's code.
    assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), 302);
}
