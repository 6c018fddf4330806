//! Answering challenges: basic authentication, and tokens from a token server (distribution's token specification),
//! kept until they expire, for the registry, scope and credentials that they were fetched for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Response, Url};
use serde::Deserialize;

use super::challenge::Challenge;
use super::redirect::{self, Outgoing, bare};
use super::{Ask, Subject, body, refusal};
use crate::client::Scheme;
use crate::client::endpoint::{Trust, authority_of, is_near_host, leads_near};
use crate::{Credentials, Error, Registry, Result};

const ANSWER_LIMIT: u64 = 1 << 20;
/// What the specification gives a token that names no life span.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// A token is not used in its last seconds.
const MARGIN: Duration = Duration::from_secs(5);
const CACHE_SIZE: usize = 512;
const CLIENT: &str = "tare";

/// What was granted so far.
#[derive(Default)]
pub(crate) struct Cache(Mutex<HashMap<Key, Grant>>);

type Key = (String, Vec<String>, Option<Credentials>);

struct Grant {
    header: HeaderValue,
    expires: Option<Instant>,
    refresh: Option<String>,
}

impl Cache {
    /// The header that was accepted before, or the one that needs no asking.
    pub(crate) fn header(&self, ask: &Ask) -> Option<HeaderValue> {
        if let Some(token) = ask.credentials.as_ref().map(|c| &c.registry_token).filter(|t| !t.is_empty()) {
            return secret(format!("Bearer {token}"));
        }
        let grants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let grant = grants.get(&key(ask)).filter(|g| g.expires.is_none_or(|at| at > Instant::now()))?;
        Some(grant.header.clone())
    }

    /// The refresh token that came with a grant.
    pub(crate) fn refresh_token(&self, ask: &Ask) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key(ask))?.refresh.clone()
    }

    /// Drops what was refused.
    pub(crate) fn forget(&self, ask: &Ask) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(ask));
    }

    fn keep(&self, ask: &Ask, grant: Grant) {
        let mut grants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if grants.len() >= CACHE_SIZE {
            grants.clear();
        }
        grants.insert(key(ask), grant);
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache(hidden)")
    }
}

fn key(ask: &Ask) -> Key {
    (ask.endpoint.authority.clone(), ask.scopes(), ask.credentials.clone())
}

/// The header that answers the challenges, `None` where we have no answer.
pub(crate) async fn answer(
    registry: &Registry,
    ask: &Ask,
    scheme: Scheme,
    challenges: &[Challenge],
) -> Result<Option<HeaderValue>> {
    if ask.credentials.as_ref().is_some_and(|c| !c.registry_token.is_empty()) {
        return Ok(None);
    }
    for challenge in challenges {
        let grant = match (challenge, &ask.credentials) {
            (Challenge::Bearer { realm, service, .. }, _) => {
                let realm = allowed_realm(registry, ask, scheme, realm)?;
                Some(fetch(registry, ask, realm, service.as_deref()).await?)
            }
            (Challenge::Basic, Some(login)) if !login.username.is_empty() => {
                basic(login).map(|header| Grant { header, expires: None, refresh: None })
            }
            (Challenge::Basic, _) => None,
        };
        if let Some(grant) = grant {
            let header = grant.header.clone();
            registry.tokens.keep(ask, grant);
            return Ok(Some(header));
        }
    }
    Ok(None)
}

