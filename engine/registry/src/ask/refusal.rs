//! What an answer that is no success means.

use http::StatusCode;
use reqwest::Response;
use serde::Deserialize;

use super::challenge::Challenge;
use super::{Access, Ask, Subject, body, challenges};
use crate::{Credentials, Error};

/// Registries answer errors in a few hundred bytes; a page of a proxy may be longer, and is not shown.
const BODY_LIMIT: u64 = 64 << 10;
const SHOWN: usize = 200;

/// Reads the answer's words and tells what it means.
pub(crate) async fn read(ask: &Ask, response: Response) -> Error {
    let status = response.status();
    let challenges = challenges(&response);
    let nobody = ask.credentials.as_ref().is_none_or(Credentials::is_empty);
    if status == StatusCode::UNAUTHORIZED && nobody && matches!(challenges[..], [Challenge::Basic]) {
        return Error::NoCredentials;
    }
    let scope_missing = challenges
        .iter()
        .any(|c| matches!(c, Challenge::Bearer { error: Some(e), .. } if e == "insufficient_scope"));
    let bytes = body::read(response, BODY_LIMIT, "error message").await.unwrap_or_default();
    let error = meaning(&ask.subject, &ask.what(), status, &said(&bytes, scope_missing));
    if ask.access == Access::Pull { error } else { of_push(error) }
}

/// The same refusal of one who wants to push.
fn of_push(error: Error) -> Error {
    match error {
        Error::Denied { repository, message, unauthorized } => {
            Error::PushDenied { repository, message, unauthorized }
        }
        other => other,
    }
}

/// The registry's own code and words.
#[derive(Debug, Default)]
struct Said {
    code: String,
    message: String,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

fn said(body: &[u8], scope_missing: bool) -> Said {
    let first = serde_json::from_slice::<Errors>(body).ok().and_then(|e| e.errors.into_iter().next());
    let mut said = match first {
        Some(error) => Said { code: error.code, message: shown(&error.message) },
        None => Said { code: String::new(), message: shown(&String::from_utf8_lossy(body)) },
    };
    if scope_missing {
        said.code = "DENIED".to_owned();
    }
    said
}

/// One line of printable text: a registry writes to the user's terminal here.
pub(crate) fn shown(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    line.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

fn meaning(subject: &Subject, what: &str, status: StatusCode, said: &Said) -> Error {
    let message =
        |default: &str| if said.message.is_empty() { default.to_owned() } else { said.message.clone() };
    let repository = || subject.reference().map(|r| r.repository().familiar()).unwrap_or_default();
    let denied = "requested access to the resource is denied";
    match (status.as_u16(), said.code.as_str(), subject) {
        (429, ..) | (_, "TOOMANYREQUESTS", _) => {
            Error::TooManyRequests(message("the registry limits its requests"))
        }
        (401, _, Subject::Login) => Error::Unauthorized(message("incorrect username or password")),
        (401, "DENIED", _) => {
            Error::Denied { repository: repository(), message: message(denied), unauthorized: true }
        }
        (401, ..) => Error::Unauthorized(message("authentication required")),
        (403, _, Subject::Manifest(_) | Subject::Blob(..) | Subject::Upload(..) | Subject::Tags(..)) => {
            Error::Denied { repository: repository(), message: message(denied), unauthorized: false }
        }
        (404, "NAME_UNKNOWN", Subject::Manifest(_) | Subject::Upload(..) | Subject::Tags(..)) => {
            Error::RepositoryUnknown {
                repository: repository(),
                message: message("repository name not known to registry"),
            }
        }
        (404, "MANIFEST_UNKNOWN", Subject::Manifest(reference)) => {
            Error::ManifestUnknown { reference: reference.familiar(), message: message("manifest unknown") }
        }
        // A proxy's page, or none: its words would only confuse.
        (404, _, Subject::Manifest(reference)) => {
            Error::ManifestUnknown { reference: reference.familiar(), message: "manifest unknown".to_owned() }
        }
        (404, _, Subject::Blob(_, digest)) => {
            Error::BlobUnknown { digest: *digest, repository: repository(), message: message("blob unknown") }
        }
        (404, _, Subject::Upload(..)) => {
            Error::NotFound { what: what.to_owned(), message: message("blob upload unknown") }
        }
        (404, ..) => Error::NotFound { what: what.to_owned(), message: message("not a registry") },
        (code, ..) => {
            let reason = status.canonical_reason().unwrap_or("unknown");
            Error::Status { what: what.to_owned(), status: code, message: message(reason) }
        }
    }
}

#[cfg(test)]
mod tests {
    use tare_model::{HasKind, Kind};

    use super::*;

    fn manifest(status: u16, body: &str) -> Error {
        let subject = Subject::Manifest("127.0.0.1:5000/web:v1".parse().unwrap());
        meaning(
            &subject,
            "manifest web:v1",
            StatusCode::from_u16(status).unwrap(),
            &said(body.as_bytes(), false),
        )
    }

    #[test]
    fn refusals_have_dockers_words_and_their_kinds() {
        for (status, body, kind, words) in [
            (
                404,
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                Kind::NotFound,
                "manifest for 127.0.0.1:5000/web:v1 not found: manifest unknown: manifest unknown",
            ),
            (
                404,
                "<html>nginx</html>",
                Kind::NotFound,
                "manifest for 127.0.0.1:5000/web:v1 not found: manifest unknown: manifest unknown",
            ),
            (
                401,
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
                Kind::Unauthorized,
                "unauthorized: authentication required",
            ),
            (
                401,
                r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#,
                Kind::NotFound,
                "pull access denied for 127.0.0.1:5000/web, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
            ),
            (
                403,
                "",
                Kind::NotFound,
                "pull access denied for 127.0.0.1:5000/web, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
            ),
            (
                429,
                r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#,
                Kind::Unavailable,
                "toomanyrequests: You have reached your pull rate limit.",
            ),
            (
                500,
                "",
                Kind::Unavailable,
                "unexpected answer of the registry to manifest web:v1: status 500: Internal Server Error",
            ),
        ] {
            let error = manifest(status, body);
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, words));
        }
    }

    #[test]
    fn a_registry_cannot_paint_on_the_terminal() {
        let error = manifest(500, "\u{1b}[2J\u{7}gotcha\r\nsecond line");
        assert!(error.to_string().ends_with("[2Jgotcha"), "{error}");
    }
}
