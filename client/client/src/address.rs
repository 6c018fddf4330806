use std::fmt::Write;

/// The path and query of a request, percent-encoded piece by piece, so that no name can add a segment or a parameter.
///
/// ```
/// let address = tare_client::Address::new("containers").name("a b").word("start").query("t", "5");
/// assert_eq!(address.as_str(), "/v1.51/containers/a%20b/start?t=5");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    has_query: bool,
}

/// The newest version of the API that this client speaks.
pub(crate) const API_VERSION: &str = "1.51";

impl Address {
    /// The address `/v1.51/<word>`.
    pub fn new(word: &str) -> Self {
        Self { text: format!("/v{API_VERSION}/{word}"), has_query: false }
    }

    /// Adds a fixed segment.
    pub fn word(mut self, word: &str) -> Self {
        self.text.push('/');
        self.text.push_str(word);
        self
    }

    /// Adds a name that a person gave. Slashes stay, as names of images hold them; everything else is encoded.
    pub fn name(mut self, name: &str) -> Self {
        self.text.push('/');
        encode(&mut self.text, name, b"/:@");
        self
    }

    /// Adds a parameter.
    pub fn query(mut self, key: &str, value: &str) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        encode(&mut self.text, key, b"");
        self.text.push('=');
        encode(&mut self.text, value, b"/:,");
        self
    }

    /// Adds a parameter where there is a value.
    pub fn query_some(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(key, value),
            None => self,
        }
    }

    /// Adds `key=1` where `on`.
    pub fn flag(self, key: &str, on: bool) -> Self {
        if on { self.query(key, "1") } else { self }
    }

    /// The whole text, ready for a request line.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn encode(out: &mut String, text: &str, also: &[u8]) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_add_parameters() {
        let address = Address::new("images").name("127.0.0.1:5000/a/b:v1").word("json");
        assert_eq!(address.as_str(), "/v1.51/images/127.0.0.1:5000/a/b:v1/json");
        let tricky = Address::new("containers").name("x?force=1#y\r\nHost: z").query("v", "1&force=1");
        assert_eq!(tricky.as_str(), "/v1.51/containers/x%3Fforce%3D1%23y%0D%0AHost:%20z?v=1%26force%3D1");
    }

    #[test]
    fn every_address_is_a_valid_uri() {
        for name in ["é", "", " ", "%", "a%2e", "\u{7f}"] {
            let address = Address::new("containers").name(name).query("k", name);
            assert!(address.as_str().parse::<http::Uri>().is_ok(), "{name}");
        }
    }
}
