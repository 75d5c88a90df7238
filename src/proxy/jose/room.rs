//! How much of bodies a worker holds.

use std::rc::Rc;

use crate::proxy::body::Budget;

/// For all bodies of one worker together: two of the largest that the settings allow.
const MOST: usize = 128 * 1024 * 1024;

/// What an answer may have for certain: taken before its request leaves, because afterwards there is
/// no saying no without losing the answer to something that may have been carried out.
const FOR_AN_ANSWER: usize = 64 * 1024;

/// Where bodies are held while they are signed, sent, read and verified.
#[derive(Clone, Debug)]
pub(crate) struct Room(Rc<Budget>);

impl Default for Room {
    fn default() -> Self {
        Self(Rc::new(Budget::new(MOST)))
    }
}

impl Room {
    /// A place for a request whose answer may be as long as this; `None`: there is none left.
    pub(super) fn enter(&self, longest_answer: usize) -> Option<Held> {
        let set_aside = FOR_AN_ANSWER.min(longest_answer);
        self.0.take(set_aside).then(|| Held {
            room: self.clone(),
            bytes: set_aside,
            set_aside,
        })
    }
}

/// What one request holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    room: Room,
    bytes: usize,
    /// Of these, what is there for the answer and not used yet.
    set_aside: usize,
}

impl Held {
    /// Holds more of the request; `false`: there is no room.
    pub(super) fn request(&mut self, bytes: usize) -> bool {
        let fits = self.room.0.take(bytes);
        self.bytes += if fits { bytes } else { 0 };
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
        let bytes = bytes.min(self.bytes - self.set_aside);
        self.bytes -= bytes;
        self.room.0.give_back(bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.0.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_comes_back_and_an_answer_has_its_part_for_certain() {
        let room = Room(Rc::new(Budget::new(100)));
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
}
