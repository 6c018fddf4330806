//! `GET /events`: what happens, as it happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::Stream;
use tare_container::{Event, EventKind, EventStream};
use tare_docker_api::{Event as Wire, EventActor};
use tare_http::{Reply, Request, StatusCode};
use tare_model::Timestamp;

use crate::filter::Filters;
use crate::{Result, Rooms, parameter};

const KNOWN: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Streams events from `since` to `until`, without an end where no end is named.
pub(crate) async fn events(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let filters = Filters::of(&request.query, &KNOWN)?;
    let since = parameter::moment(&request.query, "since")?;
    let until = parameter::moment(&request.query, "until")?;
    let lines = lines(rooms.engine.events(since), filters, until);
    Ok(Reply::stream(StatusCode::OK, "application/json", lines))
}

fn lines(
    events: EventStream,
    filters: Filters,
    until: Option<Timestamp>,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    futures_util::stream::unfold((events, filters), move |(mut events, filters)| async move {
        loop {
            let event = next(&mut events, until).await?;
            if fits(&filters, &event) {
                let mut line = serde_json::to_vec(&wire(&event)).unwrap_or_default();
                line.push(b'\n');
                return Some((Ok(line.into()), (events, filters)));
            }
        }
    })
}

/// The next event before the end. A reader that was too slow goes on with what is there.
async fn next(events: &mut EventStream, until: Option<Timestamp>) -> Option<Arc<Event>> {
    if let Some(event) = events.next_past() {
        return Some(event).filter(|event| until.is_none_or(|until| event.at <= until));
    }
    let end = async {
        match until {
            Some(until) => tokio::time::sleep(until.since(SystemTime::now().into())).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            biased;
            () = &mut end => return None,
            event = events.next() => match event? {
                Ok(event) => return Some(event),
                Err(missed) => tracing::warn!(%missed, "a client reads events too slowly"),
            },
        }
    }
}

fn fits(filters: &Filters, event: &Event) -> bool {
    let attribute = |name: &str| event.attributes.get(name).map_or("", String::as_str);
    let actor = |kind: EventKind, key: &str| {
        filters.any(key, |wanted| {
            let by_id = event.actor == wanted || (wanted.len() >= 4 && event.actor.starts_with(wanted));
            event.kind == kind && (by_id || attribute("name") == wanted)
        })
    };
    filters.any("type", |kind| event.kind.word() == kind)
        && filters
            .any("event", |action| event.action == action || event.action.split(':').next() == Some(action))
        && filters.any("scope", |scope| scope == "local")
        && filters.any("image", |wanted| fits_image(event, wanted))
        && actor(EventKind::Container, "container")
        && actor(EventKind::Network, "network")
        && actor(EventKind::Volume, "volume")
        && actor(EventKind::Daemon, "daemon")
        && ["config", "node", "plugin", "secret", "service"].iter().all(|key| filters.any(key, |_| false))
        && filters.labels(&event.attributes)
}

/// An image's own events, and those of containers made from it; with and without the tag.
fn fits_image(event: &Event, wanted: &str) -> bool {
    let name = match event.kind {
        EventKind::Image => event.attributes.get("name").unwrap_or(&event.actor),
        EventKind::Container => match event.attributes.get("image") {
            Some(image) => image,
            None => return false,
        },
        _ => return false,
    };
    let untagged = name
        .rsplit_once(':')
        .filter(|(_, tag)| !tag.contains('/'))
        .map_or(name.as_str(), |(untagged, _)| untagged);
    event.actor == wanted || name == wanted || untagged == wanted
}

fn wire(event: &Event) -> Wire {
    let mut wire = Wire {
        kind: event.kind.word().to_owned(),
        action: event.action.clone(),
        actor: EventActor { id: event.actor.clone(), attributes: event.attributes.clone() },
        scope: "local".to_owned(),
        time: event.at.seconds,
        time_nano: event.at.unix_nanoseconds(),
        ..Wire::default()
    };
    if matches!(event.kind, EventKind::Container | EventKind::Image) {
        wire.status.clone_from(&event.action);
        wire.id.clone_from(&event.actor);
    }
    if event.kind == EventKind::Container {
        wire.from = event.attributes.get("image").cloned().unwrap_or_default();
    }
    wire
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_http::Query;

    fn event() -> Event {
        let event = Event::now(EventKind::Container, "exec_start: sh", "abcdef012345");
        event.with("name", "web").with("image", "127.0.0.1:5000/site:v1").with("tier", "front")
    }

    fn wanted(filters: &str) -> bool {
        let query = Query::parse(&format!("filters={filters}"));
        fits(&Filters::of(&query, &KNOWN).unwrap(), &event())
    }

    #[test]
    fn filters_look_at_actor_action_and_labels() {
        for yes in [
            "{}",
            r#"{"type":["container"]}"#,
            r#"{"container":["web"]}"#,
            r#"{"container":["abcd"]}"#,
            r#"{"event":["exec_start"]}"#,
            r#"{"image":["127.0.0.1:5000/site"]}"#,
            r#"{"image":["127.0.0.1:5000/site:v1"]}"#,
            r#"{"label":["tier=front"]}"#,
        ] {
            assert!(wanted(yes), "{yes}");
        }
        for no in [
            r#"{"type":["image"]}"#,
            r#"{"container":["we"]}"#,
            r#"{"event":["start"]}"#,
            r#"{"volume":["web"]}"#,
            r#"{"node":["a"]}"#,
            r#"{"label":["tier=back"]}"#,
            r#"{"scope":["swarm"]}"#,
        ] {
            assert!(!wanted(no), "{no}");
        }
    }

    #[test]
    fn containers_and_images_keep_the_old_fields() {
        let json = serde_json::to_value(wire(&event())).unwrap();
        assert_eq!(
            (json["status"].as_str(), json["from"].as_str()),
            (Some("exec_start: sh"), Some("127.0.0.1:5000/site:v1"))
        );
        assert_eq!(json["Actor"]["ID"], "abcdef012345");
        let volume = serde_json::to_value(wire(&Event::now(EventKind::Volume, "create", "v"))).unwrap();
        assert!(volume.get("status").is_none() && volume["scope"] == "local");
    }
}
