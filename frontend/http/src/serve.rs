use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::connection;
use crate::listener::Listener;
use crate::router::Router;

/// Clients at a time on one listener; the next ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4096;
/// How long requests may go on after the end was announced.
const GRACE: Duration = Duration::from_secs(2);
/// How long to wait when descriptors run out, as every accept fails at once then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves clients on all listeners until `shutdown` resolves; then takes no new ones, lets those at work finish for two
/// seconds and cuts the rest (followers of logs and events would never end). `idle` is called when a listener's last client
/// has gone, where it may block.
pub async fn serve(listeners: Vec<Listener>, router: Router, idle: fn(), shutdown: impl Future<Output = ()>) {
    let router = Arc::new(router);
    let (announce, stop) = watch::channel(false);
    // Tasks of their own: the thread that called this is none of those that serve, and would be woken for each client.
    let mut loops = JoinSet::new();
    for listener in listeners {
        loops.spawn(accept_loop(listener, Arc::clone(&router), idle, stop.clone()));
    }
    shutdown.await;
    announce.send_replace(true);
    while loops.join_next().await.is_some() {}
}

async fn accept_loop(listener: Listener, router: Arc<Router>, idle: fn(), stop: watch::Receiver<bool>) {
    let mut announced = stop.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut announced) => break,
            Some(_) = connections.join_next() => {
                if connections.is_empty() {
                    // Clients are not kept waiting for it.
                    drop(tokio::task::spawn_blocking(idle));
                }
            }
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok(stream) => {
                    let serving = connection::serve(stream, listener.manner(), Arc::clone(&router), stop.clone());
                    connections.spawn(serving);
                }
                Err(error) => {
                    tracing::warn!(%error, address = listener.address(), "cannot accept a client");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, finish).await;
    connections.shutdown().await;
}

/// Resolves when the end is announced.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await // the announcer is gone without a word: `serve` itself was dropped
    }
}
