//! Requests on several workers, with the keepers behind them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::credentials::FileStore;
use crate::proxy::token::renewed;
use crate::secret::Secret;
use crate::sync::{Pace, explore, start};
use crate::telemetry::events::Events;
use crate::tokens::{
    Enrolment, Exchange, ExchangeError, GrantRequest, Hooks, Proof, Subject, enrol, keeper,
};
use crate::wise::wire::TokenAnswer;

/// Wise's token endpoint: a new token each time, a little later.
#[derive(Default)]
struct Mint(AtomicU64);

impl Exchange for Mint {
    type Connection = ();

    async fn connect(&self) -> Result<(), ExchangeError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    }

    async fn exchange_on(&self, (): (), _: GrantRequest) -> Result<TokenAnswer, ExchangeError> {
        let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(TokenAnswer {
            access_token: format!("access-{number}"),
            token_type: Some("bearer".into()),
            refresh_token: Some(format!("refresh-{number}")),
            expires_in: Some(43_199),
            refresh_token_expires_in: None,
        })
    }
}

/// A keeper that publishes as the server's do.
fn keep(
    published: &Published,
    slot: usize,
    subject: Subject,
    store: Option<Arc<FileStore>>,
    mint: &Arc<Mint>,
) -> KeeperHandle {
    let published = published.clone();
    let hooks = Hooks {
        publish: Box::new(move |view, profile| {
            published.update(|snapshot| snapshot.take_token(slot, &view, profile));
        }),
        unanswered: Box::new(|| 0),
        events: Events::new(still()),
    };
    let (handle, task) = keeper(subject, store, Arc::clone(mint), still(), tokens(), hooks);
    drop(start(task));
    handle
}

/// A grant whose profile the configuration leaves open.
fn subject(grant: &str) -> Subject {
    Subject::User {
        grant: grant.into(),
        profile: None,
        client_id: "acme".into(),
    }
}

/// What a person does for the grant `main`.
async fn log_in(store: &Arc<FileStore>, mint: &Mint, profile: Option<&str>) {
    let who = Enrolment {
        grant: "main".into(),
        profile: profile.map(|id| id.parse().unwrap()),
        client_id: "acme".into(),
        timeout: Duration::from_hours(1_000),
    };
    let proof = Proof::AuthorizationCode {
        code: Secret::new("code"),
        redirect_uri: "http://127.0.0.1:9/".into(),
    };
    let clock = still();
    let login = enrol(Arc::clone(store), mint, clock.as_ref(), who, proof);
    login.await.ok().unwrap();
}

#[test]
fn what_met_a_401_does_not_go_again_with_the_token_of_another_profile() {
    explore("a login for another profile", Pace::Fine, || async {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let directory = directory.unwrap();
        let store = FileStore::open(&directory.path().join("state"), None).unwrap();
        let (store, mint) = (Arc::new(store), Arc::new(Mint::default()));
        log_in(&store, &mint, Some("1")).await;
        let published = Published::new(first());
        let main = subject("main");
        let keeper = keep(&published, 0, main, Some(Arc::clone(&store)), &mint);
        keeper.awake().await;
        let worker = worker(&published, std::slice::from_ref(&keeper));
        let acts_for = |pass: &Pass| {
            let profile = pass.view.snapshot.directory.profile(0);
            profile.map(|id| id.as_str().to_owned())
        };
        let mut first = pass(&worker, FIRST).await;
        assert_eq!((first.generation, acts_for(&first)), (1, Some("1".into())));

        log_in(&store, &mint, Some("2")).await;

        assert!(!renewed(&worker, &mut first).await);
        assert_eq!(first.generation, 1);
        let second = pass(&worker, FIRST).await;
        let own = (second.generation, acts_for(&second));
        assert_eq!(own, (2, Some("2".into())), "token and profile are one");
        keeper.stop().await;
    });
}

#[test]
fn workers_that_met_a_401_go_on_with_the_next_token_after_one_exchange() {
    explore("401s on two workers", Pace::Fine, || async {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let directory = directory.unwrap();
        let store = FileStore::open(&directory.path().join("state"), None).unwrap();
        let store = Arc::new(store);
        let (user, client) = (Arc::new(Mint::default()), Arc::new(Mint::default()));
        log_in(&store, &user, None).await;

        let published = Published::new(first());
        let [main, branch] = ["main", "branch"].map(subject);
        let keepers = [
            keep(&published, 0, main, Some(Arc::clone(&store)), &user),
            keep(&published, 1, branch, Some(store), &user),
            keep(&published, 2, Subject::Client, None, &client),
        ];
        keepers[0].awake().await;

        let requests = [0, 1].map(|_| {
            let worker = worker(&published, &keepers);
            start(async move {
                // Whatever is there first meets a 401 while it is the first token.
                let mut pass = pass(&worker, FIRST).await;
                if pass.generation == 1 {
                    assert!(renewed(&worker, &mut pass).await);
                }
                assert_eq!(pass.generation, 2);
                assert_eq!(pass.authorization, "Bearer access-2");
                assert_whole(&pass.view);
            })
        });
        let calls = [0, 1].map(|_| {
            let worker = worker(&published, &keepers);
            start(async move { pass(&worker, Credential::Client).await.generation })
        });
        for request in requests {
            request.await.unwrap();
        }
        for call in calls {
            assert_eq!(call.await.unwrap(), 1);
        }

        assert_eq!(
            user.0.load(Ordering::SeqCst),
            2,
            "the login and one renewal"
        );
        assert_eq!(client.0.load(Ordering::SeqCst), 1, "one for all who waited");
        for keeper in keepers {
            keeper.stop().await;
        }
    });
}
