use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use http::{Method, StatusCode};

use crate::reply::{Content, Reply};
use crate::request::Request;

type Answer = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Handler = Arc<dyn Fn(Request) -> Answer + Send + Sync>;
type Before = Box<dyn Fn(&mut Request) -> Option<Reply> + Send + Sync>;
type After = Box<dyn Fn(&mut Reply) + Send + Sync>;

/// Which handler answers which method and path.
///
/// A pattern is a path in which `{name}` stands for one segment and `{name...}` for one or more, because names of images
/// contain slashes: `/images/{name...}/json`. The first pattern that fits wins, so literal ones come first.
pub struct Router {
    routes: Vec<Route>,
    before: Option<Before>,
    after: Option<After>,
    refuse: fn(StatusCode, String) -> Reply,
}

struct Route {
    method: Method,
    pattern: Vec<Segment>,
    handler: Handler,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment {
    Literal(&'static str),
    One(&'static str),
    Many(&'static str),
}

impl Default for Router {
    fn default() -> Self {
        Self::new()
    }
}

impl Router {
    /// A table without routes, which refuses in plain text.
    pub fn new() -> Self {
        let refuse = |status, message: String| Reply::bytes(status, "text/plain; charset=utf-8", message);
        Self { routes: Vec::new(), before: None, after: None, refuse }
    }

    /// Adds a route. A GET route also answers HEAD.
    pub fn route<H, F>(&mut self, method: Method, pattern: &'static str, handler: H) -> &mut Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        self.routes.push(Route { method, pattern: parse(pattern), handler });
        self
    }

    /// What looks at, and may change, every request before its route is sought. A reply of its own ends the request.
    pub fn before(
        &mut self,
        look: impl Fn(&mut Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> &mut Self {
        self.before = Some(Box::new(look));
        self
    }

    /// What looks at, and may change, every reply.
    pub fn after(&mut self, look: impl Fn(&mut Reply) + Send + Sync + 'static) -> &mut Self {
        self.after = Some(Box::new(look));
        self
    }

    /// How the table words its own refusals: no such route, a bad path, a handler that panicked.
    pub fn refuse_with(&mut self, refuse: fn(StatusCode, String) -> Reply) -> &mut Self {
        self.refuse = refuse;
        self
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request) -> Reply {
        let head_only = request.method == Method::HEAD;
        let mut reply = self.dispatch(request).await;
        if head_only && !matches!(reply.content, Content::Whole(_)) {
            reply.content = Content::Whole(bytes::Bytes::new());
        }
        self.finish(reply)
    }

    /// The reply to a request that did not get as far as a route.
    pub(crate) fn refusal(&self, status: StatusCode, message: String) -> Reply {
        self.finish((self.refuse)(status, message))
    }

    fn finish(&self, mut reply: Reply) -> Reply {
        if let Some(after) = &self.after {
            after(&mut reply);
        }
        reply
    }

    async fn dispatch(&self, mut request: Request) -> Reply {
        if let Some(refused) = self.before.as_ref().and_then(|before| before(&mut request)) {
            return refused;
        }
        let handler = match self.find(&mut request) {
            Ok(handler) => handler,
            Err(status) => return (self.refuse)(status, page_not_found(status, &request)),
        };
        self.run(handler, request).await
    }

    /// A request that only reads ends with its client; one that changes something must not stop half way, so it runs in a
    /// task of its own.
    async fn run(&self, handler: Handler, request: Request) -> Reply {
        let reads_only = matches!(request.method, Method::GET | Method::HEAD);
        let what = format!("{} {}", request.method, request.path);
        let work =
            async move { AssertUnwindSafe(async move { handler(request).await }).catch_unwind().await };
        let outcome =
            if reads_only { work.await.ok() } else { tokio::spawn(work).await.ok().and_then(Result::ok) };
        outcome.unwrap_or_else(|| {
            tracing::error!(request = what, "the handler panicked");
            (self.refuse)(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("internal error while answering {what}: please report it"),
            )
        })
    }

    fn find(&self, request: &mut Request) -> Result<Handler, StatusCode> {
        let segments: Vec<&str> = request.path[1..].split('/').collect();
        let wanted = if request.method == Method::HEAD { &Method::GET } else { &request.method };
        let mut status = StatusCode::NOT_FOUND;
        for route in &self.routes {
            let Some(parameters) = matched(&route.pattern, &segments) else { continue };
            if route.method == request.method || route.method == *wanted {
                request.parameters = parameters;
                return Ok(route.handler.clone());
            }
            status = StatusCode::METHOD_NOT_ALLOWED;
        }
        Err(status)
    }
}

fn page_not_found(status: StatusCode, request: &Request) -> String {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            format!("method {} is not allowed for {}", request.method, request.path)
        }
        _ => "page not found".to_owned(),
    }
}

fn parse(pattern: &'static str) -> Vec<Segment> {
    let segment = |text: &'static str| match text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        None => Segment::Literal(text),
        Some(name) => name.strip_suffix("...").map_or(Segment::One(name), Segment::Many),
    };
    pattern.trim_start_matches('/').split('/').map(segment).collect()
}

/// The parameters where the pattern fits. A pattern has at most one `{name...}`, so what stands before and behind it
/// fixes how much it covers.
fn matched(pattern: &[Segment], path: &[&str]) -> Option<Vec<(&'static str, String)>> {
    let Some(many_at) = pattern.iter().position(|segment| matches!(segment, Segment::Many(_))) else {
        return matched_one_by_one(pattern, path);
    };
    let behind = pattern.len() - many_at - 1;
    let covered = path.len().checked_sub(many_at + behind).filter(|covered| *covered > 0)?;
    let (front, rest) = path.split_at(many_at);
    let (middle, back) = rest.split_at(covered);
    let mut parameters = matched_one_by_one(&pattern[..many_at], front)?;
    parameters.extend(matched_one_by_one(&pattern[many_at + 1..], back)?);
    if let Segment::Many(name) = pattern[many_at] {
        parameters.push((name, middle.join("/")));
    }
    Some(parameters)
}

fn matched_one_by_one(pattern: &[Segment], path: &[&str]) -> Option<Vec<(&'static str, String)>> {
    if pattern.len() != path.len() {
        return None;
    }
    let mut parameters = Vec::new();
    for (segment, given) in pattern.iter().zip(path) {
        match segment {
            Segment::Literal(word) if word == given => {}
            Segment::One(name) => parameters.push((*name, (*given).to_owned())),
            _ => return None,
        }
    }
    Some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> Router {
        let mut router = Router::new();
        for pattern in
            ["/images/json", "/images/{name...}/json", "/images/{name...}", "/containers/{id}/json", "/"]
        {
            router.route(Method::GET, pattern, move |request: Request| async move {
                let name = format!("{pattern} {}{}", request.parameter("name"), request.parameter("id"));
                Reply::bytes(StatusCode::OK, "text/plain", name)
            });
        }
        router.route(Method::DELETE, "/panic", |_| async { panic!("on purpose") });
        router.route(Method::GET, "/panic/now", |_| async { panic!("on purpose") });
        router
    }

    async fn get(target: &str) -> (StatusCode, String) {
        ask(Method::GET, target).await
    }

    async fn ask(method: Method, target: &str) -> (StatusCode, String) {
        let reply = table().answer(Request::test(method, target).unwrap()).await;
        (reply.status, String::from_utf8(reply.whole_body().unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn names_may_contain_slashes() {
        assert_eq!(get("/images/json").await.1, "/images/json ");
        assert_eq!(get("/images/a/json").await.1, "/images/{name...}/json a");
        assert_eq!(
            get("/images/127.0.0.1:5000/a/b:c/json").await.1,
            "/images/{name...}/json 127.0.0.1:5000/a/b:c"
        );
        assert_eq!(get("/images/json/json").await.1, "/images/{name...}/json json");
        assert_eq!(get("/images/a/b").await.1, "/images/{name...} a/b");
        assert_eq!(get("/containers/x/json").await.1, "/containers/{id}/json x");
        assert_eq!(get("/").await.1, "/ ");
    }

    #[tokio::test]
    async fn what_has_no_route_is_refused() {
        assert_eq!(get("/containers/x/y/json").await.0, StatusCode::NOT_FOUND);
        assert_eq!(get("/images").await.0, StatusCode::NOT_FOUND);
        assert_eq!(ask(Method::POST, "/images/json").await.0, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(ask(Method::HEAD, "/images/json").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_panic_is_a_500_of_its_own_request() {
        assert_eq!(ask(Method::DELETE, "/panic").await.0, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(get("/panic/now").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    }

    proptest! {
        #[test]
        fn matching_never_panics(path in "(/[a-z{}.:]{1,8}){1,6}") {
            let segments: Vec<&str> = path[1..].split('/').collect();
            for route in &table().routes {
                if let Some(parameters) = matched(&route.pattern, &segments) {
                    prop_assert!(parameters.iter().all(|(_, value)| path.contains(value.as_str())));
                }
            }
        }
    }
}
