use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tare_model::Timestamp;
use tokio::sync::broadcast;

use crate::{Error, Result};

/// How many past events are remembered for those who ask with `since`.
const KEPT: usize = 1024;
/// Bytes of all that are remembered: labels and commands may be long.
const KEPT_BYTES: usize = 4 << 20;
/// How many events a reader may be behind.
const BEHIND: usize = 1024;

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// To what sort of object.
    pub kind: EventKind,
    /// Docker's word: `create`, `start`, `die`, …
    pub action: String,
    /// The object's id or name.
    pub actor: String,
    /// What is known of the object.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub at: Timestamp,
}

/// The sorts of objects that things happen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
    /// The daemon itself.
    Daemon,
}

impl EventKind {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Daemon => "daemon",
        }
    }
}

impl Event {
    /// An event of this moment.
    pub fn now(kind: EventKind, action: impl Into<String>, actor: impl Into<String>) -> Self {
        let (action, actor) = (action.into(), actor.into());
        Self { kind, action, actor, attributes: BTreeMap::new(), at: SystemTime::now().into() }
    }

    /// Bytes in memory, about.
    fn size(&self) -> usize {
        const ENTRY: usize = 64;
        let attributes = self.attributes.iter().map(|(key, value)| ENTRY + key.len() + value.len());
        ENTRY + self.action.len() + self.actor.len() + attributes.sum::<usize>()
    }

    /// The same with one more attribute.
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(key.into(), value.into());
        self
    }
}

/// Hands events to whoever listens, and remembers the latest.
#[derive(Debug)]
pub(crate) struct Events {
    past: Mutex<Past>,
    live: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Past {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

impl Past {
    fn remember(&mut self, event: Arc<Event>) {
        self.bytes += event.size();
        self.events.push_back(event);
        while self.events.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.size();
        }
    }
}

/// Events as they happen, after those of the past that were asked for.
#[derive(Debug)]
pub struct EventStream {
    past: VecDeque<Arc<Event>>,
    live: broadcast::Receiver<Arc<Event>>,
    closed: bool,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { past: Mutex::default(), live: broadcast::channel(BEHIND).0 }
    }

    pub(crate) fn publish(&self, event: Event) {
        let event = Arc::new(event);
        // Under the lock, so that a subscriber finds every event either in the past or in its channel, never in both.
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.remember(event.clone());
        let _ = self.live.send(event);
    }

    /// Events from now on, preceded by the remembered ones that are not older than `since`.
    pub(crate) fn subscribe(&self, since: Option<Timestamp>) -> EventStream {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |event: &&Arc<Event>| since.is_some_and(|since| event.at >= since);
        EventStream {
            past: past.events.iter().filter(wanted).cloned().collect(),
            live: self.live.subscribe(),
            closed: false,
        }
    }

    pub(crate) fn listeners(&self) -> usize {
        self.live.receiver_count()
    }
}

impl EventStream {
    /// The next remembered event, without waiting; afterwards nothing.
    pub fn next_past(&mut self) -> Option<Arc<Event>> {
        self.past.pop_front()
    }

    /// The next event. A reader that was too slow gets [`Error::Lagged`] once and then goes on. `None` = the engine ended.
    pub async fn next(&mut self) -> Option<Result<Arc<Event>>> {
        if let Some(event) = self.past.pop_front() {
            return Some(Ok(event));
        }
        if self.closed {
            return None;
        }
        match self.live.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Err(Error::Lagged(missed))),
            Err(broadcast::error::RecvError::Closed) => {
                self.closed = true;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: i64) -> Event {
        let mut event = Event::now(EventKind::Container, "start", number.to_string());
        event.at = Timestamp { seconds: number, nanoseconds: 0 };
        event
    }

    #[tokio::test]
    async fn the_past_comes_first_and_nothing_twice() {
        let events = Events::new();
        (0..5).for_each(|n| events.publish(event(n)));
        let mut stream = events.subscribe(Some(Timestamp { seconds: 3, nanoseconds: 0 }));
        events.publish(event(5));
        for expected in ["3", "4", "5"] {
            assert_eq!(stream.next().await.unwrap().unwrap().actor, expected);
        }
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_missed() {
        let events = Events::new();
        let mut stream = events.subscribe(None);
        (0..BEHIND as i64 + 7).for_each(|n| events.publish(event(n)));
        assert!(matches!(stream.next().await, Some(Err(Error::Lagged(7)))));
        assert_eq!(stream.next().await.unwrap().unwrap().actor, "7");
        assert_eq!(events.past.lock().unwrap().events.len(), KEPT);
    }

    #[tokio::test]
    async fn long_events_are_not_remembered_by_the_thousand() {
        let events = Events::new();
        (0..10).for_each(|n| events.publish(event(n).with("label", "x".repeat(KEPT_BYTES / 4))));
        assert_eq!(events.past.lock().unwrap().events.len(), 3);
        events.publish(event(10).with("label", "x".repeat(2 * KEPT_BYTES)));
        events.publish(event(11));
        let past = events.past.lock().unwrap();
        assert_eq!((past.events.len(), past.bytes), (1, past.events[0].size()));
    }
}
