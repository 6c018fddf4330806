use tare_netlink::nft::{Batch, commit, elements, generation, rules};
use tare_netlink::{Error as NetlinkError, Socket};

use crate::plan::Names;
use crate::ruleset::{self, Elements, PORTS, WILDCARD_PORTS};
use crate::{Error, Ipv4Net, Result};

/// How often a transaction is tried while others keep changing the ruleset.
const ATTEMPTS: usize = 64;

/// Our table in the kernel, and what should be in it.
pub(crate) struct Firewall {
    socket: Socket,
    names: Names,
    subnet: Ipv4Net,
    wanted: Elements,
    /// The ruleset's number when the table was last known to be whole: any change by anybody raises it.
    sound_at: Option<u32>,
}

impl Firewall {
    /// A table that is not looked at yet.
    pub(crate) fn new(names: Names, subnet: Ipv4Net) -> Result<Self> {
        let socket = Socket::netfilter().map_err(|cause| failed("opening nf_tables", cause))?;
        Ok(Self { socket, names, subnet, wanted: Elements::new(), sound_at: None })
    }

    /// Connection tracking shares the socket.
    pub(crate) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Puts the table back if it is not there, or not whole: an administrator may flush the ruleset at any time.
    pub(crate) fn ensure(&mut self) -> Result<()> {
        let now = generation(&mut self.socket).map_err(|cause| self.failed(cause))?;
        if self.sound_at == Some(now) {
            return Ok(());
        }
        if self.is_whole().map_err(|cause| self.failed(cause))? {
            self.sound_at = Some(now);
            return Ok(());
        }
        self.rebuild()
    }

    /// Sends ports to containers.
    pub(crate) fn publish(&mut self, added: Elements) -> Result<()> {
        self.ensure()?;
        if added.is_empty() {
            return Ok(());
        }
        let table = self.names.table.clone();
        let mut batch = Batch::new(&table);
        ruleset::add_elements(&mut batch, &added);
        self.wanted.extend(added);
        self.change(&batch)
    }

    /// Closes ports. Those that were not open are no error.
    pub(crate) fn withdraw(&mut self, removed: &Elements) -> Result<()> {
        let open: Vec<_> = removed.keys().filter(|key| self.wanted.remove(*key).is_some()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let table = self.names.table.clone();
        let mut batch = Batch::new(&table);
        for map in [PORTS, WILDCARD_PORTS] {
            let keys: Vec<_> =
                open.iter().filter(|(name, _)| *name == map).map(|(_, key)| key.clone()).collect();
            batch.delete_elements(map, &keys);
        }
        self.change(&batch)
    }

    /// Sets what should be open, and makes the table anew if there is anything to do: an earlier version of the daemon may
    /// have left other rules. Flows that are under way pass from the old table to the new one.
    pub(crate) fn reset(&mut self, wanted: Elements) -> Result<()> {
        self.wanted = wanted;
        let present = rules(&mut self.socket, &self.names.table).map_err(|cause| self.failed(cause))?;
        if self.wanted.is_empty() && present.is_empty() { Ok(()) } else { self.rebuild() }
    }

    /// Removes the table.
    pub(crate) fn remove(&mut self) -> Result<()> {
        self.wanted.clear();
        self.sound_at = None;
        let table = self.names.table.clone();
        let mut batch = Batch::new(&table);
        batch.add_table().delete_table();
        commit(&mut self.socket, &batch, None).map_err(|cause| self.failed(cause)).map(drop)
    }

    /// Carries out a change of elements that `wanted` already has. Where the table is not as we left it, all of it is
    /// made anew.
    fn change(&mut self, batch: &Batch<'_>) -> Result<()> {
        match commit(&mut self.socket, batch, self.sound_at) {
            Ok(after) => {
                self.sound_at = after;
                Ok(())
            }
            Err(error) if is_outrun(&error) => self.retry(batch),
            Err(_) => self.rebuild(),
        }
    }

    /// Someone else changed some table. If ours is as it was before this change, the change is tried again.
    fn retry(&mut self, batch: &Batch<'_>) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let now = generation(&mut self.socket).map_err(|cause| self.failed(cause))?;
            if rules(&mut self.socket, &self.names.table).ok()
                != Some(ruleset::rule_counts(&self.names, self.subnet))
            {
                return self.rebuild();
            }
            match commit(&mut self.socket, batch, Some(now)) {
                Ok(after) => {
                    self.sound_at = after;
                    return Ok(());
                }
                Err(error) if is_outrun(&error) => {}
                Err(_) => return self.rebuild(),
            }
        }
        self.rebuild()
    }

    fn rebuild(&mut self) -> Result<()> {
        let mut attempts = 0;
        loop {
            let now = generation(&mut self.socket).map_err(|cause| self.failed(cause))?;
            let batch = ruleset::table(&self.names, self.subnet, &self.wanted);
            match commit(&mut self.socket, &batch, Some(now)) {
                Ok(after) => {
                    self.sound_at = after;
                    return Ok(());
                }
                Err(error) if is_outrun(&error) && attempts < ATTEMPTS => attempts += 1,
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn is_whole(&mut self) -> std::result::Result<bool, NetlinkError> {
        if rules(&mut self.socket, &self.names.table)? != ruleset::rule_counts(&self.names, self.subnet) {
            return Ok(false);
        }
        let mut present = Elements::new();
        for map in [PORTS, WILDCARD_PORTS] {
            let of_map = elements(&mut self.socket, &self.names.table, map)?;
            present.extend(of_map.into_iter().map(|(key, value)| ((map, key), value)));
        }
        Ok(present == self.wanted)
    }

    fn failed(&self, cause: NetlinkError) -> Error {
        failed(&format!("nftables table ip {}", self.names.table), cause)
    }
}

fn failed(what: &str, cause: NetlinkError) -> Error {
    Error::Kernel { what: what.to_owned(), cause }
}

/// Whether the ruleset changed between our look at it and our transaction.
fn is_outrun(error: &NetlinkError) -> bool {
    const RESTART: i32 = 85;
    matches!(error, NetlinkError::Refused { code: RESTART, .. })
}
