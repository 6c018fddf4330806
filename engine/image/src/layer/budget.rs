//! What all layers of an image, or of an archive of images, may come to together: each keeps its own limits, and one blob of some
//! kilobytes may stand in a manifest as often as there may be layers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::settings::{Limits, MORE};

/// How often [`Limits::ratio_from`] goes into what all layers may unpack to before their ratio matters: as many as are under way
/// at a time may just be beginning with their zeros.
const AT_A_TIME: u64 = 4;

/// What was taken in and what it came to, shared by all who unpack.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) limits: Limits,
    /// Bytes that came: those of a blob once, however often it is named.
    taken: AtomicU64,
    /// Bytes of the tars that came out of them.
    unpacked: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, taken: AtomicU64::new(0), unpacked: AtomicU64::new(0) }
    }

    /// Counts bytes that have come.
    pub(crate) fn took(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes of a tar; what is wrong where they are too many.
    pub(crate) fn spend(&self, bytes: usize) -> Option<String> {
        let unpacked = self.unpacked.fetch_add(bytes as u64, Ordering::Relaxed).saturating_add(bytes as u64);
        let Limits { image_bytes, ratio, ratio_from, .. } = self.limits;
        if unpacked > image_bytes {
            return Some(format!("all layers together unpack to more than {image_bytes} bytes"));
        }
        let taken = self.taken.load(Ordering::Relaxed).max(1);
        let blown = unpacked > ratio_from.saturating_mul(AT_A_TIME) && unpacked / taken > ratio;
        blown.then(|| {
            format!(
                "the {taken} bytes of all layers unpack to {unpacked}, more than {ratio} times as many{MORE}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_by_bytes_and_by_what_they_were_made_of() {
        let limits = Limits { image_bytes: 1000, ratio: 10, ratio_from: 20, ..Limits::default() };
        let budget = Budget::new(limits);
        assert_eq!(budget.spend(80), None, "little is made of anything");
        assert!(budget.spend(1).is_some_and(|why| why.contains("10 times")));
        budget.took(100);
        assert_eq!(budget.spend(900), None);
        assert!(budget.spend(1000).is_some_and(|why| why.contains("more than 1000 bytes")));
    }
}
