//! A 403 that wants strong customer authentication (SCA).
//!
//! It goes to the application as it is, unless a key signs one-time tokens in this lane, or somebody
//! is there to be asked for an approval. Then the identical request leaves once more, under the token
//! that the 403 named: only while all of its body is at hand, and only where the application does not
//! deal with such tokens itself. A 403 has no effect at Wise, whose own way is to repeat the request.

mod approval;
mod case;
mod elsewhere;

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use self::case::Case;
use self::elsewhere::Elsewhere;
use crate::proxy::attempt::{Answer, Outgoing};
use crate::proxy::choice::Credential;
use crate::proxy::fault::Fault;
use crate::proxy::peer::Peer;
use crate::proxy::record::Record;
use crate::proxy::token::{self, Pass};
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

/// Answers Wise's challenge, and has the request sent once more where we are set to.
///
/// Whatever cannot be done ends in Wise's own 403, until the request is to leave again. From there
/// on what comes of that is what the application hears: it may have been carried out. Also where no
/// way to Wise is found then (502 or 503, nothing was sent): an approval is lost with it, and the
/// application asks anew.
///
/// Cancel safe: a question that waits for an approval is withdrawn.
pub(super) async fn answer(
    worker: &Worker,
    (door, peer): (usize, &Peer),
    pass: &mut Pass,
    outgoing: &mut Outgoing<'_>,
    record: &mut Record,
    challenge: Answer,
) -> Result<Answer, Fault> {
    let mut case = Case::open(worker, pass.lane, outgoing);
    // Until it is known better, should nobody wait for it.
    record.sca = Some(Outcome::Abandoned);
    let outcome = settle(
        worker,
        (door, peer),
        pass,
        outgoing,
        record,
        &mut case,
        challenge,
    )
    .await;
    record.sca = Some(case.outcome);
    outcome
}

async fn settle(
    worker: &Worker,
    (door, peer): (usize, &Peer),
    pass: &mut Pass,
    outgoing: &mut Outgoing<'_>,
    record: &mut Record,
    case: &mut Case<'_>,
    answer: Answer,
) -> Result<Answer, Fault> {
    case.outcome = Outcome::Passed;
    let shown = answer.response.headers().get(X_2FA_APPROVAL);
    let Some(one_time) = shown.and_then(OneTimeToken::of) else {
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
            let signing = one_time.clone();
            // A signature takes as long as a hundred requests of our own work.
            let signed = tokio::task::spawn_blocking(move || signer.key.sign(&signing)).await;
            let Ok(Ok(signature)) = signed else {
                case.outcome = Outcome::Failed;
                return Ok(answer);
            };
            let fields = &mut outgoing.head.headers;
            fields.insert(X_2FA_APPROVAL, one_time.value().clone());
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
            let asked = {
                // A person's time is none of ours, also where nobody waits for the end of it.
                let _elsewhere = Elsewhere::begin(&mut record.upstream);
                let asking = approval::ask(worker, pass, outgoing, case, &one_time, &place);
                tokio::select! {
                    biased;
                    () = peer.departure.happens() => Outcome::Abandoned,
                    asked = asking => asked,
                }
            };
            drop(place);
            case.outcome = asked;
            if asked != Outcome::Approved {
                return Ok(kept);
            }
            if let Err(why) = token::freshen(worker, (door, peer), pass) {
                tracing::warn!(lane = %pass.lane, operation = case.name(), why, "approved, and not sent");
                case.outcome = Outcome::Withdrawn;
                return Ok(kept);
            }
            case.outcome = Outcome::Abandoned;
            let fields = &mut outgoing.head.headers;
            fields.insert(X_2FA_APPROVAL, one_time.value().clone());
            let taken = [Outcome::Approved, Outcome::ApprovalNotTaken];
            once_more(worker, pass, outgoing, record, case, taken).await
        }
    }
}

/// Sends the request again. A second challenge is the application's: nothing is signed twice.
async fn once_more(
    worker: &Worker,
    pass: &mut Pass,
    outgoing: &mut Outgoing<'_>,
    record: &mut Record,
    case: &mut Case<'_>,
    [taken, not_taken]: [Outcome; 2],
) -> Result<Answer, Fault> {
    let answer = super::ask(worker, pass, outgoing, record).await;
    case.outcome = match &answer {
        Ok(answer) if is_challenge(answer.status(), answer.response.headers()) => not_taken,
        Ok(_) => taken,
        // Nothing of it was heard, or half of it, which cannot have been carried out.
        Err(
            Fault::Dial(_)
            | Fault::Overloaded
            | Fault::ClientCertificateRejected(_)
            | Fault::NotAllowed(_)
            | Fault::Refused(_)
            | Fault::BadRequest(_)
            | Fault::RequestTimeout,
        ) => Outcome::Failed,
        Err(_) => Outcome::Lost,
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

/// Whether an answer asks for strong customer authentication. Locked out, Wise says so without a
/// token. Where it took the token, a 403 has another reason.
pub(super) fn is_challenge(status: StatusCode, fields: &HeaderMap) -> bool {
    let asks = || match fields.get(X_2FA_APPROVAL_RESULT) {
        Some(result) => !result.as_bytes().eq_ignore_ascii_case(b"APPROVED"),
        None => fields.contains_key(X_2FA_APPROVAL),
    };
    // Of most answers nothing else is looked at.
    status == StatusCode::FORBIDDEN && asks()
}

/// The application deals with one-time tokens itself.
fn shows_one(fields: &HeaderMap) -> bool {
    fields.contains_key(X_2FA_APPROVAL) || fields.contains_key(X_SIGNATURE)
}
