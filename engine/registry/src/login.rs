use crate::ask::{Access, Ask, Errand, Subject, ask};
use crate::client::endpoint;
use crate::{Credentials, Error, Registry, Result};

/// A login that was accepted.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginResult {
    /// Docker's words.
    pub status: String,
    /// What to keep instead of the password, where the registry gives such a thing; else empty.
    pub identity_token: String,
}

impl std::fmt::Debug for LoginResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginResult").field("status", &self.status).finish_non_exhaustive()
    }
}

const HUB: &str = "docker.io";

pub(crate) async fn check(
    registry: &Registry,
    server: &str,
    credentials: &Credentials,
) -> Result<LoginResult> {
    let domain = domain_of(server)?;
    let endpoint = endpoint::own(registry, &domain);
    let credentials = Some(credentials.clone()).filter(|c| !c.is_empty());
    let question = Ask {
        endpoint,
        subject: Subject::Login,
        accept: None,
        offset: 0,
        credentials,
        access: Access::Pull,
        errand: Errand::Get,
    };
    // What was granted before tells nothing about the password that is given now.
    registry.tokens.forget(&question);
    ask(registry, &question).await?;
    let identity_token = registry.tokens.refresh_token(&question).unwrap_or_default();
    Ok(LoginResult { status: "Login Succeeded".to_owned(), identity_token })
}

/// The registry's name in what clients send as server address: a name, or an address of old.
fn domain_of(server: &str) -> Result<String> {
    let name = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    let name = name.split('/').next().unwrap_or_default();
    if matches!(name, "" | "index.docker.io" | "registry-1.docker.io" | HUB) {
        return Ok(HUB.to_owned());
    }
    let reference = format!("{name}/x").parse::<tare_model::Reference>();
    match reference {
        Ok(reference) if reference.domain() == name => Ok(name.to_owned()),
        _ if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => Ok(name.to_owned()),
        _ => Err(Error::Config(format!("\"{server}\" is no registry address"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_addresses_of_all_times_name_their_registry() {
        for (server, domain) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("", "docker.io"),
            ("registry.example", "registry.example"),
            ("http://127.0.0.1:5000", "127.0.0.1:5000"),
            ("https://registry.example/v2/", "registry.example"),
            ("localhost:5000", "localhost:5000"),
            ("registry", "registry"),
        ] {
            assert_eq!(domain_of(server).unwrap(), domain, "{server}");
        }
        for bad in ["a b", "user@host", "host:99999", "https://[::1"] {
            assert!(domain_of(bad).is_err(), "{bad}");
        }
    }
}
