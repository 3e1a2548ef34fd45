//! What a daemon's own settings allow. The definition is written by others: whatever it asks for, only what stands
//! here is carried out. The plan and the controllers ask the same functions.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::chaincode::read_package;
use crate::definition::ChaincodeEntry;
use crate::document::RepositoryFacts;
use crate::network::{Network, Organization};
use crate::objects::{
    ApprovalSettings, ChannelSpec, ConsortiumSpec, ImageSettings, NamespaceSettings, SigningMode, Subject, TrustedKey,
    VerificationMode,
};

/// A daemon's settings: those of its Consortium object, and the object's place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Name of the Consortium object.
    pub consortium: String,
    /// Its namespace, which holds Organization and Channel objects.
    pub namespace: String,
    /// The organizations that it acts for; `*` for all.
    pub organizations: Vec<String>,
    /// The namespaces that it may use.
    pub namespaces: NamespaceSettings,
    /// The images that it may run.
    pub images: ImageSettings,
    /// The subjects that may be granted roles.
    pub subjects: Vec<Subject>,
    /// The servers of chaincode elsewhere that peers may be sent to.
    pub chaincode_servers: Vec<String>,
    /// Whether what cannot be undone waits for an approval.
    #[serde(default)]
    pub approvals: ApprovalSettings,
}

impl Settings {
    /// The settings of a Consortium object.
    pub fn of(consortium: &str, namespace: &str, spec: &ConsortiumSpec) -> Self {
        Self {
            consortium: consortium.to_owned(),
            namespace: namespace.to_owned(),
            organizations: spec.organizations.clone(),
            namespaces: spec.namespaces.clone(),
            images: spec.images.clone(),
            subjects: spec.subjects.clone(),
            chaincode_servers: spec.chaincode_servers.clone(),
            approvals: spec.approvals.clone(),
        }
    }
}

impl Settings {
    /// Settings that allow all that some definitions ask for: of a daemon that is not known.
    pub fn of_definitions(consortium: &str, namespace: &str, definitions: &[&Network]) -> Self {
        let mut settings = Self {
            consortium: consortium.to_owned(),
            namespace: namespace.to_owned(),
            namespaces: NamespaceSettings { allowed: vec!["*".to_owned()], create: true },
            ..Self::default()
        };
        let (mut organizations, mut images) = (BTreeSet::new(), BTreeSet::new());
        for network in definitions {
            for Organization { name, admins, orderers, peers, .. } in &network.organizations {
                organizations.insert(name.clone());
                images.extend(orderers.iter().chain(peers).map(|node| node.image.clone()));
                settings.subjects.extend(admins.iter().cloned());
            }
            for chaincode in &network.chaincodes {
                images.extend(chaincode.entry.source.image.clone());
                let ChaincodeEntry { name, version, source, .. } = &chaincode.entry;
                settings.chaincode_servers.extend(source.external.as_ref().map(|external| external.address.clone()));
                let item = source.package.as_ref().and_then(|path| network.repository.files.get(path));
                let package = item.and_then(|item| read_package(item, name, version).ok());
                settings.chaincode_servers.extend(package.and_then(|package| package.server().ok()));
            }
        }
        settings.organizations = organizations.into_iter().collect();
        settings.images.allowed = images.into_iter().collect();
        settings
    }
}

/// Whether a daemon that acts for `allowed` acts for an organization.
pub fn organization_allowed(organization: &str, allowed: &[String]) -> bool {
    allowed.iter().any(|pattern| pattern == "*" || pattern == organization)
}

/// Why a daemon that acts for `allowed` must not act on a definition beside which these facts stand: who acts for all would
/// make authorities, keys and nodes for members that host themselves.
pub fn acts_for_others(allowed: &[String], facts: &RepositoryFacts) -> Option<String> {
    if !allowed.iter().any(|pattern| pattern == "*") {
        return None;
    }
    let shows = match (facts.organizations.as_slice(), facts.members.refused.get("organizations")) {
        ([], None) => return None,
        ([], Some(why)) => format!("folder, which shows who else takes part, {why}"),
        (names, _) => format!("folder shows that others take part ({})", names.join(", ")),
    };
    Some(format!(
        "spec.organizations is `*`, and the repository's organizations/ {shows}: name the organizations that this daemon acts for"
    ))
}

