//! The members' folders: every rule has a case that breaks it, consents and pinned genesis blocks are held to what they
//! cover. Certificates are made anew for each case.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it does not expect")]

use std::collections::{BTreeMap, BTreeSet};

use getrandom::rand_core::UnwrapErr;
use jiff::{SignedDuration, Timestamp};
use tenter_consortium::channel_config::{ConsenterMaterial, MspMaterial};
use tenter_consortium::document::{Blob, MemberFiles, RepositoryFacts, Snapshot, load, parse};
use tenter_consortium::expiry::expiring;
use tenter_consortium::model::{Compared, Revision, plan_between};
use tenter_consortium::network::Network;
use tenter_consortium::ownership::{Side, SignedChange, agreement, unconsented};
use tenter_consortium::repository::approval::{self, Approval, ApprovalError, given};
use tenter_consortium::repository::consent::{self, ConsentError};
use tenter_consortium::repository::{self, GenesisNote, NotFounded, files, founding};
use tenter_consortium::rules::RULES;
use tenter_consortium::settings::Settings;
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

    /// What globex approves.
    fn approval() -> Approval {
        Approval {
            hash: HASH.to_owned(),
            organization: "globex".to_owned(),
            reason: "as agreed".to_owned(),
            expires: after(30),
            steps: BTreeMap::from([("0f".repeat(16), "pin the genesis block of channel settlement".to_owned())]),
        }
    }

    fn approve(&mut self, approval: Approval, signer: &SigningIdentity) {
        let path = approval::path(&approval.hash, &approval.organization);
        let text = approval.sign(&self.network(), signer).unwrap();
        self.put(&path, text);
    }

    /// Why the only approval does not count.
    fn not_approved(&self, at: Timestamp) -> Option<ApprovalError> {
        let (given, mut not) = given(&self.network(), &BTreeMap::new(), at);
        assert_eq!(given.len() + not.len(), 1);
        not.pop().map(|not| not.error)
    }

    /// The commit of the pinned genesis block knows the channel without globex.
    fn founded_without_globex(&mut self) {
        let definition = self.definition.replace("[acme/orderer1, globex/orderer1]", "[acme/orderer1]");
        let definition = Blob(definition.replace("members: [acme, globex]", "members: [acme]").into_bytes());
        self.commits.insert("c".repeat(40), Snapshot { definition, members: self.members.clone() });
    }

    fn verdict(&self) -> Result<consent::Signer, ConsentError> {
        let folder = repository::read(&self.members).0.organizations.remove("globex").unwrap();
        consent::verify(&self.network(), "globex", &folder, None, now())
    }
}

const ORDERER: &str = "organizations/globex/orderers/orderer1";
/// The hash of some plan.
const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn after(days: i64) -> Timestamp {
    now().checked_add(SignedDuration::from_hours(24 * days)).unwrap()
}

