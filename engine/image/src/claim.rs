//! Who works on a layer: two pulls that share one do its work once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use tare_model::Digest;

/// One claim for every digest that somebody works on.
#[derive(Default)]
pub(crate) struct Claims(Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>);

/// The right to work on something, until it is dropped.
pub(crate) type Claim = OwnedMutexGuard<()>;

impl Claims {
    /// Waits until nobody else works on `digest`; in the order of asking.
    pub(crate) async fn claim(&self, digest: &Digest) -> Claim {
        let shared = self.shared(digest);
        shared.lock_owned().await
    }

    fn shared(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = claims.get(digest).and_then(Weak::upgrade) {
            return shared;
        }
        claims.retain(|_, weak| weak.strong_count() > 0);
        let shared = Arc::default();
        claims.insert(*digest, Arc::downgrade(&shared));
        shared
    }
}
