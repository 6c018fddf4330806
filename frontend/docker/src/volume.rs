//! Volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tare_container::{Event, EventKind};
use tare_docker_api::{Volume as Wire, VolumeCreateRequest, VolumeList, VolumePrune};
use tare_http::{Reply, Request, StatusCode};
use tare_model::Name;
use tare_volume::Volume;

use crate::filter::{Filters, name_fits};
use crate::version::{Change, Version};
use crate::{Error, Result, Rooms, body, parameter};

/// `GET /volumes`.
pub(crate) async fn list(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let filters = Filters::of(&request.query, &["dangling", "driver", "label", "name"])?;
    let dangling = filters.switch("dangling")?;
    let mut volumes = Vec::new();
    for volume in rooms.volumes.list()? {
        let unused = || rooms.volumes.holders(&volume.name).map(|holders| holders.is_empty());
        let fits = filters.any("name", |pattern| name_fits(pattern, volume.name.as_str()))
            && filters.any("driver", |driver| volume.driver == driver)
            && filters.labels(&volume.labels);
        if fits && dangling.is_none_or(|wanted| unused().is_ok_and(|unused| unused == wanted)) {
            volumes.push(wire(&rooms, &volume));
        }
    }
    Ok(Reply::json(StatusCode::OK, &VolumeList { volumes, warnings: None }))
}

/// `POST /volumes/create`.
pub(crate) async fn create(rooms: Arc<Rooms>, mut request: Request) -> Result<Reply> {
    let given: VolumeCreateRequest = body::json(&mut request).await?;
    if given.cluster_volume_spec.is_some() {
        return Err(Error::NotASwarmManager);
    }
    let name = if given.name.is_empty() { None } else { Some(volume_name(&given.name)?) };
    let driver = if given.driver.is_empty() { "local" } else { &given.driver };
    let (options, labels) = (given.driver_opts.unwrap_or_default(), given.labels.unwrap_or_default());
    let volume = rooms.volumes.create(name, driver, options, labels).await?;
    publish(&rooms, "create", volume.name.as_str());
    Ok(Reply::json(StatusCode::CREATED, &wire(&rooms, &volume)))
}

fn volume_name(text: &str) -> Result<Name> {
    text.parse().map_err(|_| {
        Error::invalid(format!(
            "\"{text}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        ))
    })
}

/// `GET /volumes/{name}`.
pub(crate) async fn inspect(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let volume = rooms.volumes.get(request.parameter("name"))?;
    Ok(Reply::json(StatusCode::OK, &wire(&rooms, &volume)))
}

/// `DELETE /volumes/{name}`.
pub(crate) async fn remove(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let name = request.parameter("name");
    rooms.volumes.remove(name, parameter::flag(&request.query, "force")).await?;
    publish(&rooms, "destroy", name);
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /volumes/prune`.
pub(crate) async fn prune(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let filters = Filters::of(&request.query, &["all", "label", "label!"])?;
    let keeps_named = Version::of(&request).has(Change::PruneKeepsNamedVolumes);
    let all = filters.switch("all")?.unwrap_or(!keeps_named);
    let pruned = rooms.volumes.prune(all, move |volume| filters.labels(&volume.labels)).await?;
    let volumes: Vec<String> = pruned.names.iter().map(ToString::to_string).collect();
    volumes.iter().for_each(|name| publish(&rooms, "destroy", name));
    Ok(Reply::json(
        StatusCode::OK,
        &VolumePrune { volumes_deleted: Some(volumes), space_reclaimed: pruned.bytes },
    ))
}

pub(crate) fn wire(rooms: &Rooms, volume: &Volume) -> Wire {
    let some = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| map.clone());
    Wire {
        created_at: volume.created.to_string(),
        driver: volume.driver.clone(),
        labels: some(&volume.labels),
        mountpoint: rooms.volumes.path(volume).display().to_string(),
        name: volume.name.to_string(),
        options: some(&volume.options),
        scope: "local".to_owned(),
        usage_data: None,
    }
}

fn publish(rooms: &Rooms, action: &str, name: &str) {
    rooms.engine.publish(Event::now(EventKind::Volume, action, name).with("driver", "local"));
}
