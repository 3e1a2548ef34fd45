//! The consortium definition: parse, validate, model, diff and plan, without effects.

pub mod chaincode;
pub mod channel_config;
pub mod definition;
pub mod desired;
pub mod diagnostic;
pub mod document;
pub mod expiry;
pub mod model;
pub mod network;
pub mod objects;
pub mod observation;
pub mod observed;
pub mod ownership;
pub mod path;
pub mod plan;
pub mod planner;
pub mod repository;
pub mod rules;
pub mod schema;
pub mod settings;
pub mod snapshot;
pub mod status;
pub mod validate;
pub mod values;
pub mod yaml;

mod shape;

mod hexadecimal {
    //! Bytes as hexadecimal text in JSON.

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(text).map_err(serde::de::Error::custom)
    }
}

mod pairs {
    //! Maps whose keys are not strings, as lists of pairs in JSON.

    use std::collections::BTreeMap;

    use serde::de::DeserializeOwned;
    use serde::{Deserialize as _, Deserializer, Serialize, Serializer};

    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: DeserializeOwned + Ord,
        V: DeserializeOwned,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}
