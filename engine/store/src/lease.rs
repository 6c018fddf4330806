//! A lease is two empty records, one for each way to ask. Both are written by the same batch.

use std::sync::{Mutex, PoisonError};

use crate::Result;
use crate::batch::Write;
use crate::file::File;
use crate::pending::Pending;
use crate::read;

pub(crate) const BY_RESOURCE: &str = "lease.by-resource";
const BY_HOLDER: &str = "lease.by-holder";

/// The two records of a lease. NUL parts the two names, as neither can contain it.
pub(crate) fn keys(holder: &str, resource: &str) -> [(&'static str, String); 2] {
    [(BY_RESOURCE, format!("{resource}\0{holder}")), (BY_HOLDER, format!("{holder}\0{resource}"))]
}

pub(crate) fn holders(file: &File, pending: &Mutex<Pending>, resource: &str) -> Result<Vec<String>> {
    holders_in(file, &pending.lock().unwrap_or_else(PoisonError::into_inner), resource)
}

pub(crate) fn holders_in(file: &File, pending: &Pending, resource: &str) -> Result<Vec<String>> {
    others(file, pending, BY_RESOURCE, resource)
}

pub(crate) fn resources(file: &File, pending: &Mutex<Pending>, holder: &str) -> Result<Vec<String>> {
    others(file, &pending.lock().unwrap_or_else(PoisonError::into_inner), BY_HOLDER, holder)
}

/// Adds to `writes` the end of every lease of `holder`: those that are stored, queued, or begun earlier in `writes`.
pub(crate) fn end_all(file: &File, pending: &Pending, holder: &str, writes: &mut Vec<Write>) -> Result<()> {
    let mut resources = others(file, pending, BY_HOLDER, holder)?;
    let prefix = format!("{holder}\0");
    let begun = writes.iter().filter(|write| write.table == BY_HOLDER && write.value.is_some());
    resources.extend(begun.filter_map(|write| write.key.strip_prefix(&prefix).map(str::to_owned)));
    for resource in resources {
        writes.extend(keys(holder, &resource).map(|(table, key)| Write { table, key, value: None }));
    }
    Ok(())
}

fn others(file: &File, pending: &Pending, table: &'static str, name: &str) -> Result<Vec<String>> {
    let prefix = format!("{name}\0");
    let records = read::below_in(file, pending, table, &prefix)?;
    Ok(records.into_iter().map(|(key, _)| key[prefix.len()..].to_owned()).collect())
}
