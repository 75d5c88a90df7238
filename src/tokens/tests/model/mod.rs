//! The keeper under a model checker: its promises under very many orders of events.
//!
//! Everything is the real thing, the store on disk included; only Wise is a double. See
//! [`crate::sync`] for what a schedule is.

mod one;
mod several;

use std::rc::Rc;

use super::*;
use crate::sync::{Pace, explore, replayable, start, watch as modelled};
use crate::telemetry::events::Kind;

/// A keeper in a story.
struct Kept {
    handle: KeeperHandle,
    view: modelled::Receiver<Option<TokenView>>,
    task: shuttle::future::JoinHandle<()>,
}

impl House {
    /// A house where somebody has logged in, and where exchanges have all the time in the world:
    /// a schedule may let hours pass before anybody reads an answer that is there.
    async fn told(rotate: Rotate) -> Self {
        let mut house = Self::new(rotate);
        if let Ok(memory) = tempfile::tempdir_in("/dev/shm") {
            // What a disk has to do for a sync is not what is explored here, and takes long.
            house.dir = memory;
        }
        house.policy.exchange_timeout = secs(100_000);
        // At once, whatever the time does meanwhile.
        house.wise.plan([Fault::ExpiresIn(Some(LIFE))]);
        house.login().await.ok().unwrap();
        house
    }

    async fn keep(&self) -> Kept {
        let kept = self.keep_as(Subject::User {
            grant: "main".into(),
            profile: Some("30000000".parse().unwrap()),
            client_id: "acme".into(),
        });
        kept.handle.awake().await;
        kept
    }

    fn keep_as(&self, subject: Subject) -> Kept {
        let (send, view) = modelled::channel(None);
        let store = self.store();
        let user = matches!(subject, Subject::User { .. });
        let events = Events::new(Arc::clone(&self.clock) as Arc<dyn Clock>);
        let hooks = Hooks {
            publish: Box::new({
                let (store, events) = (Arc::clone(&store), events.clone());
                move |view: TokenView, _profile: Option<&ProfileId>| {
                    if user
                        && !tells_unsaved(&events)
                        && let TokenView::Live { authorization, .. } = &view
                    {
                        assert_sealed(&store, number(authorization.to_str().unwrap()));
                    }
                    send.send_replace(Some(view));
                }
            }),
            unanswered: Box::new(|| 0),
            events,
        };
        let (handle, task) = keeper(
            subject,
            Some(store),
            Arc::clone(&self.wise),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            self.policy.clone(),
            hooks,
        );
        Kept {
            handle,
            view,
            task: start(task),
        }
    }

    /// Every token that Wise made was made for one generation, with a refresh token used once.
    fn assert_one_exchange_per_generation(&self, generations: u64) {
        assert_eq!(self.wise.minted(), generations, "exchanges that succeeded");
        assert_eq!(self.wise.refused(), 0, "a refresh token was used twice");
        assert_eq!(self.wise.most_at_once(), 1, "exchanges at the same time");
    }
}

impl Kept {
    /// What a request would leave with at this very moment.
    fn generation(&self) -> u64 {
        generation(&self.view)
    }

    /// Meets a 401 with this generation, as a request does.
    fn meets_401(&self, seen: u64) -> shuttle::future::JoinHandle<Renewal> {
        let (handle, view) = (self.handle.clone(), self.view.clone());
        start(async move {
            let told = handle.refused(seen).await;
            if told == Renewal::Newer {
                assert!(
                    generation(&view) > seen,
                    "told of a newer token, which is not there"
                );
            }
            told
        })
    }

    async fn stop(self) {
        self.handle.stop().await;
        self.task.await.unwrap();
    }
}

fn generation(view: &modelled::Receiver<Option<TokenView>>) -> u64 {
    match &*view.borrow() {
        Some(TokenView::Live { generation, .. }) => *generation,
        Some(TokenView::Absent { .. } | TokenView::Dead { .. }) | None => 0,
    }
}

/// The schedule has let so much time pass before a save went on that the disk counts as hanging.
fn tells_unsaved(events: &Events) -> bool {
    let recent = events.recent();
    let about_saves = recent
        .iter()
        .rev()
        .find(|event| matches!(event.kind, Kind::TokensUnsaved | Kind::TokensSaved));
    about_saves.is_some_and(|event| event.kind == Kind::TokensUnsaved)
}

/// The store has this access token, or a later one of another process.
fn assert_sealed(store: &FileStore, access: u64) {
    let stored = store.load("main").unwrap().expect("a record");
    assert!(
        number(stored.access_token.expose()) >= access,
        "a token was seen before it was sealed"
    );
}

/// The number in `access-7` and `Bearer access-7`.
fn number(access: &str) -> u64 {
    access.rsplit_once('-').unwrap().1.parse().unwrap()
}
