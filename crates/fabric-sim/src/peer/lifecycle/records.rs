//! Records of the `_lifecycle` namespace: keys, and values in `StateData` (Fabric
//! `core/chaincode/lifecycle/serializer.go`, `peer/lifecycle/db.proto`).

use prost::Message;
use sha2::{Digest as _, Sha256};
use tenter_fabric_wire::protos::CollectionConfigPackage;

use crate::channel::UNREADABLE;
use crate::peer::simulate::{SimulationError, Simulator};
use crate::peer::state::World;

/// The namespace.
pub const NAMESPACE: &str = "_lifecycle";
/// Where definitions are.
pub const NAMESPACES: &str = "namespaces";
/// Where the organisations' package ids are.
pub const SOURCES: &str = "chaincode-sources";

/// What kind of record there is, and its fields.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StateMetadata {
    /// The Go type's name.
    #[prost(string, tag = "1")]
    pub datatype: String,
    /// The fields' names.
    #[prost(string, repeated, tag = "2")]
    pub fields: Vec<String>,
}

/// The value of a field.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StateData {
    /// One of three types.
    #[prost(oneof = "Data", tags = "1, 2, 3")]
    pub r#type: Option<Data>,
}

/// The alternatives of [`StateData`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Data {
    /// A number.
    #[prost(int64, tag = "1")]
    Int64(i64),
    /// Bytes, or an encoded message.
    #[prost(bytes = "vec", tag = "2")]
    Bytes(Vec<u8>),
    /// A text.
    #[prost(string, tag = "3")]
    Text(String),
}

/// How a chaincode is endorsed.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EndorsementInfo {
    /// The version.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Whether a call of init must come first.
    #[prost(bool, tag = "2")]
    pub init_required: bool,
    /// The plugin.
    #[prost(string, tag = "3")]
    pub endorsement_plugin: String,
}

/// How a chaincode is validated.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ValidationInfo {
    /// The plugin.
    #[prost(string, tag = "1")]
    pub validation_plugin: String,
    /// An encoded `ApplicationPolicy`.
    #[prost(bytes = "vec", tag = "2")]
    pub validation_parameter: Vec<u8>,
}

/// A definition without its sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    /// How it is endorsed.
    pub endorsement: EndorsementInfo,
    /// How it is validated.
    pub validation: ValidationInfo,
    /// Its collections.
    pub collections: CollectionConfigPackage,
}

/// A definition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definition {
    /// The sequence.
    pub sequence: i64,
    /// The rest.
    pub parameters: Parameters,
}

/// A record as it is written: the Go type's name, and the fields in their order.
pub struct Record {
    /// The type.
    pub datatype: &'static str,
    /// Names and encoded `StateData`.
    pub fields: Vec<(&'static str, Vec<u8>)>,
}

fn data(data: Data) -> Vec<u8> {
    StateData { r#type: Some(data) }.encode_to_vec()
}

/// The value of a package id's field.
pub fn package_value(id: &str) -> Vec<u8> {
    data(Data::Text(id.to_owned()))
}

impl Parameters {
    fn fields(&self) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("EndorsementInfo", data(Data::Bytes(self.endorsement.encode_to_vec()))),
            ("ValidationInfo", data(Data::Bytes(self.validation.encode_to_vec()))),
            ("Collections", data(Data::Bytes(self.collections.encode_to_vec()))),
        ]
    }

    /// As an organisation approves it.
    pub fn record(&self) -> Record {
        Record { datatype: "ChaincodeParameters", fields: self.fields() }
    }

    /// What differs from `other`, with Fabric's text.
    pub fn differs(&self, other: &Self) -> Option<String> {
        let (mine, theirs) = (&self.endorsement, &other.endorsement);
        let pair = |what: &str, a: &str, b: &str| {
            (a != b).then(|| format!("expected {what} '{a}' does not match passed {what} '{b}'"))
        };
        pair("Version", &mine.version, &theirs.version)
            .or_else(|| pair("EndorsementPlugin", &mine.endorsement_plugin, &theirs.endorsement_plugin))
            .or_else(|| pair("InitRequired", &mine.init_required.to_string(), &theirs.init_required.to_string()))
            .or_else(|| {
                pair("ValidationPlugin", &self.validation.validation_plugin, &other.validation.validation_plugin)
            })
            .or_else(|| {
                let shown = |info: &ValidationInfo| hex::encode(&info.validation_parameter);
                pair("ValidationParameter", &shown(&self.validation), &shown(&other.validation))
            })
            .or_else(|| (self.collections != other.collections).then(|| "Collections do not match".to_owned()))
    }
}

