//! Policies, compiled, and their judgement of a request.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config, DoorAddress, Lane, LaneSet, ProfileId};
use crate::guard::limit::{Place, State};
use crate::guard::path::Named;
use crate::guard::refusal::{Reason, Refusal};
use crate::guard::rule::{Asked, Care, Rules};
use crate::guard::tally::{Count, Tally};

/// Every policy of a configuration, the built-in ones included.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    list: Vec<Policy>,
    of_callers: Vec<Option<usize>>,
    of_doors: Vec<Option<usize>>,
    /// Names of those whom limits are kept for: callers, then doors for whoever has no name.
    holders: Vec<String>,
}

/// For whom a limit is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Holder {
    /// A caller, by its position in the configuration.
    Caller(usize),
    /// Whoever comes in at this door without a name.
    Door(usize),
}

/// One policy.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) observe: bool,
    allow: Option<Rules>,
    deny: Rules,
    profiles: Option<Vec<ProfileId>>,
    lanes: Option<LaneSet>,
    pub(crate) max_body: Option<usize>,
    per_minute: Option<u32>,
    at_once: Option<u32>,
    pub(crate) fundings_per_hour: Option<u32>,
    /// By holder; empty where nothing is to be remembered.
    states: Vec<Arc<State>>,
    tally: Arc<Tally>,
}

impl Policies {
    /// Compiles them. What those `before` remember of the same caller under the same policy goes
    /// on: a reload gives nobody a fresh start.
    pub(crate) fn new(config: &Config, before: Option<&Self>) -> Self {
        let callers = config.callers.iter();
        let callers = callers.map(|caller| format!("caller {}", caller.name));
        let doors = config.doors.iter();
        let holders: Vec<String> = callers
            .chain(doors.map(|door| door_name(&door.address)))
            .collect();
        let list: Vec<Policy> = config::Policy::built_in()
            .iter()
            .chain(&config.policies)
            .map(|policy| Policy::new(policy, &holders, before))
            .collect();
        let position = |name: &Option<String>| {
            let name = name.as_ref()?;
            list.iter().position(|policy| policy.name == *name)
        };
        Self {
            of_callers: (config.callers.iter())
                .map(|caller| position(&caller.policy))
                .collect(),
            of_doors: (config.doors.iter())
                .map(|door| position(&door.policy))
                .collect(),
            list,
            holders,
        }
    }

    /// The policies that bear on a request: the door's, then the caller's, each once.
    pub(crate) fn of(
        &self,
        door: usize,
        caller: Option<usize>,
    ) -> impl Iterator<Item = &Policy> + Clone {
        let of_door = self.of_doors.get(door).copied().flatten();
        let of_caller = caller.and_then(|caller| self.of_callers.get(caller).copied().flatten());
        let of_caller = of_caller.filter(|policy| Some(*policy) != of_door);
        let both = of_door.into_iter().chain(of_caller);
        both.map(|position| &self.list[position])
    }

    /// Whether nothing bears on it.
    pub(crate) fn is_free(&self, door: usize, caller: Option<usize>) -> bool {
        self.of(door, caller).next().is_none()
    }

    /// The one of that name.
    pub(crate) fn named(&self, name: &str) -> Option<&Policy> {
        self.list.iter().find(|policy| policy.name == name)
    }

    /// Name of a holder, in the ledger of fundings.
    pub(crate) fn holder(&self, holder: Holder) -> &str {
        self.holders
            .get(self.seat(holder))
            .map_or("", String::as_str)
    }

    fn seat(&self, holder: Holder) -> usize {
        match holder {
            Holder::Caller(position) => position,
            Holder::Door(position) => self.of_callers.len() + position,
        }
    }

    /// Refusals by policy, of those that had any or are in use.
    pub(crate) fn counts(&self) -> Vec<Count> {
        let mut counts = Vec::new();
        for (position, policy) in self.list.iter().enumerate() {
            let used = self.of_doors.iter().chain(&self.of_callers);
            if used.flatten().any(|used| *used == position) {
                counts.extend(policy.tally.read(&policy.name).filter(|it| it.times > 0));
            }
        }
        counts
    }

    /// Lets a request in as far as limits go. What is taken is given back when it is dropped.
    pub(crate) fn enter(
        &self,
        policy: &Policy,
        holder: Holder,
        now: Duration,
    ) -> Result<Option<Place>, (Reason, Option<Place>)> {
        let Some(state) = policy.states.get(self.seat(holder)) else {
            return Ok(None);
        };
        if let Some(per_minute) = policy.per_minute
            && let Err(wait) = state.take(per_minute, now)
        {
            return Err((Reason::TooMany { per_minute, wait }, None));
        }
        let Some(limit) = policy.at_once else {
            return Ok(None);
        };
        let (place, fits) = State::enter(state, limit);
        if fits {
            Ok(Some(place))
        } else {
            Err((Reason::TooManyAtOnce(limit), Some(place)))
        }
    }

    /// Counts a funding that leaves under a cap that is only tried out, and says what that has
    /// against it. Nothing waits for a disk.
    pub(crate) fn try_funding(
        &self,
        policy: &Policy,
        holder: Holder,
        now: Duration,
    ) -> Result<(), Reason> {
        let state = policy.states.get(self.seat(holder));
        let (Some(per_hour), Some(state)) = (policy.fundings_per_hour, state) else {
            return Ok(());
        };
        let tried = state.try_funding(per_hour, now);
        tried.map_err(|wait| Reason::FundingCap { per_hour, wait })
    }
}

