//! A class of service of resctrl.

use tare_oci::runtime::IntelRdt;

use crate::error::{Error, Result};

/// What is made and written below /sys/fs/resctrl.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rdt {
    /// None: one of the container's own, which goes with it.
    pub(crate) class: Option<String>,
    /// Lines; with none a class that is named must be there already.
    pub(crate) schemata: Vec<String>,
    pub(crate) monitoring: bool,
}

pub(super) fn plan(rdt: &IntelRdt) -> Result<Rdt> {
    let broken = |name: &str, rule: &str| Err(Error::spec(format!("linux.intelRdt.{name}"), rule));
    let class = rdt.clos_id.as_str();
    if class.contains(['/', '\0', '\n']) || matches!(class, "." | ".." | "info" | "mon_groups" | "mon_data") {
        return broken("closID", "must be the name of a directory that is none of resctrl's own");
    }
    let lines = rdt.schemata.iter().enumerate().map(|(i, line)| (format!("schemata[{i}]"), line));
    let lines = lines.chain([
        ("l3CacheSchema".to_owned(), &rdt.l3_cache_schema),
        ("memBwSchema".to_owned(), &rdt.mem_bw_schema),
    ]);
    let mut schemata = Vec::new();
    for (name, line) in lines.filter(|(_, line)| !line.is_empty()) {
        if line.contains(['\n', '\0']) || !line.contains(':') {
            return broken(&name, "must be one line as in L3:0=f0;1=f");
        }
        schemata.push(line.clone());
    }
    let class = (!class.is_empty()).then(|| class.to_owned());
    Ok(Rdt { class, schemata, monitoring: rdt.enable_monitoring })
}
