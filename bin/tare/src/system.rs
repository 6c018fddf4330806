//! `info` and `version`.

use std::fmt::Write;

use serde_json::{Value, json};
use tare_client::Client;
use tare_docker_api::{Document, SystemInfo, SystemVersion};
use tare_model::format_bytes_binary;

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::flags::{Flag, switch, text};
use crate::listing::Format;
use crate::output::{complain, line, print, say};

pub(crate) const FORMATTED: &[Flag] = &[
    text("format", "string", "Format output: 'json' or a Go TEMPLATE").short('f'),
    switch("json", "Print in JSON format, as --format json"),
];

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `tare version`. The client's part is shown even where no daemon answers.
pub(crate) async fn version(call: Call) -> Result<u8> {
    let format = Format::of(&call.given)?;
    let client = json!({
        "Version": VERSION, "ApiVersion": Client::API_VERSION, "DefaultAPIVersion": Client::API_VERSION, "Os": std::env::consts::OS,
        "Arch": tare_model::Platform::host().architecture, "Context": "default",
    });
    let server = call.client.version_raw().await;
    let shown = server.as_ref().ok().cloned().unwrap_or(Value::Null);
    if let Some(text) = format.apply(&json!({"Client": client, "Server": shown}))? {
        line(text)?;
    } else {
        let os = format!("{}/{}", std::env::consts::OS, tare_model::Platform::host().architecture);
        print(format!(
            "Client: Tare\n Version:           {VERSION}\n API version:       {}\n OS/Arch:           {os}\n",
            Client::API_VERSION
        ))?;
        if server.is_ok() {
            print(server_version(&SystemVersion::like(&shown).unwrap_or_default()))?;
        }
    }
    match server {
        Ok(_) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// The daemon's part of `version`, as Docker lays it out.
fn server_version(version: &SystemVersion) -> String {
    let mut lines = vec![String::new(), format!("Server: {}", version.platform.name)];
    let entry = |name: &str, value: &str| format!("  {:<17} {value}", format!("{name}:"));
    for component in &version.components {
        let details = component.details.clone().unwrap_or_default();
        lines.push(format!(" {}:", component.name));
        lines.push(entry("Version", &component.version));
        if component.name != "Engine" {
            lines.extend(details.iter().map(|(name, value)| entry(name, value)));
            continue;
        }
        let detail = |name: &str| details.get(name).cloned().unwrap_or_default();
        lines.push(entry(
            "API version",
            &format!("{} (minimum version {})", detail("ApiVersion"), detail("MinAPIVersion")),
        ));
        lines.push(entry("Git commit", &detail("GitCommit")));
        lines.push(entry("Built", &detail("BuildTime")));
        lines.push(entry("OS/Arch", &format!("{}/{}", detail("Os"), detail("Arch"))));
        lines.push(entry("Kernel", &detail("KernelVersion")));
        lines.push(entry("Experimental", &detail("Experimental")));
    }
    let known = lines
        .iter()
        .map(|line| line.trim_end())
        .filter(|line| !line.ends_with(':') || !line.starts_with("  "));
    known.map(|line| format!("{line}\n")).collect()
}

/// `tare info`
pub(crate) async fn info(call: Call) -> Result<u8> {
    let format = Format::of(&call.given)?;
    let server = call.client.info_raw().await;
    if !format.is_usual() {
        let mut data = server?;
        if let Some(map) = data.as_object_mut() {
            map.insert("ClientInfo".into(), json!({"Version": VERSION, "Context": "default"}));
        }
        line(format.apply(&data)?.unwrap_or_default())?;
        return Ok(0);
    }
    print(format!("Client: Tare\n Version:    {VERSION}\n Context:    default\n\nServer:\n"))?;
    match server {
        Ok(json) => {
            let info = SystemInfo::like(&json)
                .map_err(|error| Failure::new(format!("the daemon's info cannot be read: {error}")))?;
            print(server_info(&info))?;
            info.warnings.iter().flatten().for_each(say);
            Ok(0)
        }
        Err(error) => {
            complain(&error.into());
            Ok(1)
        }
    }
}

/// The name of what stands in a list and has none.
const ITEM: &str = "";

/// The daemon's part of `info`, with Docker's words, which scripts look for.
fn server_info(info: &SystemInfo) -> String {
    let mut out = String::new();
    let mut put = |depth: usize, name: &str, value: &str| {
        let _ = match name {
            ITEM => writeln!(out, "{}{value}", " ".repeat(depth)),
            name => writeln!(
                out,
                "{}{name}:{}{value}",
                " ".repeat(depth),
                if value.is_empty() { "" } else { " " }
            ),
        };
    };
    put(1, "Containers", &info.containers.to_string());
    put(2, "Running", &info.containers_running.to_string());
    put(2, "Paused", &info.containers_paused.to_string());
    put(2, "Stopped", &info.containers_stopped.to_string());
    put(1, "Images", &info.images.to_string());
    put(1, "Server Version", &info.server_version);
    put(1, "Storage Driver", &info.driver);
    info.driver_status.iter().for_each(|[name, value]| put(2, name, value));
    put(1, "Logging Driver", &info.logging_driver);
    put(1, "Cgroup Driver", &info.cgroup_driver);
    put(1, "Cgroup Version", &info.cgroup_version);
    put(1, "Plugins", "");
    put(2, "Volume", &info.plugins.volume.join(" "));
    put(2, "Network", &info.plugins.network.join(" "));
    put(2, "Log", &info.plugins.log.join(" "));
    put(1, "Swarm", &info.swarm.local_node_state);
    put(1, "Runtimes", &info.runtimes.keys().cloned().collect::<Vec<_>>().join(" "));
    put(1, "Default Runtime", &info.default_runtime);
    put(1, "Init Binary", &info.init_binary);
    put(1, "Security Options", "");
    for option in &info.security_options {
        let parts = option.split(',').filter_map(|part| part.split_once('='));
        for (key, value) in parts {
            match key {
                "name" => put(2, ITEM, value),
                "profile" => put(3, "Profile", value),
                other => put(3, other, value),
            }
        }
    }
    put(1, "Kernel Version", &info.kernel_version);
    put(1, "Operating System", &info.operating_system);
    put(1, "OSType", &info.os_type);
    put(1, "Architecture", &info.architecture);
    put(1, "CPUs", &info.ncpu.to_string());
    put(1, "Total Memory", &format_bytes_binary(info.mem_total));
    put(1, "Name", &info.name);
    put(1, "ID", &info.id);
    put(1, "Docker Root Dir", &info.docker_root_dir);
    put(1, "Debug Mode", &info.debug.to_string());
    list(&mut put, "Labels", &info.labels);
    put(1, "Experimental", &info.experimental_build.to_string());
    list(&mut put, "Insecure Registries", &insecure(info));
    list(&mut put, "Registry Mirrors", info.registry_config.mirrors.as_deref().unwrap_or_default());
    put(1, "Live Restore Enabled", &info.live_restore_enabled.to_string());
    out
}

fn list(put: &mut impl FnMut(usize, &str, &str), name: &str, values: &[String]) {
    if !values.is_empty() {
        put(1, name, "");
        values.iter().for_each(|value| put(2, ITEM, value));
    }
}

fn insecure(info: &SystemInfo) -> Vec<String> {
    let registries = info
        .registry_config
        .index_configs
        .values()
        .filter(|index| !index.secure)
        .map(|index| index.name.clone());
    registries.chain(info.registry_config.insecure_registry_cidrs.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_laid_out_as_dockers() {
        let info: SystemInfo = serde_json::from_value(json!({
            "Containers": 3, "Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]], "Plugins": {"Network": ["bridge", "host"]},
            "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"], "MemTotal": 25_000_000_000_u64,
            "RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"]},
        }))
        .unwrap();
        let shown = server_info(&info);
        for line in [
            " Containers: 3",
            "  Running: 0",
            " Storage Driver: overlay2",
            "  Backing Filesystem: extfs",
            "  Network: bridge host",
            "  seccomp",
            "   Profile: builtin",
            "  cgroupns",
            " Total Memory: 23.28GiB",
            " Insecure Registries:",
            "  127.0.0.0/8",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} is missing in {shown}");
        }
    }

    #[test]
    fn version_is_laid_out_as_dockers() {
        let version: SystemVersion = serde_json::from_value(json!({
            "Platform": {"Name": "Tare"},
            "Components": [{"Name": "Engine", "Version": "1", "Details": {"ApiVersion": "1.51", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64"}}],
        }))
        .unwrap();
        let shown = server_version(&version);
        assert!(shown.starts_with("\nServer: Tare\n Engine:\n  Version:          1\n  API version:      1.51 (minimum version 1.24)\n"), "{shown}");
    }
}
