//! tokio's and arc-swap's own types, with a point before each operation.
//!
//! Each operation of theirs appears to others as one step (tokio and arc-swap check that for
//! themselves, tokio with loom), so points between the operations are all that is needed to see
//! every order that matters to us.

use std::error::Error;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use arc_swap::RefCnt;
use futures_util::future::Either;
use shuttle::rand::RngCore as _;

use crate::sync::explore::{explored, point};

pub(crate) mod mpsc {
    use tokio::sync::mpsc as real;

    use super::point;

    pub(crate) struct Sender<T>(real::Sender<T>);
    pub(crate) struct Receiver<T>(real::Receiver<T>);

    pub(crate) fn channel<T>(buffer: usize) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = real::channel(buffer);
        (Sender(sender), Receiver(receiver))
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }

    impl<T> Sender<T> {
        pub(crate) async fn send(&self, value: T) -> Result<(), real::error::SendError<T>> {
            point();
            self.0.send(value).await
        }
    }

    impl<T> Receiver<T> {
        pub(crate) async fn recv(&mut self) -> Option<T> {
            point();
            self.0.recv().await
        }

        pub(crate) fn len(&self) -> usize {
            point();
            self.0.len()
        }

        pub(crate) fn try_recv(&mut self) -> Result<T, real::error::TryRecvError> {
            point();
            self.0.try_recv()
        }
    }
}

pub(crate) mod oneshot {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::sync::oneshot as real;

    use super::point;

    pub(crate) struct Sender<T>(real::Sender<T>);
    pub(crate) struct Receiver<T>(real::Receiver<T>);

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = real::channel();
        (Sender(sender), Receiver(receiver))
    }

    impl<T> Sender<T> {
        pub(crate) fn send(self, value: T) -> Result<(), T> {
            point();
            self.0.send(value)
        }

        pub(crate) fn is_closed(&self) -> bool {
            point();
            self.0.is_closed()
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, real::error::RecvError>;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            point();
            Pin::new(&mut self.0).poll(context)
        }
    }
}

pub(crate) mod watch {
    use tokio::sync::watch as real;

    use super::point;

    #[derive(Clone, Debug)]
    pub(crate) struct Sender<T>(real::Sender<T>);
    #[derive(Clone, Debug)]
    pub(crate) struct Receiver<T>(real::Receiver<T>);

    pub(crate) fn channel<T>(first: T) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = real::channel(first);
        (Sender(sender), Receiver(receiver))
    }

    impl<T> Sender<T> {
        pub(crate) fn new(first: T) -> Self {
            Self(real::Sender::new(first))
        }

        pub(crate) fn send_replace(&self, value: T) -> T {
            point();
            self.0.send_replace(value)
        }

        pub(crate) fn send_modify(&self, change: impl FnOnce(&mut T)) {
            point();
            self.0.send_modify(change);
        }

        pub(crate) fn subscribe(&self) -> Receiver<T> {
            point();
            Receiver(self.0.subscribe())
        }
    }

    impl<T> Receiver<T> {
        /// No point may come while this is held: the checker has one thread.
        pub(crate) fn borrow(&self) -> real::Ref<'_, T> {
            point();
            self.0.borrow()
        }

        pub(crate) fn mark_unchanged(&mut self) {
            point();
            self.0.mark_unchanged();
        }

        pub(crate) async fn changed(&mut self) -> Result<(), real::error::RecvError> {
            point();
            self.0.changed().await
        }
    }
}

#[derive(Debug)]
pub(crate) struct ArcSwap<T>(Arc<arc_swap::ArcSwap<T>>);

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(first: T) -> Self {
        Self(Arc::new(arc_swap::ArcSwap::from_pointee(first)))
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        point();
        self.0.load_full()
    }

    /// Two steps: another may come in between, and then `change` is asked again.
    pub(crate) fn rcu(&self, change: impl Fn(&Arc<T>) -> T) -> Arc<T> {
        point();
        self.0.rcu(|current| {
            let next = change(current);
            point();
            next
        })
    }
}

#[derive(Debug)]
pub(crate) struct Cache<A, T: RefCnt> {
    inner: arc_swap::Cache<Arc<arc_swap::ArcSwapAny<T>>, T>,
    of: PhantomData<A>,
}

impl<T> Cache<Arc<ArcSwap<T>>, Arc<T>> {
    #[allow(clippy::needless_pass_by_value, reason = "as arc-swap's own")]
    pub(crate) fn new(swap: Arc<ArcSwap<T>>) -> Self {
        Self {
            inner: arc_swap::Cache::new(Arc::clone(&swap.0)),
            of: PhantomData,
        }
    }

    pub(crate) fn load(&mut self) -> &Arc<T> {
        point();
        self.inner.load()
    }
}

/// A thread of the blocking pool is one more task to the checker.
pub(crate) fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, Box<dyn Error + Send + Sync>>> {
    use futures_util::TryFutureExt as _;
    if explored() {
        Either::Left(shuttle::future::spawn(async move { work() }).map_err(Into::into))
    } else {
        Either::Right(tokio::task::spawn_blocking(work).map_err(Into::into))
    }
}

pub(crate) fn spawn_local<F: Future<Output: 'static> + 'static>(work: F) {
    if explored() {
        drop(shuttle::future::spawn_local(work));
    } else {
        drop(tokio::task::spawn_local(work));
    }
}

/// Chance is the checker's too, or a schedule could not be replayed.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), aws_lc_rs::error::Unspecified> {
    if explored() {
        shuttle::rand::thread_rng().fill_bytes(bytes);
        Ok(())
    } else {
        aws_lc_rs::rand::fill(bytes)
    }
}
