//! Files of the web that are no registry's: what ADD fetches.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use reqwest::header::{LAST_MODIFIED, LOCATION};
use reqwest::{Response, StatusCode, Url};
use tare_model::Timestamp;

use crate::client::endpoint::{host_of, is_near, is_near_host, leads_near};
use crate::client::{Rules, root_cause};
use crate::{Error, Registry, Result};

/// Redirects that are followed.
const HOPS: usize = 10;

/// A file as it comes.
pub struct Download {
    /// What it is called: the last part of the path that was asked for; `None` where that has none.
    pub name: Option<String>,
    /// When it was changed, as the server says.
    pub modified: Option<Timestamp>,
    /// Its bytes; nobody has checked them.
    pub body: BoxStream<'static, io::Result<Bytes>>,
}

impl Registry {
    /// Fetches `address`, http or https, without credentials. Follows redirects, but none from TLS to plain HTTP, and none from
    /// elsewhere to this machine or its link. Certificates and proxies are those that registries are spoken to with.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an answer that is no success; [`Error::Unreachable`] where none came.
    pub async fn download(&self, address: &str) -> Result<Download> {
        let invalid = |why: &str| Error::Config(format!("the address {}: {why}", shown(address)));
        let url = Url::parse(address).map_err(|why| invalid(&why.to_string()))?;
        let name = url.path_segments().and_then(Iterator::last).filter(|name| !name.is_empty());
        let name = name.map(str::to_owned);
        let mut place = Place::find(url).await;
        for _ in 0..HOPS {
            let url = &place.url;
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                return Err(invalid("only http and https are understood"));
            }
            let asked = place.client(&self.rules())?.get(url.clone()).send().await;
            let response = asked.map_err(|why| failed(address, &place.why(&why)))?;
            if !response.status().is_redirection() {
                return finished(address, response, name);
            }
            let next = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
            let next = next.and_then(|place| url.join(place).ok());
            let next = next.ok_or_else(|| failed(address, "it redirects to nowhere"))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(failed(address, "it redirects from TLS to plain HTTP"));
            }
            let next = Place::find(next).await;
            if !place.may_lead_to(&next) {
                return Err(failed(address, "it redirects from elsewhere to this machine"));
            }
            place = next;
        }
        Err(failed(address, "it redirects without end"))
    }
}

/// Whether `host` or `host:port` leads to this machine or to its link, where clouds have what knows a machine's secrets: by itself, or by what its
/// name stands for now. For programs that connect by themselves.
pub async fn is_near_by(authority: &str) -> bool {
    let found = async { tokio::net::lookup_host((host_of(authority), 0)).await.ok() };
    is_near_host(authority) || found.await.is_some_and(|mut found| found.any(|found| is_near(found.ip())))
}

/// An address, and what its name stands for. The name is looked up once: who answers for it could say another thing when it is
/// connected to than when it is judged (DNS rebinding).
struct Place {
    url: Url,
    /// Nothing where the address needs no looking up.
    found: Option<io::Result<Vec<SocketAddr>>>,
}

impl Place {
    async fn find(url: Url) -> Self {
        let found = match (url.domain(), url.port_or_known_default()) {
            (Some(name), Some(port)) => {
                Some(tokio::net::lookup_host((name, port)).await.map(Iterator::collect))
            }
            _ => None,
        };
        Self { url, found }
    }

    /// A name that is not known here is the proxy's to know.
    fn addresses(&self) -> &[SocketAddr] {
        self.found.as_ref().and_then(|found| found.as_ref().ok()).map_or(&[], Vec::as_slice)
    }

    fn client(&self, rules: &Rules) -> Result<reqwest::Client> {
        match self.found {
            Some(_) => rules.http_at(&self.url, self.addresses()),
            None => rules.http(&self.url),
        }
    }

    /// Whether a server here may send us there: to what is near only from what is nowhere else.
    fn may_lead_to(&self, next: &Self) -> bool {
        let mut near = next.addresses().iter().map(|place| is_near(place.ip()));
        let reaches_near = leads_near(&next.url) || near.any(|near| near);
        let mut mine = self.addresses().iter().map(|place| is_near(place.ip())).peekable();
        !reaches_near || leads_near(&self.url) || mine.peek().is_some() && mine.all(|near| near)
    }

    /// Why it could not be asked.
    fn why(&self, error: &reqwest::Error) -> String {
        match &self.found {
            Some(Err(unknown)) if error.is_connect() => unknown.to_string(),
            _ => root_cause(error),
        }
    }
}

