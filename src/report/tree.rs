//! The consortium as it stands, as a tree: who there is, how each part is, and what it waits for.

use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;
use tenter_consortium::objects::Condition;
use tenter_consortium::status::{ChaincodeOrganizationStatus, ChaincodePeerStatus};

use super::{Style, printable};

/// How an object is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Its phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Whether it is as wanted.
    pub ready: bool,
    /// The `Ready` condition's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it waits for, or what is wrong; absent when it is as wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
}

impl State {
    /// The state that a status shows for a generation of a spec.
    pub fn of(phase: Option<String>, conditions: &[Condition], generation: Option<i64>) -> Self {
        let ready = conditions.iter().find(|condition| condition.condition_type == "Ready");
        let current = ready.is_some_and(|ready| generation.is_none_or(|wanted| ready.observed_generation == wanted));
        let is_ready = current && ready.is_some_and(|ready| ready.status == "True");
        let waits = match ready {
            _ if is_ready => None,
            None => Some("no controller has looked at it yet".to_owned()),
            Some(_) if !current => Some("its newest spec was not looked at yet".to_owned()),
            Some(ready) => Some(ready.message.clone()),
        };
        Self { phase, ready: is_ready, reason: ready.map(|ready| ready.reason.clone()), waits }
    }
}

/// The Consortium object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tree {
    /// Version of this format.
    pub format: u32,
    /// Its name.
    pub consortium: String,
    /// Its namespace.
    pub namespace: String,
    /// How it is.
    #[serde(flatten)]
    pub state: State,
    /// The last commit that the world was brought to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_applied_revision: Option<String>,
    /// The last commit that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempted_revision: Option<String>,
    /// Steps that are still to do.
    pub next: Vec<String>,
    /// Findings and notes.
    pub notes: Vec<String>,
    /// Its organizations.
    pub organizations: Vec<OrganizationItem>,
    /// Its channels.
    pub channels: Vec<ChannelItem>,
}

/// An organization with what is in its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationItem {
    /// Its name.
    pub name: String,
    /// Its MSP ID.
    #[serde(rename = "mspID")]
    pub msp_id: String,
    /// Its namespace.
    pub namespace: String,
    /// How it is.
    #[serde(flatten)]
    pub state: State,
    /// Its certificate authorities.
    pub authorities: Vec<AuthorityItem>,
    /// Its nodes.
    pub nodes: Vec<NodeItem>,
}

/// A certificate authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityItem {
    /// Its name.
    pub name: String,
    /// How it is.
    #[serde(flatten)]
    pub state: State,
    /// When the first of its certificates expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_expiry: Option<String>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeItem {
    /// `Orderer` or `Peer`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How it is.
    #[serde(flatten)]
    pub state: State,
    /// The Fabric version that it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When the first of its certificates expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_expiry: Option<String>,
}

/// A channel with who is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelItem {
    /// Its name.
    pub name: String,
    /// How it is.
    #[serde(flatten)]
    pub state: State,
    /// Consenters that are in, of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consenters: Option<String>,
    /// Hash of the pinned genesis block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub genesis: Option<String>,
    /// Sequence of its live configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_sequence: Option<u64>,
    /// What each own node says of it now.
    pub nodes: Vec<ChannelNodeItem>,
    /// Its members' parts in it.
    pub memberships: Vec<MembershipItem>,
    /// Config updates that may still be made.
    pub proposals: Vec<ProposalItem>,
    /// The chaincodes on it.
    pub chaincodes: Vec<ChaincodeItem>,
}

/// A chaincode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChaincodeItem {
    /// Its name.
    pub name: String,
    /// How it is.
    #[serde(flatten)]
    pub state: State,
    /// Version of the committed definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Sequence of the committed definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Organizations that approved the wanted definition, of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<String>,
    /// In what the committed definition is not the wanted one.
    pub drift: Vec<String>,
    /// How far each organization is.
    pub organizations: Vec<ChaincodeOrganizationStatus>,
}

