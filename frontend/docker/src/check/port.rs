//! Ports as Docker writes them: `80/tcp`, `8000-8010`, `127.0.0.1:0`.

use std::net::IpAddr;

use tare_container::ContainerSpec;
use tare_docker_api::PortBinding;
use tare_network::{PortRequest, Protocol};

use crate::{Error, Result};

/// First and last.
pub(crate) type Range = (u16, u16);

/// The key of a port map: `80/tcp`, `53/udp`, `8000-8010/tcp`; TCP where nothing is said.
pub(crate) fn container_port(text: &str) -> Result<(Range, Protocol)> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" | "" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => return Err(Error::unsupported("SCTP ports")),
        _ => return Err(Error::invalid(format!("invalid proto: {protocol}"))),
    };
    let range = range(numbers).filter(|(first, _)| *first > 0);
    Ok((range.ok_or_else(|| Error::invalid(format!("invalid port specification: \"{text}\"")))?, protocol))
}

/// The single ports of many such keys, each once and in order. Keys of images come here too: however many of them
/// overlap, they cost no more than there are ports.
pub(crate) fn each_once(keys: impl Iterator<Item = (Range, Protocol)>) -> Vec<(u16, Protocol)> {
    let mut ranges: Vec<(Range, Protocol)> = keys.collect();
    ranges.sort_unstable_by_key(|((first, last), protocol)| (*protocol, *first, *last));
    let mut ports: Vec<(u16, Protocol)> = Vec::new();
    for ((first, last), protocol) in ranges {
        let known = ports.last().filter(|(_, other)| *other == protocol);
        let begin = known.map_or(Some(first), |(port, _)| Some(first.max(port.checked_add(1)?)));
        ports.extend(begin.into_iter().flat_map(|begin| begin..=last).map(|port| (port, protocol)));
    }
    ports.sort_unstable();
    ports
}

/// The single ports of such a key.
pub(crate) fn ports_of(text: &str) -> Result<impl Iterator<Item = (u16, Protocol)>> {
    let ((first, last), protocol) = container_port(text)?;
    Ok((first..=last).map(move |port| (port, protocol)))
}

fn range(text: &str) -> Option<Range> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number =
        |text: &str| if text.bytes().all(|b| b.is_ascii_digit()) { text.parse::<u16>().ok() } else { None };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

/// One published port; a range inside and one of the same length outside are published one by one.
pub(super) fn publish(key: &str, binding: &PortBinding) -> Result<Vec<PortRequest>> {
    let ((first, last), protocol) = container_port(key)?;
    let host_ip = host_address(&binding.host_ip)?;
    let outside = match binding.host_port.as_str() {
        "" | "0" => None,
        text => Some(
            range(text).ok_or_else(|| Error::invalid(format!("invalid port specification: \"{text}\"")))?,
        ),
    };
    let inside = first..=last;
    let count = u32::from(last - first) + 1;
    if let Some((low, high)) = outside.filter(|_| count > 1) {
        if u32::from(high - low) + 1 != count {
            let ranges = format!("{low}-{high}:{key}");
            return Err(Error::invalid(format!(
                "invalid ranges specified for container and host Ports: {ranges}"
            )));
        }
        return Ok(inside
            .zip(low..=high)
            .map(|(port, host)| request(port, protocol, host_ip, Some((host, host))))
            .collect());
    }
    Ok(inside.map(|port| request(port, protocol, host_ip, outside)).collect())
}

fn request(
    container_port: u16,
    protocol: Protocol,
    host_ip: Option<IpAddr>,
    outside: Option<Range>,
) -> PortRequest {
    let single = outside.filter(|(low, high)| low == high).map(|(port, _)| port);
    let host_port_range = outside.filter(|_| single.is_none());
    PortRequest { container_port, protocol, host_ip, host_port: single, host_port_range }
}

fn host_address(text: &str) -> Result<Option<IpAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = text.trim_start_matches('[').trim_end_matches(']').parse();
    address.map(Some).map_err(|_| Error::invalid(format!("invalid IP address: {text}")))
}

/// Every port that the spec or the image exposes, for lists.
pub(crate) fn exposed(
    spec: &ContainerSpec,
    image: &tare_oci::image::ExecutionConfig,
) -> Vec<(u16, Protocol)> {
    let of_image = image.exposed_ports.iter().flatten().filter_map(|(key, _)| container_port(key).ok());
    let own = spec.network.exposed.iter().map(|(port, protocol)| ((*port, *port), *protocol));
    each_once(own.chain(of_image))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn binding(host_ip: &str, host_port: &str) -> PortBinding {
        PortBinding { host_ip: host_ip.into(), host_port: host_port.into() }
    }

    #[test]
    fn keys_have_a_port_or_a_range_and_a_protocol() {
        assert_eq!(container_port("80").unwrap(), ((80, 80), Protocol::Tcp));
        assert_eq!(container_port("53/UDP").unwrap(), ((53, 53), Protocol::Udp));
        assert_eq!(ports_of("8000-8002/tcp").unwrap().count(), 3);
        for bad in ["", "0", "/tcp", "99999/tcp", "80/x", "81-80", "-1", "+80", "80-", "8 0", "80/tcp/udp"] {
            assert!(container_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bindings_become_requests() {
        let one = publish("80/tcp", &binding("127.0.0.1", "8080")).unwrap();
        assert_eq!(
            (one.len(), one[0].host_port, one[0].host_ip),
            (1, Some(8080), Some([127, 0, 0, 1].into()))
        );
        let any = publish("80/tcp", &binding("", "")).unwrap();
        assert_eq!((any[0].host_port, any[0].host_port_range, any[0].host_ip), (None, None, None));
        let first_free = publish("80/tcp", &binding("", "8000-8010")).unwrap();
        assert_eq!((first_free[0].host_port, first_free[0].host_port_range), (None, Some((8000, 8010))));
        let pairs = publish("80-82/tcp", &binding("", "8080-8082")).unwrap();
        assert_eq!(
            pairs.iter().map(|p| p.host_port).collect::<Vec<_>>(),
            [Some(8080), Some(8081), Some(8082)]
        );
        assert!(publish("80-82/tcp", &binding("", "8080-8081")).is_err());
        assert!(publish("80/tcp", &binding("localhost", "1")).is_err());
        assert!(publish("80/tcp", &binding("", "http")).is_err());
    }

    #[test]
    fn overlapping_ranges_cost_no_more_than_their_ports() {
        let few = [
            ((80, 82), Protocol::Tcp),
            ((53, 53), Protocol::Udp),
            ((81, 90), Protocol::Tcp),
            ((82, 82), Protocol::Tcp),
        ];
        let found = each_once(few.into_iter());
        assert_eq!((found.len(), found[0], found[11]), (12, (53, Protocol::Udp), (90, Protocol::Tcp)));
        let config = tare_oci::image::ExecutionConfig {
            exposed_ports: Some(
                (1..=3_000).map(|first| (format!("{first}-65535"), Default::default())).collect(),
            ),
            ..Default::default()
        };
        assert_eq!(exposed(&ContainerSpec::default(), &config).len(), 65_535);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(key in ".{0,12}", host in "[0-9-]{0,12}") {
            let _ = publish(&key, &binding("", &host));
        }
    }
}
