//! The system chaincode `_lifecycle` (Fabric `core/chaincode/lifecycle/{scc,lifecycle}.go`).

mod checks;
pub mod records;

use std::collections::BTreeMap;

use prost::Message;
use tenter_fabric_wire::lifecycle::{
    ApproveChaincodeDefinitionForMyOrgArgs, ApproveChaincodeDefinitionForMyOrgResult, ApprovedChaincodeDefinition,
    ChaincodeSource, CheckCommitReadinessArgs, CheckCommitReadinessResult, CommitChaincodeDefinitionArgs,
    CommitChaincodeDefinitionResult, GetInstalledChaincodePackageArgs, GetInstalledChaincodePackageResult,
    InstallChaincodeArgs, InstallChaincodeResult, QueryApprovedChaincodeDefinitionArgs,
    QueryApprovedChaincodeDefinitionResult, QueryApprovedChaincodeDefinitionsArgs,
    QueryApprovedChaincodeDefinitionsResult, QueryChaincodeDefinitionArgs, QueryChaincodeDefinitionResult,
    QueryChaincodeDefinitionsArgs, QueryChaincodeDefinitionsResult, QueryInstalledChaincodeArgs,
    QueryInstalledChaincodeResult, QueryInstalledChaincodesArgs, QueryInstalledChaincodesResult, chaincode_source,
    check_commit_readiness_result, query_chaincode_definitions_result, query_installed_chaincode_result,
    query_installed_chaincodes_result,
};
use tenter_fabric_wire::protos::{ApplicationPolicy, CollectionConfigPackage, application_policy};

use super::acl;
use super::builder::Installed;
use super::simulate::{SimulationError, Simulator};
use super::system::Context;
use crate::channel::{Bundle, UNREADABLE};
use records::{
    Definition, EndorsementInfo, NAMESPACE, NAMESPACES, Parameters, Place, SOURCES, ValidationInfo,
    implicit_collection, matches, metadata_key, package_record,
};

const DEFAULT_POLICY: &str = "/Channel/Application/Endorsement";

/// An answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 404 or 500.
    pub status: i32,
    /// Fabric's text.
    pub text: String,
}

/// What goes wrong inside a function.
enum Fault {
    /// The namespace that is not defined.
    NotDefined(String),
    Other(String),
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

impl From<SimulationError> for Fault {
    fn from(error: SimulationError) -> Self {
        Self::Other(error.0)
    }
}

type Outcome = Result<Vec<u8>, Fault>;
/// Who approved, and what differs with those who did not.
type Approvals = (BTreeMap<String, bool>, BTreeMap<String, Vec<String>>);

/// A call of a function.
struct Call<'a> {
    context: &'a Context<'a>,
    channel: &'a str,
    bundle: Option<&'a Bundle>,
    simulator: &'a mut Simulator,
}

/// Calls the chaincode. `bundle` is the channel's configuration; none without a channel.
pub fn invoke(context: &Context<'_>, bundle: Option<&Bundle>, simulator: &mut Simulator) -> Result<Vec<u8>, Refusal> {
    let refuse = |text: String| Refusal { status: 500, text };
    let args = &context.proposal.args;
    if args.is_empty() {
        return Err(refuse("lifecycle scc must be invoked with arguments".to_owned()));
    }
    let [function, input] = &args[..] else {
        return Err(refuse(format!(
            "lifecycle scc operations require exactly two arguments but received {}",
            args.len()
        )));
    };
    let function = String::from_utf8_lossy(function).into_owned();
    let channel = &context.proposal.channel.channel_id;
    if let Some(bundle) = bundle {
        if bundle.application_orgs.is_none() {
            return Err(refuse(format!("could not get application config for channel '{channel}'")));
        }
        if !bundle.has_new_lifecycle() {
            return Err(refuse(format!(
                "cannot use new lifecycle for channel '{channel}' as it does not have the required capabilities enabled"
            )));
        }
    }
    acl::check(context, &format!("{NAMESPACE}/{function}"), channel)
        .map_err(|text| refuse(format!("Failed to authorize invocation due to failed ACL check: {text}")))?;
    let mut call = Call { context, channel, bundle, simulator };
    call.dispatch(&function, input).map_err(|fault| match fault {
        Fault::NotDefined(name) => Refusal { status: 404, text: format!("namespace {name} is not defined") },
        Fault::Other(text) => refuse(format!("failed to invoke backing implementation of '{function}': {text}")),
    })
}

