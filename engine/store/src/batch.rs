use std::sync::Arc;

use serde::Serialize;

use crate::file::File;
use crate::pending::Pending;
use crate::{Error, Result, lease, read};

/// Changes that are made together or not at all. Later ones win over earlier ones to the same key.
#[derive(Debug, Default)]
pub struct Batch {
    conditions: Vec<Condition>,
    steps: Vec<Step>,
    /// The first value that had no JSON form; the commit returns it.
    broken: Option<Error>,
}

/// One record's new value; `None` deletes it.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub table: &'static str,
    pub key: String,
    pub value: Option<Arc<[u8]>>,
}

#[derive(Debug)]
enum Condition {
    Present(&'static str, String),
    Absent(&'static str, String),
    Unleased(String),
}

#[derive(Debug)]
enum Step {
    Write(Write),
    UnleaseAll(String),
}

impl Batch {
    /// Stores `value` as JSON under `key`.
    pub fn put<T: Serialize + ?Sized>(&mut self, table: &'static str, key: &str, value: &T) -> &mut Self {
        match serde_json::to_vec(value) {
            Ok(json) => self.write(table, key.to_owned(), Some(json.into())),
            Err(error) => self.break_with(table, key, error.to_string()),
        }
    }

    /// Removes a record; one that is not there is no error.
    pub fn delete(&mut self, table: &'static str, key: &str) -> &mut Self {
        self.write(table, key.to_owned(), None)
    }

    /// Notes that `holder` uses `resource`, e.g. `container/<id>` and `volume/<name>`.
    pub fn lease(&mut self, holder: &str, resource: &str) -> &mut Self {
        if let Some(bad) = [holder, resource].into_iter().find(|text| text.contains('\0') || text.is_empty())
        {
            return self.break_with(lease::BY_RESOURCE, bad, "leases are text without NUL".to_owned());
        }
        lease::keys(holder, resource).into_iter().for_each(|(table, key)| {
            self.write(table, key, Some(Arc::from(&b"null"[..])));
        });
        self
    }

    /// Ends one use.
    pub fn unlease(&mut self, holder: &str, resource: &str) -> &mut Self {
        for (table, key) in lease::keys(holder, resource) {
            self.write(table, key, None);
        }
        self
    }

    /// Ends every use by `holder`, those that this batch begins before included.
    pub fn unlease_all(&mut self, holder: &str) -> &mut Self {
        self.steps.push(Step::UnleaseAll(holder.to_owned()));
        self
    }

    /// Refuses the batch with [`Error::Missing`] when there is no such record at the moment of the commit.
    pub fn only_if(&mut self, table: &'static str, key: &str) -> &mut Self {
        self.conditions.push(Condition::Present(table, key.to_owned()));
        self
    }

    /// Refuses the batch with [`Error::Exists`] when there is such a record at the moment of the commit.
    pub fn unless(&mut self, table: &'static str, key: &str) -> &mut Self {
        self.conditions.push(Condition::Absent(table, key.to_owned()));
        self
    }

    /// Refuses the batch with [`Error::Leased`] when somebody uses `resource` at the moment of the commit.
    pub fn unless_leased(&mut self, resource: &str) -> &mut Self {
        self.conditions.push(Condition::Unleased(resource.to_owned()));
        self
    }

    fn write(&mut self, table: &'static str, key: String, value: Option<Arc<[u8]>>) -> &mut Self {
        self.steps.push(Step::Write(Write { table, key, value }));
        self
    }

    fn break_with(&mut self, table: &'static str, key: &str, why: String) -> &mut Self {
        self.broken.get_or_insert_with(|| Error::Encode { table, key: key.to_owned(), why });
        self
    }

    /// The plain writes that this batch comes to, once its conditions are found to hold.
    pub(crate) fn resolve(self, file: &File, pending: &Pending) -> Result<Vec<Write>> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.conditions.iter().try_for_each(|condition| condition.check(file, pending))?;
        let mut writes = Vec::with_capacity(self.steps.len());
        for step in self.steps {
            match step {
                Step::Write(write) => writes.push(write),
                Step::UnleaseAll(holder) => lease::end_all(file, pending, &holder, &mut writes)?,
            }
        }
        Ok(writes)
    }
}

impl Condition {
    fn check(&self, file: &File, pending: &Pending) -> Result<()> {
        match self {
            Self::Present(table, key) if read::value_in(file, pending, table, key)?.is_none() => {
                Err(Error::Missing { table, key: key.clone() })
            }
            Self::Absent(table, key) if read::value_in(file, pending, table, key)?.is_some() => {
                Err(Error::Exists { table, key: key.clone() })
            }
            Self::Unleased(resource) => match lease::holders_in(file, pending, resource)? {
                holders if holders.is_empty() => Ok(()),
                holders => Err(Error::Leased { resource: resource.clone(), holders }),
            },
            Self::Present(..) | Self::Absent(..) => Ok(()),
        }
    }
}
