//! The members' folders: every rule has a case that breaks it, consents and pinned genesis blocks are held to what they
//! cover. Certificates are made anew for each case.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it does not expect")]

use std::collections::{BTreeMap, BTreeSet};

use getrandom::rand_core::UnwrapErr;
use jiff::{SignedDuration, Timestamp};
use tenter_consortium::channel_config::{ConsenterMaterial, MspMaterial};
use tenter_consortium::document::{Blob, MemberFiles, RepositoryFacts, Snapshot, load};
use tenter_consortium::network::Network;
use tenter_consortium::repository::consent::{self, ConsentError};
use tenter_consortium::repository::{self, GenesisNote, NotFounded, files, founding};
use tenter_consortium::rules::RULES;
use tenter_fabric::ca::{Authority, CertificateRequest, CertificateRoot, Issued, OrganizationRoots, Role, Usage};
use tenter_fabric::genesis::GenesisFormat;
use tenter_fabric::identity::SigningIdentity;

const DEFINITION: &str = "apiVersion: tenter.dev/v1alpha1
kind: Network
metadata: {name: trade}
spec:
  organizations:
    - {name: acme, orderers: [{name: orderer1, address: 'orderer1.acme.example:7050'}], peers: [{name: peer1, address: 'peer1.acme.example:7051'}]}
    - {name: globex, orderers: [{name: orderer1, address: 'orderer1.globex.example:7050'}], peers: [{name: peer1, address: 'peer1.globex.example:7051'}]}
  channels:
    - name: settlement
      consensus: {consenters: [acme/orderer1, globex/orderer1]}
      members: [acme, globex]
";
const CONFIG: &str = "NodeOUs: {Enable: true, ClientOUIdentifier: {OrganizationalUnitIdentifier: client}, \
                      PeerOUIdentifier: {OrganizationalUnitIdentifier: peer}, AdminOUIdentifier: \
                      {OrganizationalUnitIdentifier: admin}, OrdererOUIdentifier: {OrganizationalUnitIdentifier: orderer}}";

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn rng() -> UnwrapErr<getrandom::SysRng> {
    UnwrapErr(getrandom::SysRng)
}

/// An organization with all its keys.
struct Organization {
    name: &'static str,
    roots: OrganizationRoots,
}

impl Organization {
    fn new(name: &'static str) -> Self {
        let roots = OrganizationRoots::generate(&format!("{name}.example"), now(), &mut rng()).unwrap();
        Self { name, roots }
    }

    fn issue(root: &CertificateRoot, usage: Usage, days: i64) -> Issued {
        let lifetime = SignedDuration::from_hours(24 * days);
        let request = CertificateRequest { common_name: "orderer1".to_owned(), usage, lifetime };
        Authority::load(root).unwrap().issue(&request, now(), &mut rng()).unwrap()
    }

    fn tls(&self, host: &str, days: i64) -> String {
        let dns_names = BTreeSet::from([host.to_owned()]);
        let usage = Usage::TlsNode { dns_names, ip_addresses: BTreeSet::new() };
        Self::issue(&self.roots.tls, usage, days).cert_pem
    }

    fn identity(&self, role: Role) -> Issued {
        Self::issue(&self.roots.enrolment, Usage::Enrolment(role), 365)
    }

    fn signer(&self, role: Role) -> SigningIdentity {
        let Issued { cert_pem, key_pem } = self.identity(role);
        SigningIdentity::load("X", &cert_pem, &key_pem).unwrap()
    }

    fn folder(&self) -> BTreeMap<String, Blob> {
        let msp = MspMaterial {
            ca_certs: self.roots.enrolment.cert_pem.clone(),
            tls_ca_certs: self.roots.tls.cert_pem.clone(),
            config: CONFIG.to_owned(),
            ..MspMaterial::default()
        };
        let orderer = ConsenterMaterial {
            tls: self.tls(&format!("orderer1.{}.example", self.name), 365),
            identity: self.identity(Role::Orderer).cert_pem,
        };
        let files = files("X", &msp, &[("orderer1".to_owned(), orderer)]).unwrap();
        files.into_iter().map(|(path, bytes)| (format!("organizations/{}/{path}", self.name), Blob(bytes))).collect()
    }
}

/// Two organizations and what the repository holds of them.
struct World {
    definition: String,
    acme: Organization,
    globex: Organization,
    members: MemberFiles,
    commits: BTreeMap<String, Snapshot>,
}

impl World {
    fn new() -> Self {
        let (acme, globex) = (Organization::new("acme"), Organization::new("globex"));
        let files = acme.folder().into_iter().chain(globex.folder()).collect();
        let members = MemberFiles { files, refused: BTreeMap::new() };
        Self { definition: DEFINITION.to_owned(), acme, globex, members, commits: BTreeMap::new() }
    }

