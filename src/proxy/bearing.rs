//! The policies that bear on one request, asked in turn on its way.

use std::cell::RefCell;
use std::rc::Rc;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, request};

use crate::guard::{
    ActsFor, Ask, Asked, Holder, Named, Policy, Reason, Refusal, Verdict, doubt_in_fields,
    doubt_in_query, profiles_named,
};
use crate::proxy::body::{Cap, Source};
use crate::proxy::choice::{Credential, Directory};
use crate::proxy::fault::Fault;
use crate::proxy::record::Record;
use crate::proxy::target::Target;
use crate::proxy::worker::{View, Worker};
use crate::wise::Lane;
use crate::wise::headers::X_WISE_PROFILE;

/// What policies make of a request; `None` inside where none bears on it, which is the usual case
/// and costs a branch.
pub(crate) struct Bearing(Option<Box<Borne>>);

struct Borne {
    /// The snapshot in which the request came: its policies judge it to the end.
    view: Rc<View>,
    door: usize,
    caller: Option<usize>,
    operation: Option<usize>,
    funds: bool,
    /// Where Wise reads it: in path or query. Our own field never leaves.
    names_profile: bool,
    /// The first refusal that was only observed.
    would: RefCell<Option<Refusal>>,
}

impl Bearing {
    /// Judges what is asked for: path, profiles, length; then rate and concurrency.
    ///
    /// `caller`: its position in the configuration, where the door knows it.
    pub(crate) fn admit(
        worker: &Worker,
        view: &Rc<View>,
        (door, caller): (usize, Option<usize>),
        head: &request::Parts,
        target: &Target,
        source: Option<&Rc<Source>>,
        record: &mut Record,
    ) -> Result<Self, Fault> {
        let policies = &view.snapshot.policies;
        if policies.is_free(door, caller) {
            return Ok(Self(None));
        }
        let mut asked = Asked::new(head.method.as_str(), target.path());
        let doubt = doubt_in_fields(&head.headers).or_else(|| doubt_in_query(target.query()));
        if let Some(why) = doubt {
            asked.doubt(why);
        }
        let in_target = || profiles_named(target.path(), target.query());
        let profiles = || {
            let field = in_field(&head.headers).map(Named::plainly);
            field.chain(in_target())
        };
        let borne = Box::new(Borne {
            view: Rc::clone(view),
            door,
            caller,
            operation: asked.operation(),
            funds: asked.funds(),
            names_profile: in_target().next().is_some(),
            would: RefCell::default(),
        });
        let judged = borne.judge(worker, &asked, &profiles, head, source, record);
        record.would_refuse.clone_from(&borne.would.borrow());
        judged.map(|()| Self(Some(borne)))
    }

    /// Judges the way that was chosen; asked anew whenever the choice is made anew.
    pub(crate) fn send(
        &self,
        worker: &Worker,
        lane: Lane,
        credential: Credential,
        directory: &Directory,
    ) -> Result<(), Fault> {
        let Some(borne) = &self.0 else { return Ok(()) };
        let acts_for = match credential {
            Credential::Personal => ActsFor::Any,
            Credential::User(index) => ActsFor::One(directory.profile(index)),
            Credential::Client => ActsFor::Nobody,
        };
        for policy in borne.policies() {
            if let Err(reason) = policy.send(lane, acts_for, borne.names_profile) {
                borne.refuse(worker, policy, &reason)?;
            }
        }
        Ok(())
    }

    /// Whether a policy counts this request among the fundings.
    pub(crate) fn is_counted_funding(&self) -> bool {
        self.0.as_ref().is_some_and(|borne| {
            let counts = |policy: &Policy| policy.fundings_per_hour.is_some();
            borne.funds && borne.policies().any(counts)
        })
    }