fn parse<T: Message + Default>(function: &str, input: &[u8]) -> Result<T, Fault> {
    T::decode(input).map_err(|_| {
        Fault::Other(format!("could not decode input arg for *lifecycle.Invocation.{function}: {UNREADABLE}"))
    })
}

fn within(context: impl std::fmt::Display) -> impl FnOnce(SimulationError) -> Fault {
    move |error| Fault::Other(format!("{context}: {error}"))
}

/// The input of a function that names a definition.
struct Input {
    name: String,
    definition: Definition,
}

macro_rules! input {
    ($args:expr) => {{
        let args = $args;
        Input {
            name: args.name,
            definition: Definition {
                sequence: args.sequence,
                parameters: Parameters {
                    endorsement: EndorsementInfo {
                        version: args.version,
                        init_required: args.init_required,
                        endorsement_plugin: args.endorsement_plugin,
                    },
                    validation: ValidationInfo {
                        validation_plugin: args.validation_plugin,
                        validation_parameter: args.validation_parameter,
                    },
                    collections: args.collections.unwrap_or_default(),
                },
            },
        }
    }};
}

impl Call<'_> {
    fn dispatch(&mut self, function: &str, input: &[u8]) -> Outcome {
        match function {
            "InstallChaincode" => self.install(&parse::<InstallChaincodeArgs>(function, input)?),
            "QueryInstalledChaincode" => self.query_installed(&parse(function, input)?),
            "QueryInstalledChaincodes" => {
                parse::<QueryInstalledChaincodesArgs>(function, input)?;
                Ok(self.query_all_installed())
            }
            "GetInstalledChaincodePackage" => self.get_package(&parse(function, input)?),
            "ApproveChaincodeDefinitionForMyOrg" => self.approve(parse(function, input)?),
            "QueryApprovedChaincodeDefinition" => self.query_approved(&parse(function, input)?),
            "QueryApprovedChaincodeDefinitions" => {
                parse::<QueryApprovedChaincodeDefinitionsArgs>(function, input)?;
                self.query_all_approved()
            }
            "CheckCommitReadiness" => {
                let input = input!(parse::<CheckCommitReadinessArgs>(function, input)?);
                self.check_readiness(input)
            }
            "CommitChaincodeDefinition" => {
                let input = input!(parse::<CommitChaincodeDefinitionArgs>(function, input)?);
                self.commit(input)
            }
            "QueryChaincodeDefinition" => self.query_definition(&parse(function, input)?),
            "QueryChaincodeDefinitions" => {
                parse::<QueryChaincodeDefinitionsArgs>(function, input)?;
                self.query_all_definitions()
            }
            other => Err(Fault::Other(format!("receiver *lifecycle.Invocation.{other} does not exist"))),
        }
    }

    fn own(&self) -> &str {
        &self.context.node.msp.msp.id
    }

    fn bundle(&self) -> Result<&Bundle, Fault> {
        self.bundle.ok_or_else(|| Fault::Other(format!("no application config for channel '{}'", self.channel)))
    }

    fn org_ids(&self) -> Result<Vec<String>, Fault> {
        let orgs = self.bundle()?.application_orgs.as_ref();
        let mut ids: Vec<String> = orgs.into_iter().flatten().map(|(_, org)| org.msp_id.clone()).collect();
        ids.sort();
        Ok(ids)
    }

    fn install(&self, args: &InstallChaincodeArgs) -> Outcome {
        let done =
            self.context.packages.install(&args.chaincode_install_package).map_err(|error| Fault::Other(error.0))?;
        Ok(InstallChaincodeResult { package_id: done.id, label: done.label }.encode_to_vec())
    }

    /// Channel by channel, the names and versions of the chaincodes that use a package.
    fn references(&self, package: &Installed) -> BTreeMap<String, Vec<(String, String)>> {
        let mut found = BTreeMap::new();
        for name in self.context.channels.names() {
            let Some(channel) = self.context.channels.get(&name) else { continue };
            let world = channel.world();
            let mut users = Vec::new();
            for chaincode in records::committed_names(&world) {
                let Some(definition) = records::committed(&world, &chaincode) else { continue };
                let (_, used) =
                    records::approved_package(&world, self.own(), &chaincode, &definition, [package.id.as_str()]);
                if used.is_some() {
                    users.push((chaincode, definition.parameters.endorsement.version));
                }
            }
            if !users.is_empty() {
                found.insert(name, users);
            }
        }
        found
    }

    fn query_installed(&self, args: &QueryInstalledChaincodeArgs) -> Outcome {
        use query_installed_chaincode_result::{Chaincode, References};
        let package =
            self.context.packages.find(&args.package_id).ok_or_else(|| {
                Fault::Other(format!("could not find chaincode with package id '{}'", args.package_id))
            })?;
        let references = self.references(&package).into_iter().map(|(channel, users)| {
            let chaincodes = users.into_iter().map(|(name, version)| Chaincode { name, version }).collect();
            (channel, References { chaincodes })
        });
        Ok(QueryInstalledChaincodeResult {
            references: references.collect(),
            package_id: package.id,
            label: package.label,
        }
        .encode_to_vec())
    }

    fn query_all_installed(&self) -> Vec<u8> {
        use query_installed_chaincodes_result::{Chaincode, InstalledChaincode, References};
        let all = self.context.packages.list().into_iter().map(|package| {
            let references = self.references(&package).into_iter().map(|(channel, users)| {
                let chaincodes = users.into_iter().map(|(name, version)| Chaincode { name, version }).collect();
                (channel, References { chaincodes })
            });
            InstalledChaincode { references: references.collect(), package_id: package.id, label: package.label }
        });
        QueryInstalledChaincodesResult { installed_chaincodes: all.collect() }.encode_to_vec()
    }

    fn get_package(&self, args: &GetInstalledChaincodePackageArgs) -> Outcome {
        let chaincode_install_package = self.context.packages.load(&args.package_id).ok_or_else(|| {
            Fault::Other(format!(
                "could not load cc install package: chaincode install package '{}' not found",
                args.package_id
            ))
        })?;
        Ok(GetInstalledChaincodePackageResult { chaincode_install_package }.encode_to_vec())
    }

    /// The checks of approve and commit alike.
    fn validate(&mut self, input: &Input) -> Result<(), Fault> {
        self.validate_input(input)
            .map_err(|text| Fault::Other(format!("error validating chaincode definition: {text}")))
    }

    fn validate_input(&mut self, input: &Input) -> Result<(), String> {
        let parameters = &input.definition.parameters;
        checks::names(&input.name, &parameters.endorsement.version)?;
        let proposed = checks::configs(&parameters.collections)?;
        let bundle =
            self.bundle.ok_or_else(|| format!("could not get channelconfig for channel '{}'", self.channel))?;
        checks::collections(&proposed, bundle)?;
        match self.committed(&input.name).map_err(|error| error.0)? {
            Some(committed) => checks::keeps(&proposed, &committed.parameters.collections),
            None => Ok(()),
        }
    }

    /// The committed definition; without one, Fabric looks for one of the old lifecycle.
    fn committed(&mut self, name: &str) -> Result<Option<Definition>, SimulationError> {
        if Place::Public.metadata(self.simulator, NAMESPACES, name)?.is_none() {
            self.simulator.get("lscc", name);
            return Ok(None);
        }
        Place::Public.definition(self.simulator, name).map(Some)
    }

    fn set_defaults(&self, definition: &mut Definition) -> Result<(), String> {
        let parameters = &mut definition.parameters;
        if parameters.endorsement.endorsement_plugin.is_empty() {
            "escc".clone_into(&mut parameters.endorsement.endorsement_plugin);
        }
        if parameters.validation.validation_plugin.is_empty() {
            "vscc".clone_into(&mut parameters.validation.validation_plugin);
        }
        if parameters.validation.validation_parameter.is_empty() {
            if !self.bundle.is_some_and(|bundle| bundle.has_policy(DEFAULT_POLICY)) {
                return Err(format!(
                    "could not set defaults for chaincode definition in channel {0}: policy '{DEFAULT_POLICY}' must be defined for channel '{0}' before chaincode operations can be attempted",
                    self.channel
                ));
            }
            let reference = application_policy::Type::ChannelConfigPolicyReference(DEFAULT_POLICY.to_owned());
            parameters.validation.validation_parameter = ApplicationPolicy { r#type: Some(reference) }.encode_to_vec();
        }
        Ok(())
    }

    fn approve(&mut self, args: ApproveChaincodeDefinitionForMyOrgArgs) -> Outcome {
        let package = match args.source.as_ref().and_then(|source| source.r#type.as_ref()) {
            Some(chaincode_source::Type::LocalPackage(local)) => local.package_id.clone(),
            _ => String::new(),
        };
        let mut input = input!(args);
        self.validate(&input)?;
        let (name, sequence) = (input.name.clone(), input.definition.sequence);
        let current =
            Place::Public.sequence(self.simulator, &name).map_err(within("could not get current sequence"))?;
        if current == sequence && sequence == 0 {
            return Err(Fault::Other("requested sequence is 0, but first definable sequence number is 1".to_owned()));
        }
        if sequence < current {
            return Err(Fault::Other(format!(
                "currently defined sequence {current} is larger than requested sequence {sequence}"
            )));
        }
        if sequence > current + 1 {
            return Err(Fault::Other(format!(
                "requested sequence {sequence} is larger than the next available sequence number {}",
                current + 1
            )));
        }
        self.set_defaults(&mut input.definition)?;
        let collection = implicit_collection(self.own());
        let place = Place::Collection(&collection);
        let private = format!("{name}#{sequence}");
        let parameters = &input.definition.parameters;
        if sequence == current {
            self.unchanged(&name, current, parameters)?;
        }
        if self.repeats(place, &private, parameters, &package)? {
            return Err(Fault::Other(if sequence == current {
                format!("attempted to redefine the current committed sequence ({current}) for namespace {name}")
            } else {
                format!(
                    "attempted to redefine uncommitted sequence ({sequence}) for namespace {name} with unchanged content"
                )
            }));
        }
        place
            .write(self.simulator, NAMESPACES, &private, parameters.record())
            .map_err(within("could not serialize chaincode parameters to state"))?;
        place
            .write(self.simulator, SOURCES, &private, package_record(&package))
            .map_err(within("could not serialize chaincode package info to state"))?;
        Ok(ApproveChaincodeDefinitionForMyOrgResult {}.encode_to_vec())
    }

    /// At the committed sequence only the package may change.
    fn unchanged(&mut self, name: &str, current: i64, parameters: &Parameters) -> Result<(), Fault> {
        if Place::Public.metadata(self.simulator, NAMESPACES, name)?.is_none() {
            return Err(Fault::Other(format!("missing metadata for currently committed sequence number ({current})")));
        }
        let defined = Place::Public.definition(self.simulator, name)?;
        match defined.parameters.differs(parameters) {
            Some(text) => Err(Fault::Other(format!(
                "attempted to redefine the current committed sequence ({current}) for namespace {name} with different parameters: {text}"
            ))),
            None => Ok(()),
        }
    }

    fn repeats(
        &mut self,
        place: Place<'_>,
        private: &str,
        parameters: &Parameters,
        package: &str,
    ) -> Result<bool, Fault> {
        if place.metadata(self.simulator, NAMESPACES, private)?.is_none() {
            return Ok(false);
        }
        if place.parameters(self.simulator, private)?.differs(parameters).is_some() {
            return Ok(false);
        }
        if place.metadata(self.simulator, SOURCES, private)?.is_none() {
            return Ok(false);
        }
        Ok(place.package(self.simulator, private)? == package)
    }

    fn fetch_approved(&mut self, place: Place<'_>, private: &str) -> Result<(Parameters, ChaincodeSource), Fault> {
        let parameters = place
            .parameters(self.simulator, private)
            .map_err(within(format!("could not deserialize chaincode parameters for {private}")))?;
        if place.metadata(self.simulator, SOURCES, private)?.is_none() {
            return Err(Fault::Other(format!("could not fetch chaincode-source metadata for {private}")));
        }
        let package_id = place.package(self.simulator, private)?;
        let source = if package_id.is_empty() {
            chaincode_source::Type::Unavailable(chaincode_source::Unavailable {})
        } else {
            chaincode_source::Type::LocalPackage(chaincode_source::Local { package_id })
        };
        Ok((parameters, ChaincodeSource { r#type: Some(source) }))
    }

    fn query_approved(&mut self, args: &QueryApprovedChaincodeDefinitionArgs) -> Outcome {
        let name = &args.name;
        let collection = implicit_collection(self.own());
        let place = Place::Collection(&collection);
        let mut sequence = args.sequence;
        if sequence == 0 {
            let current =
                Place::Public.sequence(self.simulator, name).map_err(within("could not get current sequence"))?;
            sequence = current;
            let next = format!("{name}#{}", current + 1);
            if place.metadata(self.simulator, NAMESPACES, &next)?.is_some() {
                sequence = current + 1;
            }
        }
        let private = format!("{name}#{sequence}");
        let found = place
            .metadata(self.simulator, NAMESPACES, &private)
            .map_err(within(format!("could not deserialize namespace metadata for {private}")))?;
        if found.is_none() {
            return Err(Fault::Other(format!(
                "could not fetch approved chaincode definition (name: '{name}', sequence: '{sequence}') on channel '{}'",
                self.channel
            )));
        }
        let (parameters, source) = self.fetch_approved(place, &private)?;
        Ok(QueryApprovedChaincodeDefinitionResult {
            sequence,
            version: parameters.endorsement.version,
            endorsement_plugin: parameters.endorsement.endorsement_plugin,
            validation_plugin: parameters.validation.validation_plugin,
            validation_parameter: parameters.validation.validation_parameter,
            collections: Some(parameters.collections),
            init_required: parameters.endorsement.init_required,
            source: Some(source),
        }
        .encode_to_vec())
    }

    fn query_all_approved(&mut self) -> Outcome {
        let collection = implicit_collection(self.own());
        let place = Place::Collection(&collection);
        let prefix = metadata_key(NAMESPACES, "");
        let found = self
            .simulator
            .range_private(NAMESPACE, &collection, &prefix, &format!("{prefix}\u{7f}"))
            .map_err(within("could not fetch metadatas"))?;
        let mut all = Vec::new();
        for entry in found {
            let private = entry.key.strip_prefix(&prefix).unwrap_or_default();
            let (name, sequence) = private
                .split_once('#')
                .and_then(|(name, sequence)| Some((name, sequence.parse::<i64>().ok()?)))
                .ok_or_else(|| format!("invalid private name format: {private}"))?;
            let (parameters, source) = self.fetch_approved(place, private)?;
            all.push(ApprovedChaincodeDefinition {
                name: name.to_owned(),
                sequence,
                version: parameters.endorsement.version,
                endorsement_plugin: parameters.endorsement.endorsement_plugin,
                validation_plugin: parameters.validation.validation_plugin,
                validation_parameter: parameters.validation.validation_parameter,
                collections: Some(parameters.collections),
                init_required: parameters.endorsement.init_required,
                source: Some(source),
            });
        }
        Ok(QueryApprovedChaincodeDefinitionsResult { approved_chaincode_definitions: all }.encode_to_vec())
    }

    /// Who approved exactly this, and what differs with those who did not.
    fn approvals(&mut self, name: &str, definition: &Definition) -> Result<Approvals, Fault> {
        let private = format!("{name}#{}", definition.sequence);
        let record = definition.parameters.record();
        let (mut approvals, mut mismatches) = (BTreeMap::new(), BTreeMap::new());
        for org in self.org_ids()? {
            let differs = matches(self.simulator, &implicit_collection(&org), &private, &record);
            approvals.insert(org.clone(), differs.is_empty());
            if !differs.is_empty() {
                mismatches.insert(org, differs);
            }
        }
        Ok((approvals, mismatches))
    }

    fn readiness(&mut self, input: &mut Input) -> Result<Approvals, Fault> {
        let current =
            Place::Public.sequence(self.simulator, &input.name).map_err(within("could not get current sequence"))?;
        if input.definition.sequence != current + 1 {
            return Err(Fault::Other(format!(
                "requested sequence is {}, but new definition must be sequence {}",
                input.definition.sequence,
                current + 1
            )));
        }
        self.set_defaults(&mut input.definition)?;
        self.approvals(&input.name, &input.definition)
    }

    fn check_readiness(&mut self, mut input: Input) -> Outcome {
        self.bundle()?;
        let (approvals, mismatches) = self.readiness(&mut input)?;
        let mismatches = mismatches
            .into_iter()
            .map(|(org, items)| (org, check_commit_readiness_result::Mismatches { items }))
            .collect();
        Ok(CheckCommitReadinessResult { approvals, mismatches }.encode_to_vec())
    }

    fn commit(&mut self, mut input: Input) -> Outcome {
        self.validate(&input)?;
        let own = self.own().to_owned();
        if !self.org_ids()?.contains(&own) {
            return Err(Fault::Other(
                "impossibly, this peer's org is processing requests for a channel it is not a member of".to_owned(),
            ));
        }
        let (approvals, _) = self.readiness(&mut input)?;
        Place::Public
            .write(self.simulator, NAMESPACES, &input.name, input.definition.record())
            .map_err(within("could not serialize chaincode definition"))?;
        if approvals.get(&own) != Some(&true) {
            return Err(Fault::Other(format!("chaincode definition not agreed to by this org ({own})")));
        }
        Ok(CommitChaincodeDefinitionResult {}.encode_to_vec())
    }

    fn defined(&mut self, name: &str) -> Result<Definition, Fault> {
        if Place::Public.metadata(self.simulator, NAMESPACES, name)?.is_none() {
            return Err(Fault::NotDefined(name.to_owned()));
        }
        Ok(Place::Public.definition(self.simulator, name)?)
    }

    fn query_definition(&mut self, args: &QueryChaincodeDefinitionArgs) -> Outcome {
        let definition = self.defined(&args.name)?;
        let (approvals, _) = self.approvals(&args.name, &definition)?;
        let Definition { sequence, parameters } = definition;
        Ok(QueryChaincodeDefinitionResult {
            sequence,
            version: parameters.endorsement.version,
            endorsement_plugin: parameters.endorsement.endorsement_plugin,
            validation_plugin: parameters.validation.validation_plugin,
            validation_parameter: parameters.validation.validation_parameter,
            collections: Some(parameters.collections),
            init_required: parameters.endorsement.init_required,
            approvals,
        }
        .encode_to_vec())
    }

    fn query_all_definitions(&mut self) -> Outcome {
        let prefix = metadata_key(NAMESPACES, "");
        let scan = self.simulator.scan(NAMESPACE, &prefix, &format!("{prefix}\u{7f}"), None)?;
        let mut names = Vec::new();
        while let Some(found) = self.simulator.next(scan) {
            names.push(found.key.strip_prefix(&prefix).unwrap_or_default().to_owned());
        }
        let mut all = Vec::new();
        for name in names {
            let Definition { sequence, parameters } = self.defined(&name)?;
            all.push(query_chaincode_definitions_result::ChaincodeDefinition {
                name,
                sequence,
                version: parameters.endorsement.version,
                endorsement_plugin: parameters.endorsement.endorsement_plugin,
                validation_plugin: parameters.validation.validation_plugin,
                validation_parameter: parameters.validation.validation_parameter,
                collections: Some(parameters.collections),
                init_required: parameters.endorsement.init_required,
            });
        }
        Ok(QueryChaincodeDefinitionsResult { chaincode_definitions: all }.encode_to_vec())
    }
}

/// The collections of a definition by name.
pub fn collection<'a>(
    package: &'a CollectionConfigPackage,
    name: &str,
) -> Option<&'a tenter_fabric_wire::protos::StaticCollectionConfig> {
    checks::configs(package).ok()?.into_iter().find(|config| config.name == name)
}
