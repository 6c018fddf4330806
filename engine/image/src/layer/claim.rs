//! Who works on a layer: two pulls that share one do its work once, where they have it from the same registry. Of one that drips
//! nobody else's pulls wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use tare_model::Digest;

/// One claim for every digest that somebody works on, for each registry.
#[derive(Default)]
pub(crate) struct Claims(Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>);

/// The registry's name, and what is worked on.
type Key = (String, Digest);

/// The right to work on something, until it is dropped.
pub(crate) type Claim = OwnedMutexGuard<()>;

impl Claims {
    /// Waits until nobody else works on `digest` as it comes from the registry `domain`; in the order of asking.
    pub(crate) async fn claim(&self, domain: &str, digest: &Digest) -> Claim {
        let shared = self.shared((domain.to_owned(), *digest));
        shared.lock_owned().await
    }

    fn shared(&self, key: Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = claims.get(&key).and_then(Weak::upgrade) {
            return shared;
        }
        claims.retain(|_, weak| weak.strong_count() > 0);
        let shared = Arc::default();
        claims.insert(key, Arc::downgrade(&shared));
        shared
    }
}