impl Definition {
    /// As it is committed.
    pub fn record(&self) -> Record {
        let mut fields = vec![("Sequence", data(Data::Int64(self.sequence)))];
        fields.extend(self.parameters.fields());
        Record { datatype: "ChaincodeDefinition", fields }
    }
}

/// A package id as an organisation approves it.
pub fn package_record(id: &str) -> Record {
    Record { datatype: "ChaincodeLocalPackage", fields: vec![("PackageID", package_value(id))] }
}

impl Record {
    fn metadata(&self) -> StateMetadata {
        StateMetadata {
            datatype: self.datatype.to_owned(),
            fields: self.fields.iter().map(|(name, _)| (*name).to_owned()).collect(),
        }
    }
}

/// The key of a record's metadata.
pub fn metadata_key(space: &str, name: &str) -> String {
    format!("{space}/metadata/{name}")
}

/// The key of a field.
pub fn field_key(space: &str, name: &str, field: &str) -> String {
    format!("{space}/fields/{name}/{field}")
}

/// An organisation's own collection.
pub fn implicit_collection(msp_id: &str) -> String {
    format!("_implicit_org_{msp_id}")
}

/// Where records are: the public state, or a collection.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// What all see.
    Public,
    /// A collection.
    Collection(&'a str),
}

impl Place<'_> {
    fn get(self, simulator: &mut Simulator, key: &str) -> Result<Option<Vec<u8>>, SimulationError> {
        match self {
            Self::Public => Ok(simulator.get(NAMESPACE, key)),
            Self::Collection(name) => simulator.get_private(NAMESPACE, name, key),
        }
    }

    fn put(self, simulator: &mut Simulator, key: &str, value: Vec<u8>) -> Result<(), SimulationError> {
        match self {
            Self::Public => simulator.put(NAMESPACE, key, value),
            Self::Collection(name) => simulator.put_private(NAMESPACE, name, key, value),
        }
    }

    /// A record's metadata.
    pub fn metadata(
        self,
        simulator: &mut Simulator,
        space: &str,
        name: &str,
    ) -> Result<Option<StateMetadata>, SimulationError> {
        let Some(bytes) = self.get(simulator, &metadata_key(space, name))? else {
            return Ok(None);
        };
        StateMetadata::decode(&bytes[..]).map(Some).map_err(|_| {
            SimulationError(format!("could not unmarshal metadata for namespace {space}/{name}: {UNREADABLE}"))
        })
    }

    fn field(
        self,
        simulator: &mut Simulator,
        (space, name, field): (&str, &str, &str),
    ) -> Result<Option<Data>, SimulationError> {
        let key = field_key(space, name, field);
        let bytes = self.get(simulator, &key)?.unwrap_or_default();
        StateData::decode(&bytes[..])
            .map(|found| found.r#type)
            .map_err(|_| SimulationError(format!("could not unmarshal state for key {key}: {UNREADABLE}")))
    }

    /// The sequence of a definition; 0 when there is none.
    pub fn sequence(self, simulator: &mut Simulator, name: &str) -> Result<i64, SimulationError> {
        match self.field(simulator, (NAMESPACES, name, "Sequence"))? {
            Some(Data::Int64(sequence)) => Ok(sequence),
            None => Ok(0),
            Some(_) => Err(SimulationError(format!(
                "expected key {NAMESPACES}/fields/{name}/Sequence to encode a value of type Int64"
            ))),
        }
    }

    fn message<T: Message + Default>(
        self,
        simulator: &mut Simulator,
        name: &str,
        field: &str,
    ) -> Result<T, SimulationError> {
        let bytes = match self.field(simulator, (NAMESPACES, name, field))? {
            Some(Data::Bytes(bytes)) => bytes,
            _ => Vec::new(),
        };
        T::decode(&bytes[..]).map_err(|_| {
            SimulationError(format!("could not unmarshal key {}: {UNREADABLE}", field_key(NAMESPACES, name, field)))
        })
    }

    /// What is defined or approved under a name.
    pub fn parameters(self, simulator: &mut Simulator, name: &str) -> Result<Parameters, SimulationError> {
        Ok(Parameters {
            endorsement: self.message(simulator, name, "EndorsementInfo")?,
            validation: self.message(simulator, name, "ValidationInfo")?,
            collections: self.message(simulator, name, "Collections")?,
        })
    }

    /// What is defined under a name.
    pub fn definition(self, simulator: &mut Simulator, name: &str) -> Result<Definition, SimulationError> {
        let sequence = self.sequence(simulator, name)?;
        Ok(Definition { sequence, parameters: self.parameters(simulator, name)? })
    }

    /// The package id approved under a name.
    pub fn package(self, simulator: &mut Simulator, name: &str) -> Result<String, SimulationError> {
        match self.field(simulator, (SOURCES, name, "PackageID"))? {
            Some(Data::Text(id)) => Ok(id),
            _ => Ok(String::new()),
        }
    }

    /// Writes a record: only what changes.
    pub fn write(
        self,
        simulator: &mut Simulator,
        space: &str,
        name: &str,
        record: Record,
    ) -> Result<(), SimulationError> {
        let before = self.metadata(simulator, space, name)?;
        let mut existing = Vec::new();
        for field in before.iter().flat_map(|metadata| &metadata.fields) {
            existing.push((field.clone(), self.get(simulator, &field_key(space, name, field))?));
        }
        let after = record.metadata();
        for (field, value) in record.fields {
            let known = existing.iter().position(|(name, _)| name == field);
            let same = known.is_some_and(|at| existing.remove(at).1.as_ref() == Some(&value));
            if !same {
                self.put(simulator, &field_key(space, name, field), value)?;
            }
        }
        let same = before.is_some_and(|before| {
            existing.is_empty() && before.datatype == after.datatype && before.fields.len() == after.fields.len()
        });
        if !same {
            self.put(simulator, &metadata_key(space, name), after.encode_to_vec())?;
        }
        for (field, _) in existing {
            self.put(simulator, &field_key(space, name, &field), Vec::new())?;
        }
        Ok(())
    }
}

