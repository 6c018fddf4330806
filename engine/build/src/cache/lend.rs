//! `--cache-from`: images that steps are taken from which this machine has not done itself. A step is the same when the image
//! has it in its history, after the same history upon the same layers. Files that were copied stand in the history by their
//! digest. What an image lends is not kept in the cache: builds that do not name the image do not trust it.

use tare_image::{Image, LayerUse};
use tare_model::Timestamp;

use crate::job::{Done, Job};
use crate::stage::state::State;
use crate::{Progress, Result};

/// An image and all its layers.
pub(crate) struct Lender {
    image: Image,
    layers: Vec<LayerUse>,
}

impl Job {
    /// The images that were named and are here, or could be fetched. One that cannot is only said to be of no use.
    pub(crate) async fn lenders(&self) -> &[Lender] {
        let load = async {
            let mut lenders = Vec::new();
            for name in &self.build.reuse.cache_from {
                match self.image(name, 0, &self.platform).await {
                    Ok((image, state)) => lenders.push(Lender { image, layers: state.layers }),
                    Err(why) => self.tell(Progress::Warning(format!("--cache-from {name}: {why}"))),
                }
            }
            lenders
        };
        self.lenders.get_or_init(|| load).await
    }

    /// When a step was done and what layer it made, where one of the images has it as the next one after `state`.
    pub(crate) async fn lent(&self, state: &State, created_by: &str) -> Result<Option<Done>> {
        if self.build.reuse.no_cache || self.build.reuse.cache_from.is_empty() {
            return Ok(None);
        }
        let lent = self.lenders().await.iter().find_map(|lender| lender.next(state, created_by));
        Ok(lent.filter(|(created, _)| self.build.epoch.is_none_or(|epoch| created.seconds == epoch)))
    }
}

impl Lender {
    fn next(&self, state: &State, created_by: &str) -> Option<(Timestamp, Option<LayerUse>)> {
        if self.image.platform() != state.platform {
            return None;
        }
        let before = state.history.len();
        let (done, rest) = self.image.config.history.split_at_checked(before)?;
        let same = done.iter().zip(&state.history).all(|(theirs, ours)| {
            (&theirs.created_by, theirs.empty_layer) == (&ours.created_by, ours.empty_layer)
        });
        let below = done.iter().filter(|step| !step.empty_layer).count();
        let upon = self.layers.get(..below)?.last().map(|layer| layer.chain);
        let next =
            rest.first().filter(|next| same && upon == state.top() && next.created_by == created_by)?;
        let layer = if next.empty_layer { None } else { Some(self.layers.get(below)?.clone()) };
        Some((next.created?, layer))
    }
}
