//! Every rule that a definition is held to: its id, and what it is good for.

use schemars::JsonSchema;
use serde::Serialize;

use crate::diagnostic::{Severity, closest};

/// Names a rule, for example `network/unknown-key`. Ids never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct RuleId(&'static str);

impl RuleId {
    /// The id as it is shown.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl std::fmt::Display for RuleId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// How much breaking it matters.
    pub severity: Severity,
    /// What it asks, in one line.
    pub title: &'static str,
    /// Why, and what to do.
    pub explanation: &'static str,
    /// Its page of docs/reference/rules: the above, with an example that breaks it and one that keeps it.
    #[serde(skip)]
    pub page: &'static str,
}

impl Rule {
    /// What its page says before the examples.
    pub fn introduction(&self) -> String {
        let Self { id, severity, title, explanation, page: _ } = self;
        format!(
            "# {id}\n\n{title} Breaking it is {}.\n\n## Why\n\n{explanation}\n",
            match severity {
                Severity::Error => "an error",
                Severity::Warning => "a warning",
            }
        )
    }
}

/// The rule of an id as a user types it.
pub fn find(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id.as_str() == id)
}

/// The rule that a user most likely meant: its id without the group, or the id nearest to what was typed.
pub fn suggest(id: &str) -> Option<&'static Rule> {
    let short = |rule: &&Rule| rule.id.as_str().split_once('/').is_some_and(|(_, name)| name == id);
    RULES.iter().find(short).or_else(|| closest(id, RULES.iter().map(|rule| rule.id.as_str())).and_then(find))
}

/// How much breaking a rule matters. An id that is not in the registry cannot be made outside this module.
pub fn severity(id: RuleId) -> Severity {
    find(id.as_str()).map_or(Severity::Error, |rule| rule.severity)
}

macro_rules! rules {
    ($($name:ident = $id:literal, $severity:ident, $title:literal, $explanation:literal;)*) => {
        $(
            #[doc = $title]
            pub const $name: RuleId = RuleId($id);
        )*

        /// All rules, in the order of the reference.
        pub static RULES: &[Rule] = &[$(
            Rule {
                id: $name,
                severity: Severity::$severity,
                title: $title,
                explanation: $explanation,
                page: include_str!(concat!("../../../docs/reference/rules/", $id, ".md")),
            },
        )*];
    };
}

