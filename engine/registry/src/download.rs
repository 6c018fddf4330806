//! What is no registry's and yet fetched from the web: files, which ADD takes, and the addresses of git repositories.

use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use reqwest::header::{LAST_MODIFIED, LOCATION, USER_AGENT};
use reqwest::{Response, StatusCode, Url};
use tare_model::Timestamp;

use crate::client::endpoint::{is_near, leads_near};
use crate::client::{Rules, root_cause};
use crate::{Error, Registry, Result};

/// Redirects that are followed.
const HOPS: usize = 10;
/// What git asks a repository's address for first (gitprotocol-http(5)), and whom servers take for git.
const ASKED_BY_GIT: &str = "/info/refs?service=git-upload-pack";
const AGENT_OF_GIT: &str = concat!("git/tare-", env!("CARGO_PKG_VERSION"));

/// Who names an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Named {
    /// Whoever asks us, who may name what he likes.
    #[default]
    Here,
    /// Something that came from elsewhere, a Dockerfile or a repository, which does not have us speak to this machine or its
    /// link, where clouds have what knows a machine's secrets.
    Elsewhere,
}

/// A file as it comes.
pub struct Download {
    /// What it is called: the last part of the path that was asked for; `None` where that has none.
    pub name: Option<String>,
    /// When it was changed, as the server says.
    pub modified: Option<Timestamp>,
    /// Who names what it names in turn.
    pub names: Named,
    /// Its bytes; nobody has checked them.
    pub body: BoxStream<'static, io::Result<Bytes>>,
}

/// Where a git repository is.
#[derive(Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its address, where no redirect is left to follow.
    pub address: String,
    /// Who names what it names in turn.
    pub names: Named,
    /// `HOST:PORT:ADDRESS,…`, what its name was found to stand for, as curl is told it (`CURLOPT_RESOLVE`).
    pub found: Option<String>,
}

impl Registry {
    /// Fetches `address`, http or https, without credentials. Follows redirects, but none from TLS to plain HTTP, and none from
    /// elsewhere to this machine or its link. Certificates and proxies are those that registries are spoken to with.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an answer that is no success, and where something elsewhere names this machine.
    pub async fn download(&self, address: &str, named: Named) -> Result<Download> {
        let url = parsed(address, address)?;
        let name = url.path_segments().and_then(Iterator::last).filter(|name| !name.is_empty());
        let name = name.map(str::to_owned);
        let (place, asked) = self.follow(address, Place::named(address, url, named).await?, None).await?;
        let response = asked.map_err(|why| failed(address, &place.why(&why)))?;
        finished(address, response, name, place.names())
    }

    /// Finds where git is to fetch a repository, so that it need not follow redirects itself: http and https by the rules of
    /// [`Registry::download`]; others, of which only `host` or `host:port` is looked at, have none. Where we cannot ask, git may.
    ///
    /// # Errors
    /// Those of [`Registry::download`], but none for what a server answers.
    pub async fn repository(&self, address: &str, host: &str, named: Named) -> Result<Repository> {
        if !address.starts_with("http://") && !address.starts_with("https://") {
            let place = Place::named(address, parsed(address, &format!("http://{host}/"))?, named).await?;
            return Ok(Repository { address: address.to_owned(), names: place.names(), found: None });
        }
        let asked = format!("{}{ASKED_BY_GIT}", address.trim_end_matches('/'));
        let first = Place::named(address, parsed(address, &asked)?, named).await?;
        let before = first.url.clone();
        let (place, answer) = self.follow(address, first, Some(AGENT_OF_GIT)).await?;
        // Who is unknown now could be this machine when git looks.
        if let (Err(why), Some(Err(_))) = (answer, &place.found) {
            return Err(failed(address, &place.why(&why)));
        }
        let moved = || {
            place.url.as_str().strip_suffix(ASKED_BY_GIT).map(str::to_owned).ok_or_else(|| {
                failed(
                    address,
                    &format!("it redirects to {}, which is no repository", shown(place.url.as_str())),
                )
            })
        };
        let address = if place.url == before { address.to_owned() } else { moved()? };
        Ok(Repository { address, names: place.names(), found: place.as_curl_is_told() })
    }

    /// Where redirects lead from a place, and the answer there.
    async fn follow(
        &self,
        address: &str,
        mut place: Place,
        agent: Option<&str>,
    ) -> Result<(Place, reqwest::Result<Response>)> {
        for _ in 0..HOPS {
            let url = &place.url;
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                return Err(invalid(address, "only http and https are understood"));
            }
            let mut request = place.client(&self.rules())?.get(url.clone());
            if let Some(agent) = agent {
                request = request.header(USER_AGENT, agent);
            }
            let response = match request.send().await {
                Ok(response) if response.status().is_redirection() => response,
                last => return Ok((place, last)),
            };
            let next = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
            let next = next.and_then(|place| url.join(place).ok());
            let next = next.ok_or_else(|| failed(address, "it redirects to nowhere"))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(failed(address, "it redirects from TLS to plain HTTP"));
            }
            let next = Place::find(with_credentials(next, url)).await;
            if !place.may_lead_to(&next) {
                return Err(failed(address, "it redirects from elsewhere to this machine"));
            }
            place = next;
        }
        Err(failed(address, "it redirects without end"))
    }
}

