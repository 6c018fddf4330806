//! The lines that pulling, pushing and loading print.

use bytes::Bytes;
use tare_docker_api::{ErrorDetail, OciDescriptor, ProgressAux, ProgressDetail, ProgressMessage};
use tare_image::Progress;
use tare_model::format_bytes;
use tare_oci::image::Descriptor;

const BAR: usize = 50;

/// What the engine tells, in Docker's form.
pub(crate) fn message(progress: Progress) -> ProgressMessage {
    match progress {
        Progress::Status { id, text } => {
            ProgressMessage { status: text, id: id.unwrap_or_default(), ..ProgressMessage::default() }
        }
        Progress::Layer { id, state } => {
            let (current, total) = state.bytes().unwrap_or((0, 0));
            ProgressMessage {
                status: state.as_str().to_owned(),
                progress_detail: Some(ProgressDetail { current, total, units: String::new() }),
                progress: if total > 0 { bar(current, total) } else { String::new() },
                id,
                ..ProgressMessage::default()
            }
        }
        Progress::Pushed(pushed) => ProgressMessage {
            progress_detail: Some(ProgressDetail::default()),
            aux: Some(ProgressAux {
                tag: pushed.tag,
                digest: pushed.digest.to_string(),
                size: pushed.size,
                ..ProgressAux::default()
            }),
            ..ProgressMessage::default()
        },
        Progress::PushedOneOf { index, manifest } => ProgressMessage {
            progress_detail: Some(ProgressDetail::default()),
            aux: Some(ProgressAux {
                instead: true,
                index: Some(descriptor(*index)),
                manifest: Some(descriptor(*manifest)),
                ..ProgressAux::default()
            }),
            ..ProgressMessage::default()
        },
    }
}

pub(super) fn descriptor(descriptor: Descriptor) -> OciDescriptor {
    let Descriptor { media_type, digest, size, .. } = descriptor;
    OciDescriptor { media_type, digest: digest.to_string(), size }
}

/// What ends work that has begun.
pub(super) fn failure(why: &str) -> ProgressMessage {
    let error_detail = Some(ErrorDetail { code: 0, message: why.to_owned() });
    ProgressMessage { error_detail, error: why.to_owned(), ..ProgressMessage::default() }
}

/// One line of JSON.
pub(crate) fn line(message: &ProgressMessage) -> Bytes {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.extend_from_slice(b"\r\n");
    line.into()
}

/// `[=====>     ]  1.2MB/3MB`, for clients that print it as it is.
fn bar(current: u64, total: u64) -> String {
    let done =
        usize::try_from(u128::from(current) * BAR as u128 / u128::from(total.max(1))).unwrap_or(BAR).min(BAR);
    let (bar, rest) = ("=".repeat(done), " ".repeat(BAR - done));
    format!("[{bar}>{rest}] {:>8}/{}", format_bytes(current), format_bytes(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_image::LayerState;

    fn shown(progress: Progress) -> String {
        String::from_utf8(line(&message(progress)).to_vec()).unwrap()
    }

    #[test]
    fn lines_read_as_clients_expect() {
        let status =
            Progress::Status { id: Some("bookworm".into()), text: "Pulling from library/debian".into() };
        assert_eq!(shown(status), "{\"status\":\"Pulling from library/debian\",\"id\":\"bookworm\"}\r\n");
        let waiting = Progress::Layer { id: "abc".into(), state: LayerState::Waiting };
        assert_eq!(shown(waiting), "{\"status\":\"Waiting\",\"progressDetail\":{},\"id\":\"abc\"}\r\n");
        let half = Progress::Layer {
            id: "abc".into(),
            state: LayerState::Downloading { current: 500, total: 1000 },
        };
        assert!(shown(half).contains(
            "\"progressDetail\":{\"current\":500,\"total\":1000},\"progress\":\"[=========================>"
        ));
        assert!(
            shown(Progress::Layer { id: "a".into(), state: LayerState::Extracting { current: 9, total: 0 } })
                .contains("Extracting")
        );
        assert_eq!(bar(u64::MAX, 1).matches('=').count(), 50);
    }

    #[test]
    fn failures_are_told_twice() {
        let json = serde_json::to_value(failure("gone")).unwrap();
        assert_eq!(
            (json["error"].as_str(), json["errorDetail"]["message"].as_str()),
            (Some("gone"), Some("gone"))
        );
    }
}
