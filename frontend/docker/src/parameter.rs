//! Query parameters, read as dockerd reads them.

use std::str::FromStr;

use tare_http::Query;
use tare_model::{Platform, Timestamp};

use crate::{Error, Result};

/// A switch: everything but absent, empty, `0`, `no`, `false` and `none` is on.
pub(crate) fn flag(query: &Query, name: &str) -> bool {
    let value = query.get(name).unwrap_or_default().trim().to_ascii_lowercase();
    !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
}

/// A text that is there and not empty.
pub(crate) fn text<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    query.get(name).filter(|value| !value.is_empty())
}

/// A number, if there is one.
pub(crate) fn number<T: FromStr>(query: &Query, name: &str) -> Result<Option<T>> {
    let parse = |value: &str| {
        value.parse().map_err(|_| Error::invalid(format!("invalid value \"{value}\" for {name}")))
    };
    text(query, name).map(parse).transpose()
}

/// A number that has to be there.
pub(crate) fn needed_number<T: FromStr>(query: &Query, name: &str) -> Result<T> {
    number(query, name)?.ok_or_else(|| Error::invalid(format!("the parameter {name} is missing")))
}

/// The platform, where one is named: a JSON document, `{"os":…,"architecture":…}`, or a text.
pub(crate) fn platform(query: &Query) -> Result<Option<Platform>> {
    text(query, "platform").map(read_platform).transpose()
}

/// The platforms, of which none or several are named.
pub(crate) fn platforms(query: &Query) -> Result<Vec<Platform>> {
    query.all("platforms").filter(|value| !value.is_empty()).map(read_platform).collect()
}

fn read_platform(text: &str) -> Result<Platform> {
    let json = serde_json::from_str(text).ok();
    json.map_or_else(|| text.parse(), Ok).map_err(|_| Error::invalid(format!("invalid platform: {text}")))
}

/// A moment: seconds since 1970 with or without a fraction, or RFC 3339. `0` is the same as absent.
pub(crate) fn moment(query: &Query, name: &str) -> Result<Option<Timestamp>> {
    let Some(value) = text(query, name).filter(|value| *value != "0") else {
        return Ok(None);
    };
    let parsed = Timestamp::from_unix_text(value).or_else(|_| value.parse());
    parsed
        .map(Some)
        .map_err(|_| Error::invalid(format!("invalid value for \"{name}\": \"{value}\" is no time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_read_as_in_go() {
        let query = Query::parse("a=1&b=0&c=true&d=False&e&f=none&g=yes");
        let on: Vec<_> =
            ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().filter(|name| flag(&query, name)).collect();
        assert_eq!(on, ["a", "c", "g"]);
    }

    #[test]
    fn moments_have_two_forms() {
        let query = Query::parse("a=12.5&b=1970-01-01T00:00:12Z&c=0&d=never");
        assert_eq!(moment(&query, "a").unwrap().unwrap().nanoseconds, 500_000_000);
        assert_eq!(moment(&query, "b").unwrap().unwrap().seconds, 12);
        assert_eq!(moment(&query, "c").unwrap(), None);
        assert!(moment(&query, "d").is_err());
        assert!(number::<u16>(&Query::parse("h=70000"), "h").is_err());
    }
}
