//! Whether an orderer would let an update pass for its signatures.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::judge::{Judge, KnownIdentity, PolicyFailure, SignedBytes, SignerProblem};
use crate::config::CurrentConfig;
use crate::config::update::{ConfigSignature, ConfigUpdate, SignatureError};

/// Why an orderer would not take an envelope from a submitter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitterProblem {
    /// The certificate has expired. Expired signers count; expired submitters do not.
    #[error("the certificate of {subject} ({msp_id}) expired at {at}; have it renewed")]
    Expired {
        /// MSP ID of the submitter.
        msp_id: String,
        /// Subject of the certificate.
        subject: String,
        /// When it expired.
        at: Timestamp,
    },
    /// The submitter is nobody in the channel.
    #[error(transparent)]
    Signer(#[from] SignerProblem),
    /// The submitter may not write.
    #[error(transparent)]
    Policy(#[from] PolicyFailure),
}

/// A policy that an update must satisfy, and whether it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyVerdict {
    /// The elements that the policy guards, as [`Element::at`](crate::config::Element::at) writes them.
    pub elements: Vec<String>,
    /// Why it is not satisfied; `None` if it is.
    pub failure: Option<PolicyFailure>,
}

/// Whether the signatures of an update satisfy all that they must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The policies that the update must satisfy, by path.
    pub policies: BTreeMap<String, PolicyVerdict>,
    /// Who signed, as far as it counts, in the order of the signatures.
    pub signers: Vec<KnownIdentity>,
    /// For each signature that does not count, its place and the reason.
    pub problems: Vec<(usize, SignerProblem)>,
    /// Whether the submitter may submit.
    pub submitter: Result<(), SubmitterProblem>,
}

impl Verdict {
    /// Whether nothing is missing.
    pub fn is_satisfied(&self) -> bool {
        self.submitter.is_ok() && self.policies.values().all(|policy| policy.failure.is_none())
    }
}

impl fmt::Display for Verdict {
    /// What is missing, one reason after the other.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = self.policies.values().filter_map(|policy| policy.failure.as_ref().map(ToString::to_string));
        let submitter = self.submitter.as_ref().err().map(ToString::to_string);
        let reasons: Vec<String> = failures.chain(submitter).collect();
        formatter.write_str(if reasons.is_empty() { "satisfied" } else { "" })?;
        formatter.write_str(&reasons.join("; "))
    }
}

impl ConfigUpdate {
    /// The signatures with what they are over, as policies are evaluated with.
    pub fn signed_data(&self, signatures: &[ConfigSignature]) -> Result<Vec<SignedBytes>, SignatureError> {
        let signed = |signature: &ConfigSignature| {
            Ok(SignedBytes {
                data: signature.signed_bytes(self),
                identity: signature.creator()?,
                signature: signature.signature().to_vec(),
            })
        };
        signatures.iter().map(signed).collect()
    }

    /// The policies that guard what the update writes, by path, each with the elements that it guards.
    pub fn guards(&self, current: &CurrentConfig) -> BTreeMap<String, Vec<String>> {
        let mut guards = BTreeMap::<String, Vec<String>>::new();
        for touched in self.elements(current) {
            if let Some(policy) = touched.policy {
                guards.entry(policy).or_default().push(touched.element);
            }
        }
        guards
    }
}

impl ConfigSignature {
    /// Who made this signature over an update, if it counts in the channel of the judge.
    pub fn signer(&self, update: &ConfigUpdate, judge: &Judge) -> Result<KnownIdentity, SignerProblem> {
        let identity = self.creator().map_err(|_| SignerProblem::Unreadable)?;
        judge.signer(&SignedBytes { data: self.signed_bytes(update), identity, signature: self.signature().to_vec() })
    }
}

impl Judge {
    /// Whether an orderer would take an envelope of a submitter, named by its serialized identity, at `now`.
    pub fn may_submit(&self, creator: &[u8], now: Timestamp) -> Result<KnownIdentity, SubmitterProblem> {
        let submitter = self.identify(creator)?;
        if submitter.is_expired_at(now) {
            let (msp_id, subject) = (submitter.msp_id, submitter.certificate.subject);
            return Err(SubmitterProblem::Expired { msp_id, subject, at: submitter.certificate.not_after });
        }
        self.evaluate_signers(self.writers(), std::slice::from_ref(&submitter))?;
        Ok(submitter)
    }

    /// Judges an update with these signatures, in this order, submitted by an identity (serialized) at `now`.
    ///
    /// `current` must be the configuration that this judge was made for. Whether the form and the content of the update
    /// let it pass is not judged here: see [`ConfigUpdate::apply`].
    pub fn verdict(
        &self,
        current: &CurrentConfig,
        update: &ConfigUpdate,
        signatures: &[ConfigSignature],
        submitter: &[u8],
        now: Timestamp,
    ) -> Result<Verdict, SignatureError> {
        let (signers, problems) = self.signers(&update.signed_data(signatures)?);
        let judged = |(path, elements): (String, Vec<String>)| {
            let failure = self.evaluate_signers(&path, &signers).err();
            (path, PolicyVerdict { elements, failure })
        };
        let policies = update.guards(current).into_iter().map(judged).collect();
        let submitter = self.may_submit(submitter, now).map(drop);
        Ok(Verdict { policies, signers, problems, submitter })
    }
}
