//! Signatures that came from somebody else: whether each is for this update, of that organisation, and by an administrator.

use std::fmt;

use jiff::Timestamp;

use super::Role;
use super::judge::{Judge, KnownIdentity, SignerProblem};
use crate::config::CurrentConfig;
use crate::config::update::{ConfigSignature, ConfigUpdate, Freshness, Rejection};

/// Why a signature that came from somebody else does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceivedProblem {
    /// The bytes are no signature.
    #[error("the bytes are no signature: {why}")]
    Unreadable {
        /// What is wrong with them.
        why: String,
    },
    /// It is one over another update.
    #[error("it is {subject}'s signature over the update {digest}, not over this one")]
    Replayed {
        /// Subject of the signer's certificate.
        subject: String,
        /// Digest of the update that it covers.
        digest: String,
    },
    /// It is not the signer's over this update, nor over another that is known.
    #[error("it is not a signature of {subject} ({msp_id}) over this update")]
    Forged {
        /// MSP ID that the signer claims.
        msp_id: String,
        /// Subject of the certificate.
        subject: String,
    },
    /// It is of another organisation than it was published for.
    #[error("it was published for {claimed} and is of {found}")]
    WrongOrganization {
        /// Whose it should be.
        claimed: String,
        /// Whose it is.
        found: String,
    },
    /// The channel does not know the signer.
    #[error(transparent)]
    Signer(SignerProblem),
    /// The channel knows the signer, who is not valid.
    #[error("{subject} ({msp_id}) is not valid: {why}")]
    Invalid {
        /// MSP ID of the signer.
        msp_id: String,
        /// Subject of the certificate.
        subject: String,
        /// What is wrong.
        why: String,
    },
    /// The certificate is not valid at this time.
    #[error("the certificate of {subject} ({msp_id}) is valid from {from} until {until}")]
    Expired {
        /// MSP ID of the signer.
        msp_id: String,
        /// Subject of the certificate.
        subject: String,
        /// When it begins.
        from: Timestamp,
        /// When it ends.
        until: Timestamp,
    },
    /// The signer is no administrator of its organisation.
    #[error("{subject} is no administrator of {msp_id}")]
    NotAdministrator {
        /// MSP ID of the signer.
        msp_id: String,
        /// Subject of the certificate.
        subject: String,
    },
}

impl ReceivedProblem {
    /// A code for it.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "Unreadable",
            Self::Replayed { .. } => "Replayed",
            Self::Forged { .. } => "Forged",
            Self::WrongOrganization { .. } => "WrongOrganization",
            Self::Signer(_) => "UnknownSigner",
            Self::Invalid { .. } => "InvalidSigner",
            Self::Expired { .. } => "Expired",
            Self::NotAdministrator { .. } => "NotAdministrator",
        }
    }
}

/// What a signature that came from somebody else is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It counts.
    Valid(Box<(ConfigSignature, KnownIdentity)>),
    /// The update that it covers no longer applies.
    Stale(Freshness),
    /// It does not count.
    Refused(ReceivedProblem),
}

impl fmt::Display for Received {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid(found) => write!(formatter, "{} ({})", found.1.certificate.subject, found.1.msp_id),
            Self::Stale(_) => write!(formatter, "the update no longer applies"),
            Self::Refused(problem) => write!(formatter, "{problem}"),
        }
    }
}

impl Judge {
    /// Judges an encoded signature that was published for `update` and the organisation `msp_id`. `others` are updates of
    /// the channel that it may have been taken from; they only make the answer more telling. Nothing is believed because
    /// of where it was found.
    ///
    /// Fabric itself counts signers whose certificate has expired; here they do not count, because a daemon that is in
    /// order signs with a certificate that is in force.
    pub fn receive(
        &self,
        current: &CurrentConfig,
        update: &ConfigUpdate,
        msp_id: &str,
        bytes: &[u8],
        others: &[ConfigUpdate],
        now: Timestamp,
    ) -> Received {
        let signature = match ConfigSignature::from_bytes(bytes) {
            Ok(signature) => signature,
            Err(error) => return Received::Refused(ReceivedProblem::Unreadable { why: error.to_string() }),
        };
        let signer = match signature.signer(update, self) {
            Ok(signer) => signer,
            Err(problem) => return Received::Refused(self.not_over(&signature, problem, others)),
        };
        if let Err(problem) = stands(&signer, msp_id, now) {
            return Received::Refused(problem);
        }
        match update.freshness(current) {
            Freshness::Applies => Received::Valid(Box::new((signature, signer))),
            moved @ (Freshness::AlreadyThere | Freshness::Stale { .. }) => Received::Stale(moved),
        }
    }