/// A config update that may still be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposalItem {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub topic: String,
    /// How it is.
    #[serde(flatten)]
    pub state: State,
    /// MSP IDs of those who signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
}

/// What a node says of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelNodeItem {
    /// `orderer` or `peer`.
    pub kind: String,
    /// `namespace/name`.
    pub node: String,
    /// `present`, `absent`, `forbidden` or `unreachable`.
    pub state: String,
    /// Number of blocks that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// An orderer's part: `consenter`, `follower`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// The evidence of what was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// An organization's part in a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MembershipItem {
    /// The organization.
    pub organization: String,
    /// How it is.
    #[serde(flatten)]
    pub state: State,
    /// Nodes that have joined, of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined: Option<String>,
}

/// A line of the tree and what hangs under it.
struct Item {
    text: String,
    children: Vec<Item>,
}

impl Item {
    fn new(parts: Vec<String>, state: &State, style: Style) -> Self {
        let phase = state.phase.clone().unwrap_or_else(|| "Unknown".to_owned());
        let phase = if state.ready { style.green(&phase) } else { style.yellow(&phase) };
        let mut parts = parts;
        parts.insert(1.min(parts.len()), phase);
        let waits = state.waits.iter().map(|waits| {
            let reason = state.reason.as_deref().map(|reason| format!("{reason}: ")).unwrap_or_default();
            Self::leaf(style.yellow(&printable(&format!("waits: {reason}{waits}"))))
        });
        Self { children: waits.collect(), text: join(parts) }
    }

    fn leaf(text: String) -> Self {
        Self { text, children: Vec::new() }
    }
}

fn join(parts: Vec<String>) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

impl Tree {
    /// For programs.
    pub fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// For people.
    pub fn text(&self, style: Style) -> String {
        let mut root = Item::new(
            vec![
                style.bold(&format!("Consortium {}/{}", self.namespace, self.consortium)),
                self.last_applied_revision
                    .as_deref()
                    .map(|commit| format!("at {}", super::plan::short_revision(commit)))
                    .unwrap_or_default(),
            ],
            &self.state,
            style,
        );
        root.children.extend(self.next.iter().map(|next| Item::leaf(printable(&format!("to do: {next}")))));
        root.children.extend(self.notes.iter().map(|note| Item::leaf(printable(&format!("note: {note}")))));
        root.children.extend(self.organizations.iter().map(|organization| organization.item(style)));
        root.children.extend(self.channels.iter().map(|channel| channel.item(style)));
        let mut text = format!("{}\n", root.text);
        draw(&root.children, "", &mut text, style);
        text
    }
}

fn draw(items: &[Item], indent: &str, text: &mut String, style: Style) {
    for (place, item) in items.iter().enumerate() {
        let last = place + 1 == items.len();
        let (branch, more) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let _ = writeln!(text, "{}{}", style.dim(&format!("{indent}{branch}")), item.text);
        draw(&item.children, &format!("{indent}{more}"), text, style);
    }
}

/// A time as people compare it: its day.
fn until(expiry: Option<&String>) -> String {
    expiry.map(|time| format!("certificates until {}", time.get(..10).unwrap_or(time))).unwrap_or_default()
}

impl OrganizationItem {
    fn item(&self, style: Style) -> Item {
        let parts =
            vec![format!("Organization {}", self.name), self.msp_id.clone(), format!("namespace {}", self.namespace)];
        let mut item = Item::new(parts, &self.state, style);
        item.children.extend(self.authorities.iter().map(|authority| {
            let parts =
                vec![format!("CertificateAuthority {}", authority.name), until(authority.first_expiry.as_ref())];
            Item::new(parts, &authority.state, style)
        }));
        item.children.extend(self.nodes.iter().map(|node| {
            let version = node.version.clone().map(|version| format!("Fabric {version}")).unwrap_or_default();
            let parts = vec![format!("{} {}", node.kind, node.name), version, until(node.first_expiry.as_ref())];
            Item::new(parts, &node.state, style)
        }));
        item
    }
}

