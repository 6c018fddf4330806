use std::sync::Arc;
use std::time::SystemTime;

use tare_container::Container;
use tare_docker_api::{ContainerSummary, ContainerSummaryHost, ContainerSummaryNetworks};
use tare_http::{Reply, Request, StatusCode};
use tare_model::Timestamp;

use super::filter::Wanted;
use super::{inspect, labels, origin, ports, status};
use crate::{Result, Rooms, parameter};

/// `GET /containers/json`: the newest first.
pub(crate) async fn list(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let query = &request.query;
    let limit = parameter::number::<i64>(query, "limit")?
        .filter(|limit| *limit > 0)
        .and_then(|limit| usize::try_from(limit).ok());
    let wanted = Wanted::of(&rooms, query, parameter::flag(query, "all") || limit.is_some())?;
    let mut containers = rooms.engine.list();
    containers.sort_by_key(|container| std::cmp::Reverse(container.created));
    let chosen = containers
        .into_iter()
        .filter(|container| wanted.fits(&rooms, container))
        .take(limit.unwrap_or(usize::MAX));
    let mut summaries = Vec::new();
    for container in chosen {
        let mut summary = summary(&rooms, &container);
        if parameter::flag(query, "size") {
            (summary.size_rw, summary.size_root_fs) = sizes(&rooms, &container).await;
        }
        summaries.push(summary);
    }
    Ok(Reply::json(StatusCode::OK, &summaries))
}

pub(crate) fn summary(rooms: &Rooms, container: &Container) -> ContainerSummary {
    let endpoint = ports::endpoint_of(rooms, container);
    ContainerSummary {
        id: container.id.to_string(),
        names: vec![format!("/{}", container.name)],
        image: image_name(rooms, container),
        image_id: container.image.id.to_string(),
        command: command_text(&container.command_line()),
        created: container.created.seconds,
        ports: ports::summary(container, endpoint.as_ref()),
        labels: labels(container),
        state: container.state.status.word().to_owned(),
        status: status::text(container, Timestamp::from(SystemTime::now())),
        host_config: ContainerSummaryHost {
            network_mode: container.spec.network.mode.to_string(),
            annotations: origin(container).host_config.annotations,
        },
        network_settings: ContainerSummaryNetworks {
            networks: ports::endpoints(rooms, container, endpoint.as_ref()),
        },
        mounts: inspect::mount_points(container),
        ..ContainerSummary::default()
    }
}

/// The image's name as the user wrote it; its id once the name means another image.
fn image_name(rooms: &Rooms, container: &Container) -> String {
    match rooms.images.stands_for(&container.spec.image, &container.image.id) {
        true => container.spec.image.clone(),
        false => container.image.id.to_string(),
    }
}

/// Words with quotes around those that hold spaces.
fn command_text(words: &[String]) -> String {
    let quoted = |word: &String| if word.contains(' ') { format!("'{word}'") } else { word.clone() };
    match words {
        [] => String::new(),
        [program, arguments @ ..] => {
            [program.clone()].into_iter().chain(arguments.iter().map(quoted)).collect::<Vec<_>>().join(" ")
        }
    }
}

/// What the container has written, and that together with its image, in bytes. Unknown sizes are left out.
pub(crate) async fn sizes(rooms: &Rooms, container: &Container) -> (Option<i64>, Option<i64>) {
    let (snapshots, key) = (Arc::clone(rooms.engine.snapshots()), container.id.to_string());
    let usage = tokio::task::spawn_blocking(move || snapshots.usage(&key));
    let Ok(Ok(written)) = usage.await else { return (None, None) };
    let image = rooms.images.resolve(&container.image.id.to_string()).map_or(0, |image| image.size);
    let signed = |bytes: u64| i64::try_from(bytes).ok();
    (signed(written), signed(written.saturating_add(image)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_read_as_in_docker_ps() {
        let words = |text: &[&str]| command_text(&text.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["nginx", "-g", "daemon off;"]), "nginx -g 'daemon off;'");
        assert_eq!(words(&["sh"]), "sh");
        assert_eq!(words(&[]), "");
    }
}
