//! Who must still sign, so that all the policies that an update touches are satisfied together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::formula::{Node, Signer};
use super::judge::{Judge, KnownIdentity, PolicyFailure};
use super::{Principal, Role};
use crate::config::CurrentConfig;
use crate::config::update::ConfigUpdate;

/// How many sets are looked at for each one that is asked for.
const SETS_FOR_ONE: usize = 8;
/// How many combinations are tried for each set that is kept.
const ATTEMPTS_FOR_ONE: usize = 64;
/// Among so many signers, every set is tried.
const ALL_SETS_OF: usize = 8;
/// Among so many signers, every set is tried before it is said that there is none.
const ALL_SETS_AT_LAST_OF: usize = 12;

/// What a set of policies still needs. Displays in words: `admins of 2 of AcmeMSP, GlobexMSP and InitechMSP`.
#[derive(Debug, Clone)]
pub struct Requirement<'a> {
    judge: &'a Judge,
    paths: Vec<String>,
    already: Vec<KnownIdentity>,
    /// The residue of each policy.
    nodes: Vec<Node>,
    /// The principals of all the policies, as they are without any signer.
    leaves: Leaves,
}

impl fmt::Display for Requirement<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Node::all(self.nodes.clone()).fmt(formatter)
    }
}

impl Judge {
    /// What the policies at these paths need together, beyond the signers that there are.
    pub fn needed<P: Into<String>>(
        &self,
        paths: impl IntoIterator<Item = P>,
        already: &[KnownIdentity],
    ) -> Requirement<'_> {
        let paths: Vec<String> = paths.into_iter().map(Into::into).collect();
        let nodes = paths.iter().map(|path| self.residue(path, already)).collect();
        let leaves = self.leaves(paths.iter().map(String::as_str));
        Requirement { judge: self, paths, already: already.to_vec(), nodes, leaves }
    }

    /// Whether the organisations of the channel could satisfy a policy at all, if everybody in them signed.
    pub fn is_satisfiable(&self, path: &str) -> bool {
        self.residue(path, &[]).is_possible(&|principal| self.has(principal))
    }

    /// Whether somebody in the organisations of the channel can be what a principal asks for.
    fn has(&self, principal: &Principal) -> bool {
        match principal {
            Principal::Role { msp_id, role } => self.has_role(msp_id, *role),
            Principal::Unit { msp_id, .. } => self.has_role(msp_id, Role::Member),
            Principal::Identity { msp_id, certificate } => {
                let identity = crate::identity::serialize(msp_id, &String::from_utf8_lossy(certificate.bytes()));
                self.identify(&identity).is_ok_and(|identity| identity.problem.is_none())
            }
            // What it asks for is not known.
            Principal::Other { .. } => true,
        }
    }

    /// The principals that policies name.
    fn leaves<'a>(&self, paths: impl Iterator<Item = &'a str>) -> Leaves {
        let nodes: Vec<Node> = paths.map(|path| self.residue(path, &[])).collect();
        let mut leaves = Vec::new();
        for node in &nodes {
            node.leaves(&mut leaves);
        }
        let mut by_msp = BTreeMap::<String, Vec<Principal>>::new();
        for leaf in leaves {
            by_msp.entry(leaf.msp_id().unwrap_or_default().to_owned()).or_default().push(leaf.clone());
        }
        Leaves(by_msp)
    }

    /// What an update needs beyond the signers that there are. `current` must be the configuration of this judge.
    pub fn needed_for(
        &self,
        current: &CurrentConfig,
        update: &ConfigUpdate,
        already: &[KnownIdentity],
    ) -> Requirement<'_> {
        self.needed(update.guards(current).into_keys(), already)
    }

    /// Whether a policy would be satisfied if somebody signed in each of these roles, the signatures being in the order
    /// of [`Self::order`].
    pub fn evaluate_principals(&self, path: &str, signers: &BTreeSet<Signer>) -> Result<(), PolicyFailure> {
        let requirement = self.needed([path], &[]);
        requirement.evaluate(path, &requirement.signers(signers))
    }

    /// The order in which these signers should stand, as places in the slice: policies take the first signer that fits,
    /// so those that fit least come first.
    pub fn order<'a>(&self, paths: impl IntoIterator<Item = &'a str>, signers: &[KnownIdentity]) -> Vec<usize> {
        let leaves = self.leaves(paths.into_iter());
        let weight =
            |signer: &KnownIdentity| leaves.of(&signer.msp_id).filter(|leaf| self.satisfies(signer, leaf)).count();
        let mut order: Vec<_> = signers
            .iter()
            .enumerate()
            .map(|(place, signer)| {
                let certificate = &signer.certificate.certificate_fingerprint;
                (weight(signer), &signer.msp_id, signer.role(), certificate, place)
            })
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(.., place)| place).collect()
    }
}

