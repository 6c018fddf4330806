//! `--network` and what belongs to a place in one, and names of hosts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tare_docker_api::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};

use super::words::{Said, fields, pair, some};
use crate::failure::{Failure, Result};
use crate::flags::Given;

/// The mode for the host's configuration, which is the first network's name, and the settings of every network.
pub(crate) fn networks(given: &Given) -> Result<(String, NetworkingConfig)> {
    let mut wanted = given.each("network", network)?;
    wanted.extend(given.each("net", network)?);
    if wanted.is_empty() {
        wanted.push(("default".to_owned(), EndpointSettings::default()));
    }
    apply_flags(&mut wanted[0], given)?;
    let mode = wanted[0].0.clone();
    let mut all = BTreeMap::new();
    for (name, settings) in wanted {
        if all.insert(name.clone(), Some(settings)).is_some() {
            return Err(Failure::usage(format!("network \"{name}\" is specified multiple times")));
        }
    }
    Ok((mode, NetworkingConfig { endpoints_config: Some(all) }))
}

/// `--ip`, `--network-alias` and their like speak of the first network.
fn apply_flags((name, settings): &mut (String, EndpointSettings), given: &Given) -> Result<()> {
    let aliases = [given.list("network-alias"), given.list("net-alias")].concat();
    if !aliases.is_empty() {
        settings.aliases.get_or_insert_default().extend(aliases);
    }
    let links = given.list("link");
    let named =
        !matches!(name.as_str(), "default" | "bridge" | "host" | "none") && !name.starts_with("container:");
    if named && !links.is_empty() {
        settings.links = Some(links);
    }
    if let Some(mac) = given.parsed("mac-address", mac)? {
        settings.mac_address = mac;
    }
    let (ip, ip6, local) = (given.text("ip"), given.text("ip6"), given.list("link-local-ip"));
    if ip.is_some() || ip6.is_some() || !local.is_empty() {
        let ipam = settings.ipam_config.get_or_insert_default();
        ip.inspect(|ip| ipam.ipv4_address = (*ip).to_owned());
        ip6.inspect(|ip| ipam.ipv6_address = (*ip).to_owned());
        ipam.link_local_ips = some(local);
    }
    Ok(())
}

/// `name` or `name=…,alias=…,ip=…`
fn network(text: &str) -> Said<(String, EndpointSettings)> {
    if !text.contains('=') {
        return match text.is_empty() {
            true => Err("a name is wanted".into()),
            false => Ok((text.to_owned(), EndpointSettings::default())),
        };
    }
    let mut name = String::new();
    let mut settings = EndpointSettings::default();
    let mut ipam = EndpointIpamConfig::default();
    for field in fields(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field {field}"))?;
        let value = value.trim().to_owned();
        match key.trim().to_lowercase().as_str() {
            "name" => name = value,
            "alias" => settings.aliases.get_or_insert_default().push(value),
            "ip" => ipam.ipv4_address = value,
            "ip6" => ipam.ipv6_address = value,
            "link-local-ip" => ipam.link_local_ips.get_or_insert_default().push(value),
            "mac-address" => settings.mac_address = mac(&value)?,
            "driver-opt" => settings.driver_opts.get_or_insert_default().extend([pair(&value)]),
            "gw-priority" => {
                settings.gw_priority = value.parse().map_err(|_| format!("invalid gw-priority: {value}"))?
            }
            other => return Err(format!("invalid field key {other}")),
        }
    }
    if name.is_empty() {
        return Err("network name/id is not specified".into());
    }
    settings.ipam_config = (ipam != EndpointIpamConfig::default()).then_some(ipam);
    Ok((name, settings))
}

fn mac(text: &str) -> Said<String> {
    let octets: Vec<&str> = text.split([':', '-']).collect();
    let valid = octets.len() == 6
        && octets.iter().all(|octet| octet.len() == 2 && u8::from_str_radix(octet, 16).is_ok());
    if valid { Ok(text.to_owned()) } else { Err(format!("{text} is not a valid mac address")) }
}

/// `--add-host name:address`, the address of either family or `host-gateway`.
pub(crate) fn host(text: &str) -> Said<String> {
    let bad = || format!("bad format for add-host: \"{text}\"");
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if name.is_empty() {
        return Err(bad());
    }
    if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: \"{address}\""));
    }
    Ok(format!("{name}:{address}"))
}

/// `--dns address`
pub(crate) fn address(text: &str) -> Said<String> {
    match text.trim().parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_named_or_described() {
        let (name, settings) =
            network("name=n1,alias=x,ip=1.2.3.4,mac-address=02:42:ac:11:00:02,driver-opt=a=b").unwrap();
        assert_eq!((name.as_str(), settings.aliases.unwrap()), ("n1", vec!["x".to_owned()]));
        assert_eq!(settings.ipam_config.unwrap().ipv4_address, "1.2.3.4");
        assert_eq!(network("web").unwrap(), ("web".into(), EndpointSettings::default()));
        for bad in ["", "alias=x", "name=a,bogus=1", "name=a,mac-address=zz", "name=a,b"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_take_both_separators_and_both_families() {
        assert_eq!(host("h:1.2.3.4").unwrap(), "h:1.2.3.4");
        assert_eq!(host("a=[::1]").unwrap(), "a:::1");
        assert_eq!(host("h:::1").unwrap(), "h:::1");
        assert_eq!(host("h:host-gateway").unwrap(), "h:host-gateway");
        assert_eq!(host("foo").unwrap_err(), "bad format for add-host: \"foo\"");
        assert!(host(":1.2.3.4").is_err() && host("h:x").is_err());
        assert!(address("foo").is_err());
    }
}
