//! Files of the web that are no registry's: what ADD fetches.

use std::io;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use reqwest::header::{LAST_MODIFIED, LOCATION};
use reqwest::{Response, StatusCode, Url};
use tare_model::Timestamp;

use crate::client::endpoint::{is_near, leads_near};
use crate::client::root_cause;
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
        let mut url = Url::parse(address).map_err(|why| invalid(&why.to_string()))?;
        let name = url.path_segments().and_then(Iterator::last).filter(|name| !name.is_empty());
        let name = name.map(str::to_owned);
        for _ in 0..HOPS {
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                return Err(invalid("only http and https are understood"));
            }
            let asked = self.rules().http(&url)?.get(url.clone()).send().await;
            let response = asked.map_err(|why| failed(address, &root_cause(&why)))?;
            if !response.status().is_redirection() {
                return finished(address, response, name);
            }
            let next = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
            let next = next.and_then(|place| url.join(place).ok());
            let next = next.ok_or_else(|| failed(address, "it redirects to nowhere"))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(failed(address, "it redirects from TLS to plain HTTP"));
            }
            if resolves_near(&next).await && !resolves_near(&url).await {
                return Err(failed(address, "it redirects from elsewhere to this machine"));
            }
            url = next;
        }
        Err(failed(address, "it redirects without end"))
    }
}

/// Whether an address leads near, by itself or by what its name stands for now. A name that is not known here is the proxy's to
/// know.
async fn resolves_near(url: &Url) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
    let resolved = async { tokio::net::lookup_host((host, port)).await.ok() };
    leads_near(url) || resolved.await.is_some_and(|mut found| found.any(|found| is_near(found.ip())))
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

    #[test]
    fn dates_of_servers_are_read() {
        assert_eq!(moment("Sun, 06 Nov 1994 08:49:37 GMT").unwrap().seconds, 784_111_777);
        for bad in ["", "yesterday", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET"] {
            assert!(moment(bad).is_none(), "{bad}");
        }
    }
}
