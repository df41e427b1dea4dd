//! Memory that anybody may take before it is known who it is. One budget for requests, heads and bodies;
//! one for what connections have half read, so that those which never say what they want do not keep out
//! those that do.
//!
//! Taken as bytes arrive: what a sender merely announces costs nothing. Whoever they belong to, a source or
//! an address, never has more than is left for the others, so however many fill it, one more finds room.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// There is no room beside the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Bytes that may be in memory at once.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
    /// There is somebody to leave room for.
    divided: bool,
}

/// What one of those who take from a budget has of it.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    held: AtomicU64,
}

impl Budget {
    /// For several, who leave room for each other.
    pub(crate) const fn divided(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            divided: true,
        }
    }

    /// For one alone.
    pub(crate) const fn whole(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            divided: false,
        }
    }

    /// More than this never fits.
    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }

    /// A share for a request, which budget and holder outlive.
    pub(crate) const fn share<'h>(&'h self, holder: &'h Holder) -> RequestShare<'h> {
        Share::of(self, holder)
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// What a request holds.
pub(crate) type RequestShare<'h> = Share<&'h Budget, &'h Holder>;

/// What a connection holds.
pub(crate) type ConnectionShare = Share<Arc<Budget>, Arc<Holder>>;

/// One part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share<B: Deref<Target = Budget>, H: Deref<Target = Holder>> {
    budget: B,
    holder: H,
    bytes: u64,
}

impl<B: Deref<Target = Budget>, H: Deref<Target = Holder>> Share<B, H> {
    /// Nothing yet.
    pub(crate) const fn of(budget: B, holder: H) -> Self {
        Self {
            budget,
            holder,
            bytes: 0,
        }
    }

    /// Takes more.
    ///
    /// # Errors
    /// [`Full`]: nothing more was taken.
    pub(crate) fn grow(&mut self, by: u64) -> Result<(), Full> {
        let used = self.budget.used.fetch_add(by, Ordering::Relaxed) + by;
        let held = self.holder.held.fetch_add(by, Ordering::Relaxed) + by;
        self.bytes += by;
        if self.fits(used, held) {
            return Ok(());
        }
        self.give_back(by);
        Err(Full)
    }

    /// Whether there is room for what was just taken.
    fn fits(&self, used: u64, held: u64) -> bool {
        let Some(left) = self.budget.limit.checked_sub(used) else {
            return false;
        };
        // Who has nothing else may take what there is: the largest body has to fit.
        !self.budget.divided || held <= left || held == self.bytes
    }

    fn give_back(&mut self, less: u64) {
        self.budget.used.fetch_sub(less, Ordering::Relaxed);
        self.holder.held.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
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
            self.give_back(self.bytes - bytes);
        }
        Ok(())
    }
}

impl<B: Deref<Target = Budget>, H: Deref<Target = Holder>> Drop for Share<B, H> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_given_back_and_what_was_refused_was_not_taken() {
        let (budget, holder) = (Budget::whole(100), Holder::default());
        let (mut one, mut other) = (budget.share(&holder), budget.share(&holder));
        one.resize(60).unwrap();
        assert_eq!(other.grow(41), Err(Full));
        other.grow(40).unwrap();
        assert_eq!(one.resize(61), Err(Full));
        assert_eq!(budget.used(), 100);
        one.resize(10).unwrap();
        assert_eq!(budget.used(), 50);
        drop((one, other));
        assert_eq!(budget.used(), 0);
        assert_eq!(holder.held.into_inner(), 0);
    }

    /// Takes in pieces of one until it is refused.
    fn greedy<'h>(budget: &'h Budget, holder: &'h Holder) -> Vec<RequestShare<'h>> {
        let mut shares = Vec::new();
        loop {
            let mut share = budget.share(holder);
            if share.grow(1).is_err() {
                return shares;
            }
            shares.push(share);
        }
    }

    #[test]
    fn however_many_take_all_they_get_one_more_finds_as_much_as_they_have() {
        let budget = Budget::divided(1_000);
        let holders: [Holder; 4] = Default::default();
        let mut held = Vec::new();
        for (holder, taken) in holders.iter().zip([500, 250, 125, 62]) {
            let shares = greedy(&budget, holder);
            assert_eq!(shares.len(), taken);
            held.push(shares);
        }
    }

    #[test]
    fn one_request_alone_may_take_what_there_is_and_nothing_beside_it() {
        let budget = Budget::divided(100);
        let (large, other) = (Holder::default(), Holder::default());
        let mut body = budget.share(&large);
        body.grow(30).unwrap();
        body.grow(60).unwrap();
        assert_eq!(budget.share(&large).grow(1), Err(Full));
        assert_eq!(greedy(&budget, &other).len(), 5);
        assert_eq!(body.grow(11), Err(Full));
        drop(body);
        assert_eq!(budget.share(&large).grow(50), Ok(()));
    }
}
