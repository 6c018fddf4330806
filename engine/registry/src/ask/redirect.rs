//! Following redirects by hand: a credential is sent to the host that it was given for and to no other
//! (CVE-2020-15157), and nothing is asked of a host that the rules of plain HTTP exclude.

use http::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, RANGE};
use reqwest::{Response, Url};

use crate::client::endpoint::{Directory, Trust, authority_of, leads_near};
use crate::client::root_cause;
use crate::{Error, Registry, Result};

const MAX_HOPS: usize = 5;

/// What is sent along on every hop, and to the first host only.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) what: &'a str,
    pub(crate) url: Url,
    /// Only the answer's head is wanted.
    pub(crate) head: bool,
    pub(crate) accept: Option<&'static str>,
    /// The first byte wanted; 0 = all.
    pub(crate) offset: u64,
    pub(crate) authorization: Option<HeaderValue>,
}

/// An answer, and whether the host that was asked gave it itself.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) at_home: bool,
}

/// Sends a GET or HEAD and follows at most five redirects.
pub(crate) async fn follow(registry: &Registry, outgoing: Outgoing<'_>) -> Result<Answer> {
    let home = outgoing.url.origin();
    let (mut url, mut at_home) = (outgoing.url.clone(), true);
    for _ in 0..=MAX_HOPS {
        let response = hop(registry, &outgoing, &url, at_home).await?;
        let Some(location) = location(&response) else {
            return Ok(Answer { response, at_home });
        };
        let next = target(&registry.rules().directory, &url, &location)?;
        // Once away, the credential stays away, even where a later hop leads back.
        at_home = at_home && next.origin() == home;
        url = next;
    }
    Err(refused(&outgoing.url, &url, "there are more than 5 redirects"))
}

async fn hop(registry: &Registry, outgoing: &Outgoing<'_>, url: &Url, at_home: bool) -> Result<Response> {
    let http = registry.rules().http(url)?;
    let mut request = if outgoing.head { http.head(url.clone()) } else { http.get(url.clone()) };
    if let Some(accept) = outgoing.accept {
        request = request.header(ACCEPT, accept);
    }
    if outgoing.offset > 0 {
        request = request.header(RANGE, format!("bytes={}-", outgoing.offset));
    }
    if let Some(authorization) = outgoing.authorization.as_ref().filter(|_| at_home) {
        request = request.header(AUTHORIZATION, authorization);
    }
    request.send().await.map_err(|e| failure(registry, outgoing.what, url, &e))
}

fn location(response: &Response) -> Option<String> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let header = response.headers().get(LOCATION).filter(|_| redirects)?;
    Some(String::from_utf8_lossy(header.as_bytes()).into_owned())
}

/// Where a redirect leads, if it may be followed.
fn target(directory: &Directory, from: &Url, location: &str) -> Result<Url> {
    let next = from.join(location).map_err(|_| refused(from, from, "its target is no address"))?;
    let authority = authority_of(&next).ok_or_else(|| refused(from, &next, "its target has no host"))?;
    let trust = directory.trust(&authority);
    match next.scheme() {
        _ if !next.username().is_empty() || next.password().is_some() => {
            Err(refused(from, &next, "its target carries credentials"))
        }
        _ if leads_near(&next) && !leads_near(from) => {
            Err(refused(from, &next, "a registry elsewhere does not lead back to this machine"))
        }
        "https" => Ok(next),
        "http" if from.scheme() == "http" && trust != Trust::Verified => Ok(next),
        "http" => Err(refused(from, &next, "it leads to plain http")),
        _ => Err(refused(from, &next, "only https is followed")),
    }
}

fn refused(from: &Url, to: &Url, cause: &'static str) -> Error {
    Error::Redirect { url: bare(from), target: bare(to), cause }
}

/// An address as it may be shown: without query, which is where signed addresses keep their secret.
pub(crate) fn bare(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for addresses that cannot have them.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// What a failed exchange means.
pub(crate) fn failure(registry: &Registry, what: &str, url: &Url, error: &reqwest::Error) -> Error {
    if error.is_connect() {
        let cause = if error.is_timeout() { "connection timed out".to_owned() } else { root_cause(error) };
        return Error::Unreachable { url: bare(url), cause };
    }
    let what = format!("{what} from {}", authority_of(url).unwrap_or_default());
    if error.is_timeout() {
        return Error::Stalled { what, seconds: registry.rules().config.read_timeout.as_secs() };
    }
    Error::Interrupted { what, received: 0, expected: 0, cause: root_cause(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn redirects_lead_only_where_they_may() {
        let directory =
            Directory::new(&Config { insecure: vec!["old.lan".into()], ..Config::default() }).unwrap();
        for (from, to, follows) in [
            ("https://reg.example/v2/", "https://cdn.example/x?sig=1", true),
            ("https://reg.example/v2/", "/elsewhere", true),
            ("https://reg.example/v2/", "http://reg.example/v2/", false),
            ("https://reg.example/v2/", "http://127.0.0.1/", false),
            ("https://reg.example/v2/", "https://127.0.0.1/", false),
            ("https://reg.example/v2/", "https://2130706433/", false),
            ("https://reg.example/v2/", "https://0.0.0.0/", false),
            ("https://reg.example/v2/", "https://[::]/", false),
            ("https://reg.example/v2/", "https://[::ffff:7f00:1]/", false),
            ("https://reg.example/v2/", "https://169.254.169.254/", false),
            ("https://reg.example/v2/", "https://[fe80::1]/", false),
            ("https://reg.example/v2/", "https://user@cdn.example/", false),
            ("https://reg.example/v2/", "file:///etc/passwd", false),
            ("https://reg.example/v2/", "ftp://cdn.example/", false),
            ("http://127.0.0.1:5000/v2/", "http://127.0.0.1:5001/x", true),
            ("http://127.0.0.1:5000/v2/", "http://cdn.example/x", false),
            ("http://127.0.0.1:5000/v2/", "https://cdn.example/x", true),
            ("http://old.lan/v2/", "http://old.lan:81/x", true),
            ("http://old.lan/v2/", "http://localhost/x", false),
        ] {
            let result = target(&directory, &from.parse().unwrap(), to);
            assert_eq!(result.is_ok(), follows, "{from} to {to}: {result:?}");
        }
    }

    #[test]
    fn shown_addresses_carry_no_secrets() {
        let url: Url = "https://u:p@cdn.example/x?signature=s3cret#f".parse().unwrap();
        assert_eq!(bare(&url), "https://cdn.example/x");
    }
}