/// Whether a namespace may be used: a name, or a prefix that ends in `*`. Namespaces of Kubernetes itself never are.
pub fn namespace_allowed(namespace: &str, settings: &NamespaceSettings) -> bool {
    if namespace == "default" || namespace.starts_with("kube-") {
        return false;
    }
    settings.allowed.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => namespace.starts_with(prefix),
        None => pattern == namespace,
    })
}

/// Whether commits of the source must be signed by keys that the settings list.
pub fn verifies(spec: &ConsortiumSpec) -> bool {
    spec.source.verification.as_ref().is_some_and(|verification| verification.mode == VerificationMode::Required)
}

/// Whether a daemon acts for every organization of a channel: then there is nobody to exchange signatures with. `live` names
/// those that the configuration in force has: the shared file alone could leave out who takes part, and is what they decide
/// about. Where that configuration is not known, those that the file releases may be in it.
pub fn hosts_all(spec: &ConsortiumSpec, channel: &ChannelSpec, live: Option<&BTreeSet<String>>) -> bool {
    let allowed = |organization: &String| organization_allowed(organization, &spec.organizations);
    let orderers = channel.orderer_organizations.iter().map(|it| (&it.organization, &it.namespace));
    let members = channel.members.iter().map(|it| (&it.organization, &it.namespace));
    // Among those that are released are some that the channel never had.
    let leaving = || channel.retired.iter().chain(channel.consensus.released.iter().map(|it| &it.organization));
    let wanted = |(organization, namespace): (&String, &String)| {
        allowed(organization) && namespace_allowed(namespace, &spec.namespaces)
    };
    orderers.chain(members).all(wanted) && live.map_or_else(|| leaving().all(allowed), |live| live.iter().all(allowed))
}

/// Who decides that an organization signs updates of a channel, whose configuration in force has the organizations `live`.
/// `auto` without the verification of commits counts as `manual`.
pub fn signing_mode(
    spec: &ConsortiumSpec,
    channel: &ChannelSpec,
    live: &BTreeSet<String>,
    organization: &str,
) -> SigningMode {
    match spec.signing.get(organization) {
        Some(SigningMode::Auto) if verifies(spec) => SigningMode::Auto,
        None if hosts_all(spec, channel, Some(live)) => SigningMode::Auto,
        _ => SigningMode::Manual,
    }
}

/// What is wrong with the settings of trust, as a reason code and a message; only a person can change it.
pub fn trust_problem(spec: &ConsortiumSpec) -> Option<(&'static str, String)> {
    if let Some(name) = spec.signing.iter().find(|(_, mode)| **mode == SigningMode::Auto).map(|(name, _)| name)
        && !verifies(spec)
    {
        let message = format!(
            "spec.signing.{name} is `auto`, but the commits of the repository are not verified: list the trusted keys in \
             spec.source.verification, or set it to `manual`"
        );
        return Some(("SigningUnverified", message));
    }
    let verification = spec.source.verification.as_ref()?;
    if verification.mode == VerificationMode::Required && verification.keys.is_empty() {
        let message =
            "spec.source.verification lists no key, so no commit can be accepted: list at least one".to_owned();
        return Some(("NoTrustedKeys", message));
    }
    let ambiguous = verification.keys.iter().find(|key| key_places(key) != 1)?;
    let message = format!(
        "key `{}` of spec.source.verification must have exactly one of ssh, openpgp, configMap and secret",
        ambiguous.name
    );
    Some(("TrustedKeyInvalid", message))
}

/// How many places a key is given in.
fn key_places(key: &TrustedKey) -> usize {
    let TrustedKey { name: _, organization: _, ssh, openpgp, config_map, secret, not_after: _, revoked: _ } = key;
    [ssh.is_some(), openpgp.is_some(), config_map.is_some(), secret.is_some()].into_iter().filter(|it| *it).count()
}

/// Whether an image may be run: an allowed entry is the image's repository or its beginning, by whole path segments
/// (`docker.io/hyperledger` allows `docker.io/hyperledger/fabric-peer:3.1`, not `docker.io/hyperledger-x/peer`).
pub fn image_allowed(image: &str, settings: &ImageSettings) -> bool {
    settings.allowed.iter().any(|prefix| after_prefix(image, prefix).is_some())
}

