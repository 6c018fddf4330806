//! The rules between the fields of a [`ContainerSpec`], in Docker's words, checked once before anything is made.

mod limits;

use crate::spec::{ContainerSpec, NamespaceMode, NetworkMode, RestartPolicy, is_access};
use crate::{Error, Result};

/// What a host name may be long, HOST_NAME_MAX.
const MAX_HOSTNAME: usize = 63;

impl ContainerSpec {
    /// Checks every rule that the types do not hold already and returns what the user should be warned of. `cpus` is how
    /// many processors are online.
    pub fn check(&self, cpus: usize) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        limits::check(&self.limits, cpus, &mut warnings)?;
        self.check_lifecycle()?;
        self.check_names()?;
        self.check_security()?;
        self.check_network()?;
        self.check_mounts()?;
        Ok(warnings)
    }

    fn check_lifecycle(&self) -> Result<()> {
        if self.lifecycle.auto_remove && self.lifecycle.restart != RestartPolicy::No {
            return invalid("can't create 'AutoRemove' container with restart policy");
        }
        if self.lifecycle.log.enabled && self.lifecycle.log.max_files == 0 {
            return invalid("max-file cannot be less than 1");
        }
        Ok(())
    }

    fn check_names(&self) -> Result<()> {
        let hostname = self.identity.hostname.as_deref().unwrap_or("");
        let domainname = self.identity.domainname.as_deref().unwrap_or("");
        let sound = |name: &str| {
            name.len() <= MAX_HOSTNAME
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        };
        if !sound(hostname) || !sound(domainname) {
            return invalid(format!(
                "invalid hostname: \"{hostname}.{domainname}\": at most {MAX_HOSTNAME} of [a-zA-Z0-9._-]"
            ));
        }
        if self.namespaces.uts == NamespaceMode::Host && !(hostname.is_empty() && domainname.is_empty()) {
            return invalid("conflicting options: hostname and the UTS mode");
        }
        if self.network.mode == NetworkMode::Host && self.namespaces.uts == NamespaceMode::Host {
            return Ok(());
        }
        if matches!(self.network.mode, NetworkMode::Container(_)) && !hostname.is_empty() {
            return invalid("conflicting options: hostname and the network mode");
        }
        let variables = self.command.environment.iter().map(String::as_str);
        let words =
            self.command.entrypoint.iter().chain(&self.command.arguments).flatten().map(String::as_str);
        if variables.clone().chain(words).any(|text| text.contains('\0')) {
            return invalid("a word of the command or environment holds a zero byte");
        }
        if let Some(bad) = variables.clone().find(|variable| variable.is_empty() || variable.starts_with('='))
        {
            return invalid(format!("invalid environment variable: {bad}"));
        }
        if let Some(directory) =
            self.command.working_directory.as_deref().filter(|dir| !dir.is_empty() && !dir.starts_with('/'))
        {
            return invalid(format!(
                "the working directory '{directory}' is invalid, it needs to be an absolute path"
            ));
        }
        Ok(())
    }

    fn check_security(&self) -> Result<()> {
        for device in &self.security.devices {
            if !is_access(&device.access) {
                return invalid(format!("invalid device mode: {}", device.access));
            }
            if !device.host.is_absolute() || !device.container.is_absolute() {
                return invalid(format!("{}: a device's paths must be absolute", device.host.display()));
            }
        }
        if self.namespaces.cgroup != NamespaceMode::Private && self.namespaces.cgroup != NamespaceMode::Host {
            return Err(Error::InvalidSpec("invalid cgroup namespace mode".to_owned()));
        }
        if let crate::spec::IpcMode::Container(_) = self.namespaces.ipc {
            return Err(Error::NotSupported("sharing the IPC namespace of another container".to_owned()));
        }
        if let NamespaceMode::Container(_) = self.namespaces.uts {
            return invalid("invalid UTS mode");
        }
        for (key, value) in &self.security.sysctls {
            self.check_sysctl(key, value)?;
        }
        Ok(())
    }

    /// Only what a namespace of the container keeps apart from the host can be set.
    fn check_sysctl(&self, key: &str, value: &str) -> Result<()> {
        const IPC: [&str; 9] = [
            "kernel.msgmax",
            "kernel.msgmnb",
            "kernel.msgmni",
            "kernel.sem",
            "kernel.shmall",
            "kernel.shmmax",
            "kernel.shmmni",
            "kernel.shm_rmid_forced",
            "kernel.msg_next_id",
        ];
        let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/' | b'_' | b'-');
        if !key.bytes().all(letters) || key.contains("..") || value.contains(['\0', '\n']) {
            return invalid(format!("invalid sysctl \"{key}\""));
        }
        let key = key.replace('/', ".");
        let own_network = !matches!(self.network.mode, NetworkMode::Host | NetworkMode::Container(_));
        let own_ipc = self.namespaces.ipc != crate::spec::IpcMode::Host;
        let allowed = match key.as_str() {
            net if net.starts_with("net.") => own_network,
            ipc if IPC.contains(&ipc) || ipc.starts_with("fs.mqueue.") => own_ipc,
            _ => {
                return invalid(format!(
                    "invalid sysctl \"{key}\": it is not one of a container's own namespaces"
                ));
            }
        };
        if allowed {
            Ok(())
        } else {
            invalid(format!("sysctl \"{key}\" is not allowed in the host's namespace"))
        }
    }

    fn check_network(&self) -> Result<()> {
        let shares = matches!(self.network.mode, NetworkMode::Host | NetworkMode::Container(_));
        if matches!(self.network.mode, NetworkMode::Container(_)) && !self.network.published.is_empty() {
            return invalid("conflicting options: port publishing and the container type network mode");
        }
        if shares && self.network.mac.is_some() {
            return invalid("conflicting options: mac-address and the network mode");
        }
        if matches!(self.network.mode, NetworkMode::Bridge | NetworkMode::None)
            && self.network.address.is_some()
        {
            return invalid("user specified IP address is supported on user defined networks only");
        }
        let gateway = Some(std::net::Ipv4Addr::LOCALHOST);
        if let Some(bad) =
            self.network.extra_hosts.iter().find(|text| tare_network::extra_host(text, gateway).is_none())
        {
            return invalid(format!("bad format for add-host: \"{bad}\""));
        }
        let word =
            |text: &String| text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control());
        if let Some(bad) =
            self.network.dns_search.iter().chain(&self.network.dns_options).find(|text| word(text))
        {
            return invalid(format!("invalid DNS search domain or option: \"{bad}\""));
        }
        Ok(())
    }

    fn check_mounts(&self) -> Result<()> {
        let mut seen = std::collections::BTreeSet::new();
        for mount in &self.mounts {
            let target = crate::spec::check_target(&mount.target.to_string_lossy())?;
            if !seen.insert(target.clone()) {
                return invalid(format!("Duplicate mount point: {}", target.display()));
            }
        }
        Ok(())
    }
}

