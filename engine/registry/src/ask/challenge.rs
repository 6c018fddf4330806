//! What a `WWW-Authenticate` header asks for (RFC 9110 §11.6.1, RFC 6750 §3, distribution's token specification).

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Name and password with every request.
    Basic,
    /// A token from another server.
    Bearer {
        /// Where tokens are given.
        realm: String,
        /// What the registry is called there.
        service: Option<String>,
        /// Why the token that was sent is not enough: `invalid_token`, `insufficient_scope`.
        error: Option<String>,
    },
}

/// The challenges in one header that we understand, the strongest first. Bearer before Basic. Anything malformed ends
/// the reading, and what came before it counts.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut rest = Scanner(header);
    let mut found = Vec::new();
    while let Some((scheme, parameters)) = rest.challenge() {
        let get = |name: &str| {
            parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if let (true, Some(realm)) = (scheme.eq_ignore_ascii_case("bearer"), get("realm")) {
            found.insert(0, Challenge::Bearer { realm, service: get("service"), error: get("error") });
        }
    }
    found
}

struct Scanner<'a>(&'a str);

impl Scanner<'_> {
    /// `scheme [name=value *("," name=value)]`; a name that no `=` follows begins the next challenge.
    fn challenge(&mut self) -> Option<(String, Vec<(String, String)>)> {
        self.skip(|c| c == ',' || c.is_ascii_whitespace());
        let scheme = self.word()?;
        let mut parameters = Vec::new();
        loop {
            self.skip(|c| c == ',' || c.is_ascii_whitespace());
            let before = self.0;
            match self.parameter() {
                Some(parameter) => parameters.push(parameter),
                None => {
                    self.0 = before;
                    return Some((scheme, parameters));
                }
            }
        }
    }

    fn parameter(&mut self) -> Option<(String, String)> {
        let name = self.word()?;
        self.skip(|c| c == ' ' || c == '\t');
        self.0 = self.0.strip_prefix('=')?;
        self.skip(|c| c == ' ' || c == '\t');
        let value = if self.0.starts_with('"') { self.quoted()? } else { self.word()? };
        Some((name, value))
    }

    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut characters = self.0.char_indices().skip(1);
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                other => value.push(other),
            }
        }
        None
    }

    fn word(&mut self) -> Option<String> {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/?".contains(c);
        let end = self.0.find(|c| !token(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    fn skip(&mut self, what: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, error: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            error: error.map(Into::into),
        }
    }

    #[test]
    fn what_registries_send_is_understood() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/debian:pull""#;
        assert_eq!(parse(hub), [bearer("https://auth.docker.io/token", Some("registry.docker.io"), None)]);
        assert_eq!(parse("Basic realm=\"a \\\"quoted\\\" realm\""), [Challenge::Basic]);
        assert_eq!(parse("basic"), [Challenge::Basic]);
        let refused = r#"bearer realm="https://a/t" , error="insufficient_scope""#;
        assert_eq!(parse(refused), [bearer("https://a/t", None, Some("insufficient_scope"))]);
        assert_eq!(parse("Bearer realm=https://a/t"), [bearer("https://a/t", None, None)]);
    }

    #[test]
    fn of_several_challenges_the_token_comes_first() {
        let both =
            parse(r#"Negotiate, Basic realm="x", charset="UTF-8", Bearer realm="https://a/t",service=s"#);
        assert_eq!(both, [bearer("https://a/t", Some("s"), None), Challenge::Basic]);
    }

    #[test]
    fn nonsense_is_no_challenge() {
        for text in
            ["", ",,,", "Bearer", "Bearer realm=", "Bearer realm=\"open", "Digest qop=auth", "=", "é", "\"\""]
        {
            assert_eq!(parse(text), [], "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,200}") {
            parse(&text);
        }

        #[test]
        fn every_realm_survives_quoting(realm in "[ -~]{0,60}") {
            let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(parse(&format!("Bearer realm=\"{quoted}\"")), [bearer(&realm, None, None)]);
        }
    }
}