impl Requirement<'_> {
    /// Whether nothing is missing.
    pub fn is_satisfied(&self) -> bool {
        self.nodes.iter().all(Node::is_true)
    }

    /// Whether the organisations of the channel could make up what is missing, if everybody in them signed.
    pub fn is_possible(&self) -> bool {
        self.nodes.iter().all(|node| node.is_possible(&|principal| self.judge.has(principal)))
    }

    /// The policies, each with what it still needs, in words; without those that are satisfied.
    pub fn missing(&self) -> Vec<(&str, String)> {
        let paths = self.paths.iter().map(String::as_str);
        paths
            .zip(&self.nodes)
            .filter(|(_, node)| !node.is_true())
            .map(|(path, node)| (path, node.to_string()))
            .collect()
    }

    /// Whether everything would be satisfied if somebody signed in each of these roles as well, the signatures being in
    /// the order of [`Judge::order`].
    pub fn would_be_satisfied_by(&self, more: &BTreeSet<Signer>) -> bool {
        self.holds(more)
    }

    /// Everyone whose signature could help, in the roles that the policies name, as far as the channel has them. Listed are
    /// roles only: a policy may also name a certificate or a unit.
    pub fn present(&self) -> BTreeSet<Signer> {
        self.helpful().into_iter().filter(|signer| self.judge.has_role(&signer.msp_id, signer.role)).collect()
    }

    /// Everyone whose signature could help, in the roles that the policies name, in the channel or not.
    pub fn helpful(&self) -> BTreeSet<Signer> {
        let mut leaves = Vec::new();
        for node in &self.nodes {
            node.leaves(&mut leaves);
        }
        let signer = |leaf: &Principal| match leaf {
            Principal::Role { msp_id, role } => Some(Signer { msp_id: msp_id.clone(), role: *role }),
            _ => None,
        };
        leaves.into_iter().filter_map(signer).collect()
    }

    /// A smallest set among `available` that, with the signers that there are, satisfies everything; `None` if there is
    /// none. Equal inputs give equal sets, and no member can be left out.
    ///
    /// It is the smallest of all if few could help, or if the policies count each organisation once, which all usual
    /// ones do. Where somebody has signed already in a role, nobody else is expected to sign in it.
    pub fn choose(&self, available: &BTreeSet<Signer>) -> Option<BTreeSet<Signer>> {
        if self.is_satisfied() {
            return Some(BTreeSet::new());
        }
        let has_signed = |signer: &Signer| {
            self.already.iter().any(|known| known.msp_id == signer.msp_id && known.role() == Some(signer.role))
        };
        let helps =
            |signer: &&Signer| !has_signed(signer) && self.leaves.of(&signer.msp_id).any(|leaf| signer.fits(leaf));
        let available: BTreeSet<&Signer> = available.iter().filter(helps).collect();
        if available.len() <= ALL_SETS_OF {
            return self.first_of_all(&available);
        }
        // Which policy is looked at first can matter, because later ones reuse what was chosen.
        let starts = 0..self.nodes.len();
        let extended = starts.filter_map(|start| {
            let mut chosen = BTreeSet::new();
            for node in self.nodes.iter().cycle().skip(start).take(self.nodes.len()) {
                chosen = extend(node, &available, &chosen, &BTreeSet::new())?.chosen;
            }
            self.pruned(chosen.into_iter().cloned().collect())
        });
        let smallest = extended.map(|set| (set.len(), set)).min().map(|(_, set)| set);
        smallest.or_else(|| if available.len() <= ALL_SETS_AT_LAST_OF { self.first_of_all(&available) } else { None })
    }

    /// The first set that holds, smaller ones before greater ones.
    fn first_of_all(&self, available: &BTreeSet<&Signer>) -> Option<BTreeSet<Signer>> {
        let members: Vec<&Signer> = available.iter().copied().collect();
        let mut masks: Vec<u32> = (0..1 << members.len()).collect();
        masks.sort_by_key(|mask| (mask.count_ones(), *mask));
        let set = |mask: u32| {
            let chosen = members.iter().enumerate().filter(|(place, _)| mask & (1 << place) != 0);
            chosen.map(|(_, signer)| (*signer).clone()).collect()
        };
        masks.into_iter().map(set).find(|set| self.holds(set))
    }

    /// Up to `limit` minimal sets of roles that satisfy everything, smallest first. All of them, if there are few. Roles that
    /// nobody in the channel has are in none.
    pub fn minimal_sets(&self, limit: usize) -> Vec<BTreeSet<Signer>> {
        let mut candidates = sets(&Node::all(self.nodes.clone()), limit.saturating_mul(SETS_FOR_ONE));
        candidates.retain(|set| set.iter().all(|signer| self.judge.has_role(&signer.msp_id, signer.role)));
        candidates.sort_by_key(BTreeSet::len);
        let mut found: BTreeSet<(usize, BTreeSet<Signer>)> = BTreeSet::new();
        for set in candidates {
            if found.len() >= limit {
                break;
            }
            if let Some(set) = self.pruned(set) {
                found.insert((set.len(), set));
            }
        }
        found.into_iter().map(|(_, set)| set).take(limit).collect()
    }

    /// The set without the members that are not needed; `None` if it does not hold.
    fn pruned(&self, mut set: BTreeSet<Signer>) -> Option<BTreeSet<Signer>> {
        if !self.holds(&set) {
            return None;
        }
        // Members that say less are tried first.
        let mut members: Vec<Signer> = set.iter().cloned().collect();
        members.sort_by_key(|signer| (signer.role == Role::Admin, std::cmp::Reverse(signer.clone())));
        for member in members {
            set.remove(&member);
            if !self.holds(&set) {
                set.insert(member);
            }
        }
        Some(set)
    }

    fn holds(&self, set: &BTreeSet<Signer>) -> bool {
        let signers = self.signers(set);
        self.paths.iter().all(|path| self.evaluate(path, &signers).is_ok())
    }

    /// The signers that there are and some more, in the order of [`Judge::order`].
    fn signers<'a>(&'a self, more: &'a BTreeSet<Signer>) -> Vec<Either<'a>> {
        let known = self.already.iter().map(Either::Known);
        let signers: Vec<Either<'_>> = known.chain(more.iter().map(Either::More)).collect();
        let key = |signer: &Either<'a>| {
            let msp_id = match signer {
                Either::Known(known) => &known.msp_id,
                Either::More(signer) => &signer.msp_id,
            };
            let weight = self.leaves.of(msp_id).filter(|leaf| self.fits(signer, leaf)).count();
            match signer {
                Either::Known(known) => {
                    let certificate = known.certificate.certificate_fingerprint.as_str();
                    (weight, known.msp_id.as_str(), known.role(), certificate)
                }
                Either::More(signer) => (weight, signer.msp_id.as_str(), Some(signer.role), ""),
            }
        };
        let mut keyed: Vec<_> = signers.into_iter().map(|signer| (key(&signer), signer)).collect();
        keyed.sort_by_key(|(key, _)| *key);
        keyed.into_iter().map(|(_, signer)| signer).collect()
    }

    fn evaluate(&self, path: &str, signers: &[Either<'_>]) -> Result<(), PolicyFailure> {
        self.judge.evaluate_with(path, signers.len(), &|place, principal| {
            signers.get(place).is_some_and(|signer| self.fits(signer, principal))
        })
    }

    fn fits(&self, signer: &Either<'_>, principal: &Principal) -> bool {
        match signer {
            Either::Known(known) => self.judge.satisfies(known, principal),
            Either::More(signer) => signer.fits(principal),
        }
    }
}

