//! Memory that anybody may take before it is known who it is. One budget for requests, heads and bodies;
//! one for what connections have half read, so that those which never say what they want do not keep out
//! those that do.
//!
//! Taken as bytes arrive: what a sender merely announces costs nothing.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

/// There is no room beside the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Bytes that may be in memory at once.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    pub(crate) const fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// More than this never fits.
    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }

    /// A share for a request, which the budget outlives.
    pub(crate) const fn share(&self) -> Share<&Self> {
        Share::of(self)
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// One part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share<B: Deref<Target = Budget>> {
    budget: B,
    bytes: u64,
}

impl<B: Deref<Target = Budget>> Share<B> {
    /// Nothing yet.
    pub(crate) const fn of(budget: B) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Takes more.
    ///
    /// # Errors
    /// [`Full`]: nothing more was taken.
    pub(crate) fn grow(&mut self, by: u64) -> Result<(), Full> {
        let before = self.budget.used.fetch_add(by, Ordering::Relaxed);
        if before + by > self.budget.limit {
            self.budget.used.fetch_sub(by, Ordering::Relaxed);
            return Err(Full);
        }
        self.bytes += by;
        Ok(())
    }

    /// Makes it so much; costs nothing if it is that already.
    ///
    /// # Errors
    /// [`Full`]: it stays what it was. Less always fits.
    pub(crate) fn resize(&mut self, bytes: u64) -> Result<(), Full> {
        if bytes > self.bytes {
            return self.grow(bytes - self.bytes);
        }
        if bytes < self.bytes {
            let less = self.bytes - bytes;
            self.budget.used.fetch_sub(less, Ordering::Relaxed);
            self.bytes = bytes;
        }
        Ok(())
    }
}

impl<B: Deref<Target = Budget>> Drop for Share<B> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_given_back_and_what_was_refused_was_not_taken() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (budget.share(), budget.share());
        one.resize(60).unwrap();
        assert_eq!(other.grow(41), Err(Full));
        other.grow(40).unwrap();
        assert_eq!(one.resize(61), Err(Full));
        assert_eq!(budget.used(), 100);
        one.resize(10).unwrap();
        assert_eq!(budget.used(), 50);
        drop((one, other));
        assert_eq!(budget.used(), 0);
    }
}
