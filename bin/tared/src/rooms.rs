//! Opens the rooms of the engine in the order in which they lean on each other, and closes them.

use std::sync::Arc;

use anyhow::{Context, Result};
use tare_build::Builder;
use tare_cgroup::{Hierarchies, Version};
use tare_container::{Config, Engine, Event, EventKind};
use tare_image::Images;
use tare_network::Networks;
use tare_registry::Registry;
use tare_snapshot::Snapshots;
use tare_store::Store;
use tare_volume::Volumes;

use crate::settings::Settings;

/// Everything that is open.
pub(crate) struct Rooms {
    pub engine: Arc<Engine>,
    builder: Arc<Builder>,
    registry: Arc<Registry>,
    store: Arc<Store>,
}

/// Opens all rooms. Nothing in the kernel is touched before a container needs it.
pub(crate) async fn open(settings: &Settings) -> Result<Rooms> {
    let data = &settings.data_root;
    let store = Store::open(&data.join("tare.redb")).context("cannot open the records")?;
    let registry = Registry::new(settings.registry.clone())?;
    let snapshots = Snapshots::open_with(&data.join("snapshots"), store.clone(), settings.storage_driver);
    let snapshots = snapshots.context("cannot open the snapshots")?;
    let content = data.join("content");
    let images =
        Images::open_with(&content, store.clone(), snapshots.clone(), registry.clone(), settings.images);
    let networks = Networks::open(settings.network.clone(), store.clone(), &settings.exec_root);
    let (images, networks) = tokio::join!(images, networks);
    let volumes = Volumes::open(&data.join("volumes"), store.clone()).context("cannot open the volumes")?;
    let images = images.context("cannot open the images")?;
    images.set_policy(settings.policy.clone());
    let rooms = tare_container::Rooms {
        store: store.clone(),
        snapshots,
        images,
        networks: networks.context("cannot open the networks")?,
        volumes,
    };
    let containers = &settings.containers;
    let config = Config {
        data_root: data.clone(),
        exec_root: settings.exec_root.clone(),
        runtime: containers.runtime.clone(),
        init: containers.init.clone(),
        defaults: containers.defaults.clone(),
    };
    let engine = Engine::open(config, rooms).await.context("cannot open the containers")?;
    let builder = Builder::open(engine.clone(), store.clone(), registry.clone(), settings.entitlements);
    let builder = builder.context("cannot open the builds")?;
    Ok(Rooms { engine, builder, registry, store })
}

/// What the handlers of requests need.
pub(crate) fn for_clients(rooms: &Rooms, settings: &Settings) -> Result<tare_docker::Rooms> {
    let unified = Hierarchies::detect().context("cannot find the control groups")?.version() == Version::V2;
    let daemon = tare_docker::Daemon {
        id: identity(&rooms.store)?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("TARE_COMMIT").unwrap_or_default().to_owned(),
        built: option_env!("TARE_BUILT").unwrap_or_default().to_owned(),
        data_root: settings.data_root.clone(),
        cgroup_version: if unified { "2" } else { "1" }.to_owned(),
        warnings: rooms.engine.networks().notices(),
    };
    let engine = rooms.engine.clone();
    let (images, networks, volumes) =
        (engine.images().clone(), engine.networks().clone(), engine.volumes().clone());
    Ok(tare_docker::Rooms {
        engine,
        builder: rooms.builder.clone(),
        images,
        networks,
        volumes,
        registry: rooms.registry.clone(),
        daemon,
    })
}

/// Reads the settings again, as at the start, and goes on by those that can change while the daemon runs: what concerns
/// registries. Settings that cannot be meant change nothing.
pub(crate) fn reload(rooms: &Rooms) {
    let applied = Settings::read(std::env::args_os()).and_then(|settings| {
        rooms.registry.reload(settings.registry)?;
        rooms.engine.images().set_policy(settings.policy);
        rooms.engine.images().set_lanes(settings.images.downloads, settings.images.uploads);
        Ok(())
    });
    match applied {
        Ok(()) => {
            rooms.engine.publish(Event::now(EventKind::Daemon, "reload", "tare"));
            tracing::info!("the configuration was read again: what concerns registries counts from now on");
        }
        Err(error) => tracing::warn!("the configuration is not read again: {error:#}"),
    }
}

/// Writes what is still to be written. With no container left, the machine gets back what the daemon changed on it.
pub(crate) async fn close(rooms: Rooms) -> Result<()> {
    rooms.engine.end_steps().await;
    let counts = rooms.engine.counts();
    if counts.running + counts.paused == 0 {
        rooms
            .engine
            .networks()
            .teardown()
            .await
            .context("cannot remove the bridge and the firewall table")?;
    }
    rooms.store.flush().await.context("cannot write the last records")
}

/// The same for as long as the data root is.
fn identity(store: &Store) -> Result<String> {
    const TABLE: &str = "daemon";
    if let Some(id) = store.get(TABLE, "id")? {
        return Ok(id);
    }
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("cannot get random bytes")?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    let mut batch = tare_store::Batch::default();
    batch.put(TABLE, "id", &id);
    store.commit_later(batch);
    Ok(id)
}