/// The token server's address, if a credential may be sent there: by TLS, or in plain where the registry itself is
/// spoken to in plain and the token server may be too.
fn allowed_realm(registry: &Registry, ask: &Ask, scheme: Scheme, realm: &str) -> Result<Url> {
    let refuse = |cause| Error::Realm {
        registry: ask.endpoint.authority.clone(),
        realm: refusal::shown(realm.split(['?', '#']).next().unwrap_or_default()),
        cause,
    };
    let url = Url::parse(realm).map_err(|_| refuse("it is no address"))?;
    let authority = authority_of(&url).ok_or_else(|| refuse("it has no host"))?;
    let trust = registry.rules().directory.trust(&authority);
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it carries credentials of its own"));
    }
    if leads_near(&url) && !is_near_host(&ask.endpoint.authority) {
        return Err(refuse("a registry elsewhere does not send credentials to this machine"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if scheme == Scheme::Http && trust != Trust::Verified => Ok(url),
        _ => Err(refuse("tokens are fetched over https only")),
    }
}

async fn fetch(registry: &Registry, ask: &Ask, realm: Url, service: Option<&str>) -> Result<Grant> {
    let refresh = ask.credentials.as_ref().map(|c| c.identity_token.clone()).filter(|t| !t.is_empty());
    let response = match &refresh {
        Some(refresh) => exchange(registry, ask, &realm, service, refresh).await?,
        None => request(registry, ask, realm, service).await?,
    };
    let status = response.status();
    let bytes = body::read(response, ANSWER_LIMIT, "token").await?;
    match status.as_u16() {
        200..=299 => granted(&bytes),
        401 | 403 => Err(Error::Unauthorized("incorrect username or password".to_owned())),
        429 => Err(Error::TooManyRequests("the token server limits its requests".to_owned())),
        status => {
            let what = format!("token request for {}", ask.endpoint.authority);
            Err(Error::Status { what, status, message: refusal::shown(&String::from_utf8_lossy(&bytes)) })
        }
    }
}

/// The specification's GET, with name and password where there are some.
async fn request(registry: &Registry, ask: &Ask, mut url: Url, service: Option<&str>) -> Result<Response> {
    let login = ask.credentials.as_ref().filter(|c| !c.username.is_empty());
    // What the realm itself asks for beside, but no other rights than those that are needed.
    let given: Vec<_> = url
        .query_pairs()
        .filter(|(name, _)| name != "scope")
        .map(|(n, v)| (n.into_owned(), v.into_owned()))
        .collect();
    {
        let mut query = url.query_pairs_mut();
        query.clear().extend_pairs(given);
        query.extend_pairs(service.map(|service| ("service", service)));
        query.extend_pairs(ask.scopes().into_iter().map(|scope| ("scope", scope)));
        if let Some(login) = login {
            query.append_pair("account", &login.username);
        }
        if matches!(ask.subject, Subject::Login) {
            query.append_pair("offline_token", "true").append_pair("client_id", CLIENT);
        }
    }
    let authorization = login.and_then(basic);
    let what = "token";
    Ok(redirect::follow(
        registry,
        Outgoing { what, url, head: false, accept: None, offset: 0, authorization },
    )
    .await?
    .response)
}

/// OAuth2's POST, which trades a refresh token for an access token. Its answer is never followed elsewhere.
async fn exchange(
    registry: &Registry,
    ask: &Ask,
    realm: &Url,
    service: Option<&str>,
    refresh: &str,
) -> Result<Response> {
    let scope = ask.scopes().join(" ");
    let pairs = [
        ("grant_type", "refresh_token"),
        ("service", service.unwrap_or_default()),
        ("scope", scope.as_str()),
        ("client_id", CLIENT),
        ("refresh_token", refresh),
    ];
    let form = Url::parse_with_params("form:", pairs).ok().and_then(|url| url.query().map(str::to_owned));
    let request = registry.rules().http(realm)?.post(realm.clone());
    let request =
        request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.unwrap_or_default());
    request.send().await.map_err(|e| redirect::failure(registry, "token", realm, &e)).and_then(|response| {
        if response.status().is_redirection() {
            let cause = "a refresh token is sent to one host only";
            return Err(Error::Redirect { url: bare(realm), target: "elsewhere".to_owned(), cause });
        }
        Ok(response)
    })
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    refresh_token: Option<String>,
}

fn granted(bytes: &[u8]) -> Result<Grant> {
    let nonsense = |cause: &str| Error::Nonsense { what: "token".to_owned(), cause: cause.to_owned() };
    let answer: TokenAnswer =
        serde_json::from_slice(bytes).map_err(|_| nonsense("it is not the JSON of a token"))?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() {
        return Err(nonsense("it holds no token"));
    }
    let header =
        secret(format!("Bearer {token}")).ok_or_else(|| nonsense("the token does not fit into a header"))?;
    let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs);
    let expires = Instant::now().checked_add(life.saturating_sub(MARGIN));
    Ok(Grant { header, expires, refresh: answer.refresh_token.filter(|t| !t.is_empty()) })
}

fn basic(login: &Credentials) -> Option<HeaderValue> {
    secret(format!("Basic {}", STANDARD.encode(format!("{}:{}", login.username, login.password))))
}

/// A header that is never printed.
fn secret(value: String) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(value).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_in_both_spellings() {
        for text in [r#"{"token":"abc","expires_in":300}"#, r#"{"access_token":"abc"}"#] {
            assert_eq!(granted(text.as_bytes()).unwrap().header, "Bearer abc");
        }
        for text in ["", "[]", "{}", r#"{"token":"a\nb"}"#] {
            assert!(granted(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn an_endless_token_is_no_overflow() {
        let text = format!(r#"{{"token":"abc","expires_in":{}}}"#, u64::MAX);
        assert!(granted(text.as_bytes()).is_ok());
    }
}
