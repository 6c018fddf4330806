//! Making room: what is oldest goes first.

use std::cmp::Reverse;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tare_model::Timestamp;

use crate::{Builder, Result};

/// The share of the data root's file system that the cache may take before what was not used for longest goes.
const SHARE: u64 = 10;
/// Less is not worth the trouble.
const LEAST: u64 = 2 << 30;

/// Between two looks at the size of the cache.
const BETWEEN: Duration = Duration::from_secs(300);

/// What is to be forgotten. Without any condition: all that no build uses at the moment.
#[derive(Clone, Debug, Default)]
pub struct PruneRequest {
    /// So many bytes may stay, the latest used first.
    pub keep: Option<u64>,
    /// Only what was not used since then.
    pub before: Option<Timestamp>,
    /// Only what has one of these ids, or ids that begin so.
    pub ids: Vec<String>,
}

/// What was forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of entries and of cache mounts.
    pub removed: Vec<String>,
    /// Bytes that the disk got back.
    pub bytes: u64,
}

/// What the cache has of a step, or a directory of cache mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// What it is forgotten by.
    pub id: String,
    /// The instruction, or the id that Dockerfiles use.
    pub text: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last of use.
    pub used: Timestamp,
    /// What its files come to. A step's are a layer, which images may have as well.
    pub bytes: u64,
    /// Whether it is a directory of cache mounts.
    pub is_mount: bool,
    /// Whether a step that runs uses it.
    pub in_use: bool,
}

impl Builder {
    /// Forgets results of steps and directories of cache mounts, and removes the layers that only they needed.
    pub async fn prune(self: &Arc<Self>, request: PruneRequest) -> Result<Pruned> {
        let builder = self.clone();
        let doomed = crate::blocking(move || Ok(choose(builder.list()?, &request))).await?;
        let entries: Vec<String> =
            doomed.iter().filter(|one| !one.is_mount).map(|one| one.id.clone()).collect();
        self.cache.forget(&entries).await?;
        let (builder, mounts) = (self.clone(), doomed.clone());
        crate::blocking(move || {
            mounts.iter().filter(|one| one.is_mount).try_for_each(|one| builder.keeps.remove(&one.id))
        })
        .await?;
        let mounts: u64 = doomed.iter().filter(|one| one.is_mount).map(|one| one.bytes).sum();
        let bytes = mounts + self.engine.images().sweep().await?;
        Ok(Pruned { removed: doomed.into_iter().map(|one| one.id).collect(), bytes })
    }

    /// All that the cache has. Directories are measured for it.
    pub async fn cached(self: &Arc<Self>) -> Result<Vec<Cached>> {
        let builder = self.clone();
        crate::blocking(move || builder.list()).await
    }

    fn list(&self) -> Result<Vec<Cached>> {
        let steps = self.cache.list()?.into_iter().map(|(id, entry)| Cached {
            id,
            text: entry.text,
            created: entry.created,
            used: entry.used,
            bytes: entry.layer.map_or(0, |layer| layer.size),
            is_mount: false,
            in_use: false,
        });
        let mounts = self.keeps.list()?.into_iter().map(|(id, record, bytes, in_use)| Cached {
            id,
            text: record.id,
            created: record.created,
            used: record.used,
            bytes,
            is_mount: true,
            in_use,
        });
        Ok(steps.chain(mounts).collect())
    }

    /// Keeps the cache within its share of the disk.
    /// It is looked at every few minutes at most, as directories of cache mounts have to be measured.
    pub(crate) async fn bound(self: &Arc<Self>) -> Result<()> {
        let now = Instant::now();
        let last = self.bounded.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        if last.is_some_and(|last| now.duration_since(last) < BETWEEN) {
            *self.bounded.lock().unwrap_or_else(PoisonError::into_inner) = last;
            return Ok(());
        }
        let found = rustix::fs::statvfs(&self.engine.config().data_root);
        let size = found.map_or(u64::MAX, |found| found.f_blocks.saturating_mul(found.f_frsize));
        let limit = (size / SHARE).max(LEAST);
        let builder = self.clone();
        let bytes = crate::blocking(move || Ok(builder.list()?.iter().map(|one| one.bytes).sum::<u64>()));
        if bytes.await? > limit {
            self.prune(PruneRequest { keep: Some(limit), ..PruneRequest::default() }).await?;
        }
        Ok(())
    }
}

fn choose(mut candidates: Vec<Cached>, request: &PruneRequest) -> Vec<Cached> {
    candidates.retain(|one| !one.in_use);
    candidates.sort_by_key(|one| Reverse(one.used));
    let mut kept = 0_u64;
    candidates.retain(|one| {
        let named = request.ids.is_empty() || request.ids.iter().any(|id| one.id.starts_with(id.as_str()));
        let old = request.before.is_none_or(|before| one.used < before);
        let over = request.keep.is_none_or(|keep| {
            kept = kept.saturating_add(one.bytes);
            kept > keep
        });
        named && old && over
    });
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(id: &str, seconds: i64, bytes: u64) -> Cached {
        let used = Timestamp { seconds, nanoseconds: 0 };
        let (id, text) = (id.to_owned(), String::new());
        Cached { id, text, created: used, used, bytes, is_mount: false, in_use: false }
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let all = vec![cached("old", 1, 10), cached("new", 3, 10), cached("mid", 2, 10)];
        let chosen = |request: PruneRequest| -> Vec<String> {
            choose(all.clone(), &request).into_iter().map(|one| one.id).collect()
        };
        assert_eq!(chosen(PruneRequest::default()), ["new", "mid", "old"]);
        assert_eq!(chosen(PruneRequest { keep: Some(20), ..PruneRequest::default() }), ["old"]);
        assert_eq!(chosen(PruneRequest { keep: Some(u64::MAX), ..PruneRequest::default() }).len(), 0);
        let busy = Cached { in_use: true, ..cached("busy", 1, 10) };
        assert_eq!(choose(vec![busy], &PruneRequest::default()), []);
        let before = Some(Timestamp { seconds: 2, nanoseconds: 0 });
        assert_eq!(chosen(PruneRequest { before, ..PruneRequest::default() }), ["old"]);
        assert_eq!(chosen(PruneRequest { ids: vec!["mi".into()], ..PruneRequest::default() }), ["mid"]);
    }
}
