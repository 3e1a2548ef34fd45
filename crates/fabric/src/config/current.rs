//! The configuration in force, which updates are computed from and judged by.

use std::collections::BTreeMap;

use prost::Message as _;
use tenter_fabric_wire::common;

use super::tree::{self, Elements};
use super::{CHANNEL, ChannelConfig, ConfigError, Element};
use crate::block::Block;

/// A channel's configuration as a config block holds it: read, and as the exact elements that an orderer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentConfig {
    channel_id: String,
    config: ChannelConfig,
    group: common::ConfigGroup,
}

impl CurrentConfig {
    /// The configuration in a config block.
    pub fn from_block(block: &Block) -> Result<Self, ConfigError> {
        Self::from_bytes(block.channel_id()?, &block.config_bytes()?)
    }

    /// An encoded `common.Config`, exactly as a config block or a peer's `GetChannelConfig` holds it.
    pub fn from_bytes(channel_id: impl Into<String>, bytes: &[u8]) -> Result<Self, ConfigError> {
        let (sequence, group) = ChannelConfig::decode(bytes)?;
        let config = ChannelConfig::from_tree(sequence, &group)?;
        Ok(Self { channel_id: channel_id.into(), config, group })
    }

    /// The channel.
    pub fn channel_id(&self) -> &str {
        &self.channel_id
    }

    /// The configuration.
    pub fn config(&self) -> &ChannelConfig {
        &self.config
    }

    /// The encoded `common.Config`; the order of entries may be another than in the block.
    pub fn to_bytes(&self) -> Vec<u8> {
        common::Config { sequence: self.config.sequence, channel_group: Some(self.group.clone()) }.encode_to_vec()
    }

    /// The configuration after an update with this tree.
    pub(super) fn next(&self, group: common::ConfigGroup) -> Result<Self, ConfigError> {
        let config = ChannelConfig::from_tree(self.config.sequence + 1, &group)?;
        Ok(Self { channel_id: self.channel_id.clone(), config, group })
    }

    pub(super) fn group(&self) -> &common::ConfigGroup {
        &self.group
    }

    /// The elements of the tree.
    pub(super) fn elements(&self) -> Elements<'_> {
        tree::elements(CHANNEL, &self.group)
    }

    /// The policies that guard the elements, by path, each with the first of the elements that it guards.
    pub fn guards(&self) -> BTreeMap<String, String> {
        let mut guards = BTreeMap::new();
        for (element, node) in self.elements() {
            if !node.mod_policy().is_empty() {
                guards.entry(Self::guard(&element, node.mod_policy())).or_insert(element);
            }
        }
        guards
    }

    /// Path of the policy that guards an element: `mod_policy` is absolute, or relative to the group of the element,
    /// and for a group to the group itself (`common/configtx/update.go`).
    pub(super) fn guard(element: &str, mod_policy: &str) -> String {
        if mod_policy.starts_with('/') {
            return mod_policy.to_owned();
        }
        let path = element.find('/').and_then(|start| element.get(start..)).unwrap_or_default();
        let is_group = element == Element::Group.at(path);
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        format!("{}/{mod_policy}", if is_group { path } else { parent })
    }
}
