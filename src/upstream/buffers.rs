//! Large buffers, which a worker's connections use in turn.
//!
//! A connection needs one for a moment, while much comes or goes. Asked of the allocator each time,
//! a piece of this size has it join all the small ones that lie ready (glibc's `malloc_consolidate`).

use std::cell::RefCell;

/// What a buffer holds.
pub(super) const SIZE: usize = 64 * 1024;

/// One to read into and one to write from; who needs more at a time has a socket that is slow.
const KEPT: usize = 2;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer of [`SIZE`].
pub(super) fn lend() -> Vec<u8> {
    let spare = SPARE.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| Vec::with_capacity(SIZE))
}

/// Takes a buffer back, and what it holds away.
pub(super) fn give_back(mut buffer: Vec<u8>) {
    buffer.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < KEPT {
            spare.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_lent_again_empty_and_no_more_than_two_are_kept() {
        let mut lent: Vec<_> = (0..3).map(|_| lend()).collect();
        lent[0].extend_from_slice(b"of a connection");
        let places: Vec<_> = lent.iter().map(Vec::as_ptr).collect();
        lent.into_iter().for_each(give_back);
        assert_eq!(SPARE.with_borrow(Vec::len), KEPT);

        let again = [lend(), lend()];
        for buffer in again {
            assert!(places[..KEPT].contains(&buffer.as_ptr()));
            assert!(buffer.is_empty());
            assert_eq!(buffer.capacity(), SIZE);
        }
    }
}
