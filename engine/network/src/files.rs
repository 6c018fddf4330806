//! What a container finds in /etc/resolv.conf, /etc/hosts and /etc/hostname: pure texts.

use std::net::{IpAddr, Ipv4Addr};

/// What `--dns`, `--dns-search` and `--dns-option` said; an empty list leaves the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsOverrides {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Search domains; a single `.` means none at all.
    pub search: Vec<String>,
    /// Resolver options such as `ndots:2`.
    pub options: Vec<String>,
}

/// Used where the host has no name server that a container could reach, as Docker does.
const FALLBACK_SERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// The resolv.conf of a container on a bridge: the host's name servers without those that listen on the host's
/// loopback alone, as they are someone else's loopback inside, and the host's search list and options, each of them
/// replaced as a whole by what `overrides` has.
pub fn resolv_conf(host_text: &str, overrides: &DnsOverrides) -> String {
    let host = HostResolver::read(host_text);
    let mut servers: Vec<String> = match overrides.servers.as_slice() {
        [] => host
            .servers
            .iter()
            .filter(|server| !is_loopback(server))
            .map(|server| (*server).to_owned())
            .collect(),
        given => given.iter().map(IpAddr::to_string).collect(),
    };
    if servers.is_empty() {
        servers = FALLBACK_SERVERS.map(str::to_owned).to_vec();
    }
    let search: Vec<&str> = match overrides.search.as_slice() {
        [] => host.search,
        [dot] if dot == "." => Vec::new(),
        given => given.iter().map(String::as_str).collect(),
    };
    let options: Vec<&str> = match overrides.options.as_slice() {
        [] => host.options,
        given => given.iter().map(String::as_str).collect(),
    };
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    for (keyword, words) in [("search", search), ("options", options)] {
        if !words.is_empty() {
            text.push_str(&format!("{keyword} {}\n", words.join(" ")));
        }
    }
    text
}

struct HostResolver<'a> {
    servers: Vec<&'a str>,
    search: Vec<&'a str>,
    options: Vec<&'a str>,
}

impl<'a> HostResolver<'a> {
    /// resolv.conf(5): the last `search` or `domain` line counts, name servers and options add up.
    fn read(text: &'a str) -> Self {
        let mut host = Self { servers: Vec::new(), search: Vec::new(), options: Vec::new() };
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or("").split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => host.servers.extend(words.next()),
                Some("search" | "domain") => host.search = words.filter(|word| *word != ".").collect(),
                Some("options") => host.options.extend(words),
                _ => {}
            }
        }
        host
    }
}

/// What cannot be read as an address counts as loopback: it is of no use inside either.
fn is_loopback(server: &str) -> bool {
    let address = server.split_once('%').map_or(server, |(address, _zone)| address);
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(six)) => six.to_canonical().is_loopback() || six.is_unicast_link_local(),
        Ok(four) => four.is_loopback(),
        Err(_) => true,
    }
}

/// /etc/hosts of a container: the loopback names, one line for each of `names` that map to `address`, then `extra`
/// (`--add-host`) in its order.
pub fn hosts_file(address: Option<Ipv4Addr>, names: &[&str], extra: &[(String, IpAddr)]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for (name, ip) in extra {
        text.push_str(&format!("{ip}\t{name}\n"));
    }
    if let Some(address) = address
        && !names.is_empty()
    {
        text.push_str(&format!("{address}\t{}\n", names.join(" ")));
    }
    text
}

/// Reads one `--add-host`, `name:address` or `name=address`; the address `host-gateway` stands for `gateway`.
pub fn extra_host(text: &str, gateway: Option<Ipv4Addr>) -> Option<(String, IpAddr)> {
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':'))?;
    let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    let ip = if bare == "host-gateway" { IpAddr::V4(gateway?) } else { bare.parse().ok()? };
    let sound = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#');
    sound.then(|| (name.to_owned(), ip))
}

/// /etc/hostname of a container.
pub fn hostname_file(hostname: &str) -> String {
    format!("{hostname}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_servers_do_not_reach_the_container() {
        let host = "# systemd\nnameserver 127.0.0.53\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver ::ffff:127.0.0.1\n\
                    nameserver 10.0.0.2\nnameserver bogus\nsearch a.example b.example\noptions edns0 trust-ad\n";
        assert_eq!(
            resolv_conf(host, &DnsOverrides::default()),
            "nameserver 10.0.0.2\nsearch a.example b.example\noptions edns0 trust-ad\n"
        );
    }

    #[test]
    fn a_host_without_a_reachable_server_falls_back() {
        for host in ["", "nameserver 127.0.0.1\n", "nameserver"] {
            assert_eq!(
                resolv_conf(host, &DnsOverrides::default()),
                "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
            );
        }
    }

    #[test]
    fn overrides_replace_whole_lists() {
        let overrides = DnsOverrides {
            servers: vec!["127.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            search: vec![".".to_owned()],
            options: vec!["ndots:2".to_owned()],
        };
        let text = resolv_conf("nameserver 9.9.9.9\ndomain x.example ; why\noptions rotate\n", &overrides);
        assert_eq!(text, "nameserver 127.0.0.1\nnameserver 2001:db8::1\noptions ndots:2\n");
    }

    #[test]
    fn hosts_end_with_the_containers_own_names() {
        let extra = vec![("db".to_owned(), "10.0.0.9".parse().unwrap())];
        let text = hosts_file(Some(Ipv4Addr::new(172, 30, 0, 2)), &["web.example", "web"], &extra);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n::1\t"));
        assert!(text.ends_with("10.0.0.9\tdb\n172.30.0.2\tweb.example web\n"), "{text}");
        assert!(hosts_file(None, &["web"], &[]).ends_with("ip6-allrouters\n"));
        assert_eq!(hostname_file("web"), "web\n");
    }

    #[test]
    fn extra_hosts_cannot_smuggle_lines() {
        let gateway = Some(Ipv4Addr::new(172, 30, 0, 1));
        let four = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(extra_host("db:10.0.0.9", gateway), Some(("db".to_owned(), four("10.0.0.9"))));
        assert_eq!(extra_host("db=[2001:db8::1]", gateway), Some(("db".to_owned(), four("2001:db8::1"))));
        assert_eq!(extra_host("db:2001:db8::1", gateway), Some(("db".to_owned(), four("2001:db8::1"))));
        assert_eq!(extra_host("host.docker.internal:host-gateway", gateway).unwrap().1, four("172.30.0.1"));
        for bad in ["db", ":10.0.0.1", "a b:10.0.0.1", "a\nb:10.0.0.1", "a#:10.0.0.1", "db:nowhere", "db:"] {
            assert_eq!(extra_host(bad, gateway), None, "{bad:?}");
        }
        assert_eq!(extra_host("a:host-gateway", None), None);
    }
}
