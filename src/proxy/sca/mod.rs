//! A 403 that wants strong customer authentication (SCA).
//!
//! It goes to the application as it is, unless a key signs one-time tokens in this lane, or somebody
//! is there to be asked for an approval. Then the identical request leaves once more, under the token
//! that the 403 named: only while all of its body is at hand, and only where the application does not
//! deal with such tokens itself. A 403 has no effect at Wise, whose own way is to repeat the request.

mod approval;
mod case;

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use self::case::Case;
use crate::proxy::attempt::{Answer, Outgoing};
use crate::proxy::choice::Credential;
use crate::proxy::fault::Fault;
use crate::proxy::peer::Peer;
use crate::proxy::record::Record;
use crate::proxy::token::Pass;
use crate::proxy::worker::Worker;
use crate::sca::{OneTimeToken, Signer};
use crate::telemetry::challenges::Outcome;
use crate::wise::headers::{X_2FA_APPROVAL, X_2FA_APPROVAL_RESULT, X_SIGNATURE};

/// What can be done about a challenge.
enum Remedy {
    Nothing,
    Sign(Arc<Signer>),
    Ask,
}

/// Looks at Wise's answer, and has the request sent once more where that is what the answer wants
/// and we are set to.
///
/// Whatever cannot be done ends in Wise's own 403. Once the request has left again, what comes of
/// that is what the application hears: it may have been carried out.
///
/// Cancel safe: a question that waits for an approval is withdrawn.
pub(super) async fn answered(
    worker: &Worker,
    peer: &Peer,
    pass: &mut Pass,
    outgoing: &mut Outgoing,
    record: &mut Record,
    answer: Answer,
) -> Result<Answer, Fault> {
    if !is_challenge(&answer) {
        return Ok(answer);
    }
    let mut case = Case::open(worker, pass.lane, outgoing);
    // Until it is known better, should nobody wait for it.
    record.sca = Some(Outcome::Abandoned);
    let outcome = settle((worker, peer), pass, outgoing, record, &mut case, answer).await;
    record.sca = Some(case.outcome);
    outcome
}

async fn settle(
    (worker, peer): (&Worker, &Peer),
    pass: &mut Pass,
    outgoing: &mut Outgoing,
    record: &mut Record,
    case: &mut Case<'_>,
    answer: Answer,
) -> Result<Answer, Fault> {
    case.outcome = Outcome::Passed;
    let token = answer.response.headers().get(X_2FA_APPROVAL);
    let Some(token) = token.and_then(OneTimeToken::of) else {
        return Ok(answer);
    };
    let sources = outgoing.source.as_ref();
    if shows_one(&outgoing.head.headers) || !sources.is_none_or(|source| source.is_held()) {
        return Ok(answer);
    }
    match remedy(worker, pass) {
        Remedy::Nothing => Ok(answer),
        Remedy::Sign(signer) => {
            case.outcome = Outcome::Abandoned;
            let signing = token.clone();
            // A signature takes as long as a hundred requests of our own work.
            let signed = tokio::task::spawn_blocking(move || signer.key.sign(&signing)).await;
            let Ok(Ok(signature)) = signed else {
                case.outcome = Outcome::Failed;
                return Ok(answer);
            };
            let fields = &mut outgoing.head.headers;
            fields.insert(X_2FA_APPROVAL, token.value().clone());
            fields.insert(X_SIGNATURE, signature);
            answer.discard();
            let taken = [Outcome::Signed, Outcome::SignatureNotTaken];
            once_more(worker, pass, outgoing, record, case, taken).await
        }
        Remedy::Ask => {
            case.outcome = Outcome::TooMany;
            let Some(place) = worker.shared.office.enter() else {
                return Ok(answer);
            };
            case.outcome = Outcome::Abandoned;
            // Whoever waits for a person holds no connection.
            let (kept, is_whole) = answer.keep().await;
            if !is_whole {
                case.outcome = Outcome::Passed;
                return Ok(kept);
            }
            let asking = approval::ask(worker, pass, record, case, &token, &place);
            let asked = tokio::select! {
                biased;
                () = peer.departure.happens() => Outcome::Abandoned,
                asked = asking => asked,
            };
            drop(place);
            case.outcome = asked;
            if asked != Outcome::Approved {
                return Ok(kept);
            }
            case.outcome = Outcome::Abandoned;
            super::token::freshen(worker, pass);
            let fields = &mut outgoing.head.headers;
            fields.insert(X_2FA_APPROVAL, token.value().clone());
            let taken = [Outcome::Approved, Outcome::ApprovalNotTaken];
            once_more(worker, pass, outgoing, record, case, taken).await
        }
    }
}

/// Sends the request again. A second challenge is the application's: nothing is signed twice.
async fn once_more(
    worker: &Worker,
    pass: &mut Pass,
    outgoing: &mut Outgoing,
    record: &mut Record,
    case: &mut Case<'_>,
    [taken, not_taken]: [Outcome; 2],
) -> Result<Answer, Fault> {
    let answer = super::ask(worker, pass, outgoing, record).await;
    case.outcome = match &answer {
        Ok(answer) if is_challenge(answer) => not_taken,
        Ok(_) => taken,
        Err(_) => Outcome::Failed,
    };
    answer
}

fn remedy(worker: &Worker, pass: &Pass) -> Remedy {
    let signer = pass.view.snapshot.signer.as_ref();
    if let Some(signer) = signer.filter(|signer| signer.signs_in(pass.lane)) {
        return Remedy::Sign(Arc::clone(signer));
    }
    // Challenges are cleared by the user whom the token stands for.
    match pass.credential {
        Credential::User(_) if worker.shared.office.approves() => Remedy::Ask,
        Credential::User(_) | Credential::Personal | Credential::Client => Remedy::Nothing,
    }
}

/// Locked out, Wise says so without a token.
fn is_challenge(answer: &Answer) -> bool {
    let fields = answer.response.headers();
    let names = [X_2FA_APPROVAL, X_2FA_APPROVAL_RESULT];
    answer.status() == StatusCode::FORBIDDEN && names.iter().any(|name| fields.contains_key(name))
}

/// The application deals with one-time tokens itself.
fn shows_one(fields: &HeaderMap) -> bool {
    fields.contains_key(X_2FA_APPROVAL) || fields.contains_key(X_SIGNATURE)
}
