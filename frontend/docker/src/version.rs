//! Which version of the API a client speaks, and what differs between them.

use tare_docker_api::{API_VERSION, MIN_API_VERSION};
use tare_http::{HeaderName, HeaderValue, Reply, Request, StatusCode, header};

use crate::error::refusal;

/// A version of the API, `1.51`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
}

/// What newer versions changed in documents and streams that are the same otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Raw and multiplexed streams have content types of their own.
    MultiplexedType,
    /// `VirtualSize` is gone from images.
    NoVirtualSize,
    /// What has no name has an empty list of names, and none of the word `<none>`.
    NoWordForNone,
    /// A list of images says how many containers each has.
    ContainersOfImages,
    /// Images have descriptors.
    Descriptors,
    /// The configuration of an image has no fields that are of containers alone.
    NoContainerFields,
    /// Pruning volumes keeps the named ones unless told otherwise.
    PruneKeepsNamedVolumes,
}

impl Change {
    /// The minor version that brought it.
    const fn since(self) -> u32 {
        match self {
            Self::MultiplexedType | Self::PruneKeepsNamedVolumes => 42,
            Self::NoWordForNone => 43,
            Self::NoVirtualSize => 44,
            Self::Descriptors => 48,
            Self::NoContainerFields => 50,
            Self::ContainersOfImages => 51,
        }
    }
}

impl Version {
    pub(crate) const MAX: Self = Self { major: 1, minor: 51 };
    pub(crate) const MIN: Self = Self { major: 1, minor: 24 };

    /// The version that the request's path named, or the newest.
    pub(crate) fn of(request: &Request) -> Self {
        request.extensions.get().copied().unwrap_or(Self::MAX)
    }

    /// Whether a client of this version expects the change.
    pub(crate) fn has(self, change: Change) -> bool {
        self >= Self { major: 1, minor: change.since() }
    }

    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

/// Takes `/v1.47` off the path, and refuses versions that are not spoken here.
pub(crate) fn negotiate(request: &mut Request) -> Option<Reply> {
    let (text, rest) = split_prefix(&request.path)?;
    let refused = |why: String| Some(refusal(StatusCode::BAD_REQUEST, why));
    let Some(version) = Version::parse(text) else {
        return refused(format!("invalid API version \"{text}\" in the path"));
    };
    if version > Version::MAX {
        return refused(format!(
            "client version {text} is too new. Maximum supported API version is {API_VERSION}"
        ));
    }
    if version < Version::MIN {
        return refused(format!(
            "client version {text} is too old. Minimum supported API version is {MIN_API_VERSION}, please upgrade your client to a newer version"
        ));
    }
    let path = rest.to_owned();
    request.extensions.insert(version);
    request.path = path;
    None
}

/// `/v1.47/info` → `1.47` and `/info`.
fn split_prefix(path: &str) -> Option<(&str, &str)> {
    let behind = path.strip_prefix("/v")?;
    let (version, _) = behind.split_once('/')?;
    let numeric = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    numeric.then(|| (version, &behind[version.len()..]))
}

/// The headers that every reply of dockerd carries.
pub(crate) fn sign(reply: &mut Reply) {
    const SERVER: &str = concat!("Tare/", env!("CARGO_PKG_VERSION"), " (linux)");
    for (name, value) in [("api-version", API_VERSION), ("docker-experimental", "false"), ("ostype", "linux")]
    {
        reply.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    reply.headers.insert(header::SERVER, HeaderValue::from_static(SERVER));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_http::Method;

    fn negotiated(path: &str) -> Result<(String, Version), String> {
        let mut request = Request::test(Method::GET, path).unwrap();
        match negotiate(&mut request) {
            None => Ok((request.path.clone(), Version::of(&request))),
            Some(reply) => Err(String::from_utf8_lossy(reply.whole_body().unwrap()).into_owned()),
        }
    }

    #[test]
    fn prefixes_are_taken_off() {
        let minor = |minor| Version { major: 1, minor };
        assert_eq!(negotiated("/v1.24/info"), Ok(("/info".into(), minor(24))));
        assert_eq!(negotiated("/v1.51/containers/a/json"), Ok(("/containers/a/json".into(), minor(51))));
        for bare in ["/info", "/version", "/volumes", "/v1.51", "/vx/info"] {
            assert_eq!(negotiated(bare), Ok((bare.into(), Version::MAX)));
        }
    }

    #[test]
    fn versions_outside_are_refused_in_dockers_words() {
        let newer = negotiated("/v1.99/info").unwrap_err();
        assert!(
            newer.contains("client version 1.99 is too new. Maximum supported API version is 1.51"),
            "{newer}"
        );
        assert!(negotiated("/v1.23/info").unwrap_err().contains("Minimum supported API version is 1.24"));
        for odd in ["/v2.0/info", "/v1/info", "/v1.2.3/info", "/v./info", "/v99999999999.1/info"] {
            assert!(negotiated(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn older_versions_lack_newer_changes() {
        assert!(!Version { major: 1, minor: 41 }.has(Change::MultiplexedType));
        assert!(Version::MAX.has(Change::MultiplexedType) && !Version::MIN.has(Change::NoVirtualSize));
    }
}
