//! What is left of a policy once the signatures that there are were counted.

use std::collections::BTreeSet;
use std::fmt;

use super::judge::{Compiled, Judge, KnownIdentity};
use super::{Principal, Role, SignaturePolicy, SignatureRule};

/// How many names a text lists.
const MAX_NAMES: usize = 8;

/// A role that somebody of an organisation signs in. Stands for one identity: an organisation that needs two signers of
/// one role is not described by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signer {
    /// MSP ID of the organisation.
    pub msp_id: String,
    /// What the identity is; [`Role::Member`] for one that is nothing else.
    pub role: Role,
}

impl Signer {
    /// An administrator of an organisation.
    pub fn admin(msp_id: impl Into<String>) -> Self {
        Self { msp_id: msp_id.into(), role: Role::Admin }
    }

    /// Whether an identity in this role is what a principal asks for.
    pub(super) fn fits(&self, principal: &Principal) -> bool {
        matches!(principal, Principal::Role { msp_id, role }
            if *msp_id == self.msp_id && (*role == self.role || *role == Role::Member))
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.msp_id, self.role.name())
    }
}

/// A monotone formula over principals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Leaf(Principal),
    /// At least `n` of the others; holds if `n` is 0.
    Threshold {
        n: usize,
        of: Vec<Node>,
        /// Whether each leaf below needs a signer of its own: so it is within one signature policy.
        own_signers: bool,
    },
    /// Nothing makes it true.
    Impossible,
}

impl Node {
    pub(super) const TRUE: Self = Self::Threshold { n: 0, of: Vec::new(), own_signers: false };

    pub(super) fn is_true(&self) -> bool {
        matches!(self, Self::Threshold { n: 0, .. })
    }

    /// All of these.
    pub(super) fn all(nodes: Vec<Self>) -> Self {
        Self::threshold(nodes.len(), nodes, false)
    }

    /// At least `n` of these, simplified.
    fn threshold(n: usize, nodes: Vec<Self>, own_signers: bool) -> Self {
        let mut needed = n.saturating_sub(nodes.iter().filter(|node| node.is_true()).count());
        let mut of: Vec<Self> = nodes.into_iter().filter(|node| !node.is_true() && *node != Self::Impossible).collect();
        if needed == 0 {
            return Self::TRUE;
        }
        if needed > of.len() {
            return Self::Impossible;
        }
        if needed == of.len() && !own_signers {
            of = Self::flattened(of);
            needed = of.len();
        }
        match of.pop() {
            Some(only) if of.is_empty() => only,
            last => {
                of.extend(last);
                Self::Threshold { n: needed, of, own_signers }
            }
        }
    }

    /// The parts of nodes that are all needed, each once.
    fn flattened(nodes: Vec<Self>) -> Vec<Self> {
        let mut flat: Vec<Self> = Vec::new();
        for node in nodes {
            let inner = match node {
                Self::Threshold { n, of, own_signers: false } if n == of.len() => of,
                other => vec![other],
            };
            for node in inner {
                if !flat.contains(&node) {
                    flat.push(node);
                }
            }
        }
        flat
    }

    /// Whether it can be true if the leaves are for which `possible` holds.
    pub(super) fn is_possible(&self, possible: &dyn Fn(&Principal) -> bool) -> bool {
        match self {
            Self::Leaf(principal) => possible(principal),
            Self::Threshold { n, of, .. } => of.iter().filter(|node| node.is_possible(possible)).count() >= *n,
            Self::Impossible => false,
        }
    }

    /// The principals of the leaves.
    pub(super) fn leaves<'a>(&'a self, out: &mut Vec<&'a Principal>) {
        match self {
            Self::Leaf(principal) => out.push(principal),
            Self::Threshold { of, .. } => {
                for node in of {
                    node.leaves(out);
                }
            }
            Self::Impossible => {}
        }
    }

    fn role(&self) -> Option<(&str, Role)> {
        match self {
            Self::Leaf(Principal::Role { msp_id, role }) => Some((msp_id, *role)),
            _ => None,
        }
    }

    fn write_part(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threshold { of, .. } if same_role(of).is_none() => write!(formatter, "({self})"),
            _ => write!(formatter, "{self}"),
        }
    }
}

