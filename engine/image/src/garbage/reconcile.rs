//! Disk and records, made to agree after whatever ended the last daemon.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tare_model::Digest;

use crate::content::{Leftover, discard};
use crate::records::{Change, Target, change};
use crate::{Error, Images, Result, garbage};

/// What [`Images::reconcile`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Layers that no image needed.
    pub layers: usize,
    /// Images whose layers were gone.
    pub images: usize,
    /// Partial downloads that were dropped.
    pub partials: usize,
    /// Bytes of layers and blobs that were removed.
    pub bytes: u64,
}

/// Partial downloads that are kept to be taken up again: so many, so many bytes, so long.
const KEPT: usize = 32;
const KEPT_BYTES: u64 = 16 << 30;
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

impl Images {
    /// Makes disk and records agree, at the start of a daemon: drops what no image needs, keeps a bounded number of
    /// partial downloads, forgets images whose layers are gone.
    pub async fn reconcile(self: &Arc<Self>) -> Result<Swept> {
        let forgotten = forget_incomplete(self).await?;
        let content = self.content.clone();
        let partials = tokio::task::spawn_blocking(move || -> Result<usize> {
            let stale = stale(content.leftovers()?, SystemTime::now());
            stale.iter().for_each(|leftover| discard(&leftover.path));
            Ok(stale.len())
        });
        let partials = partials.await.map_err(|_| Error::Cancelled)??;
        let collected = garbage::collect(self, Vec::new()).await?;
        Ok(Swept { layers: collected.layers.len(), images: forgotten, partials, bytes: collected.bytes })
    }
}

/// Forgets names without image, and images with a layer that is gone: the next pull brings it anew. One that is leased
/// stays in the records, so that its containers can still be told what they were made of.
async fn forget_incomplete(images: &Arc<Images>) -> Result<usize> {
    change(images, |images, catalog| {
        let broken = |id: &Digest| {
            let record = catalog.records.get(id);
            record.is_none_or(|r| r.layers.iter().any(|layer| !images.snapshots.has(&layer.chain)))
        };
        let mut forgotten = Change::default();
        for (reference, target) in catalog.references.iter().filter(|(_, target)| broken(&target.image)) {
            match catalog.behind(target).into_iter().find(|id| !broken(id)) {
                // It stands for another platform as well.
                Some(image) => forgotten.name.push((reference.clone(), Target { image, ..*target })),
                None => forgotten.unname.push(reference.clone()),
            }
        }
        for (id, record) in catalog.records.iter().filter(|(id, _)| broken(id)) {
            tracing::warn!("image {} has lost a layer and is forgotten", id.short());
            if images.store.holders(&crate::records::resource(id))?.is_empty() {
                forgotten.delete.push(*id);
            } else {
                forgotten.put.push((*id, crate::records::Record { dropped: true, ..record.clone() }));
            }
        }
        let count = forgotten.delete.len() + forgotten.put.len();
        Ok((forgotten, count))
    })
    .await
}

/// What need not be kept: what no download would look for, what is old, and what is too much, the oldest first.
fn stale(mut leftovers: Vec<Leftover>, now: SystemTime) -> Vec<Leftover> {
    leftovers.sort_by_key(|leftover| Reverse(leftover.modified));
    let (mut count, mut bytes) = (0, 0);
    leftovers.retain(|leftover| {
        let young = now.duration_since(leftover.modified).is_ok_and(|age| age < KEPT_FOR);
        let fits = count < KEPT && bytes + leftover.length <= KEPT_BYTES;
        let keep = leftover.resumable && leftover.length > 0 && young && fits;
        if keep {
            (count, bytes) = (count + 1, bytes + leftover.length);
        }
        !keep
    });
    leftovers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leftover(name: &str, length: u64, age: u64, now: SystemTime) -> Leftover {
        let modified = now - Duration::from_secs(age);
        Leftover { path: name.into(), length, modified, resumable: !name.ends_with("scratch") }
    }

    #[test]
    fn of_partial_downloads_the_newest_are_kept() {
        let now = SystemTime::now();
        let week = KEPT_FOR.as_secs();
        let all = vec![
            leftover("new", 1, 5, now),
            leftover("old", 1, week + 1, now),
            leftover("empty", 0, 5, now),
            leftover("x.scratch", 1, 5, now),
            leftover("giant", KEPT_BYTES, 3, now),
            leftover("newest", 7, 1, now),
        ];
        let dropped: Vec<_> = stale(all, now).into_iter().map(|l| l.path.display().to_string()).collect();
        assert_eq!(dropped, ["giant", "empty", "x.scratch", "old"]);
        let many = (0..KEPT as u64 + 5).map(|n| leftover("n", 1, n, now)).collect();
        assert_eq!(stale(many, now).len(), 5);
    }
}
