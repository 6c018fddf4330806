use crate::{Error, Result, Span};

/// The ports of an expanded EXPOSE word, as an image's configuration names them: `80/tcp`. Ranges are written out, a host
/// side (`8080:80`) is left out, as it has no meaning in an image.
pub fn ports(text: &str, span: Span) -> Result<Vec<String>> {
    let bad = |why: &str| Error::at(span, format!("invalid port \"{text}\": {why}"));
    let (range, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(bad("the protocol is tcp, udp or sctp"));
    }
    let range = range.rsplit_once(':').map_or(range, |(_, container)| container);
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (Some(first), Some(last)) = (number(first), number(last)) else {
        return Err(bad("write a number from 1 to 65535, or a range of two"));
    };
    if first > last {
        return Err(bad("the range ends before it begins"));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_out() {
        let read = |text: &str| ports(text, Span::default());
        assert_eq!(read("80").unwrap(), ["80/tcp"]);
        assert_eq!(read("53/UDP").unwrap(), ["53/udp"]);
        assert_eq!(read("8000-8002/tcp").unwrap(), ["8000/tcp", "8001/tcp", "8002/tcp"]);
        assert_eq!(read("127.0.0.1:8080:80").unwrap(), ["80/tcp"]);
        for bad in ["", "0", "65536", "a", "80/x", "9-8", "1-", "-", "/tcp", "80/"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
