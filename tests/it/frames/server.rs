//! HTTP/2 by hand (RFC 9113): a server's side of a connection, frame by frame, so that a test
//! says things that no library would say for it.

use super::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE,
};
use crate::wire::Wire;

/// A connection whose other side is an HTTP/2 client.
pub struct Frames {
    wire: Wire,
    /// Requests that have begun to arrive: their stream and what there is of their body.
    begun: Vec<(u32, Vec<u8>)>,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frames {
    /// Takes the client's preface and answers with empty settings.
    pub async fn accept(mut wire: Wire) -> Option<Self> {
        let preface = wire.exactly(PREFACE.len()).await?;
        assert_eq!(preface, PREFACE);
        let mut frames = Self::over(wire);
        frames.send(SETTINGS, 0, 0, &[]).await;
        Some(frames)
    }

    /// Goes on with a connection whose bytes were handled below the frames for a while.
    pub fn over(wire: Wire) -> Self {
        Self {
            wire,
            begun: Vec::new(),
        }
    }

    /// Reads one whole request: its stream and its body. `None` at the end of the connection.
    pub async fn request(&mut self) -> Option<(u32, Vec<u8>)> {
        loop {
            if let Some(whole) = self.step().await? {
                return Some(whole);
            }
        }
    }

    /// Reads until a request has begun to arrive, and returns its stream.
    pub async fn begun(&mut self) -> Option<u32> {
        while self.begun.is_empty() {
            self.step().await?;
        }
        Some(self.begun[0].0)
    }

    /// Reads one frame. Returns the request that ends with it.
    async fn step(&mut self) -> Option<Option<(u32, Vec<u8>)>> {
        let frame = self.next().await?;
        match frame.kind {
            HEADERS => self.begun.push((frame.stream, Vec::new())),
            DATA => {
                let mut begun = self.begun.iter_mut();
                if let Some((_, body)) = begun.find(|(id, _)| *id == frame.stream) {
                    body.extend_from_slice(&frame.payload);
                }
                self.give_back(frame.stream, frame.payload.len()).await;
            }
            _ => return Some(None),
        }
        let at = self.begun.iter().position(|(id, _)| *id == frame.stream);
        let ended = frame.flags & END_STREAM != 0;
        Some(at.filter(|_| ended).map(|at| self.begun.remove(at)))
    }

    /// Reads until the other side has ended the connection.
    pub async fn rest(&mut self) {
        while self.next().await.is_some() {}
    }

    /// A head with one of the statuses of HPACK's static table (RFC 7541 Appendix A), and a
    /// `content-length` where one is given.
    pub async fn answer(&mut self, stream: u32, status: u16, length: Option<usize>, end: bool) {
        let indexed = match status {
            200 => 0x88,
            204 => 0x89,
            500 => 0x8e,
            other => panic!("{other} is not among the statuses of this test's table"),
        };
        let mut block = vec![indexed];
        if let Some(length) = length {
            let text = length.to_string();
            // Literal without indexing, with the name of static entry 28.
            block.extend([0x0f, 13, u8::try_from(text.len()).unwrap()]);
            block.extend(text.bytes());
        }
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &block).await;
    }

    pub async fn data(&mut self, stream: u32, bytes: &[u8], end: bool) {
        let flags = if end { END_STREAM } else { 0 };
        self.send(DATA, flags, stream, bytes).await;
    }

    pub async fn reset_stream(&mut self, stream: u32, reason: u32) {
        self.send(RST_STREAM, 0, stream, &reason.to_be_bytes())
            .await;
    }

    pub async fn go_away(&mut self, last: u32, reason: u32) {
        let payload = [last.to_be_bytes(), reason.to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload).await;
    }

    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.wire.say(frame).await;
    }

    /// The bytes below the frames, for what is no frame.
    pub fn into_wire(self) -> Wire {
        self.wire
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            let head = self.wire.exactly(9).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            let frame = Frame {
                kind: head[3],
                flags: head[4],
                stream,
                payload: self.wire.exactly(length as usize).await?,
            };
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                PING if frame.flags & ACK == 0 => {
                    self.send(PING, ACK, 0, &frame.payload).await;
                }
                _ => return Some(frame),
            }
        }
    }

    /// Opens the windows again by what was read.
    async fn give_back(&mut self, stream: u32, length: usize) {
        if length == 0 {
            return;
        }
        let bytes = u32::try_from(length).unwrap().to_be_bytes();
        for stream in [0, stream] {
            self.send(WINDOW_UPDATE, 0, stream, &bytes).await;
        }
    }
}
