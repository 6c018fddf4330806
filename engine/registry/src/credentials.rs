use std::fmt;

use serde::{Deserialize, Serialize};

/// What a client gave to log in with (Docker's `X-Registry-Auth`). Never shown: `Debug` tells only which parts are there.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", default)]
pub struct Credentials {
    /// For basic authentication and for fetching tokens.
    pub username: String,
    /// Goes with the name.
    pub password: String,
    /// An OAuth2 refresh token that an earlier login brought; wins over name and password.
    #[serde(rename = "identitytoken")]
    pub identity_token: String,
    /// A bearer token, sent as it is; wins over everything.
    #[serde(rename = "registrytoken")]
    pub registry_token: String,
}

impl Credentials {
    /// Whether nothing is in it: the same as no credentials at all.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty() && self.identity_token.is_empty() && self.registry_token.is_empty()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &str| if secret.is_empty() { "none" } else { "hidden" };
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &hidden(&self.password))
            .field("identity_token", &hidden(&self.identity_token))
            .field("registry_token", &hidden(&self.registry_token))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_printed() {
        let all = Credentials {
            username: "ada".into(),
            password: "s3cret".into(),
            identity_token: "t0ken".into(),
            registry_token: "b3arer".into(),
        };
        let shown = format!("{all:?}");
        assert!(shown.contains("ada"));
        assert!(!["s3cret", "t0ken", "b3arer"].iter().any(|secret| shown.contains(secret)), "{shown}");
    }
}