    fn network(&self) -> Network {
        let facts = RepositoryFacts {
            members: self.members.clone(),
            commits: self.commits.clone(),
            ..RepositoryFacts::default()
        };
        let loaded = load(self.definition.as_bytes(), "network.yaml", &facts);
        loaded.network.expect("a definition without errors")
    }

    fn put(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.members.files.insert(path.to_owned(), Blob(bytes.into()));
    }

    fn rules_at(&self, at: Timestamp) -> Vec<String> {
        repository::check(&self.network(), Some(at)).iter().map(|found| found.rule.to_string()).collect()
    }

    fn pin(&mut self) {
        let folders = repository::read(&self.members).0;
        let founded = repository::compute(&self.network(), &folders, "settlement", GenesisFormat::LATEST).unwrap();
        let note = GenesisNote { format_version: founded.format, commit: "c".repeat(40), block_hash: founded.hash };
        self.put("channels/settlement/genesis.pb", founded.block);
        self.put("channels/settlement/genesis.yaml", serde_yaml::to_string(&note).unwrap());
    }

    fn consent(&mut self, signer: &SigningIdentity) {
        let folder = repository::read(&self.members).0.organizations.remove("globex").unwrap();
        let covered = consent::covered(&self.network(), "globex", &folder).unwrap();
        self.put("organizations/globex/consent.sig", consent::sign(signer, &covered).unwrap());
    }

    fn verdict(&self) -> Result<consent::Signer, ConsentError> {
        let folder = repository::read(&self.members).0.organizations.remove("globex").unwrap();
        consent::verify(&self.network(), "globex", &folder, None, now())
    }
}

const ORDERER: &str = "organizations/globex/orderers/orderer1";

#[test]
fn every_rule_of_the_folders_is_broken_by_its_case() {
    let mut seen = BTreeSet::new();
    let mut check = |rule: &str, at: Timestamp, break_it: &dyn Fn(&mut World)| {
        let mut world = World::new();
        world.pin();
        let admin = world.globex.signer(Role::Admin);
        world.consent(&admin);
        assert_eq!(world.rules_at(now()), Vec::<String>::new(), "the case of {rule} is right before it is broken");
        break_it(&mut world);
        let found = world.rules_at(at);
        assert!(found.iter().any(|id| id == rule), "{rule}: {found:?}");
        seen.insert(rule.to_owned());
    };
    let after = |days: i64| now().checked_add(SignedDuration::from_hours(24 * days)).unwrap();
    check("repository/private-key", now(), &|world| {
        let key = world.globex.identity(Role::Admin).key_pem.expose_pem().to_owned();
        world.put("organizations/globex/msp/cacerts/key.pem", key);
    });
    check("repository/limits", now(), &|world| {
        world.put("organizations/globex/msp/cacerts/large.pem", vec![b'x'; 70_000]);
    });
    check("repository/folder-shape", now(), &|world| world.put("organizations/globex/msp/admins.txt", "x"));
    check("repository/unknown-organization", now(), &|world| world.put("organizations/initech/README.md", "x"));
    check("repository/unknown-orderer", now(), &|world| {
        for file in ["tls.crt", "identity.crt"] {
            let copy = world.members.files[&format!("{ORDERER}/{file}")].clone();
            world.put(&format!("organizations/globex/orderers/orderer9/{file}"), copy.0);
        }
    });
    check("repository/incomplete", now(), &|world| drop(world.members.files.remove(&format!("{ORDERER}/tls.crt"))));
    check("repository/expired", after(400), &|_| {});
    check("repository/expiring", after(300), &|_| {});
    check("repository/chain", now(), &|world| {
        let stranger = world.acme.tls("orderer1.globex.example", 365);
        world.put(&format!("{ORDERER}/tls.crt"), stranger);
    });
    check("repository/certificate-names", now(), &|world| {
        let other = world.globex.tls("elsewhere.globex.example", 365);
        world.put(&format!("{ORDERER}/tls.crt"), other);
    });
    check("repository/role", now(), &|world| {
        let peer = world.globex.identity(Role::Peer).cert_pem;
        world.put(&format!("{ORDERER}/identity.crt"), peer);
    });
    check("repository/consent", now(), &|world| {
        world.definition = world.definition.replace("peer1.globex.example:7051", "peer1.globex.example:7052");
    });
    check("repository/pinned-genesis", now(), &|world| {
        world.definition = world
            .definition
            .replace("members: [acme, globex]", "members: [acme, globex]\n      batch: {maxMessageCount: 7}");
    });
    for rule in RULES.iter().map(|rule| rule.id.as_str()).filter(|id| id.starts_with("repository/")) {
        assert!(seen.contains(rule), "{rule} has no case");
    }
}

