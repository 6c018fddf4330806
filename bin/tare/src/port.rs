//! Ports in words, and `port`.

use tare_docker_api::{Port, PortBinding};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::output::line;

/// Ports that stand in a row, shown as one range. A published port is the same number on both sides.
#[derive(Debug)]
struct Range<'a> {
    ip: &'a str,
    kind: &'a str,
    first: u16,
    last: u16,
}

/// `443/tcp, 0.0.0.0:9000-9001->9000-9001/tcp, 0.0.0.0:8080->80/tcp`: neighbours together, translated ones last.
pub(crate) fn ranges(ports: &[Port]) -> String {
    let mut sorted: Vec<&Port> = ports.iter().collect();
    sorted.sort_by_key(|port| (port.private_port, &port.ip, port.public_port, &port.kind));
    let is_translated = |port: &&&Port| !port.ip.is_empty() && port.public_port != port.private_port;
    let mut ranges: Vec<Range<'_>> = Vec::new();
    for port in sorted.iter().filter(|port| !is_translated(port)) {
        match ranges.iter_mut().find(|range| range.continues_with(port)) {
            Some(range) => range.last = port.private_port,
            None => ranges.push(Range {
                ip: &port.ip,
                kind: &port.kind,
                first: port.private_port,
                last: port.private_port,
            }),
        }
    }
    let translated = sorted.iter().filter(is_translated).map(|port| {
        format!("{}->{}/{}", joined(&port.ip, &port.public_port.to_string()), port.private_port, port.kind)
    });
    ranges.iter().map(Range::show).chain(translated).collect::<Vec<_>>().join(", ")
}

impl Range<'_> {
    fn continues_with(&self, port: &Port) -> bool {
        self.ip == port.ip && self.kind == port.kind && self.last.checked_add(1) == Some(port.private_port)
    }

    fn show(&self) -> String {
        let span = if self.first == self.last {
            self.first.to_string()
        } else {
            format!("{}-{}", self.first, self.last)
        };
        match self.ip {
            "" => format!("{span}/{}", self.kind),
            ip => format!("{}->{span}/{}", joined(ip, &span), self.kind),
        }
    }
}

fn joined(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// `tare port`
pub(crate) async fn port(call: Call) -> Result<u8> {
    let [name, wanted @ ..] = &call.given.operands[..] else { return Ok(1) };
    let container = call.client.inspect_container(name).await?;
    let ports = &container.network_settings.ports;
    let shown = |binding: &PortBinding| joined(&binding.host_ip, &binding.host_port);
    let Some(wanted) = wanted.first() else {
        let mut ports: Vec<_> = ports.iter().collect();
        ports.sort_by_key(|(key, _)| {
            (key.split('/').next().and_then(|number| number.parse::<u16>().ok()), *key)
        });
        let all = ports
            .into_iter()
            .flat_map(|(key, bindings)| bindings.iter().flatten().map(move |binding| (key, binding)));
        all.map(|(key, binding)| format!("{key} -> {}", shown(binding))).try_for_each(line)?;
        return Ok(0);
    };
    let key = if wanted.contains('/') { wanted.clone() } else { format!("{wanted}/tcp") };
    match ports.get(&key).and_then(Option::as_ref).filter(|bindings| !bindings.is_empty()) {
        Some(bindings) => {
            bindings.iter().map(shown).try_for_each(line)?;
            Ok(0)
        }
        None => Err(Failure::new(format!("no public port '{wanted}' published for {name}"))
            .hint(format!("see all with: tare port {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, private_port: u16, public_port: u16, kind: &str) -> Port {
        Port { ip: ip.into(), private_port, public_port, kind: kind.into() }
    }

    /// What Docker's client 28.2 shows of the same ports.
    #[test]
    fn neighbours_are_one_range() {
        let ports = [
            port("0.0.0.0", 80, 8080, "tcp"),
            port("::", 80, 8080, "tcp"),
            port("", 443, 0, "tcp"),
            port("0.0.0.0", 9000, 9000, "tcp"),
            port("0.0.0.0", 9001, 9001, "tcp"),
            port("", 5, 0, "udp"),
            port("", 6, 0, "udp"),
        ];
        let shown =
            "5-6/udp, 443/tcp, 0.0.0.0:9000-9001->9000-9001/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp";
        assert_eq!(ranges(&ports), shown);
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[port("", u16::MAX, 0, "tcp")]), "65535/tcp");
    }
}
