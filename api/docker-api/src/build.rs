//! Documents of `POST /build`, and what Tare's own client and daemon say to each other beyond the Engine API.
//!
//! **Request.** The query is the Engine API's. Four additions, which other daemons ignore:
//!
//! | query | meaning |
//! |---|---|
//! | `tareprogress=1` | the answer carries [`crate::ProgressAux::step`], [`crate::ProgressAux::output`] and [`crate::ProgressAux::result`] instead of `stream` |
//! | `tarereserved=1` | the body begins with reserved entries |
//! | `ssh=[{"ID":"default","Socket":"/run/agent"}]` | agents for `RUN --mount=type=ssh`, as a JSON list of [`BuildSsh`]; a socket on the daemon's machine |
//! | `contexts={"name":"docker-image://debian:12"}` | `--build-context`, as a JSON map of name to a `docker-image://…`, `http(s)://…`, git or `tar:NAME` reference |
//!
//! `outputs` is a JSON list of [`BuildExport`]; more than `Type` `moby` is understood.
//!
//! **Body.** A tar, plain or compressed: the context. With `tarereserved=1` it begins with reserved entries, which are no part
//! of the context, in any order, then comes [`RESERVED_END`], and then the context, if any. Another name before [`RESERVED_END`], a secret or a
//! Dockerfile that comes twice, and a body without [`RESERVED_END`] are refused. After [`RESERVED_END`], without `tarereserved`, and in what the
//! daemon fetches (`remote`) these names are names like any other: no file of a context tells which Dockerfile is built, with
//! which secrets. With `remote`, only a body with `tarereserved=1` is looked at, and of it only the reserved entries. `ID` and
//! `NAME` are percent-encoded where they hold `/` or `%`:
//!
//! | entry | meaning |
//! |---|---|
//! | [`SECRETS`]`/ID` | a file of mode 0600 whose bytes are the secret `ID`; kept in memory alone, never in a layer, the history, the cache or a log |
//! | [`DOCKERFILE`] | the Dockerfile where it is no part of the context: given on standard input, lying elsewhere, or left out by `.dockerignore`. The query's `dockerfile` then only names it in messages |
//! | [`CONTEXTS`]`/NAME/…` | the files of the local directory that `contexts={"…":"tar:NAME"}` names |
//! | [`RESERVED_END`] | an empty file, the last of them |
//!
//! Our client has applied `.dockerignore` already and leaves the file itself out where it says so. What other clients send is
//! judged by it in the daemon, the Dockerfile and `.dockerignore` included.
//!
//! **Answer.** One [`crate::ProgressMessage`] a line; where `outputs` asked for them, the bytes that a [`BuildOutput`] tells of
//! stand between its line and the next. Closing the connection cancels the build.

use std::collections::BTreeMap;

use crate::wire::is_empty;

/// Top name of secrets in the body of `POST /build`.
pub const SECRETS: &str = ".tare-secrets";
/// Name of a Dockerfile that is no part of the context in the body of `POST /build`.
pub const DOCKERFILE: &str = ".tare-dockerfile";
/// Top name of further local contexts in the body of `POST /build`.
pub const CONTEXTS: &str = ".tare-contexts";
/// Name of what stands between reserved entries and the context in the body of `POST /build`.
pub const RESERVED_END: &str = ".tare-end";

wire! {
    /// News of one step of a build. The first message of a step names it; later ones may leave the name out.
    pub struct BuildStep {
        /// Counted from 1, in the order in which steps are shown; unique in a build.
        pub number: u32,
        /// As people read it: `[build 2/5] RUN make`.
        #[serde(skip_serializing_if = "is_empty")]
        pub name: String,
        /// `started`, `cached`, `done`, `failed` or `cancelled`; empty where only output or progress came.
        #[serde(skip_serializing_if = "is_empty")]
        pub status: String,
        /// When, in nanoseconds since 1970.
        #[serde(skip_serializing_if = "is_empty")]
        pub time: i64,
        /// Text that the step wrote, whole or broken lines.
        #[serde(skip_serializing_if = "is_empty")]
        pub output: String,
        /// Whether `output` was written to standard error.
        #[serde(skip_serializing_if = "is_empty")]
        pub error_stream: bool,
        /// What is being transferred: a layer, the context; empty for the step itself.
        #[serde(skip_serializing_if = "is_empty")]
        pub item: String,
        /// How far the item is, in bytes.
        #[serde(skip_serializing_if = "is_empty")]
        pub current: u64,
        /// Its whole size, 0 = not known.
        #[serde(skip_serializing_if = "is_empty")]
        pub total: u64,
        /// Why it failed.
        #[serde(skip_serializing_if = "is_empty")]
        pub error: String,
    }

    /// A piece of an export that goes to the client: bytes of an archive, or its end. The bytes themselves follow the
    /// message's line, before the next message.
    pub struct BuildOutput {
        /// Which of the request's `outputs`, counted from 0.
        pub index: u32,
        /// How many there are.
        #[serde(skip_serializing_if = "is_empty")]
        pub bytes: u64,
        /// Whether this was the last piece.
        #[serde(skip_serializing_if = "is_empty")]
        pub end: bool,
    }

    /// What a finished build has made; for `--metadata-file`.
    pub struct BuildResult {
        /// Digest of the manifest.
        pub digest: String,
        /// Digest of the configuration.
        pub config_digest: String,
        /// The names it was given.
        #[serde(skip_serializing_if = "is_empty")]
        pub names: Vec<String>,
    }

    /// One of the query parameter `outputs`: `--output type=…,key=value`.
    ///
    /// Types: `moby` and `image` (into the store; `push=true` sends it to its registry), `docker` and `oci` (archives), `tar` and
    /// `local` (the files of the image). All but the first two come back as [`BuildOutput`], `local` as a tar too: the
    /// client unpacks it. `dest` stays with the client.
    pub struct BuildExport {
        #[serde(rename = "Type")]
        pub kind: String,
        pub attrs: BTreeMap<String, String>,
    }

    /// One of the query parameter `ssh`.
    pub struct BuildSsh {
        #[serde(rename = "ID")]
        pub id: String,
        pub socket: String,
    }

    /// Reply to `POST /build/prune`.
    pub struct BuildPrune {
        pub caches_deleted: Option<Vec<String>>,
        pub space_reclaimed: i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ProgressAux, ProgressMessage};

    #[test]
    fn a_build_line_says_only_what_it_knows() {
        let line = ProgressMessage { stream: "Step 1/2 : FROM a\n".into(), ..ProgressMessage::default() };
        assert_eq!(serde_json::to_string(&line).unwrap(), r#"{"stream":"Step 1/2 : FROM a\n"}"#);
        let step = BuildStep { number: 3, status: "cached".into(), ..BuildStep::default() };
        let aux = ProgressAux { step: Some(step), ..ProgressAux::default() };
        let line = ProgressMessage { aux: Some(aux), ..ProgressMessage::default() };
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"aux":{"tare.step":{"Number":3,"Status":"cached"}}}"#
        );
        let id: ProgressMessage = serde_json::from_str(r#"{"aux":{"ID":"sha256:ab"}}"#).unwrap();
        assert_eq!(id.aux.unwrap().id, "sha256:ab");
    }
}
