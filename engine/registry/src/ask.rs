//! One question to a registry: which scheme, which credential, and again where that may help. Whatever is asked of one goes this
//! way, with what it brings along ([`parcel`]), where it is sent on to ([`redirect`]) and what a refusal means ([`refusal`]).

pub(crate) mod body;
mod challenge;
pub(crate) mod pace;
pub(crate) mod parcel;
pub(crate) mod redirect;
pub(crate) mod refusal;
pub(crate) mod retry;
pub(crate) mod token;

use std::time::Duration;

use http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Response, Url};
use tare_model::{Digest, Reference};

use crate::client::Scheme;
use crate::client::endpoint::{self, Endpoint};
use crate::{Credentials, Error, Registry, Result};
use challenge::Challenge;
use parcel::Parcel;
use redirect::{Answer, Outgoing};

/// What is asked for; it decides what a refusal means.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Manifest(Reference),
    Blob(Reference, Digest),
    /// A blob on its way into a repository.
    Upload(Reference, Digest),
    /// The tags of a repository; with the query of the page.
    Tags(Reference, String),
    /// What refers to a manifest; with the query of the page.
    Referrers(Reference, Digest, String),
    /// The repositories of a registry; with the query of the page.
    Catalog(String),
    /// Docker's old search; with its query.
    Search(String),
    Login,
}

/// What has to be allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Access {
    #[default]
    Pull,
    /// Into the subject's repository, and reading from another one of the same registry.
    Push { from: Option<Reference> },
}

/// How it is asked.
#[derive(Clone, Debug, Default)]
pub(crate) enum Errand {
    #[default]
    Get,
    Head,
    /// With something that is brought along.
    Bring(Parcel),
}

impl Subject {
    /// What it is about; nothing for a login.
    pub(crate) fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Manifest(reference)
            | Self::Blob(reference, _)
            | Self::Upload(reference, _)
            | Self::Tags(reference, _)
            | Self::Referrers(reference, ..) => Some(reference),
            Self::Catalog(_) | Self::Search(_) | Self::Login => None,
        }
    }
}

/// A question.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) endpoint: Endpoint,
    pub(crate) subject: Subject,
    pub(crate) accept: Option<&'static str>,
    /// The first byte wanted; 0 = all.
    pub(crate) offset: u64,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) access: Access,
    pub(crate) errand: Errand,
}

impl Ask {
    /// The question to each address of the reference's registry, in order. Mirrors are asked without credentials.
    pub(crate) fn everywhere(
        registry: &Registry,
        reference: &Reference,
        subject: &Subject,
        credentials: Option<&Credentials>,
    ) -> Vec<Self> {
        let endpoints = registry.rules().directory.endpoints(reference.domain());
        let own = credentials.filter(|c| !c.is_empty());
        let ask = |endpoint: Endpoint| Self {
            credentials: own.filter(|_| !endpoint.mirror).cloned(),
            endpoint,
            subject: subject.clone(),
            accept: None,
            offset: 0,
            access: Access::Pull,
            errand: Errand::Get,
        };
        endpoints.into_iter().map(ask).collect()
    }

    /// A question about a registry as a whole, to itself.
    pub(crate) fn of_host(
        registry: &Registry,
        domain: &str,
        subject: Subject,
        credentials: Option<&Credentials>,
    ) -> Self {
        Self {
            endpoint: endpoint::own(registry, domain),
            subject,
            accept: None,
            offset: 0,
            credentials: credentials.filter(|c| !c.is_empty()).cloned(),
            access: Access::Pull,
            errand: Errand::Get,
        }
    }

    /// The question to the registry itself, of one who pushes: a mirror is never written to.
    pub(crate) fn pushing(
        registry: &Registry,
        subject: Subject,
        from: Option<Reference>,
        credentials: Option<&Credentials>,
    ) -> Self {
        let domain = subject.reference().map(Reference::domain).unwrap_or_default().to_owned();
        Self { access: Access::Push { from }, ..Self::of_host(registry, &domain, subject, credentials) }
    }

    /// The same question, asked in another way.
    pub(crate) fn by(&self, errand: Errand) -> Self {
        Self { errand, ..self.clone() }
    }

    /// How error messages call it.
    pub(crate) fn what(&self) -> String {
        match &self.subject {
            Subject::Manifest(reference) => format!("manifest {}", reference.familiar()),
            Subject::Blob(_, digest) => format!("blob {digest}"),
            Subject::Upload(_, digest) => format!("upload of blob {digest}"),
            Subject::Tags(reference, _) => format!("tags of {}", reference.repository().familiar()),
            Subject::Referrers(_, digest, _) => format!("referrers of {digest}"),
            Subject::Catalog(_) => format!("list of repositories of {}", self.endpoint.authority),
            Subject::Search(_) => format!("search at {}", self.endpoint.authority),
            Subject::Login => format!("login at {}", self.endpoint.authority),
        }
    }

    /// What a token must allow. Made by us: a scope that the registry names could be one of another registry.
    pub(crate) fn scopes(&self) -> Vec<String> {
        if matches!(self.subject, Subject::Catalog(_)) {
            return vec!["registry:catalog:*".to_owned()];
        }
        let Some(reference) = self.subject.reference() else { return Vec::new() };
        let scope = |reference: &Reference, what: &str| format!("repository:{}:{what}", reference.path());
        match &self.access {
            Access::Pull => vec![scope(reference, "pull")],
            Access::Push { from } => std::iter::once(scope(reference, "pull,push"))
                .chain(from.iter().map(|from| scope(from, "pull")))
                .collect(),
        }
    }

