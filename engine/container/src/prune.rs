use tare_model::Id;

use crate::container::{Container, Status};
use crate::engine::{Engine, blocking};
use crate::options::RemoveOptions;
use crate::{Error, Result};

/// What [`Engine::prune`] has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The containers.
    pub containers: Vec<Id>,
    /// Bytes that they had written.
    pub bytes: u64,
}

impl Engine {
    /// Removes the containers that do not run and that `doomed` picks; their volumes stay.
    pub async fn prune(&self, doomed: impl Fn(&Container) -> bool) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        for container in self.list() {
            let down = matches!(container.state.status, Status::Created | Status::Exited | Status::Dead);
            if !down || !doomed(&container) {
                continue;
            }
            let (snapshots, key) = (self.snapshots().clone(), container.id.to_string());
            let bytes = blocking(move || Ok(snapshots.usage(&key)?)).await.unwrap_or(0);
            match self.remove(container.id.as_str(), RemoveOptions::default()).await {
                Ok(()) => {
                    pruned.containers.push(container.id.clone());
                    pruned.bytes += bytes;
                }
                // Started, or removed by somebody else, since we looked.
                Err(Error::NoSuchContainer(_) | Error::State(_) | Error::Already(..)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pruned)
    }
}