/// Whether a collection holds exactly this record, by the hashes that all see; if not, what differs.
pub fn matches(simulator: &mut Simulator, collection: &str, name: &str, record: &Record) -> Vec<String> {
    let metadata = record.metadata();
    let of_metadata = simulator.get_private_hash(NAMESPACE, collection, &metadata_key(NAMESPACES, name));
    let fields: Vec<Option<Vec<u8>>> = record
        .fields
        .iter()
        .map(|(field, _)| simulator.get_private_hash(NAMESPACE, collection, &field_key(NAMESPACES, name, field)))
        .collect();
    let holds = |hash: &Option<Vec<u8>>, value: &[u8]| hash.as_deref() == Some(&Sha256::digest(value)[..]);
    if !holds(&of_metadata, &metadata.encode_to_vec()) {
        return vec![metadata.datatype];
    }
    record
        .fields
        .iter()
        .zip(&fields)
        .filter(|((_, value), hash)| !holds(hash, value))
        .map(|((field, _), _)| (*field).to_owned())
        .collect()
}

/// The committed definition of a chaincode, read without a trace.
pub fn committed(world: &World, name: &str) -> Option<Definition> {
    let mut simulator = Simulator::new(std::sync::Arc::new(world.clone()), "");
    Place::Public.metadata(&mut simulator, NAMESPACES, name).ok().flatten()?;
    Place::Public.definition(&mut simulator, name).ok()
}

/// The names of all committed definitions.
pub fn committed_names(world: &World) -> Vec<String> {
    let prefix = metadata_key(NAMESPACES, "");
    let space = crate::peer::state::Space::Public(NAMESPACE.to_owned());
    world
        .range(&space, &prefix, &format!("{prefix}\u{7f}"), false)
        .filter_map(|(key, _)| key.strip_prefix(&prefix).map(str::to_owned))
        .collect()
}

/// Whether an organisation approved the committed definition, and which of the installed packages it approved for it:
/// both are seen by hashes (Fabric `core/chaincode/lifecycle/cache.go`).
pub fn approved_package<'a>(
    world: &World,
    msp_id: &str,
    name: &str,
    definition: &Definition,
    installed: impl IntoIterator<Item = &'a str>,
) -> (bool, Option<&'a str>) {
    let mut simulator = Simulator::new(std::sync::Arc::new(world.clone()), "");
    let collection = implicit_collection(msp_id);
    let private = format!("{name}#{}", definition.sequence);
    if !matches(&mut simulator, &collection, &private, &definition.parameters.record()).is_empty() {
        return (false, None);
    }
    let key = field_key(SOURCES, &private, "PackageID");
    let hash = world.hashed(NAMESPACE, &collection, &key).map(|found| found.value.clone());
    let package = installed.into_iter().find(|id| hash.as_deref() == Some(&Sha256::digest(package_value(id))[..]));
    (true, package)
}