    fn url(&self, scheme: Scheme) -> Result<Url> {
        let path = match &self.subject {
            Subject::Manifest(reference) => {
                format!("v2/{}/manifests/{}", reference.path(), reference.identifier())
            }
            Subject::Blob(reference, digest) => format!("v2/{}/blobs/{digest}", reference.path()),
            Subject::Upload(reference, _) => format!("v2/{}/blobs/uploads/", reference.path()),
            Subject::Tags(reference, query) => format!("v2/{}/tags/list?{query}", reference.path()),
            Subject::Referrers(reference, digest, query) => {
                let query = if query.is_empty() { String::new() } else { format!("?{query}") };
                format!("v2/{}/referrers/{digest}{query}", reference.path())
            }
            Subject::Catalog(query) => format!("v2/_catalog?{query}"),
            Subject::Search(query) => format!("v1/search?{query}"),
            Subject::Login => "v2/".to_owned(),
        };
        let text = format!("{}://{}/{path}", scheme.as_str(), self.endpoint.authority);
        Url::parse(&text).map_err(|e| Error::Config(format!("registry address {text}: {e}")))
    }
}

/// Why a question was not answered.
pub(crate) struct Refused {
    pub(crate) error: Error,
    /// Whether it may be gone a moment later.
    pub(crate) transient: bool,
    /// The pause that the registry wants.
    pub(crate) wanted: Option<Duration>,
}

/// Asks, with retries; an answer that is no success is an error.
pub(crate) async fn ask(registry: &Registry, ask: &Ask) -> Result<Response> {
    let mut done = 0;
    loop {
        let refused = match attempt(registry, ask).await {
            Ok(response) => return Ok(response),
            Err(refused) if refused.transient => refused,
            Err(refused) => return Err(refused.error),
        };
        let Refused { error, wanted, .. } = refused;
        let Some(pause) = retry::pause(&registry.rules().config, done, wanted) else { return Err(error) };
        tracing::debug!(%error, ?pause, "asking the registry again");
        tokio::time::sleep(pause).await;
        done += 1;
    }
}

/// Asks once; an answer that is no success is an error.
pub(crate) async fn attempt(registry: &Registry, ask: &Ask) -> std::result::Result<Response, Refused> {
    match once(registry, ask).await {
        Ok(response) if response.status().is_success() => Ok(response),
        Ok(response) => {
            let header = response.headers().get(RETRY_AFTER);
            let wanted = header.and_then(|v| retry::retry_after(v.to_str().ok()?));
            let transient = retry::is_transient(response.status());
            Err(Refused { error: refusal::read(ask, response).await, transient, wanted })
        }
        Err(error) => {
            let transient = matches!(error, Error::Interrupted { .. });
            Err(Refused { error, transient, wanted: None })
        }
    }
}

/// One try: https, and for hosts that may do without, plain http where TLS does not come about.
async fn once(registry: &Registry, ask: &Ask) -> Result<Response> {
    let authority = &ask.endpoint.authority;
    if registry.rules().tls_only(authority)? {
        return authorized(registry, ask, Scheme::Https).await;
    }
    if let Some(scheme) = registry.known_scheme(authority) {
        let result = authorized(registry, ask, scheme).await;
        if matches!(result, Err(Error::Unreachable { .. })) {
            registry.forget_scheme(authority);
        }
        return result;
    }
    let (scheme, result) = match authorized(registry, ask, Scheme::Https).await {
        Err(Error::Unreachable { .. }) => (Scheme::Http, authorized(registry, ask, Scheme::Http).await),
        result => (Scheme::Https, result),
    };
    if result.is_ok() {
        registry.learn_scheme(authority, scheme);
    }
    result
}

/// Asks with what is known, and when the registry wants (other) credentials, once more with those.
async fn authorized(registry: &Registry, ask: &Ask, scheme: Scheme) -> Result<Response> {
    let first = send(registry, ask, scheme, registry.tokens.header(ask)).await?;
    // A host that we were sent to gets no credential and cannot make us fetch one.
    if first.response.status() != http::StatusCode::UNAUTHORIZED || !first.at_home {
        return Ok(first.response);
    }
    let Some(header) = token::answer(registry, ask, scheme, &challenges(&first.response)).await? else {
        return Ok(first.response);
    };
    let second = send(registry, ask, scheme, Some(header)).await?;
    if second.response.status() == http::StatusCode::UNAUTHORIZED {
        registry.tokens.forget(ask);
    }
    Ok(second.response)
}

async fn send(
    registry: &Registry,
    ask: &Ask,
    scheme: Scheme,
    authorization: Option<HeaderValue>,
) -> Result<Answer> {
    let (url, what) = (ask.url(scheme)?, ask.what());
    let head = match &ask.errand {
        Errand::Bring(parcel) => return parcel::bring(registry, &what, url, parcel, authorization).await,
        Errand::Get => false,
        Errand::Head => true,
    };
    let outgoing = Outgoing { what: &what, url, head, accept: ask.accept, offset: ask.offset, authorization };
    redirect::follow(registry, outgoing).await
}

/// All challenges of an answer.
pub(crate) fn challenges(response: &Response) -> Vec<Challenge> {
    let headers = response.headers().get_all(WWW_AUTHENTICATE);
    headers.iter().filter_map(|value| value.to_str().ok()).flat_map(challenge::parse).collect()
}