/// The image that is pulled: the longest matching mirror's prefix in place of the image's.
pub fn resolve_image(image: &str, settings: &ImageSettings) -> String {
    let mirror = settings
        .mirrors
        .iter()
        .filter_map(|(prefix, mirror)| Some((prefix.len(), mirror, after_prefix(image, prefix)?)))
        .max_by_key(|(length, ..)| *length);
    mirror.map_or_else(|| image.to_owned(), |(_, mirror, rest)| format!("{}{rest}", mirror.trim_end_matches('/')))
}

/// What follows a prefix that ends where a path segment, or the repository, ends.
fn after_prefix<'a>(image: &'a str, prefix: &str) -> Option<&'a str> {
    let prefix = prefix.trim_end_matches('/');
    let rest = image.strip_prefix(prefix).filter(|_| !prefix.is_empty())?;
    // A colon ends a repository only after its last slash: in `localhost:5000/x` it begins a port.
    let ends = match rest.chars().next() {
        None | Some('/' | '@') => true,
        Some(':') => !rest.contains('/') && prefix.contains('/'),
        Some(_) => false,
    };
    ends.then_some(rest)
}

/// Whether a subject may be granted a role. Subjects of Kubernetes itself never are.
pub fn subject_allowed(subject: &Subject, allowed: &[Subject]) -> bool {
    !subject.name.starts_with("system:") && allowed.contains(subject)
}

