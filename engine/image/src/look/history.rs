//! How an image came to be. Pure.

use tare_model::{Reference, Timestamp};
use tare_oci::image::History;

use crate::{Image, Images};

/// One step, as `history` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image's id for the last step; `<missing>` for the others, which are no images of their own here.
    pub id: String,
    /// When.
    pub created: Option<Timestamp>,
    /// By which command.
    pub created_by: String,
    /// A remark.
    pub comment: String,
    /// Bytes that the step added, unpacked.
    pub size: u64,
    /// The names of the image, for the last step.
    pub tags: Vec<Reference>,
}

const MISSING: &str = "<missing>";

impl Images {
    /// How an image came to be, the last step first.
    pub fn history(&self, image: &Image) -> Vec<HistoryEntry> {
        of(image)
    }
}

/// An image whose configuration tells no history, or too little, still shows a step for every layer.
fn of(image: &Image) -> Vec<HistoryEntry> {
    let told = &image.config.history;
    let made = told.iter().filter(|step| !step.empty_layer).count();
    let untold = History::default();
    let steps = told.iter().chain(std::iter::repeat_n(&untold, image.layer_sizes.len().saturating_sub(made)));
    let mut sizes = image.layer_sizes.iter().copied();
    let mut entries: Vec<_> = steps.map(|step| entry(step, &mut sizes)).collect();
    if let Some(last) = entries.last_mut() {
        last.id = image.id.to_string();
        last.tags = image.tags.clone();
    }
    entries.reverse();
    entries
}

fn entry(step: &History, sizes: &mut impl Iterator<Item = u64>) -> HistoryEntry {
    HistoryEntry {
        id: MISSING.to_owned(),
        created: step.created,
        created_by: step.created_by.clone(),
        comment: step.comment.clone(),
        size: if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
        tags: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Layer;
    use crate::records::tests::{catalog, digest};

    fn image(steps: &[(&str, bool)], sizes: &[u64]) -> Image {
        let mut catalog = catalog(&[("a:latest", 7)]);
        let record = catalog.records.get_mut(&digest(7)).unwrap();
        let config = std::sync::Arc::make_mut(&mut record.config);
        let step = |(by, empty_layer): &(&str, bool)| History {
            created_by: (*by).to_owned(),
            empty_layer: *empty_layer,
            ..History::default()
        };
        config.history = steps.iter().map(step).collect();
        record.layers = sizes.iter().map(|size| Layer { chain: digest(1), size: *size }).collect();
        catalog.image(&digest(7)).unwrap()
    }

    fn shown(image: &Image) -> Vec<(String, u64)> {
        of(image).into_iter().map(|entry| (entry.created_by, entry.size)).collect()
    }

    #[test]
    fn sizes_fall_to_the_steps_that_made_layers() {
        let image = image(&[("ADD", false), ("ENV", true), ("RUN", false)], &[100, 7]);
        assert_eq!(shown(&image), [("RUN".into(), 7), ("ENV".into(), 0), ("ADD".into(), 100)]);
        let entries = of(&image);
        assert_eq!((entries[0].id.as_str(), entries[2].id.as_str()), (&*digest(7).to_string(), "<missing>"));
        assert_eq!(entries[0].tags.len(), 1);
    }

    #[test]
    fn an_image_that_tells_too_little_or_too_much_is_shown_all_the_same() {
        assert_eq!(shown(&image(&[], &[1, 2])), [(String::new(), 2), (String::new(), 1)]);
        assert_eq!(shown(&image(&[("A", false), ("B", false)], &[1])), [("B".into(), 0), ("A".into(), 1)]);
        assert_eq!(shown(&image(&[], &[])), []);
    }
}
