//! What a registry lists: the tags of a repository, its repositories, what refers to a manifest. Page by page, bounded.

use http::header::{HeaderMap, LINK};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tare_model::{Digest, Reference};

use crate::ask::{Ask, Subject, ask, body};
use crate::{Credentials, Error, Registry, Result};

/// Asked for at a time.
const PAGE: usize = 1000;
/// A registry that always has another page is not asked for ever.
const PAGES: usize = 100;
const PAGE_BYTES: u64 = 4 << 20;

#[derive(Deserialize)]
struct Page {
    /// `null` for none.
    #[serde(default, alias = "repositories")]
    tags: Option<Vec<String>>,
}

/// All tags of a repository, from the first of its addresses that answers.
pub(crate) async fn tags(
    registry: &Registry,
    reference: &Reference,
    credentials: Option<&Credentials>,
) -> Result<Vec<String>> {
    let mut last = None;
    let first = Subject::Tags(reference.clone(), query(None));
    for question in Ask::everywhere(registry, reference, &first, credentials) {
        let subject = |query| Subject::Tags(reference.clone(), query);
        match pages(registry, question, subject).await {
            Ok(tags) => return Ok(tags),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::Config(format!("{} has no address", reference.domain()))))
}

/// The repositories of a registry that lists them.
pub(crate) async fn catalog(
    registry: &Registry,
    domain: &str,
    credentials: Option<&Credentials>,
) -> Result<Vec<String>> {
    let subject = |query: String| Subject::Catalog(query);
    let question = Ask::of_host(registry, domain, subject(query(None)), credentials);
    pages(registry, question, subject).await
}

/// A manifest that says something about another one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// Of the manifest.
    pub digest: Digest,
    /// What it is, where the list says so.
    #[serde(default)]
    pub artifact_type: Option<String>,
}

#[derive(Deserialize)]
struct Referrers {
    #[serde(default)]
    manifests: Vec<Referrer>,
}

/// Pages and entries of such a list that are looked at. Whoever may push can make it as long as he likes: what comes after them
/// does not count.
const REFERRERS: (usize, usize) = (20, 10_000);

/// What refers to a manifest: as the registry lists it, else as clients have listed it under the tag that the specification
/// gives to that list.
pub(crate) async fn referrers(
    registry: &Registry,
    reference: &Reference,
    digest: &Digest,
    credentials: Option<&Credentials>,
) -> Result<Vec<Referrer>> {
    let subject = |query| Subject::Referrers(reference.clone(), *digest, query);
    let question = Ask::everywhere(registry, reference, &subject(String::new()), credentials).pop();
    let mut question =
        question.ok_or_else(|| Error::Config(format!("{} has no address", reference.domain())))?;
    let (pages, entries) = REFERRERS;
    let mut found: Vec<Referrer> = Vec::new();
    for number in 0..pages {
        let (list, next) = match page::<Referrers>(registry, &question).await {
            Ok(page) => page,
            Err(Error::NotFound { .. } | Error::Status { status: 400..=499, .. }) if number == 0 => {
                return listed_by_tag(registry, reference, digest, credentials).await;
            }
            Err(error) => return Err(error),
        };
        let empty = list.manifests.is_empty();
        found.extend(list.manifests);
        found.truncate(entries);
        match next.filter(|_| !empty && found.len() < entries) {
            Some(query) => question.subject = subject(query),
            None => break,
        }
    }
    Ok(found)
}

async fn listed_by_tag(
    registry: &Registry,
    reference: &Reference,
    digest: &Digest,
    credentials: Option<&Credentials>,
) -> Result<Vec<Referrer>> {
    let tag = reference.repository().with_tag(&format!("sha256-{}", digest.hex()));
    let tag = tag.map_err(|e| Error::Config(e.to_string()))?;
    match crate::manifest::fetch(registry, &tag, credentials).await {
        Ok(fetched) => Ok(list::<Referrers>(&fetched.bytes, &format!("referrers of {digest}"))?.manifests),
        Err(error) if tare_model::HasKind::kind(&error) == tare_model::Kind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

async fn pages(
    registry: &Registry,
    mut question: Ask,
    subject: impl Fn(String) -> Subject,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for _ in 0..PAGES {
        let (page, next) = page::<Page>(registry, &question).await?;
        let names = page.tags.unwrap_or_default();
        // A page without names has no next one, whatever it says.
        let empty = names.is_empty();
        found.extend(names);
        if found.len() > PAGES * PAGE {
            break;
        }
        match next {
            Some(query) if !empty => question.subject = subject(query),
            _ => return Ok(found),
        }
    }
    let limit = (PAGES * PAGE) as u64;
    Err(Error::TooLarge { what: format!("{} (in names)", question.what()), limit })
}

/// One page of a list, and the query of the next one.
async fn page<T: DeserializeOwned>(registry: &Registry, question: &Ask) -> Result<(T, Option<String>)> {
    let response = ask(registry, question).await?;
    let (next, what) = (next(response.headers()), question.what());
    let bytes = body::read(response, PAGE_BYTES, &what).await?;
    Ok((list(&bytes, &what)?, next))
}

fn list<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    let cause = |e: serde_json::Error| format!("it is no such list: {e}");
    serde_json::from_slice(bytes).map_err(|e| Error::Nonsense { what: what.to_owned(), cause: cause(e) })
}

fn query(last: Option<&str>) -> String {
    last.map_or_else(|| format!("n={PAGE}"), |last| format!("n={PAGE}&last={last}"))
}

/// The query of the next page (RFC 8288, as the distribution specification uses it). Only the query counts: where it is
/// asked is not for the registry to say.
fn next(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.split(';').any(|p| p.trim().replace('"', "").eq_ignore_ascii_case("rel=next"));
    let (_, query) = target.split_once('?').filter(|_| is_next)?;
    Some(query.split('#').next().unwrap_or(query).to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_next_page_is_found_wherever_it_is_said_to_be() {
        for (link, query) in [
            (r#"</v2/a/tags/list?n=2&last=b>; rel="next""#, Some("n=2&last=b")),
            ("<https://other.example/x?last=b#f>; rel=next", Some("last=b")),
            (r#"</v2/a/tags/list?n=2>; rel="prev""#, None),
            ("</v2/a/tags/list>; rel=next", None),
            ("nonsense", None),
            ("<?", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, HeaderValue::from_str(link).unwrap());
            assert_eq!(next(&headers).as_deref(), query, "{link}");
        }
    }
}