/// The same server is told again who asks, as curl does it.
fn with_credentials(mut next: Url, from: &Url) -> Url {
    next.set_fragment(None);
    if next.origin() == from.origin() && next.username().is_empty() && next.password().is_none() {
        // Addresses of http can hold both.
        let _ = next.set_username(from.username()).and_then(|()| next.set_password(from.password()));
    }
    next
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

    /// The first place of all, where who names it may.
    async fn named(address: &str, url: Url, named: Named) -> Result<Self> {
        let place = Self::find(url).await;
        if named == Named::Elsewhere && place.reaches_near() {
            return Err(failed(address, "it leads to this machine, and what names it is elsewhere"));
        }
        Ok(place)
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

    fn reaches_near(&self) -> bool {
        leads_near(&self.url) || self.addresses().iter().any(|place| is_near(place.ip()))
    }

    /// Who names what comes from here: somebody elsewhere, unless it can come from nowhere but near.
    fn names(&self) -> Named {
        let mut found = self.addresses().iter().map(|place| is_near(place.ip())).peekable();
        let near = leads_near(&self.url) || found.peek().is_some() && found.all(|near| near);
        if near { Named::Here } else { Named::Elsewhere }
    }

    /// Whether a server here may send us there: to what is near only from what is nowhere else.
    fn may_lead_to(&self, next: &Self) -> bool {
        !next.reaches_near() || self.names() == Named::Here
    }

    fn as_curl_is_told(&self) -> Option<String> {
        let (name, port) = (self.url.domain()?, self.url.port_or_known_default()?);
        let written = |place: &SocketAddr| match place.ip() {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        let all: Vec<_> = self.addresses().iter().map(written).collect();
        (!all.is_empty()).then(|| format!("{name}:{port}:{}", all.join(",")))
    }

    /// Why it could not be asked.
    fn why(&self, error: &reqwest::Error) -> String {
        match &self.found {
            Some(Err(unknown)) if error.is_connect() => unknown.to_string(),
            _ => root_cause(error),
        }
    }
}

/// Reads `url`, which `address` stands for in messages.
fn parsed(address: &str, url: &str) -> Result<Url> {
    Url::parse(url).map_err(|why| invalid(address, &why.to_string()))
}

fn invalid(address: &str, why: &str) -> Error {
    Error::Config(format!("the address {}: {why}", shown(address)))
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

fn finished(address: &str, response: Response, name: Option<String>, names: Named) -> Result<Download> {
    if response.status() != StatusCode::OK {
        return Err(failed(address, &format!("the server answers {}", response.status())));
    }
    let modified = response.headers().get(LAST_MODIFIED).and_then(|date| date.to_str().ok()).and_then(moment);
    let body = stream::unfold(response, |mut response| async {
        let piece = response.chunk().await.map_err(|why| io::Error::other(root_cause(&why)));
        Some((piece.transpose()?, response))
    });
    Ok(Download { name, modified, names, body: body.fuse().boxed() })
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

    /// What is spoken to by itself is judged all the same.
    #[tokio::test]
    async fn hosts_are_near_however_they_are_written() {
        let registry = Registry::new(crate::Config::default()).unwrap();
        let ask = async |host: &str, named| registry.repository("git@host:x.git", host, named).await;
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
            assert_eq!(ask(near, Named::Here).await.unwrap().names, Named::Here, "{near}");
            let refused = ask(near, Named::Elsewhere).await.unwrap_err().to_string();
            assert!(refused.contains("leads to this machine"), "{near}: {refused}");
        }
        for far in ["203.0.113.7", "[2001:db8::1]:80", "10.0.0.1"] {
            assert_eq!(ask(far, Named::Elsewhere).await.unwrap().names, Named::Elsewhere, "{far}");
        }
        assert!(ask("", Named::Here).await.is_err());
    }

    #[test]
    fn curl_is_told_what_was_found() {
        let found = place("https://far.example/", Some(&["203.0.113.7", "2001:db8::1"]));
        assert_eq!(found.as_curl_is_told().unwrap(), "far.example:443:203.0.113.7,[2001:db8::1]");
        assert!(
            [Some(&[][..]), None].iter().all(|none| place("http://x/", *none).as_curl_is_told().is_none())
        );
    }

    /// A password goes with a redirect of the server that it is for, and to no other.
    #[test]
    fn credentials_stay_with_their_server() {
        let from: Url = "https://ann:pw@h/old".parse().unwrap();
        for (next, told) in [
            ("https://h/new#x", "https://ann:pw@h/new"),
            ("https://h:444/new", "https://h:444/new"),
            ("https://o/new", "https://o/new"),
            ("https://bob@h/new", "https://bob@h/new"),
        ] {
            assert_eq!(with_credentials(next.parse().unwrap(), &from).as_str(), told);
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
