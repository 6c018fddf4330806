//! Logins: `POST /auth` and the header `X-Registry-Auth`.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tare_docker_api::{AuthConfig, AuthResponse, Document};
use tare_http::{Reply, Request, StatusCode};
use tare_registry::Credentials;

use crate::{Error, Result, Rooms, body};

/// The registry that a login without an address is for.
const HUB: &str = "https://index.docker.io/v1/";

/// base64url with or without padding: clients differ.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const STANDARD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `POST /auth`.
pub(crate) async fn login(rooms: Arc<Rooms>, mut request: Request) -> Result<Reply> {
    let given: AuthConfig = body::json(&mut request).await?;
    let given_nothing =
        given.username.is_empty() && given.identity_token.is_empty() && given.registry_token.is_empty();
    if given_nothing {
        return Err(Error::invalid(
            "no credentials given: the field username or identitytoken must not be empty",
        ));
    }
    let server = if given.server_address.is_empty() { HUB.to_owned() } else { given.server_address.clone() };
    let result = rooms.registry.check_login(&server, &credentials(given)).await?;
    let answer = AuthResponse { status: result.status, identity_token: result.identity_token };
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// The credentials in the request's header, if there are any. A header that cannot be read is an error: going on without
/// would only fail later and less clearly.
pub(crate) fn of_header(request: &Request) -> Result<Option<Credentials>> {
    match request.header("x-registry-auth").filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => Ok(decode(text)?.filter(|credentials| !credentials.is_empty())),
    }
}

/// The credentials for registries that a build may pull from, by the host that image names have.
pub(crate) fn of_build_header(request: &Request) -> Result<BTreeMap<String, Credentials>> {
    let Some(text) = request.header("x-registry-config").filter(|text| !text.is_empty()) else {
        return Ok(BTreeMap::new());
    };
    let unreadable = || Error::invalid("invalid X-Registry-Config header: base64url-coded JSON is wanted");
    let json = URL_SAFE.decode(text).or_else(|_| STANDARD.decode(text)).map_err(|_| unreadable())?;
    let given: Option<BTreeMap<String, AuthConfig>> =
        serde_json::from_slice(&json).map_err(|_| unreadable())?;
    let all = given.unwrap_or_default().into_iter();
    let all = all.map(|(server, given)| (host(&server), credentials(given)));
    Ok(all.filter(|(_, credentials)| !credentials.is_empty()).collect())
}

/// `https://index.docker.io/v1/` → `docker.io`: as image names have it.
fn host(server: &str) -> String {
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = server.split('/').next().unwrap_or_default();
    if host == "index.docker.io" { "docker.io".to_owned() } else { host.to_owned() }
}

fn decode(text: &str) -> Result<Option<Credentials>> {
    let unreadable = || Error::invalid("invalid X-Registry-Auth header: base64url-coded JSON is wanted");
    let json = URL_SAFE.decode(text).or_else(|_| STANDARD.decode(text)).map_err(|_| unreadable())?;
    let given = AuthConfig::read_optional(&json).map_err(|_| unreadable())?;
    Ok(given.map(credentials))
}

fn credentials(given: AuthConfig) -> Credentials {
    Credentials {
        username: given.username,
        password: given.password,
        identity_token: given.identity_token,
        registry_token: given.registry_token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_of_a_build_are_found_by_host() {
        for (server, expected) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("http://registry.example/v2/", "registry.example"),
        ] {
            assert_eq!(host(server), expected);
        }
    }

    #[test]
    fn the_header_is_read_in_every_coding() {
        let json = r#"{"username":"ada","password":"p?>~","serveraddress":"127.0.0.1:5000"}"#;
        let padded = base64::engine::general_purpose::URL_SAFE.encode(json);
        for text in [
            padded.as_str(),
            padded.trim_end_matches('='),
            &base64::engine::general_purpose::STANDARD.encode(json),
        ] {
            let credentials = decode(text).unwrap().unwrap();
            assert_eq!((credentials.username.as_str(), credentials.password.as_str()), ("ada", "p?>~"));
        }
        assert!(decode("e30=").unwrap().unwrap().is_empty());
        assert!(decode("bnVsbA").unwrap().is_none());
        for bad in ["{}", "!!!", "W10x"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }
}
