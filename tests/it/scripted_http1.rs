//! The scripted Wise over HTTP/1.1.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each version of HTTP has faults of its own"
)]

use crate::scripted::{BODY, Fault, Ledger, PIECE, arrived, soon};
use crate::wire::Wire;

use Fault::{
    BadChunk, BodyTooLong, BodyTooShort, ChunksAndMore, CloseAfterAnswer, CloseBeforeHead,
    CloseInBody, CloseInHead, CloseSoon, EndlessHead, Garbage, HalfCloseBeforeHead, NoLastChunk,
    ResetBeforeHead, ResetInBody, ResetInHead, SecondAnswer, ServerError, Silence, SlowBody,
    SlowHead, StalledBody, TwoLengths,
};

pub async fn serve(mut wire: Wire, ledger: Ledger) {
    let length = BODY.len();
    let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{BODY}");
    let begun = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 2 * length);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    while let Some((_, body)) = wire.request().await {
        match arrived(&ledger, &body) {
            Fault::None => {
                wire.say(&whole).await;
            }
            CloseBeforeHead => return,
            ResetBeforeHead => return wire.reset(),
            HalfCloseBeforeHead => {
                wire.half_close().await;
                while wire.request().await.is_some() {}
                return;
            }
            CloseInHead => {
                wire.say("HTTP/1.1 200 OK\r\nContent-Le").await;
                return;
            }
            ResetInHead => {
                wire.say("HTTP/1.1 200 OK\r\nContent-Le").await;
                return wire.reset();
            }
            CloseInBody | BodyTooShort => {
                wire.say(format!("{begun}{BODY}")).await;
                return;
            }
            ResetInBody => {
                wire.say(format!("{begun}{BODY}")).await;
                tokio::time::sleep(PIECE).await;
                return wire.reset();
            }
            Silence => {
                wire.rest().await;
                return;
            }
            SlowHead => {
                for byte in whole.as_bytes().chunks(3) {
                    wire.say(byte).await;
                    tokio::time::sleep(PIECE / 3).await;
                }
            }
            EndlessHead => {
                wire.say("HTTP/1.1 200 OK\r\nX-Slow: ").await;
                while wire.say("x").await {
                    tokio::time::sleep(PIECE).await;
                }
                return;
            }
            SlowBody => {
                let (head, body) = whole.split_at(whole.len() - length);
                wire.say(head).await;
                for byte in body.as_bytes().chunks(1) {
                    tokio::time::sleep(PIECE).await;
                    wire.say(byte).await;
                }
            }
            StalledBody => {
                wire.say(format!("{begun}{BODY}")).await;
                wire.rest().await;
                return;
            }
            BodyTooLong | SecondAnswer => {
                // What follows the body looks like the answer to a question nobody has asked.
                let second = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
                wire.say(format!("{whole}{second}")).await;
            }
            CloseAfterAnswer => {
                wire.say(&whole).await;
                return;
            }
            CloseSoon => {
                wire.say(&whole).await;
                tokio::time::sleep(soon()).await;
                return;
            }
            ServerError => {
                wire.say("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}")
                    .await;
            }
            Garbage => {
                wire.say("SSH-2.0-OpenSSH_9.9\r\n").await;
                return;
            }
            TwoLengths => {
                wire.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx")
                    .await;
                return;
            }
            BadChunk => {
                wire.say(format!("{chunked}5\r\nhello\r\nzz\r\n")).await;
                wire.rest().await;
                return;
            }
            NoLastChunk => {
                wire.say(format!("{chunked}5\r\nhello\r\n")).await;
                return;
            }
            ChunksAndMore => {
                wire.say(format!("{chunked}5\r\nhello\r\n0\r\n\r\n6\r\nforged\r\n"))
                    .await;
            }
            other => panic!("{other:?} is HTTP/2's"),
        }
    }
}
