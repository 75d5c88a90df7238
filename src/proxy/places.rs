//! Places in which futures live, one after the other.
//!
//! hyper makes a task of every HTTP/2 stream, and moves into it what the stream does. A request under
//! way takes two kilobytes: more than the allocator keeps at hand, and moved again wherever its task
//! is. So it has a place of its own, which the connection's next request takes over.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// How many empty places a connection keeps: 36 KiB.
const KEPT: usize = 16;

/// Where one connection's requests live.
pub(super) struct Places<F>(Rc<RefCell<Vec<Place<F>>>>);

type Place<F> = Pin<Box<Option<F>>>;

/// A future in its place. Dropped, it leaves the place to the next.
pub(super) struct Placed<F> {
    place: Option<Place<F>>,
    empty: Rc<RefCell<Vec<Place<F>>>>,
}

impl<F> Places<F> {
    pub(super) fn new() -> Self {
        Self(Rc::default())
    }

    /// Has a future made in a place that is free.
    pub(super) fn put(&self, make: impl FnOnce() -> F) -> Placed<F> {
        let empty = self.0.borrow_mut().pop();
        let mut place = empty.unwrap_or_else(|| Box::pin(None));
        place.set(Some(make()));
        Placed {
            place: Some(place),
            empty: Rc::clone(&self.0),
        }
    }
}

impl<F: Future> Future for Placed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let place = self.place.as_mut().map(Pin::as_mut);
        match place.and_then(Option::as_pin_mut) {
            Some(future) => future.poll(cx),
            // It lives here until it is dropped.
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Placed<F> {
    fn drop(&mut self) {
        let Some(mut place) = self.place.take() else {
            return;
        };
        // Before the place is at hand again: what is dropped may want one.
        place.set(None);
        let mut empty = self.empty.borrow_mut();
        if empty.len() < KEPT {
            empty.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_place_is_used_again_when_its_future_is_gone_and_not_before() {
        let places = Places::new();
        let held = Rc::new(());
        let waits = |held: &Rc<()>| {
            let held = Rc::clone(held);
            async move {
                std::future::pending::<()>().await;
                drop(held);
            }
        };
        let at = |placed: &Placed<_>| -> *const _ { &raw const **placed.place.as_ref().unwrap() };

        let (mut first, second) = (places.put(|| waits(&held)), places.put(|| waits(&held)));
        assert!((&mut first).now_or_never().is_none());
        assert_ne!(at(&first), at(&second));
        let was = at(&first);
        drop(first);
        assert_eq!(Rc::strong_count(&held), 2, "what it held is gone at once");
        let third = places.put(|| waits(&held));
        assert_eq!(at(&third), was);
        assert_ne!(at(&third), at(&second));
    }

    #[test]
    fn no_more_places_are_kept_than_a_few() {
        let places = Places::new();
        let many: Vec<_> = (0..100)
            .map(|_| places.put(std::future::pending::<()>))
            .collect();
        drop(many);
        assert_eq!(places.0.borrow().len(), KEPT);
    }

    #[test]
    fn what_a_future_drops_last_may_take_a_place() {
        type Boxed = futures_util::future::LocalBoxFuture<'static, ()>;
        struct Last(Rc<Places<Boxed>>);
        impl Drop for Last {
            fn drop(&mut self) {
                drop(self.0.put(|| Box::pin(std::future::ready(()))));
            }
        }
        let places = Rc::new(Places::new());
        let last = Last(Rc::clone(&places));
        let waits = async move {
            std::future::pending::<()>().await;
            drop(last);
        };
        drop(places.put(|| Box::pin(waits)));
        assert_eq!(places.0.borrow().len(), 2, "its own, and the other's");
    }
}
