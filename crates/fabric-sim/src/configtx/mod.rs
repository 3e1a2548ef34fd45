//! Config updates: from the configuration in force and an envelope of type `CONFIG_UPDATE` to the next configuration,
//! or to the text of the refusal (Fabric `common/configtx`).

mod elements;

use prost::Message as _;
use tenter_fabric_wire::common::{
    Config, ConfigGroup, ConfigUpdate, ConfigUpdateEnvelope, Envelope, HeaderType, SignatureHeader,
};

use crate::block;
use crate::channel::{Bundle, SignedData, UNREADABLE, check_channel_id};
use elements::{Element, Elements, check_name, flatten, rebuild};

/// Why something is refused. Where several elements fail, Fabric names one of them, in the order of a Go map: then
/// the others stand in `alternatives`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// The text.
    pub text: String,
    /// Texts that Fabric may give instead.
    pub alternatives: Vec<String>,
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(text: T) -> Self {
        Self { text: text.into(), alternatives: Vec::new() }
    }
}

impl Refusal {
    /// The same, with a context before each text.
    pub fn within(self, context: &str) -> Self {
        let add = |text: String| format!("{context}: {text}");
        Self { text: add(self.text), alternatives: self.alternatives.into_iter().map(add).collect() }
    }

    /// `None` when there are no texts.
    fn of(texts: Vec<String>) -> Option<Self> {
        let mut texts = texts.into_iter();
        Some(Self { text: texts.next()?, alternatives: texts.collect() })
    }
}