#[test]
fn a_private_key_is_not_shown() {
    let mut world = World::new();
    let key = world.globex.identity(Role::Admin).key_pem.expose_pem().to_owned();
    world.put("organizations/globex/notes.txt", key.clone());
    let shown: String = repository::check(&world.network(), Some(now())).iter().map(ToString::to_string).collect();
    assert!(shown.contains("organizations/globex/notes.txt"), "{shown}");
    for line in key.lines().filter(|line| !line.starts_with("-----")) {
        assert!(!shown.contains(line), "{shown}");
    }
}

#[test]
fn consent_covers_the_meaning_and_not_the_lines() {
    let mut world = World::new();
    let admin = world.globex.signer(Role::Admin);
    world.consent(&admin);
    assert!(world.verdict().is_ok());
    world.definition = world.definition.replace("kind: Network\n", "kind: Network\n\n# a remark\n");
    assert!(world.verdict().is_ok(), "lines do not count");
    world.definition = world.definition.replace("orderer1.acme.example:7050", "orderer1.acme.example:7053");
    assert!(world.verdict().is_ok(), "somebody else's section does not count");
    world.definition = world.definition.replace("members: [acme, globex]", "members: [acme]\n");
    assert!(world.verdict().is_ok(), "it still runs a consenter there");
    let moved = world.definition.replace("[acme/orderer1, globex/orderer1]", "[acme/orderer1]");
    let before = std::mem::replace(&mut world.definition, moved);
    assert!(matches!(world.verdict(), Err(ConsentError::Covers { .. })), "the channel was not consented to");
    world.definition = before;
    let other = world.globex.tls("orderer1.globex.example", 200);
    world.put(&format!("{ORDERER}/tls.crt"), other);
    assert!(matches!(world.verdict(), Err(ConsentError::Covers { .. })), "the folder changed");
}

#[test]
fn only_an_administrator_of_the_organization_consents() {
    let mut world = World::new();
    assert!(matches!(world.verdict(), Err(ConsentError::Absent(_))));
    let (client, stranger) = (world.globex.signer(Role::Client), world.acme.signer(Role::Admin));
    world.consent(&client);
    assert!(matches!(world.verdict(), Err(ConsentError::NotAnAdministrator { .. })));
    world.consent(&stranger);
    assert!(matches!(world.verdict(), Err(ConsentError::Stranger { .. })));
    world.put("organizations/globex/consent.sig", "formatVersion: 1\n");
    assert!(matches!(world.verdict(), Err(ConsentError::Unreadable(_))));
}

#[test]
fn a_known_member_consents_by_the_msp_that_its_channel_has() {
    let mut world = World::new();
    let admin = world.globex.signer(Role::Admin);
    world.consent(&admin);
    let network = world.network();
    let folders = repository::read(&world.members).0;
    let known = |name: &str| consent::folder_msp(name, "X", &folders.organizations[name]).unwrap();
    let consented = |msp: &str| consent::consented(&network, &[("globex".to_owned(), known(msp))].into(), now());
    assert_eq!(consented("globex"), ["globex".to_owned()].into());
    assert_eq!(consented("acme"), BTreeSet::new(), "the folder's own MSP counts for a newcomer only");
}

#[test]
fn both_founders_compute_the_pinned_block() {
    let mut world = World::new();
    assert_eq!(founding(&world.network(), "settlement"), Err(NotFounded::Unpinned("settlement".to_owned())));
    world.pin();
    let founded = founding(&world.network(), "settlement").unwrap();
    assert_eq!(founded.block, world.members.files["channels/settlement/genesis.pb"].0);
    let snapshot = Snapshot { definition: Blob(world.definition.clone().into_bytes()), members: world.members.clone() };
    let renewed = world.globex.tls("orderer1.globex.example", 200);
    world.put(&format!("{ORDERER}/tls.crt"), renewed);
    let Err(NotFounded::Differs(why)) = founding(&world.network(), "settlement") else { panic!("accepted") };
    assert!(why.contains("channels/settlement/genesis.pb"), "{why}");
    world.commits.insert("c".repeat(40), snapshot);
    assert_eq!(founding(&world.network(), "settlement").unwrap(), founded, "it follows from the commit that it names");
    world.commits.clear();
    world.members.files.remove(&format!("{ORDERER}/identity.crt"));
    let Err(NotFounded::Missing(missing)) = founding(&world.network(), "settlement") else { panic!("whole") };
    assert_eq!(missing, [(format!("{ORDERER}/identity.crt"), "globex".to_owned())]);
}