impl ChannelItem {
    fn item(&self, style: Style) -> Item {
        let consenters = self.consenters.clone().map(|count| format!("consenters {count}")).unwrap_or_default();
        let sequence = self.config_sequence.map(|number| format!("configuration {number}")).unwrap_or_default();
        let mut item = Item::new(vec![format!("Channel {}", self.name), consenters, sequence], &self.state, style);
        item.children.extend(self.nodes.iter().map(|node| {
            let name = format!("{} {}", node.kind, node.node);
            let height = node.height.map(|height| format!("height {height}")).unwrap_or_default();
            let state = if node.state == "present" {
                node.relation.clone().unwrap_or_default()
            } else {
                style.yellow(&node.state)
            };
            let evidence = node.evidence.as_deref().map(printable).unwrap_or_default();
            Item::leaf(join(vec![name, state, height, evidence]))
        }));
        item.children.extend(self.memberships.iter().map(|membership| {
            let joined = membership.joined.clone().map(|count| format!("joined {count}")).unwrap_or_default();
            Item::new(vec![format!("Membership of {}", membership.organization), joined], &membership.state, style)
        }));
        item.children.extend(self.proposals.iter().map(|proposal| {
            let signed = proposal.signed.clone().map(|names| format!("signed by {names}")).unwrap_or_default();
            Item::new(
                vec![format!("Proposal {}", proposal.name), proposal.topic.clone(), signed],
                &proposal.state,
                style,
            )
        }));
        item.children.extend(self.chaincodes.iter().map(|chaincode| chaincode.item(style)));
        item
    }
}

impl ChaincodeItem {
    fn item(&self, style: Style) -> Item {
        let Self { name, state, version, sequence, approved, drift, organizations } = self;
        let parts = vec![
            format!("Chaincode {name}"),
            version.as_ref().map(|version| format!("version {version}")).unwrap_or_default(),
            sequence.map(|sequence| format!("sequence {sequence}")).unwrap_or_default(),
            approved.as_ref().map(|count| format!("approved {count}")).unwrap_or_default(),
        ];
        let mut item = Item::new(parts, state, style);
        item.children.extend(drift.iter().map(|line| Item::leaf(style.yellow(&printable(&format!("drift: {line}"))))));
        item.children.extend(organizations.iter().map(|organization| chaincode_organization(organization, style)));
        item
    }
}