/// The update in an envelope of type `CONFIG_UPDATE`.
fn unwrap(envelope: &Envelope) -> Result<ConfigUpdateEnvelope, String> {
    let opened = block::open(envelope)?;
    if opened.channel.r#type != HeaderType::ConfigUpdate as i32 {
        let name = HeaderType::try_from(opened.channel.r#type)
            .map_or_else(|_| opened.channel.r#type.to_string(), |kind| kind.as_str_name().to_owned());
        return Err(format!("invalid type {name}, expected CONFIG_UPDATE"));
    }
    ConfigUpdateEnvelope::decode(&opened.payload.data[..])
        .map_err(|_| format!("error unmarshalling message for type CONFIG_UPDATE: {UNREADABLE}"))
}

/// The read set and the write set in an envelope of type `CONFIG_UPDATE`.
pub fn update_of(envelope: &Envelope) -> Result<ConfigUpdate, String> {
    let update = unwrap(envelope)?;
    ConfigUpdate::decode(&update.config_update[..]).map_err(|_| UNREADABLE.to_owned())
}

/// Applies an update to the configuration in force: the next configuration, if enough have signed.
pub fn propose(bundle: &Bundle, envelope: &Envelope) -> Result<Config, Refusal> {
    let update = unwrap(envelope)
        .map_err(|text| Refusal::from(format!("error converting envelope to config update: {text}")))?;
    let channel_group = authorize(bundle, &update)?;
    Ok(Config { sequence: bundle.config.sequence + 1, channel_group: Some(channel_group) })
}

fn authorize(bundle: &Bundle, envelope: &ConfigUpdateEnvelope) -> Result<ConfigGroup, Refusal> {
    const CONTEXT: &str = "error authorizing update";
    let refuse = |text: String| Refusal::from(text).within(CONTEXT);
    let update = ConfigUpdate::decode(&envelope.config_update[..]).map_err(|_| refuse(UNREADABLE.to_owned()))?;
    if update.channel_id != bundle.channel {
        return Err(refuse(format!(
            "ConfigUpdate for channel '{}' but envelope for channel '{}'",
            update.channel_id, bundle.channel
        )));
    }
    let current = flatten(bundle.root()).map_err(refuse)?;
    let read = flatten(update.read_set.as_ref()).map_err(|text| refuse(format!("error mapping ReadSet: {text}")))?;
    verify_read_set(&current, &read).map_err(|refusal| refusal.within("error validating ReadSet").within(CONTEXT))?;
    let written =
        flatten(update.write_set.as_ref()).map_err(|text| refuse(format!("error mapping WriteSet: {text}")))?;
    let delta: Elements<'_> = written
        .iter()
        .filter(|(key, element)| read.get(*key).is_none_or(|read| read.version() != element.version()))
        .map(|(key, element)| (key.clone(), element.clone()))
        .collect();
    let signed = signatures(envelope).map_err(refuse)?;
    verify_delta(bundle, &current, &delta, &signed)
        .map_err(|refusal| refusal.within("error validating DeltaSet").within(CONTEXT))?;
    let mut proposed = current;
    proposed.extend(delta);
    if let Some(missing) = written.keys().find(|key| !proposed.contains_key(*key)) {
        return Err(refuse(format!(
            "full config did not verify: writeset contained key {missing} which did not appear in proposed config"
        )));
    }
    rebuild(&proposed).map_err(|text| Refusal::from(format!("could not turn configMap back to channelGroup: {text}")))
}

fn verify_read_set(current: &Elements<'_>, read: &Elements<'_>) -> Result<(), Refusal> {
    let wrong = read
        .iter()
        .filter_map(|(key, element)| match current.get(key) {
            None => Some(format!("existing config does not contain element for {key} but was in the read set")),
            Some(existing) if existing.version() != element.version() => Some(format!(
                "proposed update requires that key {key} be at version {}, but it is currently at version {}",
                element.version(),
                existing.version()
            )),
            Some(_) => None,
        })
        .collect();
    Refusal::of(wrong).map_or(Ok(()), Err)
}

fn verify_delta(
    bundle: &Bundle,
    current: &Elements<'_>,
    delta: &Elements<'_>,
    signed: &[SignedData],
) -> Result<(), Refusal> {
    if delta.is_empty() {
        return Err("delta set was empty -- update would have no effect".into());
    }
    let wrong = delta
        .iter()
        .filter_map(|(key, element)| verify_element(bundle, key, current.get(key), element, signed).err())
        .collect();
    Refusal::of(wrong).map_or(Ok(()), Err)
}

fn verify_element(
    bundle: &Bundle,
    key: &str,
    existing: Option<&Element<'_>>,
    element: &Element<'_>,
    signed: &[SignedData],
) -> Result<(), String> {
    check_mod_policy(element.mod_policy()).map_err(|text| format!("invalid mod_policy for element {key}: {text}"))?;
    let version = element.version();
    let Some(existing) = existing else {
        if version != 0 {
            return Err(format!("attempted to set key {key} to version {version}, but key does not exist"));
        }
        return Ok(());
    };
    if Some(version) != existing.version().checked_add(1) {
        return Err(format!(
            "attempt to set key {key} to version {version}, but key is at version {}",
            existing.version()
        ));
    }
    let named = existing.mod_policy();
    let (scope, id) = match named.strip_prefix("/Channel") {
        // Fabric skips one more character whatever it is.
        Some(below) => (Some(&bundle.policies), below.get(1..).unwrap_or_default()),
        None if named.starts_with('/') => (None, named),
        None => (bundle.policies.group(existing.scope()), named),
    };
    let policies = scope
        .filter(|policies| !named.is_empty() && policies.contains(id))
        .ok_or_else(|| format!("unexpected missing policy {named} for item {key}"))?;
    policies.evaluate(id, &bundle.msps, signed).map_err(|text| format!("policy for {key} not satisfied: {text}"))
}

fn check_mod_policy(mod_policy: &str) -> Result<(), String> {
    if mod_policy.is_empty() {
        return Err("mod_policy not set".to_owned());
    }
    mod_policy
        .strip_prefix('/')
        .unwrap_or(mod_policy)
        .split('/')
        .enumerate()
        .try_for_each(|(at, name)| check_name(name).map_err(|text| format!("path element at {at} is invalid: {text}")))
}

fn signatures(envelope: &ConfigUpdateEnvelope) -> Result<Vec<SignedData>, String> {
    envelope
        .signatures
        .iter()
        .map(|signature| {
            let header = SignatureHeader::decode(&signature.signature_header[..]).map_err(|_| UNREADABLE.to_owned())?;
            Ok(SignedData {
                data: [&signature.signature_header[..], &envelope.config_update].concat(),
                identity: header.creator,
                signature: signature.signature.clone(),
            })
        })
        .collect()
}

/// Whether the names in a configuration are such as Fabric allows.
pub fn check_names(channel: &str, root: &ConfigGroup) -> Result<(), String> {
    check_channel_id(channel).map_err(|text| format!("bad channel ID: {text}"))?;
    flatten(Some(root)).map(|_| ()).map_err(|text| format!("error converting config to map: {text}"))
}
