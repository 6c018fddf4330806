//! Whether a request over TCP may come from a page in somebody's browser.
//!
//! A browser sends what a page of any origin tells it to, to this machine too: a form or a script posts without asking
//! first, and a name that its owner points at 127.0.0.1 after the page was loaded (DNS rebinding) makes the daemon the
//! page's own origin. Pages cannot choose what stands in `Host` and `Origin`, and no client of the API, nor of a registry, sends
//! the latter.

use http::{HeaderMap, header};

/// Why the request is refused; nothing for one that a program sent.
pub(crate) fn refusal(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    let here = host.is_none_or(|host| is_here(name(host)));
    if !here {
        let host = host.unwrap_or_default();
        return Some(format!(
            "\"{host}\" is not a name of this machine: ask for its address or for localhost"
        ));
    }
    let origin = headers.get(header::ORIGIN)?.to_str().unwrap_or_default();
    let own = origin.split_once("://").is_some_and(|(_, origin)| Some(origin) == host);
    (!own).then(|| format!("pages of \"{origin}\" may not speak to this machine"))
}

/// `127.0.0.1:2375` → `127.0.0.1`, `[::1]:2375` → `::1`.
fn name(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

/// An address is no name that somebody can point elsewhere, and browsers resolve localhost by themselves (RFC 6761).
fn is_here(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.is_empty()
        || name.parse::<std::net::IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn refused(host: Option<&'static str>, origin: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        host.map(|host| headers.insert(header::HOST, HeaderValue::from_static(host)));
        origin.map(|origin| headers.insert(header::ORIGIN, HeaderValue::from_static(origin)));
        refusal(&headers).is_some()
    }

    #[test]
    fn programs_pass_and_pages_do_not() {
        for host in
            ["127.0.0.1:2375", "[::1]:2375", "localhost", "LocalHost:1", "api.moby.localhost", "10.0.0.1", ""]
        {
            assert!(!refused(Some(host), None), "{host}");
            assert!(refused(Some(host), Some("https://page.example")), "{host}");
            assert!(refused(Some(host), Some("null")), "{host}");
        }
        assert!(!refused(None, None) && refused(None, Some("http://a")));
        assert!(!refused(Some("127.0.0.1:2375"), Some("http://127.0.0.1:2375")), "a page of its own");
        assert!(
            refused(Some("127.0.0.1:2375"), Some("http://127.0.0.1:80")),
            "a page of another server here"
        );
        for host in
            ["page.example", "page.example:2375", "127.0.0.1.page.example", "notlocalhost", "[page]:1"]
        {
            assert!(refused(Some(host), None), "{host}");
        }
    }
}
