//! Reading: what is queued first, then the disk. The order matters: the writer takes a value out of the queue only
//! after it is on the disk, so that no moment exists in which a value is in neither.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::de::DeserializeOwned;

use crate::file::File;
use crate::pending::Pending;
use crate::{Error, Result};

type Record = (String, Arc<[u8]>);

pub(crate) fn definition(table: &'static str) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(table)
}

pub(crate) fn decode<T: DeserializeOwned>(table: &'static str, key: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::Decode {
        table,
        key: key.to_owned(),
        why: error.to_string(),
    })
}

pub(crate) fn value(
    file: &File,
    pending: &Mutex<Pending>,
    table: &'static str,
    key: &str,
) -> Result<Option<Arc<[u8]>>> {
    let queued = pending.lock().unwrap_or_else(PoisonError::into_inner).get(table, key);
    queued.map_or_else(|| stored(file, table, key), Ok)
}

pub(crate) fn value_in(
    file: &File,
    pending: &Pending,
    table: &'static str,
    key: &str,
) -> Result<Option<Arc<[u8]>>> {
    pending.get(table, key).map_or_else(|| stored(file, table, key), Ok)
}

/// Every record whose key begins with `prefix`. The lock is held while the disk is read: queue and disk are one moment.
pub(crate) fn below(
    file: &File,
    pending: &Mutex<Pending>,
    table: &'static str,
    prefix: &str,
) -> Result<Vec<Record>> {
    below_in(file, &pending.lock().unwrap_or_else(PoisonError::into_inner), table, prefix)
}

pub(crate) fn below_in(
    file: &File,
    pending: &Pending,
    table: &'static str,
    prefix: &str,
) -> Result<Vec<Record>> {
    let mut records: BTreeMap<String, Arc<[u8]>> = stored_below(file, table, prefix)?.into_iter().collect();
    for (key, value) in pending.below(table, prefix) {
        match value {
            Some(value) => records.insert(key, value),
            None => records.remove(&key),
        };
    }
    Ok(records.into_iter().collect())
}

fn stored(file: &File, table: &'static str, key: &str) -> Result<Option<Arc<[u8]>>> {
    file.read(|database| {
        let opened = match database.begin_read()?.open_table(definition(table)) {
            Ok(opened) => opened,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(opened.get(key)?.map(|guard| Arc::from(guard.value())))
    })
}

fn stored_below(file: &File, table: &'static str, prefix: &str) -> Result<Vec<Record>> {
    file.read(|database| {
        let opened = match database.begin_read()?.open_table(definition(table)) {
            Ok(opened) => opened,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut records = Vec::new();
        for record in ReadableTable::range(&opened, prefix..)? {
            let (key, value) = record?;
            if !key.value().starts_with(prefix) {
                break;
            }
            records.push((key.value().to_owned(), Arc::from(value.value())));
        }
        Ok(records)
    })
}
