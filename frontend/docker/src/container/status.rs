use tare_container::{Container, State, Status};
use tare_model::{Timestamp, format_duration};

/// The STATUS column of `docker ps`.
pub(super) fn text(container: &Container, now: Timestamp) -> String {
    of_state(&container.state, now)
}

fn of_state(state: &State, now: Timestamp) -> String {
    let since = |moment| format_duration(now.since(moment));
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}", since(state.started_at)),
        Status::Paused => format!("Up {} (Paused)", since(state.started_at)),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at)),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished_at)),
        Status::Dead => "Dead".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_read_as_in_docker_ps() {
        let at = |seconds| Timestamp { seconds, nanoseconds: 0 };
        let shown = |status, exit_code| {
            let (started_at, finished_at) = (at(1000), at(1117));
            of_state(&State { status, exit_code, started_at, finished_at, ..State::default() }, at(1120))
        };
        assert_eq!(shown(Status::Created, 0), "Created");
        assert_eq!(shown(Status::Running, 0), "Up 2 minutes");
        assert_eq!(shown(Status::Paused, 0), "Up 2 minutes (Paused)");
        assert_eq!(shown(Status::Exited, 137), "Exited (137) 3 seconds ago");
        assert_eq!(shown(Status::Restarting, 1), "Restarting (1) 3 seconds ago");
    }
}
