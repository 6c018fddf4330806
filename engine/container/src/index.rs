//! Which containers there are: by id, by the beginning of an id, by name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tare_model::{Id, Name};
use tokio::sync::{mpsc, watch};

use crate::container::Container;
use crate::task::Input;
use crate::{Error, Result};

/// All containers. Its lock is never held while anything is waited for.
#[derive(Default)]
pub(crate) struct Index(RwLock<Known>);

#[derive(Default)]
struct Known {
    by_id: BTreeMap<Id, Handle>,
    /// Names of containers that are being made are here before their ids are above.
    names: HashMap<Name, Id>,
}

/// How others reach a container's task.
#[derive(Clone)]
pub(crate) struct Handle {
    pub inbox: mpsc::UnboundedSender<Input>,
    pub view: watch::Receiver<Arc<Container>>,
}

impl Handle {
    /// The container as it is now, without waiting for its task.
    pub(crate) fn container(&self) -> Arc<Container> {
        self.view.borrow().clone()
    }

    pub(crate) fn send(&self, input: Input, id: &str) -> Result<()> {
        self.inbox.send(input).map_err(|_| Error::NoSuchContainer(id.to_owned()))
    }
}

impl Index {
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.read().by_id.values().map(Handle::container).collect()
    }

    pub(crate) fn get(&self, id: &Id) -> Option<Handle> {
        self.read().by_id.get(id).cloned()
    }

    /// Finds by id, name or beginning of an id.
    pub(crate) fn find(&self, text: &str) -> Result<Handle> {
        let known = self.read();
        let id = find_id(&known.by_id, &known.names, text)?;
        known.by_id.get(&id).cloned().ok_or_else(|| Error::NoSuchContainer(text.to_owned()))
    }

    pub(crate) fn insert(&self, id: Id, name: Name, handle: Handle) {
        let mut known = self.write();
        known.names.insert(name, id.clone());
        known.by_id.insert(id, handle);
    }

    pub(crate) fn remove(&self, id: &Id, name: &Name) {
        let mut known = self.write();
        known.by_id.remove(id);
        known.names.remove(name);
    }

    /// Keeps a name for a container that is being made.
    pub(crate) fn reserve(&self, name: &Name, id: &Id) -> Result<()> {
        let mut known = self.write();
        match known.names.get(name) {
            Some(holder) => Err(Error::NameInUse { name: name.to_string(), holder: holder.clone() }),
            None => {
                known.names.insert(name.clone(), id.clone());
                Ok(())
            }
        }
    }

    pub(crate) fn release(&self, name: &Name) {
        self.write().names.remove(name);
    }

    /// Gives a container another name.
    pub(crate) fn rename(&self, id: &Id, old: &Name, new: &Name) -> Result<()> {
        if old == new {
            let message = "Renaming a container with the same name as its current name";
            return Err(Error::InvalidSpec(message.to_owned()));
        }
        self.reserve(new, id)?;
        self.release(old);
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A whole id goes before a name, a name before the beginning of an id, as in Docker.
fn find_id<T>(by_id: &BTreeMap<Id, T>, names: &HashMap<Name, Id>, text: &str) -> Result<Id> {
    let text = text.strip_prefix('/').unwrap_or(text);
    let whole = text.parse::<Id>().ok().filter(|id| by_id.contains_key(id));
    let named = || text.parse::<Name>().ok().and_then(|name| names.get(&name).cloned());
    if let Some(id) = whole.or_else(named) {
        return Ok(id);
    }
    if text.is_empty() {
        return Err(Error::NoSuchContainer(text.to_owned()));
    }
    let mut matching = by_id.keys().filter(|id| id.as_str().starts_with(text));
    match (matching.next(), matching.next()) {
        (Some(id), None) => Ok(id.clone()),
        (Some(_), Some(_)) => Err(Error::Ambiguous(text.to_owned())),
        (None, _) => Err(Error::NoSuchContainer(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ids_and_beginnings_are_found() {
        let id = |byte: u8| Id::from_random([byte; 32]);
        let mut first = [0xab; 32];
        first[31] = 1;
        let by_id: BTreeMap<Id, ()> = [(Id::from_random(first), ()), (id(0xab), ()), (id(0xcd), ())].into();
        let names: HashMap<Name, Id> = [("cdcd".parse().unwrap(), id(0xab))].into();
        assert_eq!(find_id(&by_id, &names, "cdc").unwrap(), id(0xcd));
        assert_eq!(
            find_id(&by_id, &names, "cdcd").unwrap(),
            id(0xab),
            "a name goes before the beginning of an id"
        );
        assert_eq!(find_id(&by_id, &names, "/cdcd").unwrap(), id(0xab));
        assert_eq!(find_id(&by_id, &names, id(0xcd).as_str()).unwrap(), id(0xcd));
        let error = find_id(&by_id, &names, "ab").unwrap_err();
        assert_eq!(error.to_string(), "Multiple IDs found with provided prefix: ab");
        for unknown in ["", "/", "ef", "nobody", "../cd"] {
            assert!(matches!(find_id(&by_id, &names, unknown), Err(Error::NoSuchContainer(_))), "{unknown}");
        }
    }
}
