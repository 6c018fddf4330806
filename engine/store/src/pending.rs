use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::batch::Write;

/// What has been handed in and is not on the disk yet, newest value a key. Reads look here first.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    last: u64,
    tables: HashMap<&'static str, BTreeMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    sequence: u64,
    value: Option<Arc<[u8]>>,
}

/// A record's bytes; `None` for one that is being deleted.
pub(crate) type Value = Option<Arc<[u8]>>;

impl Pending {
    /// Adds the writes of one batch and returns the number that [`Pending::settle`] wants.
    pub(crate) fn add(&mut self, writes: &[Write]) -> u64 {
        self.last += 1;
        for write in writes {
            let entry = Entry { sequence: self.last, value: write.value.clone() };
            self.tables.entry(write.table).or_default().insert(write.key.clone(), entry);
        }
        self.last
    }

    /// Forgets what the batches of these numbers wrote: it is on the disk now, or has failed. Keys that a later
    /// batch wrote again stay.
    pub(crate) fn settle(&mut self, sequences: RangeInclusive<u64>) {
        for table in self.tables.values_mut() {
            table.retain(|_, entry| !sequences.contains(&entry.sequence));
        }
    }

    /// The value on its way to `key`, if one is.
    pub(crate) fn get(&self, table: &str, key: &str) -> Option<Value> {
        self.tables.get(table)?.get(key).map(|entry| entry.value.clone())
    }

    /// Every value on its way to keys that begin with `prefix`.
    pub(crate) fn below(&self, table: &str, prefix: &str) -> Vec<(String, Value)> {
        let Some(entries) = self.tables.get(table) else { return Vec::new() };
        let from = entries.range(prefix.to_owned()..);
        let inside = from.take_while(|(key, _)| key.starts_with(prefix));
        inside.map(|(key, entry)| (key.clone(), entry.value.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: &str, value: &[u8]) -> Write {
        Write { table: "t", key: key.to_owned(), value: Some(Arc::from(value)) }
    }

    #[test]
    fn a_key_written_twice_stays_until_the_second_is_settled() {
        let mut pending = Pending::default();
        let first = pending.add(&[write("a", b"1"), write("b", b"1")]);
        let second = pending.add(&[write("a", b"2")]);
        pending.settle(first..=first);
        assert_eq!(pending.get("t", "a").unwrap().unwrap().as_ref(), b"2");
        assert!(pending.get("t", "b").is_none());
        pending.settle(second..=second);
        assert!(pending.below("t", "").is_empty());
    }

    #[test]
    fn a_prefix_takes_no_neighbours() {
        let mut pending = Pending::default();
        pending.add(&[write("a/1", b""), write("a/2", b""), write("b/1", b"")]);
        let keys: Vec<_> = pending.below("t", "a/").into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["a/1", "a/2"]);
    }
}
