//! Searching: by Docker's old interface, which its own registry has, else among the names that a registry lists.

use serde::Deserialize;

use crate::ask::{Ask, Subject, ask, body, refusal};
use crate::{Credentials, Error, Registry, Result, listing};

const HUB: &str = "docker.io";
const ANSWER_LIMIT: u64 = 4 << 20;

/// A repository that fits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SearchHit {
    /// Its name, with the registry before it where that is not Docker's.
    pub name: String,
    /// In its owner's words.
    pub description: String,
    /// Stars that people gave it.
    pub star_count: u64,
    /// Whether Docker looks after it.
    pub is_official: bool,
    /// Whether it is built by the registry.
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<SearchHit>,
}

pub(crate) async fn search(
    registry: &Registry,
    term: &str,
    limit: usize,
    credentials: Option<&Credentials>,
) -> Result<Vec<SearchHit>> {
    let (domain, words) = split(term);
    if words.is_empty() && domain == HUB {
        return Err(Error::Config("a search needs a word to look for".to_owned()));
    }
    let address = if domain == HUB { "index.docker.io" } else { domain };
    match old(registry, address, words, limit, credentials).await {
        Ok(hits) => Ok(hits.into_iter().take(limit).map(|hit| printable(domain, &hit)).collect()),
        Err(Error::NotFound { .. } | Error::Status { status: 400..=499, .. }) if domain != HUB => {
            among_all(registry, domain, words, limit, credentials).await
        }
        Err(error) => Err(error),
    }
}

/// `registry.example:5000/word` asks that registry; anything else Docker's.
fn split(term: &str) -> (&str, &str) {
    match term.split_once('/') {
        Some((host, words)) if host.contains(['.', ':']) || host == "localhost" => (host, words),
        _ => (HUB, term),
    }
}

async fn old(
    registry: &Registry,
    address: &str,
    words: &str,
    limit: usize,
    credentials: Option<&Credentials>,
) -> Result<Vec<SearchHit>> {
    let mut query = reqwest::Url::parse("query:").map_err(|e| Error::Config(e.to_string()))?;
    query.query_pairs_mut().append_pair("q", words).append_pair("n", &limit.to_string());
    let subject = Subject::Search(query.query().unwrap_or_default().to_owned());
    let question = Ask::of_host(registry, address, subject, credentials);
    let what = question.what();
    let response = ask(registry, &question).await?;
    let bytes = body::read(response, ANSWER_LIMIT, &what).await?;
    let cause = |e: serde_json::Error| Error::Nonsense { what: what.clone(), cause: e.to_string() };
    serde_json::from_slice::<Answer>(&bytes).map(|answer| answer.results).map_err(cause)
}

async fn among_all(
    registry: &Registry,
    domain: &str,
    words: &str,
    limit: usize,
    credentials: Option<&Credentials>,
) -> Result<Vec<SearchHit>> {
    let names = listing::catalog(registry, domain, credentials).await.map_err(|error| match error {
        Error::NotFound { .. } | Error::Status { status: 400..=499, .. } => {
            Error::NoSearch(domain.to_owned())
        }
        other => other,
    })?;
    let words = words.to_ascii_lowercase();
    let fitting = names.into_iter().filter(|name| name.to_ascii_lowercase().contains(&words));
    let hit = |name| printable(domain, &SearchHit { name, ..SearchHit::default() });
    Ok(fitting.take(limit).map(hit).collect())
}

/// One line of printable text each: it goes to a terminal.
fn printable(domain: &str, hit: &SearchHit) -> SearchHit {
    let name = refusal::shown(&hit.name);
    let name = if domain == HUB { name } else { format!("{domain}/{name}") };
    SearchHit { name, description: refusal::shown(&hit.description), ..hit.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_names_its_registry_or_means_dockers() {
        for (term, host, words) in [
            ("nginx", "docker.io", "nginx"),
            ("bitnami/nginx", "docker.io", "bitnami/nginx"),
            ("localhost/nginx", "localhost", "nginx"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000", "a/b"),
            ("quay.io/", "quay.io", ""),
        ] {
            assert_eq!(split(term), (host, words), "{term}");
        }
    }
}
