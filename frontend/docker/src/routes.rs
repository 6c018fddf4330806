//! Which handler answers which endpoint of the reference.

use std::future::Future;
use std::sync::Arc;

use tare_http::{Method, Reply, Request, Router};

use crate::{
    Error, Result, Rooms, auth, build, container, event, exec, image, network, own, prune, system, usage,
    volume,
};

/// Adds every endpoint that has a handler. Literal patterns come before those with names.
pub(crate) fn add(router: &mut Router, rooms: &Arc<Rooms>) {
    let mut table = Table { router, rooms };
    table.get("/_ping", system::ping);
    table.get("/version", system::version);
    table.get("/info", system::info);
    table.post("/auth", auth::login);
    table.get("/events", event::events);
    table.get("/system/df", usage::disk_usage);
    table.get("/tare/images/{name...}/layers", own::layers);
    table.get("/tare/images/{name...}/manifest", own::manifest);
    table.post("/tare/images/{name...}/untag", own::untag);
    table.post("/tare/images/{name...}/hold", own::hold);
    table.delete("/tare/hold", own::release);
    table.post("/tare/manifests/create", own::index);
    table.get("/tare/diff", own::difference);
    table.post("/tare/verify", own::verify);
    images(&mut table);
    containers(&mut table);
    execs(&mut table);
    networks_and_volumes(&mut table);
}

fn images(table: &mut Table) {
    table.post("/build", build::build);
    table.post("/build/prune", build::prune);
    table.get("/images/json", image::list);
    table.post("/images/create", image::pull);
    table.post("/images/load", image::load);
    table.post("/images/prune", prune::images);
    table.get("/images/get", image::save);
    table.get("/images/search", image::search);
    table.get("/distribution/{name...}/json", image::distribution);
    table.get("/images/{name...}/get", image::save_one);
    table.get("/images/{name...}/json", image::inspect);
    table.get("/images/{name...}/history", image::history);
    table.post("/images/{name...}/tag", image::tag);
    table.post("/images/{name...}/push", image::push);
    table.delete("/images/{name...}", image::remove);
}

fn containers(table: &mut Table) {
    table.get("/containers/json", container::list);
    table.post("/containers/create", container::create);
    table.post("/containers/prune", prune::containers);
    table.get("/containers/{id}/json", container::inspect);
    table.get("/containers/{id}/top", container::top);
    table.get("/containers/{id}/changes", container::changes);
    table.get("/containers/{id}/export", container::export);
    table.post("/commit", container::commit);
    table.get("/containers/{id}/logs", container::logs);
    table.post("/containers/{id}/start", container::start);
    table.post("/containers/{id}/stop", container::stop);
    table.post("/containers/{id}/kill", container::kill);
    table.post("/containers/{id}/restart", container::restart);
    table.post("/containers/{id}/wait", container::wait);
    table.post("/containers/{id}/rename", container::rename);
    table.post("/containers/{id}/pause", container::pause);
    table.post("/containers/{id}/unpause", container::unpause);
    table.post("/containers/{id}/attach", container::attach);
    table.post("/containers/{id}/resize", container::resize);
    table.delete("/containers/{id}", container::remove);
}

fn execs(table: &mut Table) {
    table.post("/containers/{id}/exec", exec::create);
    table.post("/exec/{id}/start", exec::start);
    table.post("/exec/{id}/resize", exec::resize);
    table.get("/exec/{id}/json", exec::inspect);
}

fn networks_and_volumes(table: &mut Table) {
    table.get("/networks", network::list);
    table.get("/networks/{id}", network::inspect);
    table.post("/networks/prune", network::prune);
    table.get("/volumes", volume::list);
    table.post("/volumes/create", volume::create);
    table.post("/volumes/prune", volume::prune);
    table.get("/volumes/{name}", volume::inspect);
    table.delete("/volumes/{name}", volume::remove);
}

struct Table<'a> {
    router: &'a mut Router,
    rooms: &'a Arc<Rooms>,
}

impl Table<'_> {
    fn get<H, F>(&mut self, pattern: &'static str, handler: H)
    where
        H: Fn(Arc<Rooms>, Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Reply>> + Send + 'static,
    {
        self.on(Method::GET, pattern, handler);
    }

    fn post<H, F>(&mut self, pattern: &'static str, handler: H)
    where
        H: Fn(Arc<Rooms>, Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Reply>> + Send + 'static,
    {
        self.on(Method::POST, pattern, handler);
    }

    fn delete<H, F>(&mut self, pattern: &'static str, handler: H)
    where
        H: Fn(Arc<Rooms>, Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Reply>> + Send + 'static,
    {
        self.on(Method::DELETE, pattern, handler);
    }

    fn on<H, F>(&mut self, method: Method, pattern: &'static str, handler: H)
    where
        H: Fn(Arc<Rooms>, Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Reply>> + Send + 'static,
    {
        let rooms = Arc::clone(self.rooms);
        self.router.route(method, pattern, move |request| {
            let work = handler(Arc::clone(&rooms), request);
            async move { work.await.unwrap_or_else(|error: Error| error.reply()) }
        });
    }
}
