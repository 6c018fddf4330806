//! What a build tells programs, step by step and as it happens.

use std::time::{SystemTime, UNIX_EPOCH};

use tare_build::Progress;
use tare_docker_api::{BuildStep, ProgressAux, ProgressMessage};

/// Makes messages for programs.
#[derive(Default)]
pub(super) struct Steps;

impl Steps {
    pub(super) fn message(&mut self, progress: &Progress) -> Option<ProgressMessage> {
        let step = match progress {
            Progress::Started { step, title, .. } => {
                BuildStep { name: title.clone(), status: "started".to_owned(), ..of(*step) }
            }
            Progress::Cached(step) => BuildStep { status: "cached".to_owned(), ..of(*step) },
            Progress::Output { step, bytes, error } => {
                let output = String::from_utf8_lossy(bytes).into_owned();
                BuildStep { output, error_stream: *error, ..of(*step) }
            }
            Progress::Pull(step, tare_image::Progress::Layer { id, state }) => {
                let (current, total) = state.bytes().unwrap_or((0, 0));
                BuildStep { item: id.clone(), current, total, ..of(*step) }
            }
            Progress::Done(step, _) => BuildStep { status: "done".to_owned(), ..of(*step) },
            Progress::Failed(step, why) => {
                BuildStep { status: "failed".to_owned(), error: why.clone(), ..of(*step) }
            }
            Progress::Pull(..) | Progress::Running(..) | Progress::Triggers(..) | Progress::Warning(_) => {
                return None;
            }
        };
        let aux = Some(ProgressAux { step: Some(step), ..ProgressAux::default() });
        Some(ProgressMessage { aux, ..ProgressMessage::default() })
    }
}

fn of(step: usize) -> BuildStep {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    BuildStep {
        number: u32::try_from(step).unwrap_or(u32::MAX),
        time: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
        ..BuildStep::default()
    }
}
