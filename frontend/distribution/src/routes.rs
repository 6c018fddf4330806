//! Which handler answers which end of the specification.

use std::future::Future;
use std::sync::Arc;

use tare_depot::Name;
use tare_http::{HeaderName, HeaderValue, Method, Reply, Request, Router, StatusCode};

use crate::error::refusal;
use crate::gate::Access;
use crate::{Error, Result, Service, blob, list, manifest, upload};

pub(crate) fn table(service: Arc<Service>) -> Router {
    let mut router = Router::new();
    router.refuse_with(refused).after(sign);
    let mut table = Table { router: &mut router, service };
    table.on(Method::GET, "/v2", Access::Ping, ping);
    table.on(Method::GET, "/v2/_catalog", Access::Read, list::catalog);
    table.on(Method::GET, "/v2/{name...}/tags/list", Access::Read, list::tags);
    table.on(Method::GET, "/v2/{name...}/referrers/{digest}", Access::Read, list::referrers);
    table.on(Method::POST, "/v2/{name...}/blobs/uploads", Access::Write, upload::begin);
    table.on(Method::GET, "/v2/{name...}/blobs/uploads/{id}", Access::Write, upload::status);
    table.on(Method::PATCH, "/v2/{name...}/blobs/uploads/{id}", Access::Write, upload::piece);
    table.on(Method::PUT, "/v2/{name...}/blobs/uploads/{id}", Access::Write, upload::finish);
    table.on(Method::DELETE, "/v2/{name...}/blobs/uploads/{id}", Access::Write, upload::abort);
    table.on(Method::GET, "/v2/{name...}/blobs/{digest}", Access::Read, blob::get);
    table.on(Method::DELETE, "/v2/{name...}/blobs/{digest}", Access::Write, blob::delete);
    table.on(Method::GET, "/v2/{name...}/manifests/{reference}", Access::Read, manifest::get);
    table.on(Method::PUT, "/v2/{name...}/manifests/{reference}", Access::Write, manifest::put);
    table.on(Method::DELETE, "/v2/{name...}/manifests/{reference}", Access::Write, manifest::delete);
    let service = Arc::clone(&table.service);
    router.route(Method::GET, "/token", move |request| {
        let service = Arc::clone(&service);
        async move { service.gate.token(&request).await.unwrap_or_else(|error| error.reply()) }
    });
    router
}

/// `GET /v2/`: clients learn that this is a registry, and what it wants of them.
async fn ping(_service: Arc<Service>, _request: Request) -> Result<Reply> {
    Ok(Reply::bytes(StatusCode::OK, "application/json", "{}"))
}

fn refused(status: StatusCode, message: String) -> Reply {
    let code = match status {
        StatusCode::METHOD_NOT_ALLOWED => "UNSUPPORTED",
        StatusCode::BAD_REQUEST => "NAME_INVALID",
        StatusCode::NOT_FOUND => "NAME_UNKNOWN",
        StatusCode::FORBIDDEN => "DENIED",
        _ => "UNKNOWN",
    };
    refusal(status, code, message)
}

fn sign(reply: &mut Reply) {
    const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
    reply.headers.insert(VERSION, HeaderValue::from_static("registry/2.0"));
    reply.headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
}

struct Table<'a> {
    router: &'a mut Router,
    service: Arc<Service>,
}

impl Table<'_> {
    fn on<H, F>(&mut self, method: Method, pattern: &'static str, access: Access, handler: H)
    where
        H: Fn(Arc<Service>, Request) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Reply>> + Send + 'static,
    {
        let service = Arc::clone(&self.service);
        self.router.route(method, pattern, move |request| {
            let (service, handler) = (Arc::clone(&service), handler.clone());
            async move {
                let answered = async {
                    service.gate.pass(&request, access, service.tls).await?;
                    if access == Access::Write && service.read_only {
                        return Err(Error::Unsupported("the registry is read only"));
                    }
                    handler(service, request).await
                };
                answered.await.unwrap_or_else(|error| error.reply())
            }
        });
    }
}

/// The repository that a request is about.
pub(crate) fn name(request: &Request) -> Result<Name> {
    Ok(request.parameter("name").parse()?)
}

/// A header of an answer; one that cannot be written is left out.
pub(crate) fn with(reply: Reply, name: &'static str, value: impl std::fmt::Display) -> Reply {
    match HeaderValue::from_str(&value.to_string()) {
        Ok(value) => reply.with(HeaderName::from_static(name), value),
        Err(_) => reply,
    }
}

/// Work of the depot, which blocks.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> tare_depot::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| Error::Internal(error.to_string()))??)
}