rules! {
    YAML_SIZE = "yaml/size", Error, "The file has at most 1 MiB.",
        "A definition of a thousand nodes needs a tenth of that. A larger file is a mistake or an attack, and is not read at all.";
    YAML_ENCODING = "yaml/encoding", Error, "The file is UTF-8.",
        "YAML allows UTF-16 as well; Tenter reads UTF-8 only, so that every tool sees the same text.";
    YAML_BYTE_ORDER_MARK = "yaml/byte-order-mark", Error, "The file has no byte order mark.",
        "The invisible first character makes the first key a different one for some tools. Save the file without it.";
    YAML_SYNTAX = "yaml/syntax", Error, "The file is YAML 1.2.",
        "The YAML parser could not go on at this place. The reason often stands one or two lines before.";
    YAML_TAB = "yaml/tab", Error, "Indentation uses spaces.",
        "YAML forbids tabs in indentation, because their width is a matter of opinion.";
    YAML_DEPTH = "yaml/depth", Error, "Nesting is at most 64 deep.",
        "The format itself needs eight levels. Deeper nesting is a mistake or an attack.";
    YAML_DOCUMENTS = "yaml/documents", Error, "The file holds one document.",
        "One network, one document: a second document after `---` would be ignored by some readers and win with others.";
    YAML_ALIAS = "yaml/alias", Error, "Aliases are not used.",
        "Aliases (`*name`) can make a short file stand for gigabytes, and they hide in a diff what changes. Write the value out.";
    YAML_TAG = "yaml/tag", Error, "Tags are not used.",
        "Tags such as `!!str` or `!include` mean different things to different readers. Quotes make text of anything.";
    YAML_KEY = "yaml/key", Error, "Keys are plain words.",
        "A list or a mapping as a key cannot name a field. It usually comes from a template that was not filled in, such as `{{name}}`.";
    YAML_DUPLICATE_KEY = "yaml/duplicate-key", Error, "A key stands once in a mapping.",
        "Readers disagree on which of two equal keys counts, so a review could approve one and the cluster get the other.";
    YAML_CONTROL_CHARACTER = "yaml/control-character", Error, "Text has no control characters.",
        "Control characters can change what a terminal shows, and no name in Kubernetes or Fabric may hold them.";

    EMPTY = "network/empty", Error, "The file holds a network.",
        "An empty file is not an empty network: it is most often a failed checkout or template. Nothing is changed because of it.";
    API_VERSION = "network/api-version", Error, "apiVersion and kind are known.",
        "This version of Tenter reads `apiVersion: tenter.dev/v1alpha1` and `kind: Network`.";
    UNKNOWN_KEY = "network/unknown-key", Error, "Every key is one that the format has.",
        "A key that is not known would be ignored, and what it was meant to do would silently not happen.";
    MISSING_KEY = "network/missing-key", Error, "Required keys are there.",
        "Only what has no sensible default is required.";
    WRONG_TYPE = "network/wrong-type", Error, "Every value has the type of its field.",
        "Versions need quotes (`\"3.1\"`): without them YAML reads a number, and 3.10 becomes 3.1.";
    UNKNOWN_VALUE = "network/unknown-value", Error, "A field with a fixed set of values has one of them.",
        "The message lists the values.";
    OUT_OF_RANGE = "network/out-of-range", Error, "Numbers and lengths are within their bounds.",
        "The message names the bound.";
    SHAPE = "network/shape", Error, "The document has the shape that the schema describes.",
        "schemas/network.schema.json describes the format; an editor that knows it completes and checks while you type.";

    NAME = "network/name", Error, "Names are DNS labels.",
        "Names become names of Kubernetes objects and parts of host names: small letters, digits and `-`, beginning with a letter, ending with a letter or digit, at most 63 characters.";
    NAME_LENGTH = "network/name-length", Error, "Names leave room for what is added to them.",
        "A node's name becomes the name of its StatefulSet, whose Pods carry a hash label: 52 characters are left. A certificate's common name holds at most 64 characters. A namespace holds at most 63.";
    NAME_RESERVED = "network/name-reserved", Error, "Names that Kubernetes or Tenter use themselves are not taken.",
        "A node `ca` would share the Secrets of the certificate authority, and a node `peer1-admin` or `peer1-external` a Service of a node `peer1`. The namespaces `default` and `kube-*` belong to Kubernetes.";
    CHANNEL_NAME = "network/channel-name", Error, "Channel names are ones that Fabric and Kubernetes accept.",
        "Fabric: small letters, digits, `.` and `-`, beginning with a letter, at most 249 characters. The Channel object has the same name and must end with a letter or digit, each part between dots beginning and ending with one; pinned and membership objects add up to 63.";
    MSP_ID = "network/msp-id", Error, "MSP IDs are ones that policies can name.",
        "Fabric's policy language knows letters, digits, `.` and `-` in an MSP ID. An MSP ID with `_` can be put into a channel and never be named by a policy. It can never change later.";
    DOMAIN = "network/domain", Error, "Domains are DNS names.",
        "The domain stands in the subject of every certificate and in the alternative names of node certificates.";
    ELEMENT_NAME = "network/element-name", Error, "Names of configuration elements hold letters, digits, `.` and `-`.",
        "Policy names become keys of the channel configuration, and Fabric refuses a configuration with any other character in a key, `_` included.";
    DUPLICATE_NAME = "network/duplicate-name", Error, "Names are unique.",
        "Two things of the same name would fight over the same object.";
    DUPLICATE_NODE = "network/duplicate-node", Error, "An organization's orderers and peers have different names.",
        "A node's StatefulSet, Service and volume carry its name, in its organization's namespace.";
    DUPLICATE_MSP_ID = "network/duplicate-msp-id", Error, "No two organizations share an MSP ID.",
        "Whoever holds a certificate of either would speak for both.";
    DUPLICATE_NAMESPACE = "network/duplicate-namespace", Error, "No two organizations share a namespace.",
        "A namespace is the wall around an organization's keys.";
    DUPLICATE_ADDRESS = "network/duplicate-address", Error, "No two nodes share an address.",
        "An address stands in channel configurations as one node's. Only one of the two could be reached.";
    DUPLICATE_ENTRY = "network/duplicate-entry", Error, "A list names each thing once.",
        "Fabric refuses some duplicates (consenters) and is misled by others.";

    UNKNOWN_ORGANIZATION = "network/unknown-organization", Error, "Organizations that are named exist.",
        "The name must be that of an entry of spec.organizations.";
    UNKNOWN_ORDERER = "network/unknown-orderer", Error, "Orderers that are named exist.",
        "A consenter is named `organization/orderer`; the orderer must be an entry of that organization's `orderers`.";
    UNKNOWN_PEER = "network/unknown-peer", Error, "Peers that are named exist.",
        "The peer must be an entry of the organization's `peers`.";
    UNKNOWN_CHANNEL = "network/unknown-channel", Error, "Channels that are named exist.",
        "The name must be that of an entry of spec.channels.";
    ANCHOR = "network/anchor", Error, "Anchors are peers of the member that join the channel.",
        "Other members find an organization through its anchors; a peer that is not in the channel cannot answer.";
    CONSENTER = "network/consenter", Error, "Consenters are written organization/orderer.",
        "An orderer's name is unique in its organization only.";

    NO_CONSENTERS = "network/no-consenters", Error, "A channel has consenters.",
        "Without orderers no block is ever made. Give an organization orderers, or name consenters.";
    BFT_CONSENTERS = "network/bft-consenters", Error, "BFT has at least four consenters.",
        "Tolerating one faulty orderer takes four. With fewer, Fabric runs and tolerates none.";
    RAFT_EVEN = "network/raft-even", Warning, "Raft has an odd number of consenters.",
        "An even number needs one more for its majority and tolerates no more failures than the odd number below it.";
    SINGLE_CONSENTER = "network/single-consenter", Warning, "A channel has more than one consenter.",
        "With one, every restart of that orderer stops the channel. Going from one to two later needs care: until the second runs, the channel stands still.";
    BFT_VERSION = "network/bft-version", Error, "BFT runs on Fabric 3.0 or newer.",
        "Older orderers and peers do not know the consensus type and stop at the configuration block.";
    BFT_RENEWAL = "network/bft-renewal", Warning, "Orderers of BFT channels run Fabric 3.1.2 or newer.",
        "Older ones know themselves among the consenters by their exact certificate: with a renewed one they order no more, though the key is the same.";
    NO_MEMBERS = "network/no-members", Error, "A channel has members.",
        "A channel without application organizations has nobody who could use or change it.";
    NO_PEERS = "network/no-peers", Warning, "A member has peers.",
        "The organization takes part in the channel's policies and holds no ledger: it can neither endorse nor read.";
    ORGANIZER = "network/organizer", Error, "The organizer takes part in the channel.",
        "The organizer forms the channel: it runs a consenter or is a member.";
    IDLE_ORGANIZATION = "network/idle-organization", Warning, "An organization has a part.",
        "It has no node and is in no channel: its namespace and its keys would be made and never used.";
    CAPABILITY_UNKNOWN = "network/capability-unknown", Error, "Capabilities are ones that Fabric has at that level.",
        "A node that meets a capability that it does not know stops. V3_0 exists at the channel level only, V2_5 at the application level only.";
    CAPABILITY_TOO_NEW = "network/capability-too-new", Error, "No capability is newer than the oldest node.",
        "Older nodes stop at the block that switches the capability on, and a capability cannot be switched off again.";
    CAPABILITY_NEEDED = "network/capability-needed", Error, "Capabilities cover what the channel uses.",
        "BFT needs channel capability V3_0.";
    BATCH = "network/batch", Error, "Batch sizes are positive, and preferred is at most absolute.",
        "Fabric refuses a configuration in which they are not. Above 100 MiB no node accepts the message.";
    CONSENSUS_OPTION = "network/consensus-option", Error, "Consensus options are ones that the type has, with usable values.",
        "A channel with options that the consenters cannot use is accepted, and then no orderer starts it.";
    POLICY_SYNTAX = "network/policy-syntax", Error, "Policies are written in Fabric's policy language.",
        "Either `ANY|ALL|MAJORITY Name` (over the organizations' policies of that name) or `OR('AcmeMSP.admin', ...)`, `AND(...)`, `OutOf(n, ...)`.";
    POLICY_UNSATISFIABLE = "network/policy-unsatisfiable", Error, "Some set of members can satisfy every policy.",
        "A policy that nobody can satisfy locks everyone out of what it guards, for good when it guards the policies themselves.";
    POLICY_REFERENCE = "network/policy-reference", Error, "Policies that are referred to exist.",
        "An ACL names a policy by its path, for example `/Channel/Application/Writers`, or by its name for one of the application level.";

    ADDRESS = "network/address", Error, "Addresses are host:port.",
        "A host name or an IPv4 address and a port from 1 to 65535, without a scheme. It stands in channel configurations and certificates.";
    EXPOSE = "network/expose", Error, "An exposed node has an address that others reach, and a port that fits.",
        "`expose` makes a Service of type NodePort or LoadBalancer for the node's gRPC port. Others reach it by the node's `address`, which stands in its certificate and in channel configurations; a port of machines is 30000 or higher unless the cluster was set up otherwise.";
    ADDRESS_LOCAL = "network/address-local", Error, "Members that are hosted elsewhere can resolve every address.",
        "Names such as `peer1.trade-acme.svc` mean something in one cluster only. Give the nodes of a shared channel public addresses before the channel is formed: changing them later is a configuration update.";
    QUANTITY = "network/quantity", Error, "Quantities are written as Kubernetes writes them.",
        "A number with an optional unit: `100m` (CPU), `512Mi`, `10Gi`.";
    DURATION = "network/duration", Error, "Durations have a unit.",
        "Lifetimes of certificates: hours, days or years (`720h`, `90d`, `1y`). Times of the ordering service are Go durations: `500ms`, `2s`, `1m30s`.";
    LIFETIME = "network/lifetime", Error, "Certificates live at least a day, and not longer than their root, which lives 50 years at most.",
        "A certificate is renewed when a third of its lifetime is left; one that outlives its root ends with it.";
    VERSION = "network/version", Error, "Fabric versions are ones that Tenter supports.",
        "2.5 and 3.x: `major.minor` or `major.minor.patch`, in quotes.";
    IMAGE = "network/image", Error, "Images are complete references.",
        "Registry and path, and a tag or a digest if they should differ from the version: `docker.io/hyperledger/fabric-peer`. Without tag and digest the version is the tag.";
    IMAGE_VERSION = "network/image-version", Warning, "An image's tag agrees with the version.",
        "The version decides which capabilities and which node settings are used; an image of another version may not know them.";
    SUBJECT = "network/subject", Error, "Subjects are complete.",
        "A ServiceAccount has a namespace; a User and a Group have none. Groups of Kubernetes itself (`system:`) are never granted a role.";
    QUOTA = "network/quota", Error, "An organization's nodes fit into its quota.",
        "The namespace's ResourceQuota would refuse the last Pods, after the first ones run.";

    CHAINCODE_NAME = "network/chaincode-name", Error, "Chaincode names are ones that Fabric accepts.",
        "Letters and digits, joined by single `-` or `_`; not the name of a system chaincode.";
    CHAINCODE_VERSION = "network/chaincode-version", Error, "Chaincode versions are ones that Fabric accepts.",
        "Letters, digits, `_`, `.`, `+` and `-`.";
    CHAINCODE_NAME_LENGTH = "network/chaincode-name-length", Error, "Names of channel and chaincode leave room for each other.",
        "The Chaincode object is called `channel-chaincode`, which is a label's value too: 63 characters at most.";
    CHAINCODE_COLLISION = "network/chaincode-collision", Error, "No two chaincodes get the same object.",
        "The Chaincode object is called `channel-chaincode` in small letters, with `-` for `_` and `.`: `Asset` and `asset`, or `a_b` and `a-b`, would be one object.";
    CHAINCODE_LABEL = "network/chaincode-label", Error, "Name and version make a label that peers accept.",
        "Tenter labels its packages `name_version`. With the hash and the ending it becomes the name of one file on the peer: at most 183 characters.";
    CHAINCODE_SOURCE = "network/chaincode-source", Error, "A chaincode's source is an image, a package or an address.",
        "Exactly one of `image` (chaincode as a service), `package` (a path in the repository) and `external` (the address of a chaincode server).";
    REPOSITORY_FILE = "network/repository-file", Error, "Files that the definition names are in the repository.",
        "Paths are written from the repository's root. Symbolic links and submodules are not followed: they could lead anywhere.";
    PACKAGE = "network/package", Error, "A chaincode package is one that peers take.",
        "A `.tar.gz` with `metadata.json` (type, label) and `code.tar.gz`, both with plain relative paths to regular files, or a folder with `connection.json` at its root. An archive whose paths lead out of its folder is refused, whatever a peer would make of it.";
    PACKAGE_SIZE = "network/package-size", Error, "Files that the definition names are of a mebibyte at most.",
        "A package travels to the peers in a ConfigMap, which holds one mebibyte.";
    PACKAGE_TYPE = "network/package-type", Error, "A chaincode package is of a type that the peers build.",
        "The peers have the builder for chaincode as a service (`ccaas`) and no Docker: a package of source code would fail on each of them. Build an image and name it as `image` instead.";
    PACKAGE_LABEL = "network/package-label", Warning, "A package's label says what the definition says.",
        "By custom a label is `name_version`. Another one is most often a package of another chaincode, or of an older version.";
    ROOT_CERTIFICATES = "network/root-certificates", Error, "Root certificates of a chaincode server are PEM certificates.",
        "Peers verify the server's certificate against them.";
    ENDORSEMENT_MEMBER = "network/endorsement-member", Error, "Endorsement policies name members that have peers in the channel.",
        "Only peers endorse. An MSP ID that no peer of the channel has can never count, and is most often misspelt.";
    LIFECYCLE_ENDORSEMENT = "network/lifecycle-endorsement", Error, "Members with peers can approve chaincodes.",
        "A chaincode is committed when as many members as LifecycleEndorsement asks for approve it by their peers. Where members without peers would be needed, no chaincode can be committed in the channel.";
    COLLECTION = "network/collection", Error, "Collections are ones that Fabric accepts.",
        "The name holds letters, digits, `-` and `_`, beginning with a letter or digit, and requiredPeerCount is at most maxPeerCount.";
    COLLECTION_MEMBER = "network/collection-member", Error, "Members of a collection are members of the channel.",
        "Fabric refuses a collection whose policy names an organization that is not in the channel.";

    COLLECTION_SERVED = "network/collection-served", Error, "A collection has peers that can hold its data.",
        "The peer that endorses keeps the data and must give it to `requiredPeerCount` others of the collection's members before it answers. With fewer peers in the channel no transaction with this collection is ever endorsed.";

    RETIRED_TARGET = "network/retired-target", Error, "An entry of spec.retired names one thing.",
        "Exactly one of `organization`, `orderer` and `peer` (as `organization/node`), `channel`, `member` (as `channel/organization`) and `chaincode` (as `channel/chaincode`).";
    RETIRED_PRESENT = "network/retired-present", Error, "What is retired is no longer in the file.",
        "A thing cannot be wanted and retired at once. Remove the one or the other.";

    PRIVATE_KEY = "repository/private-key", Error, "The repository holds no private key.",
        "A key that was pushed once is known to everybody who can read the repository. Only public certificates belong there.";
    REPOSITORY_LIMITS = "repository/limits", Error, "The members' folders are small.",
        "A folder holds at most 256 files, a file of an organization at most 64 KiB. Symbolic links and submodules are not followed.";
    FOLDER_SHAPE = "repository/folder-shape", Error, "An organization's folder has the shape that `tenter export` writes.",
        "`msp/` in Fabric's folder form with one certificate a file, `orderers/<node>/tls.crt` and `identity.crt`, and `consent.sig`. What cannot be read counts as missing.";
    FOLDER_UNKNOWN = "repository/unknown-organization", Error, "The folders in organizations/ are those of organizations of the definition.",
        "A folder that belongs to nobody is misspelt, or left from an organization that is gone.";
    FOLDER_UNKNOWN_ORDERER = "repository/unknown-orderer", Error, "The folders in orderers/ are those of the organization's orderers.",
        "Certificates of an orderer that the definition does not have are used by nobody.";
    FOLDER_INCOMPLETE = "repository/incomplete", Error, "The folders of a channel's members are complete.",
        "The genesis block is made of every member's public MSP and every consenter's two certificates. The channel waits until all are there.";
    CERTIFICATE_EXPIRED = "repository/expired", Error, "Certificates are valid.",
        "Other members verify nodes against these certificates: one that has ended, or has not begun, is refused by all of them.";
    CERTIFICATE_EXPIRING = "repository/expiring", Warning, "Certificates are renewed in time.",
        "Less than a third of the certificate's life is left. Renewing it in time leaves the others time to take it over.";
    CERTIFICATE_CHAIN = "repository/chain", Error, "Certificates lead to the roots of the organization's MSP.",
        "A node whose certificate none of its organization's roots issued is accepted by nobody.";
    CERTIFICATE_NAMES = "repository/certificate-names", Error, "An orderer's TLS certificate names the host of its address.",
        "Everybody dials the address and compares the name: with another one no connection is made.";
    CERTIFICATE_ROLE = "repository/role", Error, "An orderer's identity has the role orderer.",
        "Policies such as BlockValidation count identities by their organizational unit.";
    CONSENT = "repository/consent", Error, "consent.sig verifies, and covers what the repository holds.",
        "It is the signature of the organization's configuration administrator over its section, the channels that it takes part in and its folder. Any change of these needs it anew.";
    CONSENT_MISSING = "repository/consent-missing", Warning, "Who joins a channel after its founding has given its consent.",
        "Founders agree by joining the genesis block that each of them has computed. Whoever the definition names later is invited: `consent.sig` in its folder is the acceptance, and without it anybody who may push speaks for it. Only channels whose genesis block is pinned, from a commit that is known, tell who came later.";
    PINNED_GENESIS = "repository/pinned-genesis", Error, "A pinned genesis block is the one that the definition gives.",
        "`channels/<name>/genesis.pb` and `genesis.yaml` belong together, and every member computes the block again. Nobody joins another one.";
    APPROVAL_SHAPE = "repository/approval-shape", Error, "Approvals stand at approvals/HASH/ORGANIZATION.yaml and can be read.",
        "Folder and file say which plan is approved by whom, and the file says the same. What cannot be read, or says something else, approves nothing. `tenter approve HASH --organization NAME` writes the file.";
    APPROVAL = "repository/approval", Error, "Approvals are signed by an administrator of the organization that they name.",
        "The signature is over the consortium's name, the plan's hash, the steps, the reason and the end, by an identity of role admin of the organization's public MSP that is valid and not revoked. A file that somebody else signed, or that was changed since, or that is of an organization that the definition does not have, approves nothing.";
    APPROVAL_EXPIRED = "repository/approval-expired", Warning, "Approvals have not ended.",
        "An approval ends, so that it does not let the same step pass another time, years later. One that has ended approves nothing: remove it.";
    APPROVAL_UNVERIFIED = "repository/approval-unverified", Warning, "The public MSP of an organization that approves is in the repository.",
        "Reviewers verify an approval against organizations/<name>/msp. A daemon that hosts the organization, or sees it in a channel, knows its certificates from there; others take the approval for none.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_have_a_group() {
        let ids: BTreeSet<_> = RULES.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), RULES.len());
        for rule in RULES {
            let (group, name) = rule.id.as_str().split_once('/').unwrap();
            assert!(["yaml", "network", "repository"].contains(&group), "{}", rule.id);
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", rule.id);
            assert!(rule.title.ends_with('.') && rule.explanation.ends_with('.'), "{}", rule.id);
            assert_eq!(find(rule.id.as_str()), Some(rule));
        }
    }

    #[test]
    fn a_rule_is_suggested_by_its_name_or_a_near_one() {
        assert_eq!(suggest("unknown-key").map(|rule| rule.id), Some(UNKNOWN_KEY));
        assert_eq!(suggest("network/unknwon-key").map(|rule| rule.id), Some(UNKNOWN_KEY));
        assert_eq!(suggest("weather"), None);
    }
}
