use crate::path::decode_percent;

/// The parameters of a request, `?a=1&b=2`. Where one is repeated, [`Query::get`] gives the first, as Go does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the text behind the question mark. Pairs that are no valid percent encoding of UTF-8 are passed over.
    pub fn parse(text: &str) -> Self {
        let word = |raw: &str| decode_percent(raw, true).and_then(|bytes| String::from_utf8(bytes).ok());
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((word(key)?, word(value)?))
        });
        Self(pairs.collect())
    }

    /// The first value under this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value under this name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters_are_decoded_once() {
        let query = Query::parse("all=1&filters=%7B%22a%22%3A%5B%22b+c%22%5D%7D&all=2&flag&&x=%252F");
        assert_eq!(query.get("all"), Some("1"));
        assert_eq!(query.all("all").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.get("filters"), Some(r#"{"a":["b c"]}"#));
        assert_eq!((query.get("flag"), query.get("x"), query.get("none")), (Some(""), Some("%2F"), None));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            Query::parse(&text);
        }
    }
}