/// Role and MSP IDs of leaves that all ask for one role.
fn same_role(nodes: &[Node]) -> Option<(Role, Vec<&str>)> {
    let roles: Vec<(&str, Role)> = nodes.iter().map(Node::role).collect::<Option<_>>()?;
    let (_, role) = roles.first().copied()?;
    roles.iter().all(|(_, other)| *other == role).then(|| (role, roles.into_iter().map(|(name, _)| name).collect()))
}

fn names(names: &[&str], last: &str) -> String {
    let shown = names.get(..MAX_NAMES).unwrap_or(names);
    let hidden = names.len() - shown.len();
    if hidden > 0 {
        return format!("{} {last} {hidden} more", shown.join(", "));
    }
    match shown {
        [one] => (*one).to_owned(),
        [rest @ .., end] => format!("{} {last} {end}", rest.join(", ")),
        [] => String::new(),
    }
}

fn article(role: Role) -> &'static str {
    if matches!(role, Role::Admin | Role::Orderer) { "an" } else { "a" }
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, of) = match self {
            Self::Impossible => return formatter.write_str("what nobody can give"),
            Self::Leaf(Principal::Role { msp_id, role }) => {
                return write!(formatter, "{} {} of {msp_id}", article(*role), role.name());
            }
            Self::Leaf(principal) => return write!(formatter, "{principal}"),
            Self::Threshold { n: 0, .. } => return formatter.write_str("nothing"),
            Self::Threshold { n, of, .. } => (*n, of),
        };
        if let Some((role, msp_ids)) = same_role(of) {
            let distinct: BTreeSet<&str> = msp_ids.iter().copied().collect();
            let role_name = role.name();
            return if distinct.len() == 1 {
                write!(
                    formatter,
                    "{n} different {role_name}s of {}",
                    names(msp_ids.get(..1).unwrap_or_default(), "and")
                )
            } else if n == of.len() {
                write!(formatter, "{role_name}s of {}", names(&msp_ids, "and"))
            } else if n == 1 {
                write!(formatter, "{} {role_name} of {}", article(role), names(&msp_ids, "or"))
            } else {
                write!(formatter, "{role_name}s of {n} of {}", names(&msp_ids, "and"))
            };
        }
        let separator = if n == of.len() {
            " and "
        } else if n == 1 {
            " or "
        } else {
            write!(formatter, "{n} of: ")?;
            "; "
        };
        for (place, node) in of.iter().take(MAX_NAMES).enumerate() {
            formatter.write_str(if place == 0 { "" } else { separator })?;
            node.write_part(formatter)?;
        }
        match of.len().saturating_sub(MAX_NAMES) {
            0 => Ok(()),
            hidden => write!(formatter, "{separator}{hidden} more"),
        }
    }
}

impl Judge {
    /// What is left of the policy at `path` after these signers.
    pub(super) fn residue(&self, path: &str, signers: &[KnownIdentity]) -> Node {
        match self.policy(path) {
            None | Some(Compiled::Broken(_)) => Node::Impossible,
            Some(Compiled::Implicit { needed, children }) => {
                let nodes = children.iter().map(|child| self.residue(child, signers)).collect();
                Node::threshold(*needed, nodes, false)
            }
            Some(Compiled::Signature(policy)) => {
                if self.evaluate_signers(path, signers).is_ok() {
                    return Node::TRUE;
                }
                let mut used = vec![false; signers.len()];
                self.residue_of(policy, &policy.rule, signers, &mut used)
            }
        }
    }

    fn residue_of(
        &self,
        policy: &SignaturePolicy,
        rule: &SignatureRule,
        signers: &[KnownIdentity],
        used: &mut [bool],
    ) -> Node {
        match rule {
            SignatureRule::SignedBy(index) => {
                let principal = usize::try_from(*index).ok().and_then(|index| policy.identities.get(index));
                let Some(principal) = principal else { return Node::Impossible };
                let taken = signers
                    .iter()
                    .zip(used.iter_mut())
                    .find(|(signer, used)| !**used && self.satisfies(signer, principal));
                match taken {
                    Some((_, used)) => {
                        *used = true;
                        Node::TRUE
                    }
                    None => Node::Leaf(principal.clone()),
                }
            }
            SignatureRule::OutOf { n, rules } => {
                let nodes = rules.iter().map(|rule| self.residue_of(policy, rule, signers, used)).collect();
                Node::threshold(usize::try_from(*n).unwrap_or_default(), nodes, true)
            }
        }
    }
}
