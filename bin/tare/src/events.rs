//! `events`.

use serde_json::Value;
use tare_client::EventOptions;
use tare_docker_api::{Document, Event};
use tare_model::Timestamp;

use crate::call::Call;
use crate::failure::Result;
use crate::flags::{Flag, text};
use crate::listing::{FILTER, FORMAT, Format, JSON, filters};
use crate::output::line;
use crate::time::moment;

pub(crate) const EVENTS: &[Flag] = &[
    FILTER,
    FORMAT,
    JSON,
    text("since", "string", "Show all events created since timestamp"),
    text("until", "string", "Stream events until this timestamp"),
];

/// `tare events`
pub(crate) async fn events(call: Call) -> Result<u8> {
    let given = &call.given;
    let format = Format::of(given)?;
    let options = EventOptions {
        since: given.text("since").map(moment).transpose()?,
        until: given.text("until").map(moment).transpose()?,
        filters: filters(&given.list("filter"))?,
    };
    let mut messages = call.client.events(&options).await?;
    while let Some(json) = messages.next::<Value>().await? {
        match format.apply(&json)? {
            Some(text) => line(text)?,
            None => line(sentence(&Event::like(&json).unwrap_or_default()))?,
        }
    }
    Ok(0)
}

/// `2026-01-02T03:04:05.000000000Z container start <id> (image=debian, name=web)`
fn sentence(event: &Event) -> String {
    let time = match event.time_nano {
        0 => Timestamp { seconds: event.time, nanoseconds: 0 },
        nano => Timestamp {
            seconds: nano.div_euclid(1_000_000_000),
            nanoseconds: nano.rem_euclid(1_000_000_000) as u32,
        },
    };
    let whole = Timestamp { nanoseconds: 0, ..time }.to_string();
    let at = format!("{}.{:09}Z", whole.trim_end_matches('Z'), time.nanoseconds);
    let attributes: Vec<String> =
        event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let attributes =
        if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!("{at} {} {} {}{attributes}", event.kind, event.action, event.actor.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As Docker's client 28.2 prints them.
    #[test]
    fn an_event_is_a_line() {
        let event = json!({"Type": "container", "Action": "start", "timeNano": 1_700_000_000_123_456_789_i64,
            "Actor": {"ID": "abc", "Attributes": {"name": "web", "image": "nginx"}}});
        assert_eq!(
            sentence(&serde_json::from_value(event).unwrap()),
            "2023-11-14T22:13:20.123456789Z container start abc (image=nginx, name=web)"
        );
        let bare = Event { kind: "network".into(), action: "connect".into(), time: 1, ..Event::default() };
        assert_eq!(sentence(&bare), "1970-01-01T00:00:01.000000000Z network connect ");
    }
}
