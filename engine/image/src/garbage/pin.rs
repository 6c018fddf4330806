//! What a pull counts on while no record names it yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tare_model::Digest;

/// How often each digest is pinned.
#[derive(Clone, Default)]
pub(crate) struct Pins(Arc<Mutex<HashMap<Digest, usize>>>);

impl std::fmt::Debug for Pinned {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Pinned").field(&self.digests).finish()
    }
}

/// Keeps digests (blobs or chain ids) from being removed as garbage, until it is dropped.
pub(crate) struct Pinned {
    pins: Pins,
    digests: Vec<Digest>,
}

impl Pins {
    pub(crate) fn pin(&self, digests: Vec<Digest>) -> Pinned {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in &digests {
            *counts.entry(*digest).or_default() += 1;
        }
        Pinned { pins: self.clone(), digests }
    }

    pub(crate) fn holds(&self, digest: &Digest) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut counts = self.pins.0.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in &self.digests {
            if let Some(count) = counts.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(digest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_holds_until_the_last_one_is_dropped() {
        let (pins, digest) = (Pins::default(), Digest::from_bytes([1; 32]));
        let (first, second) = (pins.pin(vec![digest]), pins.pin(vec![digest, digest]));
        drop(first);
        assert!(pins.holds(&digest));
        drop(second);
        assert!(!pins.holds(&digest));
    }
}