fn failed(address: &str, why: &str) -> Error {
    Error::NotFound { what: shown(address), message: why.to_owned() }
}

/// An address as it may be shown and kept: without password, and without the query, which is a password too where an address
/// was signed.
pub fn shown(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

fn finished(address: &str, response: Response, name: Option<String>) -> Result<Download> {
    if response.status() != StatusCode::OK {
        return Err(failed(address, &format!("the server answers {}", response.status())));
    }
    let modified = response.headers().get(LAST_MODIFIED).and_then(|date| date.to_str().ok()).and_then(moment);
    let body = stream::unfold(response, |mut response| async {
        let piece = response.chunk().await.map_err(|why| io::Error::other(root_cause(&why)));
        Some((piece.transpose()?, response))
    });
    Ok(Download { name, modified, body: body.fuse().boxed() })
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
fn moment(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split(' ').collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    format!("{year}-{month:02}-{day}T{time}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_secrets() {
        let address = "https://ada:s3@cret@example.com/a@b.tar?token=s3cret#x";
        assert_eq!(shown(address), "https://example.com/a@b.tar");
        assert_eq!(shown("http://example.com?token=s3cret"), "http://example.com");
        assert_eq!(shown("-"), "-");
    }

    fn place(url: &str, found: Option<&[&str]>) -> Place {
        let found =
            found.map(|all| Ok(all.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 80)).collect()));
        Place { url: url.parse().unwrap(), found }
    }

    /// A name of several addresses is elsewhere when it leads from there, and near when it leads there.
    #[test]
    fn names_lead_near_by_what_they_stand_for() {
        let far = place("http://far.example/", Some(&["203.0.113.7"]));
        let near = place("http://near.example/", Some(&["127.0.0.1", "::1"]));
        let both = place("http://both.example/", Some(&["203.0.113.7", "169.254.169.254"]));
        let unknown = place("http://unknown.example/", Some(&[]));
        let written = place("http://127.0.0.1/", None);
        for from in [&far, &both, &unknown] {
            assert!([&near, &both, &written].iter().all(|to| !from.may_lead_to(to)), "{}", from.url);
            assert!(from.may_lead_to(&far) && from.may_lead_to(&unknown), "{}", from.url);
        }
        for from in [&near, &written] {
            assert!(
                [&near, &both, &written, &far, &unknown].iter().all(|to| from.may_lead_to(to)),
                "{}",
                from.url
            );
        }
    }

    /// What was judged is what is connected to, and nothing where nothing was found.
    #[tokio::test]
    async fn a_name_is_asked_where_it_was_found() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let registry = Registry::new(crate::Config {
            proxies: Some(crate::Proxies::default()),
            ..crate::Config::default()
        })
        .unwrap();
        let ask = async |place: Place| {
            let client = place.client(&registry.rules()).unwrap();
            client.get(place.url.clone()).send().await.map_err(|why| place.why(&why))
        };
        let asked = ask(place(&format!("http://name.example:{port}/"), Some(&["127.0.0.1"])));
        let (served, _) = tokio::join!(listener.accept(), async {
            tokio::time::timeout(std::time::Duration::from_millis(200), asked).await
        });
        served.unwrap();
        // This one is known here, and yet only what was found of it counts.
        let nowhere = ask(place(&format!("http://localhost:{port}/"), Some(&[]))).await;
        assert!(nowhere.is_err());
        let unknown =
            Place { found: Some(Err(io::Error::other("no such name"))), ..place("http://x.example/", None) };
        assert_eq!(ask(unknown).await.unwrap_err(), "no such name");
    }

    #[tokio::test]
    async fn hosts_are_near_however_they_are_written() {
        for near in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:9418",
            "2130706433",
            "127.1",
            "0",
            "[::1]:22",
            "169.254.169.254",
        ] {
            assert!(is_near_by(near).await, "{near}");
        }
        for far in ["203.0.113.7", "[2001:db8::1]:80", "10.0.0.1", ""] {
            assert!(!is_near_by(far).await, "{far}");
        }
    }

    #[test]
    fn dates_of_servers_are_read() {
        assert_eq!(moment("Sun, 06 Nov 1994 08:49:37 GMT").unwrap().seconds, 784_111_777);
        for bad in ["", "yesterday", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET"] {
            assert!(moment(bad).is_none(), "{bad}");
        }
    }
}
