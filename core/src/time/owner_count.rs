//! A count of references whose owner does not pay for an atomic operation.
//!
//! The owner counts what it takes and gives back in a plain word; everybody else uses an atomic one.
//! References go freely from one to the other, so neither word says anything alone, and the owner's
//! may be below zero. While there is an owner, the atomic word is [`OWNED`] higher than what it
//! counts: nobody can take the last reference for the last. When the owner goes it adds its own
//! word and takes that away; from then on the atomic word is the whole truth.
//!
//! After Choi, Shull and Torrellas, "Biased Reference Counting" (PACT 2018).

use crossbeam_utils::CachePadded;

use crate::shim::cell::UnsafeCell;
use crate::shim::sync::atomic::{AtomicUsize, Ordering, fence};

const OWNED: usize = 1 << (usize::BITS - 2);

pub(super) struct OwnerCount {
    others: CachePadded<AtomicUsize>,
    owners: UnsafeCell<usize>,
}

// SAFETY: `owners` is used by the owner alone, by the callers' promises.
unsafe impl Sync for OwnerCount {}

impl OwnerCount {
    /// One reference, and an owner.
    pub(super) fn new() -> OwnerCount {
        OwnerCount {
            others: CachePadded::new(AtomicUsize::new(OWNED + 1)),
            owners: UnsafeCell::new(0),
        }
    }

    /// Counts one more. The caller has one.
    ///
    /// # Safety
    /// `owner` is only `true` on the owner's thread, before [`disown`](Self::disown).
    #[inline]
    pub(super) unsafe fn take(&self, owner: bool) {
        if owner {
            self.add_owners(1);
        } else if self.others.fetch_add(1, Ordering::Relaxed) > isize::MAX as usize {
            // So many can only have been forgotten; one more round would free what is in use.
            std::process::abort();
        }
    }

    /// Counts one less; whether it was the last.
    ///
    /// # Safety
    /// The caller has one, and as for [`take`](Self::take).
    #[inline]
    pub(super) unsafe fn give(&self, owner: bool) -> bool {
        if owner {
            self.add_owners(usize::MAX);
            return false;
        }
        if self.others.fetch_sub(1, Ordering::Release) != 1 {
            return false;
        }
        if cfg!(libruntime_tsan) {
            // ThreadSanitizer knows no fences.
            self.others.load(Ordering::Acquire);
        } else {
            fence(Ordering::Acquire);
        }
        true
    }

    /// What others than the owner count.
    #[cfg(all(test, not(loom)))]
    pub(super) fn others(&self) -> usize {
        self.others.load(Ordering::Acquire)
    }

    fn add_owners(&self, difference: usize) {
        // SAFETY: this is the owner, by the callers' promises.
        self.owners
            .with_mut(|owners| unsafe { *owners = (*owners).wrapping_add(difference) });
    }

    /// There is no owner any more. The caller has a reference.
    ///
    /// # Safety
    /// Called once, by the owner or after it.
    pub(super) unsafe fn disown(&self) {
        // SAFETY: nobody else uses the word, by the caller's promise.
        let owners = self.owners.with_mut(|owners| unsafe { *owners });
        self.others
            .fetch_add(owners.wrapping_sub(OWNED), Ordering::AcqRel);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn references_move_between_the_owner_and_others() {
        let count = OwnerCount::new();
        // SAFETY: one thread is the owner and everybody else in turn; each give has its take.
        unsafe {
            count.take(true);
            count.take(false);
            count.take(true);
            // Two of three that the owner took or not, given back by another.
            assert!(!count.give(false));
            assert!(!count.give(false));
            assert!(!count.give(false));
            count.take(true);
            count.disown();
            assert!(!count.give(false));
            assert!(count.give(false));
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    /// The owner goes while another gives back what the owner took: exactly one is told that it was
    /// the last, and it comes after everything the other did.
    #[test]
    fn loom_owner_count_has_one_last() {
        crate::shim::model(|| {
            let count = Arc::new((OwnerCount::new(), UnsafeCell::new(0)));
            // SAFETY: this thread is the owner.
            unsafe { count.0.take(true) };
            let other = count.clone();
            let thread = loom::thread::spawn(move || {
                other.1.with(|value| unsafe { *value });
                // SAFETY: the reference that was taken above.
                let last = unsafe { other.0.give(false) };
                if last {
                    other.1.with_mut(|value| unsafe { *value = 1 });
                }
                last
            });
            count.1.with(|value| unsafe { *value });
            // SAFETY: the owner's end, and its first reference.
            let last = unsafe {
                count.0.disown();
                count.0.give(false)
            };
            if last {
                count.1.with_mut(|value| unsafe { *value = 2 });
            }
            assert!(last != thread.join().expect("joined"));
        });
    }
}
