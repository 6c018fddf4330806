//! `--publish` and `--expose`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tare_docker_api::{PortBinding, PortMap};

use super::words::{Said, fields};

/// Which ports a container exposes and where they are published.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ports {
    pub(crate) exposed: BTreeSet<String>,
    pub(crate) bindings: PortMap,
}

impl Ports {
    /// Adds one value of `--publish`: `[[ip:][host]:]container[/protocol]`, ranges included, or the long form with commas.
    pub(crate) fn publish(&mut self, text: &str) -> Said<()> {
        let short = if text.contains("target=") { long_form(text)? } else { text.to_owned() };
        let (address, protocol) = with_protocol(&short)?;
        let (ip, host, container) = parts(address)?;
        let (first, last) = range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
        let hosts = match host {
            "" => None,
            host => Some(range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?),
        };
        let one_of_many = first == last && hosts.is_some_and(|(a, b)| a != b);
        if let Some((a, b)) = hosts
            && b - a != last - first
            && !one_of_many
        {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {container} and {host}"
            ));
        }
        for port in first..=last {
            let host_port = match hosts {
                Some((a, b)) if one_of_many => format!("{a}-{b}"),
                Some((a, _)) => (a + (port - first)).to_string(),
                None => String::new(),
            };
            let key = format!("{port}/{protocol}");
            let binding = PortBinding { host_ip: ip.clone(), host_port };
            self.bindings.entry(key.clone()).or_default().get_or_insert_default().push(binding);
            self.exposed.insert(key);
        }
        Ok(())
    }

    /// Adds one value of `--expose`: `port[-port][/protocol]`.
    pub(crate) fn expose(&mut self, text: &str) -> Said<()> {
        let bad = || format!("invalid port or range to expose: {text}");
        let (ports, protocol) = with_protocol(text)?;
        let (first, last) = range(ports).ok_or_else(bad)?;
        self.exposed.extend((first..=last).map(|port| format!("{port}/{protocol}")));
        Ok(())
    }
}

fn with_protocol(text: &str) -> Said<(&str, String)> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_lowercase();
    match protocol.as_str() {
        "tcp" | "udp" | "sctp" => Ok((ports, protocol)),
        _ => Err(format!("invalid proto: {protocol}")),
    }
}

/// Address, host's ports and container's ports of the short form.
fn parts(text: &str) -> Said<(String, &str, &str)> {
    let (rest, container) = text.rsplit_once(':').unwrap_or(("", text));
    if container.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let (ip, host) = match rest.rsplit_once(':') {
        Some((ip, host)) if !host.ends_with(']') => (ip, host),
        _ => ("", rest),
    };
    let literal = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if !literal.is_empty() && literal.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    Ok((literal.to_owned(), host, container))
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port =
        |digits: &str| digits.parse::<u16>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some((first, last))
}

/// `published=8080,target=80,protocol=tcp` in the short form.
fn long_form(text: &str) -> Said<String> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for field in fields(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field {field}"))?;
        if !["target", "published", "protocol", "mode", "name", "app_protocol"].contains(&key) {
            return Err(format!("invalid field key {key}"));
        }
        known.insert(key.to_owned(), value.to_owned());
    }
    let part = |key: &str| known.get(key).cloned().unwrap_or_default();
    let protocol = known.get("protocol").map_or("tcp", String::as_str);
    Ok(format!("{}:{}/{protocol}", part("published"), part("target")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn published(text: &str) -> Said<Vec<(String, String, String)>> {
        let mut ports = Ports::default();
        ports.publish(text)?;
        let flat = |(key, bindings): (String, Option<Vec<PortBinding>>)| {
            bindings.unwrap_or_default().into_iter().map(move |b| (key.clone(), b.host_ip, b.host_port))
        };
        Ok(ports.bindings.into_iter().flat_map(flat).collect())
    }

    #[test]
    fn every_form_of_publish_is_read() {
        let one = |key: &str, ip: &str, port: &str| vec![(key.to_owned(), ip.to_owned(), port.to_owned())];
        assert_eq!(published("80").unwrap(), one("80/tcp", "", ""));
        assert_eq!(published("8080:80").unwrap(), one("80/tcp", "", "8080"));
        assert_eq!(published("127.0.0.1:53:53/UDP").unwrap(), one("53/udp", "127.0.0.1", "53"));
        assert_eq!(published("127.0.0.1::80").unwrap(), one("80/tcp", "127.0.0.1", ""));
        assert_eq!(published("[::1]:8080:80").unwrap(), one("80/tcp", "::1", "8080"));
        assert_eq!(published("8000-8010:80").unwrap(), one("80/tcp", "", "8000-8010"));
        assert_eq!(published("published=8080,target=80,protocol=udp").unwrap(), one("80/udp", "", "8080"));
        assert_eq!(published("9000-9001:90-91").unwrap().len(), 2);
        assert_eq!(published("9000-9001:90-91").unwrap()[1], ("91/tcp".into(), String::new(), "9001".into()));
    }

    #[test]
    fn what_is_no_port_is_refused_in_dockers_words() {
        for (text, expected) in [
            ("99999:1", "invalid hostPort: 99999"),
            ("a:b", "invalid containerPort: b"),
            ("1-2:3-5", "invalid ranges specified for container and host Ports: 3-5 and 1-2"),
            ("80/icmp", "invalid proto: icmp"),
            ("x:80:80", "invalid IP address: x"),
            ("80:", "no port specified: 80:<empty>"),
            ("5-3", "invalid containerPort: 5-3"),
            ("+80", "invalid containerPort: +80"),
            ("target=80,bogus=1", "invalid field key bogus"),
        ] {
            assert_eq!(published(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn exposed_ranges_become_single_ports() {
        let mut ports = Ports::default();
        ports.expose("1-3/udp").unwrap();
        assert_eq!(ports.exposed, BTreeSet::from(["1/udp".into(), "2/udp".into(), "3/udp".into()]));
        assert!(
            ports.expose("80:80").is_err() && ports.expose("").is_err() && ports.expose("70000").is_err()
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-z:/.,=\\[\\]-]{0,24}") {
            let _ = published(&text);
            let _ = Ports::default().expose(&text);
        }
    }
}
