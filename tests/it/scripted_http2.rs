//! The scripted Wise over HTTP/2.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each version of HTTP has faults of its own"
)]

use crate::frames::{self, Frames};
use crate::scripted::{BODY, Fault, Ledger, PIECE, arrived, soon};
use crate::wire::Wire;

use Fault::{
    BadHead, BodyTooLong, BodyTooShort, CloseAfterAnswer, CloseBeforeHead, CloseInBody,
    CloseInHead, CloseSoon, EndlessHead, GoAwayAbove, GoAwayAboveThenClose, GoAwayBelow,
    GoAwayErrorAbove, GoAwayErrorBelow, HalfCloseBeforeHead, NoFrame, RefusedStream, RefusedTwice,
    ResetAfterAnswer, ResetBeforeHead, ResetInBody, ResetInHead, ServerError, Silence, SlowBody,
    SlowHead, StalledBody, StreamErrorAfterHead, StreamErrorBeforeHead, StreamErrorInBody,
};

pub async fn serve(wire: Wire, ledger: Ledger) {
    let Some(mut frames) = Frames::accept(wire).await else {
        return;
    };
    let (body, length) = (BODY.as_bytes(), BODY.len());
    while let Some((stream, request)) = frames.request().await {
        match arrived(&ledger, &request) {
            Fault::None => {
                frames.answer(stream, 200, Some(length), false).await;
                frames.data(stream, body, true).await;
            }
            CloseBeforeHead => return,
            ResetBeforeHead => return frames.into_wire().reset(),
            HalfCloseBeforeHead => {
                let mut wire = frames.into_wire();
                wire.half_close().await;
                wire.rest().await;
                return;
            }
            fault @ (CloseInHead | ResetInHead) => {
                // A frame of ten bytes, of which three come.
                let mut wire = frames.into_wire();
                let id = stream.to_be_bytes();
                let mut begun = vec![0, 0, 10, frames::HEADERS, frames::END_HEADERS];
                begun.extend(id);
                begun.extend([0x88, 0x0f, 13]);
                wire.say(begun).await;
                if fault == ResetInHead {
                    wire.reset();
                }
                return;
            }
            fault @ (CloseInBody | ResetInBody) => {
                frames.answer(stream, 200, Some(2 * length), false).await;
                frames.data(stream, body, false).await;
                if fault == ResetInBody {
                    tokio::time::sleep(PIECE).await;
                    frames.into_wire().reset();
                }
                return;
            }
            Silence => {
                frames.rest().await;
                return;
            }
            SlowHead => {
                // The frame's length says when the head ends; its bytes come one by one.
                let mut wire = frames.into_wire();
                let mut bytes = vec![0, 0, 1, frames::HEADERS, frames::END_HEADERS];
                bytes.extend(stream.to_be_bytes());
                bytes.push(0x88);
                for byte in bytes.chunks(1) {
                    wire.say(byte).await;
                    tokio::time::sleep(PIECE).await;
                }
                frames = Frames::over(wire);
                frames.data(stream, body, true).await;
            }
            EndlessHead => {
                let mut wire = frames.into_wire();
                let mut bytes = vec![0, 64, 0, frames::HEADERS, 5];
                bytes.extend(stream.to_be_bytes());
                wire.say(bytes).await;
                while wire.say([0x88]).await {
                    tokio::time::sleep(PIECE).await;
                }
                return;
            }
            SlowBody => {
                frames.answer(stream, 200, Some(length), false).await;
                for (at, byte) in body.chunks(1).enumerate() {
                    tokio::time::sleep(PIECE).await;
                    frames.data(stream, byte, at + 1 == length).await;
                }
            }
            StalledBody => {
                frames.answer(stream, 200, Some(2 * length), false).await;
                frames.data(stream, body, false).await;
                frames.rest().await;
                return;
            }
            BodyTooShort => {
                frames.answer(stream, 200, Some(2 * length), false).await;
                frames.data(stream, body, true).await;
            }
            BodyTooLong => {
                frames.answer(stream, 200, Some(length), false).await;
                frames.data(stream, body, false).await;
                frames.data(stream, b"forged", true).await;
            }
            fault @ (CloseAfterAnswer | CloseSoon | ResetAfterAnswer) => {
                frames.answer(stream, 200, Some(length), false).await;
                frames.data(stream, body, true).await;
                match fault {
                    CloseSoon => {
                        tokio::time::sleep(soon()).await;
                        return;
                    }
                    ResetAfterAnswer => {
                        frames.reset_stream(stream, frames::NO_ERROR).await;
                    }
                    _ => return,
                }
            }
            ServerError => {
                frames.answer(stream, 500, Some(2), false).await;
                frames.data(stream, b"{}", true).await;
            }
            RefusedStream | RefusedTwice => {
                frames.reset_stream(stream, frames::REFUSED_STREAM).await;
            }
            GoAwayBelow => {
                frames.go_away(stream - 1, frames::NO_ERROR).await;
                frames.rest().await;
                return;
            }
            GoAwayAbove => {
                frames.go_away(stream, frames::NO_ERROR).await;
                frames.answer(stream, 200, Some(length), false).await;
                frames.data(stream, body, true).await;
                frames.rest().await;
                return;
            }
            GoAwayAboveThenClose => {
                frames.go_away(stream, frames::NO_ERROR).await;
                return;
            }
            GoAwayErrorBelow => {
                frames.go_away(stream - 1, frames::ENHANCE_YOUR_CALM).await;
                return;
            }
            GoAwayErrorAbove => {
                frames.go_away(stream, frames::PROTOCOL_ERROR).await;
                return;
            }
            StreamErrorBeforeHead(reason) => frames.reset_stream(stream, reason).await,
            StreamErrorAfterHead(reason) => {
                frames.answer(stream, 200, Some(length), false).await;
                tokio::time::sleep(PIECE).await;
                frames.reset_stream(stream, reason).await;
            }
            StreamErrorInBody(reason) => {
                // Without a length nothing but the end of the stream says what is whole.
                frames.answer(stream, 200, None, false).await;
                frames.data(stream, body, false).await;
                tokio::time::sleep(PIECE).await;
                frames.reset_stream(stream, reason).await;
            }
            NoFrame => {
                // DATA on stream 0 is a connection error (RFC 9113 §6.1).
                frames.data(0, b"stray", false).await;
                frames.rest().await;
                return;
            }
            BadHead => {
                // A head without a status.
                let flags = frames::END_HEADERS | frames::END_STREAM;
                frames.send(frames::HEADERS, flags, stream, &[]).await;
            }
            other => panic!("{other:?} is HTTP/1.1's"),
        }
    }
}
