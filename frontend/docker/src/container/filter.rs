use tare_container::{Container, MountKind, Status};
use tare_http::Query;
use tare_model::Timestamp;
use tare_network::Protocol;

use super::{labels, ports};
use crate::check::{exposed, ports_of};
use crate::filter::{Filters, name_fits};
use crate::{Error, Result, Rooms};

const KNOWN: [&str; 16] = [
    "ancestor",
    "annotation",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATUSES: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/// Which containers a list is to show.
pub(super) struct Wanted {
    filters: Filters,
    all: bool,
    /// Created before this moment.
    before: Option<Timestamp>,
    /// Created after this moment.
    since: Option<Timestamp>,
    exit_codes: Vec<i32>,
    images: Vec<String>,
}

impl Wanted {
    /// Reads and checks the filters; `before` and `since` name containers that must exist.
    pub(super) fn of(rooms: &Rooms, query: &Query, all: bool) -> Result<Self> {
        let filters = Filters::of(query, &KNOWN)?;
        let created = |name: Option<&str>| {
            name.map(|name| rooms.engine.inspect(name).map(|found| found.created)).transpose()
        };
        let invalid = |key: &str, value: &str| Error::invalid(format!("invalid filter '{key}={value}'"));
        if let Some(bad) = filters.values("status").find(|status| !STATUSES.contains(status)) {
            return Err(invalid("status", bad));
        }
        let code = |text: &str| text.parse().map_err(|_| invalid("exited", text));
        for key in ["expose", "publish"] {
            filters.values(key).try_for_each(|port| ports_of(port).map(drop))?;
        }
        // A name may stand for several platforms.
        let image_ids = |name: &str| match rooms.images.platforms(name) {
            Ok(images) => images.iter().map(ToString::to_string).collect(),
            Err(_) => vec![name.to_owned()],
        };
        let (before, since) =
            (created(filters.values("before").next())?, created(filters.values("since").next())?);
        Ok(Self {
            all: all
                || filters.values("status").next().is_some()
                || filters.values("exited").next().is_some(),
            before,
            since,
            exit_codes: filters.values("exited").map(code).collect::<Result<_>>()?,
            images: filters.values("ancestor").flat_map(image_ids).collect(),
            filters,
        })
    }

    pub(super) fn fits(&self, rooms: &Rooms, container: &Container) -> bool {
        let (status, filters) = (container.state.status, &self.filters);
        (self.all || status.is_alive() || status == Status::Restarting)
            && filters.any("status", |wanted| status.word() == wanted)
            && (self.exit_codes.is_empty()
                || (status == Status::Exited && self.exit_codes.contains(&container.state.exit_code)))
            && self.before.is_none_or(|moment| container.created < moment)
            && self.since.is_none_or(|moment| container.created > moment)
            && filters.any("id", |id| container.id.as_str().starts_with(id))
            && filters.any("name", |pattern| name_fits(pattern, container.name.as_str()))
            && filters.any("health", |health| health == "none")
            && filters.any("is-task", |wanted| matches!(wanted, "0" | "false"))
            && filters.any("volume", |volume| has_mount(container, volume))
            && filters.labels(&labels(container))
            && (self.images.is_empty() || self.descends(container))
            && self.fits_network(rooms, container)
    }

    fn descends(&self, container: &Container) -> bool {
        self.images
            .iter()
            .any(|image| *image == container.image.id.to_string() || *image == container.spec.image)
    }

    fn fits_network(&self, rooms: &Rooms, container: &Container) -> bool {
        let asked = |key| self.filters.values(key).next().is_some();
        if !asked("network") && !asked("publish") && !asked("expose") {
            return true;
        }
        let endpoint = ports::endpoint_of(rooms, container);
        let networks = ports::endpoints(rooms, container, endpoint.as_ref());
        let published =
            endpoint.into_iter().flat_map(|endpoint| endpoint.ports).map(|p| (p.container_port, p.protocol));
        let published: Vec<_> = published.collect();
        let exposed = exposed(&container.spec, &container.image.config);
        self.filters.any("network", |wanted| {
            networks.iter().any(|(name, n)| name == wanted || n.network_id == wanted)
        }) && self.filters.any("publish", |ports| covers(ports, &published))
            && self.filters.any("expose", |ports| covers(ports, &exposed))
    }
}

fn covers(text: &str, ports: &[(u16, Protocol)]) -> bool {
    ports_of(text).is_ok_and(|mut wanted| wanted.any(|port| ports.contains(&port)))
}

/// By the volume's name, the source on the host, or the place inside.
fn has_mount(container: &Container, wanted: &str) -> bool {
    container.mounts.iter().any(|mount| {
        let by_source = match &mount.kind {
            MountKind::Volume { name, .. } => name.as_str() == wanted,
            MountKind::Bind { source, .. } => source.as_os_str() == wanted,
            MountKind::Tmpfs { .. } | MountKind::Overlay { .. } => false,
        };
        by_source || mount.target.as_os_str() == wanted
    })
}
