//! How much of bodies a worker holds, and how much of them it works on at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::jose::JoseError;

/// For all bodies of one worker together: two of the largest that the settings allow.
const MOST: usize = 128 * 1024 * 1024;

/// What an answer may have for certain: taken before its request leaves, because afterwards there is
/// no saying no without losing the answer to something that may have been carried out.
const FOR_AN_ANSWER: usize = 64 * 1024;

/// So many bodies are signed, encrypted, verified or decrypted at once. A worker has more blocking
/// threads than these.
const AT_ONCE: usize = 4;

/// Where bodies are held while they are signed, sent, read and verified.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    /// Bytes. The worker's own, and given back by threads that work for it.
    left: Arc<AtomicUsize>,
    places: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        Self::of(MOST)
    }
}

impl Room {
    fn of(bytes: usize) -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(bytes)),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// A place for a request whose answer may be as long as this; `None`: there is none left.
    pub(super) fn enter(&self, longest_answer: usize) -> Option<Held> {
        let set_aside = FOR_AN_ANSWER.min(longest_answer);
        self.take(set_aside).then(|| Held {
            share: Arc::new(Share {
                room: self.clone(),
                bytes: AtomicUsize::new(set_aside),
            }),
            set_aside,
        })
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        // A count and nothing else: no other memory is read by what it says.
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What one request holds; given back when it is dropped and no thread works on it any more.
#[derive(Debug)]
pub(crate) struct Held {
    share: Arc<Share>,
    /// Of these bytes, what is there for the answer and not used yet.
    set_aside: usize,
}

/// Bytes that are held.
#[derive(Debug)]
pub(super) struct Share {
    room: Room,
    /// Written by the worker alone.
    bytes: AtomicUsize,
}

impl Held {
    /// Holds more of the request; `false`: there is no room.
    pub(super) fn request(&mut self, bytes: usize) -> bool {
        let fits = self.share.room.take(bytes);
        if fits {
            self.share.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Holds more of the answer; `false`: there is no room.
    pub(super) fn answer(&mut self, bytes: usize) -> bool {
        let from_aside = bytes.min(self.set_aside);
        if !self.request(bytes - from_aside) {
            return false;
        }
        self.set_aside -= from_aside;
        true
    }

    /// Lets go of so many bytes of the request.
    pub(super) fn let_go(&mut self, bytes: usize) {
        let held = self.share.bytes.load(Ordering::Relaxed);
        let bytes = bytes.min(held - self.set_aside);
        self.share.bytes.store(held - bytes, Ordering::Relaxed);
        self.share.room.give_back(bytes);
    }

    /// What is held, for as long as the returned is kept, even if this is dropped.
    pub(super) fn keep(&self) -> Arc<Share> {
        Arc::clone(&self.share)
    }

    /// A place at work, once there is one. Cancel safe.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, JoseError> {
        let places = Arc::clone(&self.share.room.places);
        // It is never closed.
        places
            .acquire_owned()
            .await
            .map_err(|_closed| JoseError::Library)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.give_back(*self.bytes.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_comes_back_and_an_answer_has_its_part_for_certain() {
        let room = Room::of(100);
        assert!(room.enter(200).is_none(), "no request without an answer");
        let mut first = room.enter(40).unwrap();
        assert!(first.request(50) && !first.request(20));
        assert!(room.enter(20).is_none());
        assert!(first.answer(45), "40 set aside, and five more");
        assert!(!first.answer(10));
        first.let_go(50);
        let second = room.enter(50).unwrap();
        drop((first, second));
        assert!(room.enter(100).is_some());
    }

    #[test]
    fn what_a_thread_works_on_is_held_when_nobody_waits_for_it_any_more() {
        let room = Room::of(100);
        let mut held = room.enter(40).unwrap();
        assert!(held.request(50));
        let at_work = held.keep();
        drop(held);
        assert!(room.enter(20).is_none(), "the body is still here");
        drop(at_work);
        assert!(room.enter(100).is_some());
    }

    #[tokio::test]
    async fn so_many_are_worked_on_at_once_and_no_more() {
        use futures_util::FutureExt as _;

        let room = Room::of(100);
        let held = room.enter(1).unwrap();
        let mut places = Vec::new();
        for _ in 0..AT_ONCE {
            places.push(held.place().now_or_never().unwrap().unwrap());
        }
        assert!(held.place().now_or_never().is_none());
        places.pop();
        assert!(held.place().now_or_never().is_some());
    }
}