/// How far a chaincode is in an organization, and on those of its peers that are behind.
fn chaincode_organization(status: &ChaincodeOrganizationStatus, style: Style) -> Item {
    let ChaincodeOrganizationStatus { organization, installed, approved, serving, message, peers } = status;
    let word = |yes: bool, word: &str, not: &str| if yes { style.green(word) } else { style.yellow(not) };
    let mut parts = vec![
        organization.clone(),
        installed.as_ref().map(|count| format!("installed {count}")).unwrap_or_default(),
        word(*approved, "approved", "not approved"),
    ];
    if installed.is_some() {
        parts.push(word(*serving, "serving", "not serving"));
    }
    let mut item = Item::leaf(join(parts));
    item.children.extend(message.iter().map(|message| Item::leaf(style.yellow(&printable(message)))));
    let behind = peers.iter().filter(|peer| !peer.serving);
    item.children.extend(behind.map(|peer| {
        let ChaincodePeerStatus { peer, installed, serving: _, message } = peer;
        let package = format!("package {installed}");
        Item::leaf(join(vec![format!("peer {peer}"), package, message.as_deref().map(printable).unwrap_or_default()]))
    }));
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(status: &str, generation: i64) -> Condition {
        Condition {
            condition_type: "Ready".to_owned(),
            status: status.to_owned(),
            observed_generation: generation,
            last_transition_time: "2026-01-01T00:00:00Z".to_owned(),
            reason: "Starting".to_owned(),
            message: "the Pod is starting".to_owned(),
        }
    }

    #[test]
    fn a_state_speaks_of_the_newest_spec_only() {
        let check = |conditions: &[Condition], expect: (bool, Option<&str>)| {
            let state = State::of(Some("Running".to_owned()), conditions, Some(2));
            assert_eq!((state.ready, state.waits.as_deref()), expect);
        };
        check(&[condition("True", 2)], (true, None));
        check(&[condition("False", 2)], (false, Some("the Pod is starting")));
        check(&[condition("True", 1)], (false, Some("its newest spec was not looked at yet")));
        check(&[], (false, Some("no controller has looked at it yet")));
    }

    #[test]
    fn draws_a_tree() {
        let ready = |phase: &str| State { phase: Some(phase.to_owned()), ready: true, ..State::default() };
        let waiting = State::of(Some("Starting".to_owned()), &[condition("False", 1)], Some(1));
        let tree = Tree {
            format: 1,
            consortium: "trade".to_owned(),
            namespace: "tenter-system".to_owned(),
            state: ready("Applied"),
            last_applied_revision: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
            organizations: vec![OrganizationItem {
                name: "acme".to_owned(),
                msp_id: "AcmeMSP".to_owned(),
                namespace: "trade-acme".to_owned(),
                state: ready("Ready"),
                authorities: vec![AuthorityItem {
                    name: "ca".to_owned(),
                    state: ready("Ready"),
                    first_expiry: Some("2027-05-01T00:00:00Z".to_owned()),
                }],
                nodes: vec![NodeItem {
                    kind: "Peer".to_owned(),
                    name: "peer1".to_owned(),
                    state: waiting,
                    ..NodeItem::default()
                }],
            }],
            channels: vec![ChannelItem {
                name: "settlement".to_owned(),
                state: ready("Active"),
                consenters: Some("1/1".to_owned()),
                nodes: vec![
                    ChannelNodeItem {
                        kind: "orderer".to_owned(),
                        node: "trade-hub/orderer1".to_owned(),
                        state: "present".to_owned(),
                        relation: Some("consenter".to_owned()),
                        height: Some(4),
                        evidence: None,
                    },
                    ChannelNodeItem {
                        kind: "peer".to_owned(),
                        node: "trade-acme/peer1".to_owned(),
                        state: "unreachable".to_owned(),
                        evidence: Some("no Pod".to_owned()),
                        ..ChannelNodeItem::default()
                    },
                ],
                memberships: vec![MembershipItem {
                    organization: "acme".to_owned(),
                    state: ready("Active"),
                    joined: Some("0/1".to_owned()),
                }],
                chaincodes: vec![ChaincodeItem {
                    name: "asset".to_owned(),
                    state: State::of(Some("Approving".to_owned()), &[condition("False", 1)], Some(1)),
                    version: Some("1.0".to_owned()),
                    sequence: Some(2),
                    approved: Some("1/2".to_owned()),
                    drift: vec!["version: 1.0 -> 1.1".to_owned()],
                    organizations: vec![
                        ChaincodeOrganizationStatus {
                            organization: "acme".to_owned(),
                            installed: Some("1/2".to_owned()),
                            approved: true,
                            serving: false,
                            message: Some("peer2 does not have the package".to_owned()),
                            peers: vec![
                                ChaincodePeerStatus {
                                    peer: "peer1".to_owned(),
                                    installed: "present".to_owned(),
                                    serving: true,
                                    message: None,
                                },
                                ChaincodePeerStatus {
                                    peer: "peer2".to_owned(),
                                    installed: "absent".to_owned(),
                                    serving: false,
                                    message: Some("it lists 0 other packages".to_owned()),
                                },
                            ],
                        },
                        ChaincodeOrganizationStatus {
                            organization: "globex".to_owned(),
                            message: Some("it has not approved sequence 3".to_owned()),
                            ..ChaincodeOrganizationStatus::default()
                        },
                    ],
                }],
                ..ChannelItem::default()
            }],
            ..Tree::default()
        };
        insta::assert_snapshot!(tree.text(Style::default()));
    }
}
