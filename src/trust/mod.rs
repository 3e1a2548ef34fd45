//! Trust in commits: whose signatures they need, and whether they hold.
//!
//! The keys come from the daemon's own settings, never from the repository. Both forms of signature that git makes are read: SSH
//! (namespace `git`) and OpenPGP. A key that is revoked or expired is refused for every commit that was not accepted before.

pub mod history;
mod openpgp;

use jiff::Timestamp;
use pgp::composed::{Deserializable as _, SignedPublicKey};
use pgp::types::KeyDetails as _;
use serde::{Deserialize, Serialize};
use ssh_key::{HashAlg, PublicKey, SshSig};

/// The namespace that git gives its SSH signatures.
const SSH_NAMESPACE: &str = "git";
/// Longest signature that is read, in bytes.
const MAX_SIGNATURE_BYTES: usize = 64 << 10;

/// A trusted key, its text read from wherever the settings say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyText {
    /// What the settings call it.
    pub name: String,
    /// The organization that it speaks for.
    pub organization: Option<String>,
    /// The public key, as one line of SSH's or as armoured OpenPGP.
    pub text: String,
    /// When it stops being trusted.
    pub not_after: Option<Timestamp>,
    /// Whether it is no longer trusted.
    pub revoked: bool,
}

/// Why a key of the settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("key `{name}` of spec.source.verification cannot be read: {why}")]
pub struct KeyProblem {
    /// What the settings call it.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// Why a signature on a commit does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "camelCase")]
pub enum SignatureRefusal {
    /// There is none.
    #[error("it is not signed; sign it (git commit -S), or merge it with a commit that is")]
    Unsigned,
    /// It is of no form that is read.
    #[error("its signature cannot be read: {why}")]
    Unreadable {
        /// What is wrong with it.
        why: String,
    },
    /// It was made for something else than a commit.
    #[error("its SSH signature is for the namespace `{namespace}`, not for `git`")]
    Namespace {
        /// What it was made for.
        namespace: String,
    },
    /// No listed key made it.
    #[error(
        "it is signed by {fingerprint}, which is no trusted key; have it signed by a listed one, or list the key in \
         spec.source.verification"
    )]
    Untrusted {
        /// The key, as far as it is told.
        fingerprint: String,
    },
    /// It is not the key's over this commit.
    #[error("its signature is not one of {key} ({fingerprint}) over this commit")]
    Wrong {
        /// What the settings call the key.
        key: String,
        /// The key.
        fingerprint: String,
    },
    /// The key was revoked.
    #[error("it is signed by {key} ({fingerprint}), a key that was revoked; have it signed by another")]
    Revoked {
        /// What the settings call the key.
        key: String,
        /// The key.
        fingerprint: String,
    },
    /// The key, or the signature, has expired.
    #[error(
        "it is signed by {key} ({fingerprint}), which expired at {at}; renew the key in the settings, or have it signed by another"
    )]
    Expired {
        /// What the settings call the key.
        key: String,
        /// The key.
        fingerprint: String,
        /// When.
        at: Timestamp,
    },
    /// The key may not sign, or signs in a way that is no longer safe.
    #[error("it is signed by {key} ({fingerprint}) in a way that does not count: {why}")]
    Unfit {
        /// What the settings call the key.
        key: String,
        /// The key.
        fingerprint: String,
        /// What is wrong.
        why: String,
    },
}

impl SignatureRefusal {
    /// A reason code for a condition.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unsigned => "CommitUnsigned",
            Self::Unreadable { .. } => "CommitSignatureUnreadable",
            Self::Namespace { .. } => "CommitSignatureNamespace",
            Self::Untrusted { .. } => "CommitSignerUntrusted",
            Self::Wrong { .. } => "CommitSignatureWrong",
            Self::Revoked { .. } => "CommitKeyRevoked",
            Self::Expired { .. } => "CommitKeyExpired",
            Self::Unfit { .. } => "CommitSignatureUnfit",
        }
    }
}

/// Who signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// What the settings call the key.
    pub key: String,
    /// The organization that it speaks for.
    pub organization: Option<String>,
    /// The key.
    pub fingerprint: String,
}

