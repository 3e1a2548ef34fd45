//! Taking over from the configuration in force what a definition does not speak of.

use super::tree::{Node, elements};
use super::{CHANNEL, ChannelConfig, usual_mod_policy};

impl ChannelConfig {
    /// This configuration with what only `current` knows: versions, modification policies that are not the usual ones,
    /// values that this library does not know, and the consortium.
    ///
    /// Of these, what belongs to an element that is not in this configuration is left out, and what this configuration
    /// says itself stays; an entry in [`Self::mod_policies`] may name the usual policy to restore it.
    #[must_use]
    pub fn carrying_over(&self, current: &Self) -> Self {
        let mut config = self.clone();
        if config.consortium.is_none() {
            config.consortium.clone_from(&current.consortium);
        }
        for (element, bytes) in &current.other_values {
            config.other_values.entry(element.clone()).or_insert_with(|| bytes.clone());
        }
        for (element, mod_policy) in &current.mod_policies {
            config.mod_policies.entry(element.clone()).or_insert_with(|| mod_policy.clone());
        }
        let tree = config.to_config_group();
        let known = elements(CHANNEL, &tree);
        // What the tree does not show is dropped, so that equal trees are equal configurations.
        config
            .mod_policies
            .retain(|element, policy| known.contains_key(element) && usual_mod_policy(element) != policy);
        config
            .other_values
            .retain(|element, bytes| matches!(known.get(element), Some(Node::Value(value)) if value.value == *bytes));
        config.versions =
            known.keys().filter_map(|element| Some((element.clone(), *current.versions.get(element)?))).collect();
        config.sequence = current.sequence;
        config
    }
}