impl Policy {
    pub(super) fn new(
        typed: &config::Policy,
        holders: &[String],
        before: Option<&Policies>,
    ) -> Self {
        let same = before.and_then(|before| Some((before, before.named(&typed.name)?)));
        let state = |holder: &String| {
            let known = same.and_then(|(before, policy)| {
                let seat = before.holders.iter().position(|known| known == holder)?;
                policy.states.get(seat)
            });
            known.cloned().unwrap_or_default()
        };
        let remembers = typed.requests_per_minute.is_some()
            || typed.concurrent_requests.is_some()
            || typed.observe && typed.fundings_per_hour.is_some();
        let states = holders.iter().filter(|_| remembers).map(state).collect();
        Self {
            name: typed.name.clone(),
            observe: typed.observe,
            allow: typed.allow.as_deref().map(Rules::new),
            deny: Rules::new(&typed.deny),
            profiles: typed.profiles.clone(),
            lanes: typed.lanes,
            max_body: typed.max_body,
            per_minute: typed.requests_per_minute,
            at_once: typed.concurrent_requests,
            fundings_per_hour: typed.fundings_per_hour,
            states,
            tally: same.map_or_else(
                || Arc::new(Tally::new()),
                |(_, policy)| Arc::clone(&policy.tally),
            ),
        }
    }

    /// Whether anything here hangs on the path.
    fn judges_paths(&self) -> bool {
        self.allow.is_some()
            || !self.deny.is_empty()
            || self.profiles.is_some()
            || self.fundings_per_hour.is_some()
    }

    /// Judges what is asked for, and for whom, as far as the request says so itself.
    pub(crate) fn admit<'a>(
        &self,
        asked: &Asked<'_>,
        profiles: impl Iterator<Item = Named<'a>>,
        body: Option<u64>,
    ) -> Result<(), Reason> {
        if self.judges_paths()
            && let Some(why) = asked.ambiguity
        {
            return Err(Reason::Ambiguous(why));
        }
        if self.deny.cover(asked, Care::Loose) {
            let which = self.deny.which(asked, Care::Loose);
            let (position, rule) = which.map_or((0, String::new()), |(position, rule)| {
                (position + 1, rule.to_string())
            });
            return Err(Reason::Denied { position, rule });
        }
        if let Some(allow) = &self.allow
            && !allow.cover(asked, Care::Exact)
        {
            return Err(Reason::NotAllowed);
        }
        if let Some(allowed) = &self.profiles {
            for named in profiles {
                if !allowed.iter().any(|profile| named.is(profile.as_str())) {
                    return Err(Reason::Profile(named.shown()));
                }
            }
        }
        if let (Some(limit), Some(body)) = (self.max_body, body)
            && usize::try_from(body).map_or(true, |body| body > limit)
        {
            return Err(Reason::BodyTooLarge(limit));
        }
        Ok(())
    }

    /// Judges the way a request would leave.
    ///
    /// `acts_for`: the profile that its token acts for. `names_profile`: whether its path or query
    /// names one, as Wise sees them; a field of ours would bind nobody.
    pub(crate) fn send(
        &self,
        lane: Lane,
        acts_for: ActsFor<'_>,
        names_profile: bool,
    ) -> Result<(), Reason> {
        if self.lanes.is_some_and(|lanes| !lanes.contains(lane)) {
            return Err(Reason::Lane(lane));
        }
        let Some(allowed) = &self.profiles else {
            return Ok(());
        };
        match acts_for {
            ActsFor::Any if !names_profile => Err(Reason::NoProfile),
            ActsFor::One(profile) if !profile.is_some_and(|profile| allowed.contains(profile)) => {
                Err(Reason::Grant)
            }
            ActsFor::Any | ActsFor::One(_) | ActsFor::Nobody => Ok(()),
        }
    }

    /// The rule of `allow` that covers a request, as written; for explanations.
    pub(crate) fn allowed_by(&self, asked: &Asked<'_>) -> Option<String> {
        let (_, rule) = self.allow.as_ref()?.which(asked, Care::Exact)?;
        Some(rule.to_string())
    }

    /// What else must hold, which only a running proxy knows; for explanations.
    pub(crate) fn limits(&self, funds: bool) -> Vec<String> {
        let limit = |limit: Option<u32>, words: &str| Some(format!("{words} {}", limit?));
        let per_hour = self.fundings_per_hour.filter(|_| funds);
        [
            limit(
                self.per_minute,
                "the requests of a minute are not more than",
            ),
            limit(self.at_once, "the requests at once are not more than"),
            limit(per_hour, "the fundings of any hour are not more than"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Counts a refusal and tells the log, once a minute for each reason and operation.
    pub(crate) fn refused(&self, reason: &Reason, asked: Option<usize>, now: Duration) -> Refusal {
        let refusal = Refusal {
            policy: self.name.clone(),
            reason: reason.clone(),
        };
        if self.tally.add(reason, self.observe, asked, now) {
            let operation = asked.map(|at| &crate::wise::operations::OPERATIONS[at]);
            let path = operation.map_or("other", |operation| operation.path);
            let method = operation.map_or("", |operation| operation.method);
            let (policy, reason) = (&self.name, reason.name());
            if self.observe {
                tracing::warn!(policy, reason, method, path, "would be refused: {refusal}");
            } else {
                tracing::warn!(policy, reason, method, path, "refused: {refusal}");
            }
        }
        refusal
    }
}

fn door_name(address: &DoorAddress) -> String {
    match address {
        DoorAddress::Tcp(address) => format!("door {address}"),
        DoorAddress::Unix { path, .. } => format!("door unix:{}", path.display()),
    }
}

/// Whom the token of a request acts for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ActsFor<'a> {
    /// Every profile of its owner: the personal token.
    Any,
    /// A grant's profile; `None`: it is not known yet.
    One(Option<&'a ProfileId>),
    /// No profile: the application itself.
    Nobody,
}