#[test]
fn every_rule_of_the_folders_is_broken_by_its_case() {
    let mut seen = BTreeSet::new();
    let mut check = |rule: &str, at: Timestamp, break_it: &dyn Fn(&mut World)| {
        let mut world = World::new();
        world.pin();
        let admin = world.globex.signer(Role::Admin);
        world.consent(&admin);
        world.approve(World::approval(), &admin);
        assert_eq!(world.rules_at(now()), Vec::<String>::new(), "the case of {rule} is right before it is broken");
        break_it(&mut world);
        let found = world.rules_at(at);
        assert!(found.iter().any(|id| id == rule), "{rule}: {found:?}");
        seen.insert(rule.to_owned());
    };
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
    check("repository/consent-missing", now(), &|world| {
        world.founded_without_globex();
        drop(world.members.files.remove("organizations/globex/consent.sig"));
    });
    check("repository/pinned-genesis", now(), &|world| {
        world.definition = world
            .definition
            .replace("members: [acme, globex]", "members: [acme, globex]\n      batch: {maxMessageCount: 7}");
    });
    check("repository/approval-shape", now(), &|world| {
        world.put(&format!("approvals/{HASH}/globex.yaml"), "steps: {}");
    });
    check("repository/approval", now(), &|world| {
        let stranger = world.acme.signer(Role::Admin);
        world.approve(World::approval(), &stranger);
    });
    check("repository/approval-expired", after(31), &|_| {});
    check("repository/approval-unverified", now(), &|world| {
        world.members.files.retain(|path, _| !path.starts_with("organizations/globex/"));
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
fn founders_need_no_consent_and_who_is_invited_does() {
    let missing =
        |world: &World| world.rules_at(now()).iter().filter(|rule| *rule == "repository/consent-missing").count();
    let mut world = World::new();
    assert_eq!(missing(&world), 0, "nothing is pinned yet: all of them form it");
    world.pin();
    assert_eq!(missing(&world), 0, "the commit is not known");
    let definition = Blob(world.definition.clone().into_bytes());
    world.commits.insert("c".repeat(40), Snapshot { definition, members: world.members.clone() });
    assert_eq!(missing(&world), 0, "both founded it");
    world.founded_without_globex();
    assert_eq!(missing(&world), 1);
    let admin = world.globex.signer(Role::Admin);
    world.consent(&admin);
    assert_eq!(missing(&world), 0);
}

#[test]
fn a_known_organization_is_asked_before_it_takes_part_in_another_channel() {
    let mut world = World::new();
    let admin = world.globex.signer(Role::Admin);
    world.consent(&admin);
    let side = |world: &World| {
        let (definition, _) = parse(world.definition.as_bytes(), "network.yaml");
        Side::new(&definition.unwrap(), &world.network(), BTreeMap::new())
    };
    let folders = repository::read(&world.members).0;
    let known = consent::folder_msp("globex", "X", &folders.organizations["globex"]).unwrap();
    let known = BTreeMap::from([("globex".to_owned(), known)]);
    let before = side(&world);
    let loans =
        "    - {name: loans, organizer: acme, consensus: {consenters: [acme/orderer1]}, members: [acme, globex]}\n";
    world.definition.push_str(loans);
    // Somebody whose key speaks for acme alone names both.
    let change = SignedChange {
        commit: "c1".to_owned(),
        key: "ann".to_owned(),
        organization: Some("acme".to_owned()),
        organizations: agreement(&before, &side(&world)),
    };
    let open = |world: &World| {
        let consented = consent::consented(&world.network(), &known, now());
        let found = unconsented(std::slice::from_ref(&change), &consented, &BTreeSet::new());
        found.into_iter().map(|it| it.organization).collect::<Vec<_>>()
    };
    assert_eq!(open(&world), ["globex"], "what it said of the other channel is not said of this one");
    world.consent(&admin);
    assert_eq!(open(&world), Vec::<String>::new());
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
fn only_an_administrator_of_the_organization_approves() {
    let mut world = World::new();
    let (admin, client) = (world.globex.signer(Role::Admin), world.globex.signer(Role::Client));
    let stranger = world.acme.signer(Role::Admin);
    world.approve(World::approval(), &admin);
    assert_eq!(world.not_approved(now()), None);
    let (given, _) = given(&world.network(), &BTreeMap::new(), now());
    assert_eq!(given, [World::approval()]);
    world.approve(World::approval(), &client);
    assert!(matches!(world.not_approved(now()), Some(ApprovalError::NotAnAdministrator { .. })));
    world.approve(World::approval(), &stranger);
    assert!(matches!(world.not_approved(now()), Some(ApprovalError::Stranger { .. })));
    // An organization that the definition does not have approves nothing, whoever signs.
    world.members.files.retain(|path, _| !path.starts_with("approvals/"));
    world.approve(Approval { organization: "initech".to_owned(), ..World::approval() }, &admin);
    assert_eq!(world.not_approved(now()), Some(ApprovalError::Unknown("initech".to_owned())));
}

#[test]
fn an_approval_is_for_what_was_signed_and_nothing_else() {
    let mut world = World::new();
    let admin = world.globex.signer(Role::Admin);
    let path = format!("approvals/{HASH}/globex.yaml");
    let mut changed = |from: &str, to: &str| {
        world.approve(World::approval(), &admin);
        let text = String::from_utf8(world.members.files[&path].0.clone()).unwrap();
        assert!(text.contains(from), "{text}");
        world.put(&path, text.replace(from, to));
        world.not_approved(now())
    };
    let other = "1f".repeat(16);
    for (from, to) in [
        ("as agreed", "as never agreed"),
        (&*"0f".repeat(16), &*other),
        ("channel settlement", "channel deals"),
        ("2026-03-31", "2036-03-31"),
    ] {
        assert_eq!(changed(from, to), Some(ApprovalError::Covers), "{from}");
    }
    assert!(matches!(changed("organization: globex", "organization: acme"), Some(ApprovalError::Misplaced { .. })));
    let hash = HASH.replace("00", "11");
    assert!(matches!(changed(HASH, &hash), Some(ApprovalError::Misplaced { .. })));
    assert_eq!(changed("formatVersion: 1", "formatVersion: 2"), Some(ApprovalError::Format(2)));
    // Neither does it count at another place, nor in another consortium.
    world.approve(World::approval(), &admin);
    let signed = world.members.files.remove(&path).unwrap();
    world.put(&format!("approvals/{hash}/globex.yaml"), signed.0.clone());
    assert!(matches!(world.not_approved(now()), Some(ApprovalError::Misplaced { .. })));
    world.members.files.retain(|path, _| !path.starts_with("approvals/"));
    world.put(&path, signed.0);
    assert_eq!(world.not_approved(now()), None);
    assert_eq!(world.not_approved(after(30)), Some(ApprovalError::Expired(after(30))));
    world.definition = world.definition.replace("metadata: {name: trade}", "metadata: {name: other}");
    assert_eq!(world.not_approved(now()), Some(ApprovalError::Covers));
}

#[test]
fn an_approval_is_held_to_the_msp_that_the_organization_is_known_by() {
    let mut world = World::new();
    let admin = world.globex.signer(Role::Admin);
    world.approve(World::approval(), &admin);
    let network = world.network();
    let folders = repository::read(&world.members).0;
    let known = |name: &str| consent::folder_msp(name, "X", &folders.organizations[name]).unwrap();
    let number = |msp: &str| given(&network, &[("globex".to_owned(), known(msp))].into(), now()).0.len();
    assert_eq!((number("globex"), number("acme")), (1, 0));
    // What is known counts where the repository has no folder.
    world.members.files.retain(|path, _| path.starts_with("approvals/"));
    let network = world.network();
    assert!(matches!(world.not_approved(now()), Some(ApprovalError::NoMsp(_))));
    assert_eq!(given(&network, &[("globex".to_owned(), known("globex"))].into(), now()).0.len(), 1);
}

#[test]
fn a_revoked_administrator_approves_nothing() {
    let mut world = World::new();
    let admin = world.globex.signer(Role::Admin);
    world.approve(World::approval(), &admin);
    let other = world.globex.signer(Role::Admin).certificate().serial.clone();
    let mut revoke = |serial: &str| {
        let authority = Authority::load(&world.globex.roots.enrolment).unwrap();
        let list = authority.revocation_list(&[(serial.to_owned(), now())].into()).unwrap();
        world.put("organizations/globex/msp/crls/list.pem", list);
        world.not_approved(now())
    };
    assert_eq!(revoke(&other), None);
    let refused = revoke(&admin.certificate().serial);
    assert!(matches!(refused, Some(ApprovalError::Stranger { .. })), "{refused:?}");
}

#[test]
fn an_approval_that_says_nothing_is_not_given() {
    let world = World::new();
    let admin = world.globex.signer(Role::Admin);
    let given = |approval: Approval| approval.sign(&world.network(), &admin).err();
    assert_eq!(given(World::approval()), None);
    for wrong in [
        Approval { hash: "latest".to_owned(), ..World::approval() },
        Approval { steps: BTreeMap::new(), ..World::approval() },
        Approval { reason: "one\ntwo".to_owned(), ..World::approval() },
        Approval { reason: "x".repeat(approval::MAX_REASON + 1), ..World::approval() },
    ] {
        assert!(matches!(given(wrong.clone()), Some(ApprovalError::Unreadable(_))), "{wrong:?}");
    }
}

#[test]
fn an_approval_does_not_touch_the_consent_of_its_organization() {
    let mut world = World::new();
    let admin = world.globex.signer(Role::Admin);
    world.consent(&admin);
    world.approve(World::approval(), &admin);
    assert!(world.verdict().is_ok());
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

fn revision(world: &World) -> Revision {
    let network = world.network();
    Revision::of(&network, &Settings::of_definitions("trade", "tenter-system", &[&network]))
}

/// Plans between revisions use what the repository has of the members: no placeholder stands where a certificate is.
#[test]
fn revisions_are_compared_with_their_own_certificates() {
    let mut world = World::new();
    world.pin();
    let was = revision(&world);
    let between = |asked: &Revision| plan_between(&was, asked, "main", None).unwrap();
    let note = |compared: &Compared, code: &str| {
        let found = compared.plan.notes.iter().find(|note| note.code == code);
        found.map(|note| note.message.clone()).unwrap_or_default()
    };
    let same = between(&was);
    assert_eq!(same.plan.steps.len(), 0);
    assert!(!note(&same, "Compared").contains("certificates"), "{:?}", same.plan.notes);
    let text = String::from_utf8(world.members.files["channels/settlement/genesis.yaml"].0.clone()).unwrap();
    let pinned: GenesisNote = serde_yaml::from_str(&text).unwrap();
    let genesis = same.world.channels["settlement"].genesis.value().unwrap();
    assert_eq!(genesis.hash, pinned.block_hash);
    // The ends of certificates are theirs.
    let soon = |days: i64| expiring(&same.world, after(days), SignedDuration::from_hours(24 * 30)).len();
    assert_eq!((soon(0), soon(340)), (0, 2), "each consenter's TLS certificate lives 365 days");
    // A root that was added to the folder is a change of the channel, and of nothing else.
    let mut renewed = World { members: world.members.clone(), ..World::new() };
    renewed.put("organizations/globex/msp/cacerts/next.pem", Organization::new("globex").roots.enrolment.cert_pem);
    let compared = between(&revision(&renewed));
    let ids: Vec<&str> = compared.plan.steps.keys().map(|id| id.0.as_str()).collect();
    assert!(!ids.is_empty(), "{:?}", compared.plan.notes);
    assert!(ids.iter().all(|id| id.starts_with("channel-config/settlement/") && id.ends_with("globex")), "{ids:?}");
    // A new channel begins with the block that its founders will compute.
    let more = "    - name: deals\n      consensus: {consenters: [acme/orderer1]}\n      members: [acme]\n";
    let added = World { definition: format!("{DEFINITION}{more}"), members: world.members.clone(), ..World::new() };
    let folders = repository::read(&added.members).0;
    let founded = repository::compute(&added.network(), &folders, "deals", GenesisFormat::LATEST).unwrap();
    assert!(note(&between(&revision(&added)), "GenesisBlock").contains(&founded.hash));
    // A folder that came or went is no change of certificates; without any, placeholders stand there, as is said.
    let mut gone = World { members: world.members.clone(), ..World::new() };
    gone.members.files.retain(|path, _| !path.starts_with("organizations/globex/"));
    let compared = between(&revision(&gone));
    assert_eq!(compared.plan.steps.len(), 0, "{:?}", compared.plan.steps.keys());
    let before = plan_between(&revision(&gone), &revision(&gone), "main", None).unwrap();
    assert!(note(&before, "Compared").contains("certificates of globex, "), "{:?}", before.plan.notes);
}
