//! Whether an application is still there, for a request that waits for somebody else than Wise.
//!
//! HTTP/1 does not tell one that has hung up from one that has only ended its side and reads on; the
//! latter are served. What waits for long, and then makes money leave, must not do so for nobody: it
//! takes both for gone. Over HTTP/2 a request is reset, and hyper drops it.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// Of one connection.
#[derive(Debug, Default)]
pub(crate) struct Departure {
    /// Somebody wants to know: only then the socket is looked at.
    watched: Cell<bool>,
    gone: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Departure {
    /// Returns when the application has ended its side of the connection.
    ///
    /// Cancel safe.
    pub(crate) async fn happens(&self) {
        let _watch = Watch::begin(&self.watched);
        std::future::poll_fn(|cx| {
            if self.gone.get() {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Looks at the socket by `is_over`, where somebody wants to know. Called whenever the connection
    /// is polled.
    pub(crate) fn look(
        &self,
        cx: &mut Context<'_>,
        is_over: impl FnOnce(&mut Context<'_>) -> bool,
    ) {
        if self.watched.get() && !self.gone.get() && is_over(cx) {
            self.gone.set(true);
            if let Some(waiting) = self.waiting.take() {
                waiting.wake();
            }
        }
    }
}

struct Watch<'a>(&'a Cell<bool>);

impl<'a> Watch<'a> {
    fn begin(watched: &'a Cell<bool>) -> Self {
        watched.set(true);
        Self(watched)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
