//! Writes a Consortium's status: only when it differs, with an event when its state changes.

use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;
use tenter_consortium::objects::FIELD_MANAGER;
use tenter_consortium::status::{ConsortiumStatus, ObjectStatus as _};

use crate::controllers::apply::bounded;
use crate::controllers::conditions::{Verdict, conditions, state};
use crate::controllers::context::Context;
use crate::controllers::failure::{Failure, describe};
use crate::resources::Consortium;

/// Longest note of an event, in characters (the API's limit is 1 KiB).
const NOTE: usize = 250;

/// Writes `status` with the conditions that `verdict` makes, if that is not what the object has.
pub async fn write(
    ctx: &Context,
    object: &Consortium,
    mut status: ConsortiumStatus,
    verdict: &Verdict,
) -> Result<(), Failure> {
    let old = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    status.set_common(generation, conditions(old, verdict, generation, ctx.now()));
    if object.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let name = object.name_any();
    let document = json!({
        "apiVersion": Consortium::api_version(&()),
        "kind": Consortium::kind(&()),
        "metadata": { "name": name },
        "status": status,
    });
    ctx.writes.count("Consortium/status");
    let api = Api::<Consortium>::namespaced(ctx.client.clone(), &ctx.namespace);
    let answer = bounded(api.patch_status(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&document)))
        .await
        .map_err(|error| {
            Failure::kube("WriteStatus", format!("write the status of Consortium {}/{name}", ctx.namespace), &error)
        })?;
    ctx.cache.wrote(&answer);
    if state(old) != state(&status.conditions) {
        let kind = match verdict {
            Verdict::Stalled { .. } => EventType::Warning,
            Verdict::Ready { .. } | Verdict::Reconciling { .. } => EventType::Normal,
        };
        event(ctx, object, kind, verdict.reason(), verdict.message()).await;
    }
    Ok(())
}

/// Publishes an event about a Consortium. That it could not be is only logged: the status says the same.
pub async fn event(ctx: &Context, object: &Consortium, kind: EventType, reason: &str, note: &str) {
    let event = Event {
        type_: kind,
        reason: reason.to_owned(),
        note: Some(note.chars().take(NOTE).collect()),
        action: "Sync".to_owned(),
        secondary: None,
    };
    ctx.writes.count("Event");
    if let Err(error) = bounded(ctx.recorder.publish(&event, &object.object_ref(&()))).await {
        tracing::warn!(consortium = object.name_any(), "could not publish an event: {}", describe(&error));
    }
}
