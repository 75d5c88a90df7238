//! How Wise's connection fails under a request, over HTTP/1.1 and, where it is the same, HTTP/2.

use crate::failures_table::row;
use crate::scripted::{Fault, Scripted};

async fn shows(id: &str, faults: &[Fault]) {
    for http in ["1.1", "2"] {
        for fault in faults {
            Scripted::shows(row(id), http, *fault).await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_never_begins_is_broken() {
    use Fault::{CloseBeforeHead, HalfCloseBeforeHead, ResetBeforeHead};
    let faults = [CloseBeforeHead, ResetBeforeHead, HalfCloseBeforeHead];
    shows("answer-closed", &faults).await;
}

#[tokio::test]
async fn an_answer_that_ends_in_its_head_is_broken() {
    let faults = [Fault::CloseInHead, Fault::ResetInHead];
    shows("answer-closed-in-head", &faults).await;
}

#[tokio::test]
async fn an_answer_that_ends_in_its_body_is_cut_for_the_application() {
    let faults = [Fault::CloseInBody, Fault::ResetInBody];
    shows("answer-closed-in-body", &faults).await;
}

#[tokio::test]
async fn a_connection_that_closes_after_its_answer_costs_nothing() {
    shows("answer-closed-after", &[Fault::CloseAfterAnswer]).await;
}

#[tokio::test]
async fn a_head_that_does_not_end_in_time_is_a_timeout() {
    shows("answer-silence", &[Fault::Silence, Fault::EndlessHead]).await;
}

#[tokio::test]
async fn a_slow_body_passes_while_it_moves() {
    shows("answer-slow-body", &[Fault::SlowBody]).await;
}

#[tokio::test]
async fn a_body_that_stands_still_is_cut() {
    shows("answer-stalled-body", &[Fault::StalledBody]).await;
}

#[tokio::test]
async fn a_slow_head_passes_when_it_ends_in_time() {
    let case = row("answer-slow-head");
    Scripted::shows(case, "1.1", Fault::SlowHead).await;
    Scripted::shows(row("answer-slow-head"), "2", Fault::SlowHead).await;
}

#[tokio::test]
async fn what_is_no_http_1_is_broken() {
    for fault in [Fault::Garbage, Fault::TwoLengths] {
        Scripted::shows(row("h1-garbage"), "1.1", fault).await;
    }
}

#[tokio::test]
async fn a_body_without_its_end_never_looks_whole() {
    for fault in [Fault::BodyTooShort, Fault::BadChunk, Fault::NoLastChunk] {
        Scripted::shows(row("h1-short"), "1.1", fault).await;
    }
}

/// Answers that nobody has asked for must not become the answer to the next question.
#[tokio::test]
async fn bytes_beyond_a_body_go_with_their_connection() {
    use Fault::{BodyTooLong, ChunksAndMore, SecondAnswer};
    for fault in [BodyTooLong, ChunksAndMore, SecondAnswer] {
        Scripted::shows(row("h1-long"), "1.1", fault).await;
    }
}