/// Principals by the MSP ID that they ask for; those that ask for none under the empty one.
#[derive(Debug, Clone)]
struct Leaves(BTreeMap<String, Vec<Principal>>);

impl Leaves {
    /// The principals that an identity of an organisation may be.
    fn of(&self, msp_id: &str) -> impl Iterator<Item = &Principal> {
        let own = self.0.get(msp_id).filter(|_| !msp_id.is_empty());
        own.into_iter().chain(self.0.get("")).flatten()
    }
}

/// A signer that there is, or one that might be.
enum Either<'a> {
    Known(&'a KnownIdentity),
    More(&'a Signer),
}

/// How a formula is made true.
struct Extension<'a> {
    chosen: BTreeSet<&'a Signer>,
    /// Those of them that a leaf of the same signature policy has taken.
    used: BTreeSet<&'a Signer>,
}

/// Makes a formula true by adding as few as possible of those that are available.
fn extend<'a>(
    node: &Node,
    available: &BTreeSet<&'a Signer>,
    chosen: &BTreeSet<&'a Signer>,
    used: &BTreeSet<&'a Signer>,
) -> Option<Extension<'a>> {
    match node {
        Node::Impossible => None,
        Node::Leaf(principal) => {
            let fitting = available.iter().filter(|signer| signer.fits(principal) && !used.contains(*signer));
            let best =
                fitting.min_by_key(|signer| (!chosen.contains(**signer), signer.role == Role::Admin, **signer))?;
            let (mut chosen, mut used) = (chosen.clone(), used.clone());
            chosen.insert(best);
            used.insert(best);
            Some(Extension { chosen, used })
        }
        Node::Threshold { n, of, own_signers } => {
            let fresh = BTreeSet::new();
            let before = if *own_signers { used } else { &fresh };
            let cost = |child: &Node| Some(extend(child, available, chosen, before)?.chosen.len());
            let mut children: Vec<(usize, usize, &Node)> =
                of.iter().enumerate().filter_map(|(place, child)| Some((cost(child)?, place, child))).collect();
            children.sort_by_key(|(cost, place, _)| (*cost, *place));
            let mut so_far = Extension { chosen: chosen.clone(), used: before.clone() };
            let mut held = 0;
            for (_, _, child) in children {
                if held == *n {
                    break;
                }
                let used = if *own_signers { &so_far.used } else { &fresh };
                if let Some(next) = extend(child, available, &so_far.chosen, used) {
                    so_far = next;
                    held += 1;
                }
            }
            (held == *n).then_some(so_far)
        }
    }
}

