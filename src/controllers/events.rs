//! Events: what happened to an object that deserves a line in `kubectl describe`.

use kube::runtime::events::{Event, EventType};

use super::context::Context;
use super::failure::describe;
use crate::resources::TenterObject;

/// Longest note of an event (the API's limit is 1 KiB).
const MAX_NOTE: usize = 1000;

/// Publishes an event. A lost event is no reason to stop.
pub async fn publish<K: TenterObject>(
    ctx: &Context,
    object: &K,
    kind: EventType,
    reason: &str,
    action: &str,
    note: &str,
) {
    let event = Event {
        type_: kind,
        reason: reason.to_owned(),
        note: Some(note[..note.floor_char_boundary(MAX_NOTE)].to_owned()),
        action: action.to_owned(),
        secondary: None,
    };
    ctx.writes.count("Event");
    if let Err(error) = ctx.recorder.publish(&event, &object.object_ref(&())).await {
        tracing::warn!(object = object.describe(), "could not publish an event: {}", describe(&error));
    }
}
