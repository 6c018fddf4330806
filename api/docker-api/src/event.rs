use std::collections::BTreeMap;

use crate::wire::is_empty;

wire! {
    /// One line of `GET /events`. The first three repeat what clients of before 1.22 read; they are still sent.
    pub struct Event {
        #[serde(rename = "status", skip_serializing_if = "is_empty")]
        pub status: String,
        #[serde(rename = "id", skip_serializing_if = "is_empty")]
        pub id: String,
        #[serde(rename = "from", skip_serializing_if = "is_empty")]
        pub from: String,
        #[serde(rename = "Type")]
        pub kind: String,
        pub action: String,
        pub actor: EventActor,
        #[serde(rename = "scope", skip_serializing_if = "is_empty")]
        pub scope: String,
        #[serde(rename = "time", skip_serializing_if = "is_empty")]
        pub time: i64,
        #[serde(rename = "timeNano", skip_serializing_if = "is_empty")]
        pub time_nano: i64,
    }

    /// Whom an event is about.
    pub struct EventActor {
        #[serde(rename = "ID")]
        pub id: String,
        pub attributes: BTreeMap<String, String>,
    }
}