    /// Has the funding written down before it leaves. What is sent again after a 401 was written
    /// down already.
    pub(crate) async fn fund(&self, worker: &Worker) -> Result<(), Fault> {
        let Some(borne) = &self.0 else { return Ok(()) };
        let (policies, holder) = (&borne.view.snapshot.policies, borne.holder());
        let capped = |observe: bool| {
            let policies = borne.policies().filter(move |it| it.observe == observe);
            policies.filter_map(|policy| Some((policy.fundings_per_hour?, policy)))
        };
        // Those in force look at one count, and the smallest cap decides.
        if let Some((per_hour, policy)) = capped(false).min_by_key(|(per_hour, _)| *per_hour) {
            let ask = Ask {
                of: policies.holder(holder).to_owned(),
                per_hour,
                policy: policy.name.clone(),
            };
            let reason = match worker.shared.caps.ask(ask).await {
                Verdict::Granted => None,
                Verdict::Capped(wait) => Some(Reason::FundingCap { per_hour, wait }),
                Verdict::Unrecorded(why) => Some(Reason::FundingUnrecorded(why)),
            };
            if let Some(reason) = reason {
                borne.refuse(worker, policy, &reason)?;
            }
        }
        // It leaves. Each that is only tried out counts that for itself, and holds up nobody.
        for (_, policy) in capped(true) {
            let now = worker.shared.clock.boot();
            if let Err(reason) = policies.try_funding(policy, holder, now) {
                borne.refuse(worker, policy, &reason)?;
            }
        }
        Ok(())
    }

    /// What was only observed goes into the access line.
    pub(crate) fn note(&self, record: &mut Record) {
        if let Some(borne) = &self.0
            && record.would_refuse.is_none()
        {
            record.would_refuse = borne.would.take();
        }
    }
}

impl Borne {
    fn judge<'a, P: Iterator<Item = Named<'a>>>(
        &self,
        worker: &Worker,
        asked: &Asked<'_>,
        profiles: &impl Fn() -> P,
        head: &request::Parts,
        source: Option<&Rc<Source>>,
        record: &mut Record,
    ) -> Result<(), Fault> {
        let body = announced(&head.headers);
        for policy in self.policies() {
            if let Err(reason) = policy.admit(asked, profiles(), body) {
                self.refuse(worker, policy, &reason)?;
            }
            // A length that was announced is kept to: what is longer is no well-formed request.
            if let (Some(limit), Some(source), None) = (policy.max_body, source, body) {
                source.cap(self.cap(worker, policy, limit));
            }
        }
        let (policies, holder) = (&self.view.snapshot.policies, self.holder());
        for policy in self.policies() {
            let (reason, place) = match policies.enter(policy, holder, worker.shared.clock.boot()) {
                Ok(place) => (None, place),
                Err((reason, place)) => (Some(reason), place),
            };
            record.places.extend(place);
            if let Some(reason) = reason {
                self.refuse(worker, policy, &reason)?;
            }
        }
        Ok(())
    }

    fn policies(&self) -> impl Iterator<Item = &Policy> + Clone {
        self.view.snapshot.policies.of(self.door, self.caller)
    }

    fn holder(&self) -> Holder {
        self.caller.map_or(Holder::Door(self.door), Holder::Caller)
    }

    /// A policy says no. It counts for one that is only tried out, too, and changes nothing.
    fn refuse(&self, worker: &Worker, policy: &Policy, reason: &Reason) -> Result<(), Fault> {
        let refusal = policy.refused(reason, self.operation, worker.shared.clock.boot());
        if policy.observe {
            self.would.borrow_mut().get_or_insert(refusal);
            return Ok(());
        }
        Err(Fault::Refused(Box::new(refusal)))
    }

    /// For a body whose length is not known before its end.
    fn cap(&self, worker: &Worker, policy: &Policy, limit: usize) -> Cap {
        let (view, name) = (Rc::clone(&self.view), policy.name.clone());
        let (clock, operation) = (worker.shared.clock.clone(), self.operation);
        let exceeded = move || {
            let policy = view.snapshot.policies.named(&name)?;
            let reason = Reason::BodyTooLarge(limit);
            let refusal = policy.refused(&reason, operation, clock.boot());
            (!policy.observe).then_some(refusal)
        };
        Cap {
            limit,
            exceeded: Box::new(exceeded),
        }
    }
}

/// Every profile that our own field names. One that is no text is malformed, which is found later.
fn in_field(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let fields = headers.get_all(X_WISE_PROFILE).into_iter();
    fields.filter_map(|field| field.to_str().ok().map(str::trim))
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