    /// Judges an encoded rejection that was published for `update` and the organisation `msp_id`, as signatures are judged. An
    /// update that no longer applies needs no rejection: that is for the caller to tell.
    pub fn receive_rejection(
        &self,
        update: &ConfigUpdate,
        msp_id: &str,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<Rejection, ReceivedProblem> {
        let unreadable = |error: &dyn std::error::Error| ReceivedProblem::Unreadable { why: error.to_string() };
        let rejection = Rejection::from_bytes(bytes).map_err(|error| unreadable(&error))?;
        let bytes = rejection.signed(update).map_err(|error| unreadable(&error))?;
        let signer = self.signer(&bytes).map_err(|problem| match problem {
            SignerProblem::Signature { msp_id, subject } => ReceivedProblem::Forged { msp_id, subject },
            problem => ReceivedProblem::Signer(problem),
        })?;
        stands(&signer, msp_id, now)?;
        Ok(rejection)
    }

    /// Why a signature is not one over an update.
    fn not_over(
        &self,
        signature: &ConfigSignature,
        problem: SignerProblem,
        others: &[ConfigUpdate],
    ) -> ReceivedProblem {
        match problem {
            SignerProblem::Signature { msp_id, subject } => {
                match others.iter().find(|other| signature.signer(other, self).is_ok()) {
                    Some(other) => ReceivedProblem::Replayed { subject, digest: other.digest() },
                    None => ReceivedProblem::Forged { msp_id, subject },
                }
            }
            problem => ReceivedProblem::Signer(problem),
        }
    }
}

/// Whether a signer may sign for an organisation now.
fn stands(signer: &KnownIdentity, claimed: &str, now: Timestamp) -> Result<(), ReceivedProblem> {
    let (msp_id, subject) = (signer.msp_id.clone(), signer.certificate.subject.clone());
    if msp_id != claimed {
        return Err(ReceivedProblem::WrongOrganization { claimed: claimed.to_owned(), found: msp_id });
    }
    if let Some(problem) = &signer.problem {
        return Err(ReceivedProblem::Invalid { msp_id, subject, why: problem.to_string() });
    }
    let (from, until) = (signer.certificate.not_before, signer.certificate.not_after);
    if now < from || now > until {
        return Err(ReceivedProblem::Expired { msp_id, subject, from, until });
    }
    if signer.role() != Some(Role::Admin) {
        return Err(ReceivedProblem::NotAdministrator { msp_id, subject });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::{Authority, CertificateRequest, OrganizationRoots, Revocations, Role as Enrolled, Usage};
    use crate::config::{ApplicationOrganization, ChannelConfig, Consensus, RaftOptions};
    use crate::identity::{SigningIdentity, nonce};
    use crate::msp::{MspDefinition, Pem};
    use crate::testing::TestRng;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    struct Member {
        msp_id: String,
        roots: OrganizationRoots,
    }

    impl Member {
        fn new(msp_id: &str, seed: u64) -> Self {
            let roots = OrganizationRoots::generate(msp_id, now(), &mut TestRng::new(seed)).unwrap();
            Self { msp_id: msp_id.to_owned(), roots }
        }

        fn identity(&self, role: Enrolled, seed: u64) -> (SigningIdentity, String) {
            let lifetime = jiff::SignedDuration::from_hours(24);
            let usage = Usage::Enrolment(role);
            let request = CertificateRequest { common_name: format!("someone{seed}"), usage, lifetime };
            let authority = Authority::load(&self.roots.enrolment).unwrap();
            let issued = authority.issue(&request, now(), &mut TestRng::new(seed)).unwrap();
            let identity = SigningIdentity::load(&self.msp_id, &issued.cert_pem, &issued.key_pem).unwrap();
            let serial = identity.certificate().serial.clone();
            (identity, serial)
        }

        fn organization(&self, revoked: &Revocations) -> ApplicationOrganization {
            let pem = |text: &str| Pem::new(text.as_bytes());
            let mut msp =
                MspDefinition::new(&self.msp_id, pem(&self.roots.enrolment.cert_pem), pem(&self.roots.tls.cert_pem));
            if !revoked.is_empty() {
                let authority = Authority::load(&self.roots.enrolment).unwrap();
                msp.revocation_list = vec![pem(&authority.revocation_list(revoked).unwrap())];
            }
            let policies = crate::policy::defaults::application_organization(&self.msp_id);
            ApplicationOrganization { msp, anchors: Vec::new(), policies }
        }
    }

    struct World {
        acme: Member,
        globex: Member,
        current: CurrentConfig,
    }

    fn world(revoked: &dyn Fn(&Member) -> Revocations) -> World {
        let (acme, globex) = (Member::new("AcmeMSP", 1), Member::new("GlobexMSP", 2));
        let consensus = Consensus::EtcdRaft { consenters: Vec::new(), options: RaftOptions::default() };
        let mut config = ChannelConfig::new(consensus);
        for (name, member) in [("acme", &acme), ("globex", &globex)] {
            config.application.organizations.insert(name.to_owned(), member.organization(&revoked(member)));
        }
        let current = CurrentConfig::from_bytes("deals", &config.to_config_bytes()).unwrap();
        World { acme, globex, current }
    }

    impl World {
        fn update(&self, timeout: &str) -> ConfigUpdate {
            let mut wanted = self.current.config().clone();
            wanted.orderer.batch.timeout = timeout.to_owned();
            ConfigUpdate::compute(&self.current, &wanted).unwrap()
        }

        fn receive(&self, claimed: &str, bytes: &[u8], at: Timestamp) -> Received {
            let others = [self.update("9s")];
            Judge::new(self.current.config()).receive(&self.current, &self.update("3s"), claimed, bytes, &others, at)
        }
    }

    fn sign(update: &ConfigUpdate, identity: &SigningIdentity) -> Vec<u8> {
        update.sign(identity, nonce(&mut TestRng::new(77))).unwrap().to_bytes()
    }

    #[track_caller]
    fn refused(received: Received, reason: &str) {
        let Received::Refused(problem) = received else { panic!("{received:?}") };
        assert_eq!(problem.reason(), reason, "{problem}");
    }

    #[test]
    fn an_administrators_signature_over_the_update_counts() {
        let world = world(&|_| Revocations::new());
        let bytes = sign(&world.update("3s"), &world.acme.identity(Enrolled::Admin, 5).0);
        let Received::Valid(found) = world.receive("AcmeMSP", &bytes, now()) else { panic!() };
        assert_eq!(found.1.msp_id, "AcmeMSP");
    }

    #[test]
    fn whatever_else_it_is_it_is_refused_by_name() {
        let world = world(&|_| Revocations::new());
        let update = world.update("3s");
        let (acme, _) = world.acme.identity(Enrolled::Admin, 5);
        let (globex, _) = world.globex.identity(Enrolled::Admin, 6);
        refused(world.receive("AcmeMSP", b"rubbish", now()), "Unreadable");
        refused(world.receive("AcmeMSP", &sign(&world.update("9s"), &acme), now()), "Replayed");
        refused(world.receive("AcmeMSP", &sign(&world.update("8s"), &acme), now()), "Forged");
        refused(world.receive("AcmeMSP", &sign(&update, &globex), now()), "WrongOrganization");
        let (client, _) = world.acme.identity(Enrolled::Client, 7);
        refused(world.receive("AcmeMSP", &sign(&update, &client), now()), "NotAdministrator");
        let stranger = Member::new("AcmeMSP", 9).identity(Enrolled::Admin, 8).0;
        refused(world.receive("AcmeMSP", &sign(&update, &stranger), now()), "UnknownSigner");
        let other = Member::new("InitechMSP", 9).identity(Enrolled::Admin, 8).0;
        refused(world.receive("InitechMSP", &sign(&update, &other), now()), "UnknownSigner");
        let later = now() + jiff::SignedDuration::from_hours(48);
        refused(world.receive("AcmeMSP", &sign(&update, &acme), later), "Expired");
    }

    #[test]
    fn a_revoked_administrator_is_none() {
        let world = world(&|member| Revocations::from([(member.identity(Enrolled::Admin, 5).1, now())]));
        let bytes = sign(&world.update("3s"), &world.acme.identity(Enrolled::Admin, 5).0);
        let received = world.receive("AcmeMSP", &bytes, now());
        assert!(!matches!(received, Received::Valid(_)), "{received:?}");
        let bytes = sign(&world.update("3s"), &world.acme.identity(Enrolled::Admin, 6).0);
        assert!(matches!(world.receive("AcmeMSP", &bytes, now()), Received::Valid(_)));
    }

    #[test]
    fn what_it_builds_on_must_still_be_there() {
        let world = world(&|_| Revocations::new());
        let update = world.update("3s");
        let bytes = sign(&update, &world.acme.identity(Enrolled::Admin, 5).0);
        let next = update.apply(&world.current).unwrap();
        let judge = Judge::new(next.config());
        let received = judge.receive(&next, &update, "AcmeMSP", &bytes, &[], now());
        assert_eq!(received, Received::Stale(Freshness::AlreadyThere));
        let after = world.update("9s").apply(&world.current).unwrap();
        let received = Judge::new(after.config()).receive(&after, &update, "AcmeMSP", &bytes, &[], now());
        assert!(matches!(received, Received::Stale(Freshness::Stale { .. })), "{received:?}");
    }

    #[test]
    fn a_rejection_is_its_administrators_and_of_this_update() {
        let world = world(&|_| Revocations::new());
        let (update, other) = (world.update("3s"), world.update("9s"));
        let judge = Judge::new(world.current.config());
        let (acme, _) = world.acme.identity(Enrolled::Admin, 5);
        let reject = |update: &ConfigUpdate, identity: &SigningIdentity, reason: &str| {
            update.reject(identity, nonce(&mut TestRng::new(78)), reason).unwrap().to_bytes()
        };
        let receive = |claimed: &str, bytes: &[u8]| judge.receive_rejection(&update, claimed, bytes, now());
        let bytes = reject(&update, &acme, "too large a batch");
        assert_eq!(receive("AcmeMSP", &bytes).unwrap().reason, "too large a batch");
        let check = |claimed: &str, bytes: &[u8], reason: &str| {
            assert_eq!(receive(claimed, bytes).unwrap_err().reason(), reason);
        };
        check("AcmeMSP", &reject(&other, &acme, "too large a batch"), "Forged");
        check("GlobexMSP", &bytes, "WrongOrganization");
        check("AcmeMSP", &reject(&update, &world.acme.identity(Enrolled::Client, 7).0, ""), "NotAdministrator");
        check("AcmeMSP", &String::from_utf8(bytes.clone()).unwrap().replace("large", "small").into_bytes(), "Forged");
        check("AcmeMSP", b"tenter rejection\n\n", "Unreadable");
        check("AcmeMSP", &sign(&update, &acme), "Unreadable");
        // A rejection is no signature over the update, whatever form it is given.
        let text = String::from_utf8(bytes).unwrap();
        let inner = hex::decode(text.lines().nth(1).unwrap()).unwrap();
        refused(world.receive("AcmeMSP", &inner, now()), "Forged");
        assert!(update.reject(&acme, nonce(&mut TestRng::new(79)), "two\nlines").is_err());
    }

    #[test]
    fn updates_are_told_by_what_they_mean() {
        let world = world(&|_| Revocations::new());
        let update = world.update("3s");
        let again = ConfigUpdate::from_bytes(update.bytes()).unwrap();
        assert!(update.means_the_same(&again) && !update.means_the_same(&world.update("9s")));
    }
}