/// Sets of roles that make a formula true, not all of them minimal; at most `cap`.
fn sets(node: &Node, cap: usize) -> Vec<BTreeSet<Signer>> {
    match node {
        Node::Leaf(Principal::Role { msp_id, role }) => {
            vec![BTreeSet::from([Signer { msp_id: msp_id.clone(), role: *role }])]
        }
        Node::Impossible | Node::Leaf(_) => Vec::new(),
        Node::Threshold { n, of, .. } => {
            let children: Vec<Vec<BTreeSet<Signer>>> = of.iter().map(|child| sets(child, cap)).collect();
            let attempts = cap.saturating_mul(ATTEMPTS_FOR_ONE);
            let mut combination = Combination { cap, attempts, out: BTreeSet::new() };
            combination.choose(*n, &children, &BTreeSet::new());
            combination.out.into_iter().collect()
        }
    }
}

/// Sets that come of choosing some children and one set of each.
struct Combination {
    cap: usize,
    attempts: usize,
    out: BTreeSet<BTreeSet<Signer>>,
}

impl Combination {
    /// Chooses `n` of the children, the first ones first.
    fn choose(&mut self, n: usize, children: &[Vec<BTreeSet<Signer>>], so_far: &BTreeSet<Signer>) {
        if self.out.len() >= self.cap || self.attempts == 0 || children.len() < n {
            return;
        }
        self.attempts -= 1;
        if n == 0 {
            self.out.insert(so_far.clone());
            return;
        }
        let Some((first, rest)) = children.split_first() else { return };
        for set in first {
            self.choose(n - 1, rest, &so_far.union(set).cloned().collect());
        }
        self.choose(n, rest, so_far);
    }
}
