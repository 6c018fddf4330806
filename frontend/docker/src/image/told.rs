//! What work tells and nobody has read yet. A client that reads slowly, or not at all, neither holds the work up nor makes
//! this grow: a layer's newer count takes the place of the one that still waits.

use std::collections::VecDeque;
use std::mem::discriminant;
use std::sync::{Mutex, PoisonError};

use tare_image::Progress;
use tokio::sync::Notify;

/// Lines that wait at most. An image of 500 layers with six stations each stays below.
const MOST: usize = 8192;

#[derive(Default)]
pub(super) struct Told {
    waiting: Mutex<VecDeque<Progress>>,
    news: Notify,
}

impl Told {
    /// Keeps a line for the client; the oldest goes where there are too many.
    pub(super) fn put(&self, progress: Progress) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let old = waiting.iter_mut().rev().find(|old| same_layer(old, &progress));
        match old.filter(|old| counts_on(old, &progress)) {
            Some(old) => *old = progress,
            None => {
                if waiting.len() >= MOST {
                    waiting.pop_front();
                }
                waiting.push_back(progress);
            }
        }
        drop(waiting);
        self.news.notify_one();
    }

    pub(super) fn take(&self) -> Option<Progress> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Resolves when something was put, also before the call.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

fn same_layer(old: &Progress, new: &Progress) -> bool {
    matches!((old, new), (Progress::Layer { id: old, .. }, Progress::Layer { id: new, .. }) if old == new)
}

/// Whether the new line only counts on where the old one was.
fn counts_on(old: &Progress, new: &Progress) -> bool {
    match (old, new) {
        (Progress::Layer { state: old, .. }, Progress::Layer { state: new, .. }) => {
            discriminant(old) == discriminant(new) && new.bytes().is_some()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_image::LayerState;

    fn at(id: &str, current: u64) -> Progress {
        Progress::Layer { id: id.into(), state: LayerState::Downloading { current, total: 1 << 40 } }
    }

    #[test]
    fn counts_take_each_others_place_and_stations_do_not() {
        let told = Told::default();
        for count in 0..100_000 {
            told.put(at("a", count));
            told.put(at("b", count));
        }
        let done = Progress::Layer { id: "a".into(), state: LayerState::DownloadComplete };
        told.put(done.clone());
        told.put(at("a", 7));
        let all: Vec<_> = std::iter::from_fn(|| told.take()).collect();
        assert_eq!(all, [at("a", 99_999), at("b", 99_999), done, at("a", 7)]);
    }

    #[test]
    fn what_nobody_reads_is_bounded() {
        let told = Told::default();
        for count in 0..100_000 {
            told.put(Progress::Status { id: None, text: count.to_string() });
        }
        assert_eq!(std::iter::from_fn(|| told.take()).count(), MOST);
    }
}