fn invalid<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::InvalidSpec(message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{CpuLimits, MemoryLimits, Ulimit};

    fn message(change: impl FnOnce(&mut ContainerSpec)) -> String {
        let mut spec = ContainerSpec::default();
        change(&mut spec);
        spec.check(2).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_spec_is_fine() {
        assert!(ContainerSpec::default().check(2).unwrap().is_empty());
    }

    #[test]
    fn limits_are_refused_in_dockers_words() {
        let memory = |limit, swap, reservation| {
            message(|spec| {
                spec.limits.memory = MemoryLimits { limit, swap, reservation, ..MemoryLimits::default() }
            })
        };
        assert_eq!(memory(4096, 0, 0), "Minimum memory limit allowed is 6MB");
        assert_eq!(memory(-1, 0, 0), "Minimum memory limit allowed is 6MB");
        assert!(memory(0, 7 << 20, 0).starts_with("You should always set the Memory limit"));
        assert!(memory(8 << 20, 7 << 20, 0).starts_with("Minimum memoryswap limit"));
        assert!(memory(8 << 20, 0, 9 << 20).starts_with("Minimum memory limit can not be less"));
        let cpu = |cpu: CpuLimits| message(|spec| spec.limits.cpu = cpu);
        assert!(
            cpu(CpuLimits { nano_cpus: 3_000_000_000, ..CpuLimits::default() }).contains("from 0.01 to 2.00")
        );
        assert!(cpu(CpuLimits { period: 10, ..CpuLimits::default() }).contains("CPU cfs period"));
        assert!(
            cpu(CpuLimits { cpuset_cpus: "0-7".into(), ..CpuLimits::default() }).contains("not available")
        );
        for bad in ["a", "1-0", "-1", "0,,1", "99999999999999999999"] {
            assert!(
                cpu(CpuLimits { cpuset_cpus: bad.into(), ..CpuLimits::default() }).contains("Invalid value"),
                "{bad}"
            );
        }
        assert_eq!(
            message(|spec| spec.limits.block_io.weight = 5),
            "Range of blkio weight is from 10 to 1000"
        );
    }

    #[test]
    fn a_sysctl_must_belong_to_a_namespace_of_the_container() {
        let with = |key: &str, host_network: bool| {
            let mut spec = ContainerSpec::default();
            spec.security.sysctls.insert(key.to_owned(), "1".to_owned());
            if host_network {
                spec.network.mode = NetworkMode::Host;
            }
            spec.check(2)
        };
        assert!(with("net.core.somaxconn", false).is_ok());
        assert!(with("net.core.somaxconn", true).is_err());
        assert!(with("kernel.shmmax", false).is_ok());
        for bad in [
            "kernel.core_pattern",
            "kernel/core_pattern",
            "net../kernel.core_pattern",
            "vm.swappiness",
            "net.\n",
        ] {
            assert!(with(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn conflicts_are_refused() {
        assert!(
            message(|spec| {
                spec.lifecycle.auto_remove = true;
                spec.lifecycle.restart = RestartPolicy::Always;
            })
            .contains("AutoRemove")
        );
        assert!(message(|spec| spec.identity.hostname = Some("a b".into())).contains("invalid hostname"));
        let mount = crate::spec::MountSpec::parse_bind("/a:/b").unwrap();
        assert!(
            message(|spec| spec.mounts = vec![mount.clone(), mount]).contains("Duplicate mount point: /b")
        );
        assert!(
            message(|spec| spec.limits.ulimits = vec![Ulimit { name: "nofile".into(), soft: 9, hard: 8 }])
                .contains("soft limit")
        );
    }
}