#[derive(Debug)]
enum Form {
    Ssh(Box<PublicKey>),
    OpenPgp(Box<SignedPublicKey>),
}

#[derive(Debug)]
struct Key {
    text: KeyText,
    fingerprint: String,
    form: Form,
}

impl Key {
    fn read(text: &KeyText) -> Result<Self, KeyProblem> {
        let fail = |why: String| KeyProblem { name: text.name.clone(), why };
        let body = text.text.trim();
        if body.contains("PRIVATE KEY") {
            return Err(fail(
                "it holds a private key; give the public one, and take that one as known to others".to_owned(),
            ));
        }
        let (fingerprint, form) = if body.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
            let (key, _) = SignedPublicKey::from_string(body).map_err(|error| fail(error.to_string()))?;
            (key.fingerprint().to_string(), Form::OpenPgp(Box::new(key)))
        } else {
            let key = PublicKey::from_openssh(body).map_err(|error| fail(error.to_string()))?;
            (key.fingerprint(HashAlg::Sha256).to_string(), Form::Ssh(Box::new(key)))
        };
        Ok(Self { text: text.clone(), fingerprint, form })
    }

    /// Whether the settings still trust it.
    fn trusted(&self, now: Timestamp) -> Result<(), SignatureRefusal> {
        let (key, fingerprint) = (self.text.name.clone(), self.fingerprint.clone());
        if self.text.revoked {
            return Err(SignatureRefusal::Revoked { key, fingerprint });
        }
        match self.text.not_after {
            Some(at) if now > at => Err(SignatureRefusal::Expired { key, fingerprint, at }),
            _ => Ok(()),
        }
    }

    fn signer(&self) -> Signer {
        Signer {
            key: self.text.name.clone(),
            organization: self.text.organization.clone(),
            fingerprint: self.fingerprint.clone(),
        }
    }
}

/// The trusted keys.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// Reads the keys. One that cannot be read is an error: whoever listed it counts on it.
    pub fn read(texts: &[KeyText]) -> Result<Self, KeyProblem> {
        Ok(Self { keys: texts.iter().map(Key::read).collect::<Result<_, _>>()? })
    }

    /// Who signed `data`, if a trusted key did.
    pub fn verify(&self, data: &[u8], signature: &[u8], now: Timestamp) -> Result<Signer, SignatureRefusal> {
        let unreadable = |why: String| SignatureRefusal::Unreadable { why };
        if signature.len() > MAX_SIGNATURE_BYTES {
            return Err(unreadable(format!("it has {} bytes", signature.len())));
        }
        let text = std::str::from_utf8(signature).map_err(|error| unreadable(error.to_string()))?.trim();
        if text.starts_with("-----BEGIN SSH SIGNATURE-----") {
            let signature = SshSig::from_pem(text).map_err(|error| unreadable(error.to_string()))?;
            return self.verify_ssh(data, &signature, now);
        }
        if text.starts_with("-----BEGIN PGP SIGNATURE-----") {
            return openpgp::verify(&self.keys, data, text, now);
        }
        Err(unreadable("it is neither an SSH nor an OpenPGP signature; X.509 signatures are not read".to_owned()))
    }

    fn verify_ssh(&self, data: &[u8], signature: &SshSig, now: Timestamp) -> Result<Signer, SignatureRefusal> {
        if signature.namespace() != SSH_NAMESPACE {
            let namespace = signature.namespace().chars().filter(|it| !it.is_control()).take(64).collect();
            return Err(SignatureRefusal::Namespace { namespace });
        }
        let found = self.keys.iter().find_map(|key| match &key.form {
            Form::Ssh(public) if public.key_data() == signature.public_key() => Some((key, public)),
            _ => None,
        });
        let Some((key, public)) = found else {
            let fingerprint = signature.public_key().fingerprint(HashAlg::Sha256).to_string();
            return Err(SignatureRefusal::Untrusted { fingerprint });
        };
        public.verify(SSH_NAMESPACE, data, signature).map_err(|_| SignatureRefusal::Wrong {
            key: key.text.name.clone(),
            fingerprint: key.fingerprint.clone(),
        })?;
        key.trusted(now)?;
        Ok(key.signer())
    }
}

#[cfg(test)]
mod tests;
