//! Endpoints of the API that this version does not have yet. They are routed so that a client learns what is missing
//! instead of wondering about a 404.

use tare_http::{Method, Router};

use crate::Error;

/// Method, pattern, and what a person would call it.
const NOT_YET: [(Method, &str, &str); 28] = [
    (Method::GET, "/containers/{id}/stats", "resource figures of a container (stats)"),
    (Method::POST, "/containers/{id}/update", "changing a container's limits (update)"),
    (Method::GET, "/containers/{id}/attach/ws", "attaching through a WebSocket"),
    (Method::HEAD, "/containers/{id}/archive", "copying files from and to a container (cp)"),
    (Method::GET, "/containers/{id}/archive", "copying files from and to a container (cp)"),
    (Method::PUT, "/containers/{id}/archive", "copying files from and to a container (cp)"),
    (Method::GET, "/containers/{id}/checkpoints", "checkpoints"),
    (Method::POST, "/containers/{id}/checkpoints", "checkpoints"),
    (Method::DELETE, "/containers/{id}/checkpoints/{checkpoint}", "checkpoints"),
    (Method::POST, "/build/cancel", "ending a build by its id (build cancel)"),
    (Method::PUT, "/volumes/{name}", "changing a cluster volume"),
    (Method::DELETE, "/networks/{id}", "removing networks (network rm)"),
    (Method::POST, "/networks/create", "creating networks (network create)"),
    (Method::POST, "/networks/{id}/connect", "connecting containers to networks (network connect)"),
    (
        Method::POST,
        "/networks/{id}/disconnect",
        "disconnecting containers from networks (network disconnect)",
    ),
    (Method::GET, "/plugins", "plugins"),
    (Method::GET, "/plugins/privileges", "plugins"),
    (Method::POST, "/plugins/pull", "plugins"),
    (Method::POST, "/plugins/create", "plugins"),
    (Method::GET, "/plugins/{name...}/json", "plugins"),
    (Method::DELETE, "/plugins/{name...}", "plugins"),
    (Method::POST, "/plugins/{name...}/enable", "plugins"),
    (Method::POST, "/plugins/{name...}/disable", "plugins"),
    (Method::POST, "/plugins/{name...}/upgrade", "plugins"),
    (Method::POST, "/plugins/{name...}/push", "plugins"),
    (Method::POST, "/plugins/{name...}/set", "plugins"),
    (Method::POST, "/session", "building images with BuildKit (session)"),
    (Method::POST, "/grpc", "building images with BuildKit (grpc)"),
];

/// What only a swarm's manager answers.
const SWARM: [(Method, &str); 28] = [
    (Method::GET, "/nodes"),
    (Method::GET, "/nodes/{id}"),
    (Method::DELETE, "/nodes/{id}"),
    (Method::POST, "/nodes/{id}/update"),
    (Method::GET, "/swarm"),
    (Method::POST, "/swarm/leave"),
    (Method::POST, "/swarm/update"),
    (Method::GET, "/swarm/unlockkey"),
    (Method::POST, "/swarm/unlock"),
    (Method::GET, "/services"),
    (Method::POST, "/services/create"),
    (Method::GET, "/services/{id}"),
    (Method::DELETE, "/services/{id}"),
    (Method::POST, "/services/{id}/update"),
    (Method::GET, "/services/{id}/logs"),
    (Method::GET, "/tasks"),
    (Method::GET, "/tasks/{id}"),
    (Method::GET, "/tasks/{id}/logs"),
    (Method::GET, "/secrets"),
    (Method::POST, "/secrets/create"),
    (Method::GET, "/secrets/{id}"),
    (Method::DELETE, "/secrets/{id}"),
    (Method::POST, "/secrets/{id}/update"),
    (Method::GET, "/configs"),
    (Method::POST, "/configs/create"),
    (Method::GET, "/configs/{id}"),
    (Method::DELETE, "/configs/{id}"),
    (Method::POST, "/configs/{id}/update"),
];

/// Becoming a manager is what does not exist yet; the others only lack one.
const SWARM_NOT_YET: [(Method, &str, &str); 2] = [
    (Method::POST, "/swarm/init", "swarms (swarm init)"),
    (Method::POST, "/swarm/join", "swarms (swarm join)"),
];

/// Adds them all.
pub(crate) fn add(router: &mut Router) {
    for (method, pattern, what) in NOT_YET.into_iter().chain(SWARM_NOT_YET) {
        router.route(method, pattern, move |_| async move { Error::unsupported(what).reply() });
    }
    for (method, pattern) in SWARM {
        router.route(method, pattern, |_| async { Error::NotASwarmManager.reply() });
    }
}