/// Whether peers may be sent to a server of chaincode elsewhere: an entry is its `host:port`, or `*.domain:port` for every
/// host below a domain. A package would have them call any address inside the cluster.
pub fn server_allowed(address: &str, allowed: &[String]) -> bool {
    allowed.iter().any(|pattern| match pattern.strip_prefix('*') {
        Some(domain) => domain.starts_with('.') && address.strip_suffix(domain).is_some_and(|host| !host.is_empty()),
        None => pattern == address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organization_signs_by_itself_only_where_nobody_else_takes_part() {
        let spec: ConsortiumSpec = serde_json::from_value(serde_json::json!({
            "source": {"repository": "file:///nowhere"},
            "organizations": ["acme", "globex"],
            "namespaces": {"allowed": ["trade-*"]},
        }))
        .unwrap();
        let organization = |name: &str| {
            serde_json::json!({
                "organization": name, "mspID": name, "namespace": format!("trade-{name}"), "peers": [], "anchors": []
            })
        };
        let channel = |members: &[&str], retired: &[&str], released: &[&str]| -> ChannelSpec {
            let orderer = |name: &&str| {
                let mut orderer = organization(name);
                orderer["orderer"] = "orderer1".into();
                orderer["address"] = "orderer1:7050".into();
                orderer
            };
            serde_json::from_value(serde_json::json!({
                "consortium": "trade",
                "channel": "deals",
                "organizer": "acme",
                "consensus": {
                    "type": "etcdraft",
                    "consenters": [],
                    "released": released.iter().map(orderer).collect::<Vec<_>>(),
                },
                "ordererOrganizations": [],
                "members": members.iter().map(|name| organization(name)).collect::<Vec<_>>(),
                "policies": {"channel": {}, "orderer": {}, "application": {}},
                "capabilities": {"channel": "V2_0", "orderer": "V2_0", "application": "V2_5"},
                "batch": {"maxMessageCount": 1, "absoluteMaxBytes": 1, "preferredMaxBytes": 1, "timeout": "1s"},
                "retired": retired,
            }))
            .unwrap()
        };
        let check = |channel: &ChannelSpec, live: &[&str], expect: SigningMode| {
            let live = live.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(signing_mode(&spec, channel, &live, "acme"), expect, "{channel:?} {live:?}");
        };
        let own = channel(&["acme", "globex"], &[], &[]);
        check(&own, &[], SigningMode::Auto);
        check(&own, &["acme", "globex"], SigningMode::Auto);
        // The file takes initech out: it still takes part in what is decided.
        check(&own, &["acme", "globex", "initech"], SigningMode::Manual);
        let retired = channel(&["acme", "globex"], &["initech"], &[]);
        check(&retired, &["acme", "globex", "initech"], SigningMode::Manual);
        // It has left.
        check(&retired, &["acme", "globex"], SigningMode::Auto);
        assert!(hosts_all(&spec, &own, None) && !hosts_all(&spec, &retired, None));
        check(&channel(&["acme", "initech"], &[], &[]), &["acme"], SigningMode::Manual);
        let released = channel(&["acme"], &[], &["initech"]);
        check(&released, &["acme", "initech"], SigningMode::Manual);
        check(&released, &["acme"], SigningMode::Auto);
        assert!(!hosts_all(&spec, &released, None));
    }

    #[test]
    fn namespaces_by_name_and_prefix() {
        let settings =
            NamespaceSettings { allowed: vec!["trade-*".into(), "bank".into(), "kube-*".into()], create: true };
        for (namespace, allowed) in [
            ("trade-acme", true),
            ("trade", false),
            ("bank", true),
            ("bank2", false),
            ("kube-system", false),
            ("default", false),
        ] {
            assert_eq!(namespace_allowed(namespace, &settings), allowed, "{namespace}");
        }
        let all = NamespaceSettings { allowed: vec!["*".into()], create: false };
        assert!(namespace_allowed("x", &all) && !namespace_allowed("kube-public", &all));
    }

    #[test]
    fn images_by_whole_segments() {
        let settings = ImageSettings {
            allowed: vec![
                "docker.io/hyperledger".into(),
                "localhost:5000/".into(),
                "ghcr.io/a/peer".into(),
                String::new(),
            ],
            ..ImageSettings::default()
        };
        for (image, allowed) in [
            ("docker.io/hyperledger/fabric-peer:3.1", true),
            ("docker.io/hyperledger-x/fabric-peer:3.1", false),
            ("docker.io/hyperledger.evil.com/x", false),
            ("localhost:5000/peer", true),
            ("localhost:50001/peer", false),
            ("ghcr.io/a/peer:1", true),
            ("ghcr.io/a/peer@sha256:0", true),
            ("ghcr.io/a/peer2", false),
            ("evil.com/docker.io/hyperledger/x", false),
        ] {
            assert_eq!(image_allowed(image, &settings), allowed, "{image}");
        }
        let host_only = ImageSettings { allowed: vec!["localhost".into()], ..ImageSettings::default() };
        assert!(!image_allowed("localhost:5000/peer", &host_only));
    }

    #[test]
    fn the_longest_mirror_wins() {
        let mirrors = [("docker.io", "mirror.local/hub/"), ("docker.io/hyperledger", "mirror.local/fabric")];
        let settings = ImageSettings {
            mirrors: mirrors.into_iter().map(|(from, to)| (from.into(), to.into())).collect(),
            ..ImageSettings::default()
        };
        assert_eq!(
            resolve_image("docker.io/hyperledger/fabric-peer:3.1", &settings),
            "mirror.local/fabric/fabric-peer:3.1"
        );
        assert_eq!(resolve_image("docker.io/x/y", &settings), "mirror.local/hub/x/y");
        assert_eq!(resolve_image("ghcr.io/x/y", &settings), "ghcr.io/x/y");
    }

    #[test]
    fn servers_by_address_and_domain() {
        let allowed: Vec<String> =
            ["cc.example.com:9999", "*.contracts.example.com:7052", "*:1", "*"].map(Into::into).into();
        for (address, expect) in [
            ("cc.example.com:9999", true),
            ("cc.example.com:9998", false),
            ("xcc.example.com:9999", false),
            ("a.b.contracts.example.com:7052", true),
            (".contracts.example.com:7052", false),
            ("contracts.example.com:7052", false),
            ("a.contracts.example.com:7053", false),
            ("anything:1", false),
        ] {
            assert_eq!(server_allowed(address, &allowed), expect, "{address}");
        }
    }

    #[test]
    fn subjects_are_whole() {
        use crate::objects::SubjectKind::{Group, User};
        let subject = |kind, name: &str| Subject { kind, name: name.into(), namespace: None };
        let allowed = [subject(User, "jane"), subject(Group, "system:masters")];
        assert!(subject_allowed(&subject(User, "jane"), &allowed));
        assert!(!subject_allowed(&subject(Group, "jane"), &allowed));
        assert!(!subject_allowed(&subject(Group, "system:masters"), &allowed));
    }
}
