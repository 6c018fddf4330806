use crate::{Error, Inner, Result, Volume, Volumes, remove};

/// What [`Volumes::prune`] has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The names.
    pub names: Vec<String>,
    /// Bytes of their files.
    pub bytes: u64,
}

impl Volumes {
    /// Removes the volumes that nobody leases and that `wanted` picks: anonymous ones, or with `all` named ones too.
    pub async fn prune(
        &self,
        all: bool,
        wanted: impl Fn(&Volume) -> bool + Send + 'static,
    ) -> Result<Pruned> {
        self.blocking(move |inner| {
            let mut pruned = Pruned::default();
            for volume in inner.list()? {
                if (all || volume.is_anonymous()) && wanted(&volume) {
                    inner.prune(&volume, &mut pruned)?;
                }
            }
            Ok(pruned)
        })
        .await
    }
}

impl Inner {
    fn prune(&self, volume: &Volume, pruned: &mut Pruned) -> Result<()> {
        if !self.store.holders(&crate::lease(&volume.name))?.is_empty() {
            return Ok(());
        }
        let bytes = remove::usage(&self.data(&volume.name)).unwrap_or(0);
        match self.remove(&volume.name) {
            // Leased since we looked.
            Err(Error::InUse { .. }) => return Ok(()),
            other => other?,
        }
        pruned.names.push(volume.name.to_string());
        pruned.bytes += bytes;
        Ok(())
    }
}
