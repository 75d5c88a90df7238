//! How an HTTP/2 Wise takes a request back, breaks it off, or forgets how to speak.

use crate::failures_table::row;
use crate::frames;
use crate::scripted::{Fault, Scripted};

#[tokio::test]
async fn a_refused_stream_is_sent_again_and_acted_on_once() {
    Scripted::shows(row("h2-refused"), "2", Fault::RefusedStream).await;
}

#[tokio::test]
async fn a_stream_refused_twice_is_given_up() {
    Scripted::shows(row("h2-refused-twice"), "2", Fault::RefusedTwice).await;
}

#[tokio::test]
async fn a_request_beyond_the_last_stream_is_sent_again_and_acted_on_once() {
    Scripted::shows(row("h2-goaway-below"), "2", Fault::GoAwayBelow).await;
}

#[tokio::test]
async fn a_request_within_the_last_stream_is_answered() {
    Scripted::shows(row("h2-goaway-above"), "2", Fault::GoAwayAbove).await;
}

#[tokio::test]
async fn a_request_within_the_last_stream_is_not_sent_again_when_no_answer_comes() {
    let fault = Fault::GoAwayAboveThenClose;
    Scripted::shows(row("h2-goaway-then-close"), "2", fault).await;
}

/// RFC 9113 §8.7 would allow it beyond the last stream. But a server in error is no witness to what
/// it did.
#[tokio::test]
async fn after_a_goaway_with_an_error_nothing_is_sent_again() {
    for fault in [Fault::GoAwayErrorBelow, Fault::GoAwayErrorAbove] {
        Scripted::shows(row("h2-goaway-error"), "2", fault).await;
    }
}

#[tokio::test]
async fn a_stream_that_ends_before_its_head_is_broken() {
    use frames::{CANCEL, ENHANCE_YOUR_CALM, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR};
    for reason in [
        PROTOCOL_ERROR,
        INTERNAL_ERROR,
        CANCEL,
        ENHANCE_YOUR_CALM,
        NO_ERROR,
    ] {
        let fault = Fault::StreamErrorBeforeHead(reason);
        Scripted::shows(row("h2-stream-error"), "2", fault).await;
    }
}

#[tokio::test]
async fn a_stream_that_ends_after_its_head_is_cut_for_the_application() {
    use frames::{CANCEL, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM};
    for reason in [
        PROTOCOL_ERROR,
        INTERNAL_ERROR,
        CANCEL,
        REFUSED_STREAM,
        NO_ERROR,
    ] {
        for fault in [
            Fault::StreamErrorAfterHead(reason),
            Fault::StreamErrorInBody(reason),
        ] {
            Scripted::shows(row("h2-stream-error-later"), "2", fault).await;
        }
    }
}

#[tokio::test]
async fn a_stream_ended_without_error_after_its_answer_is_whole() {
    Scripted::shows(row("h2-reset-after-answer"), "2", Fault::ResetAfterAnswer).await;
}

#[tokio::test]
async fn a_body_that_belies_its_length_never_looks_whole() {
    Scripted::shows(row("h2-short"), "2", Fault::BodyTooShort).await;
}

#[tokio::test]
async fn bytes_beyond_a_length_are_not_passed_on() {
    Scripted::shows(row("h2-long"), "2", Fault::BodyTooLong).await;
}

#[tokio::test]
async fn what_is_no_http_2_is_broken() {
    for fault in [Fault::NoFrame, Fault::BadHead] {
        Scripted::shows(row("h2-malformed"), "2", fault).await;
    }
}
