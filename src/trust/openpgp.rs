//! OpenPGP signatures: which key of a certificate may sign, and whether it still may.

use jiff::Timestamp;
use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, VerifyingKey};

use super::{Form, Key, SignatureRefusal, Signer};

/// Verifies an armoured detached signature against the OpenPGP keys among `keys`.
pub fn verify(keys: &[Key], data: &[u8], text: &str, now: Timestamp) -> Result<Signer, SignatureRefusal> {
    let unreadable = |why: String| SignatureRefusal::Unreadable { why };
    let (detached, _) = DetachedSignature::from_string(text).map_err(|error| unreadable(error.to_string()))?;
    let signature = detached.signature;
    for key in keys {
        let Form::OpenPgp(certificate) = &key.form else { continue };
        if names(&signature, &certificate.primary_key) {
            return judge(key, certificate, None, &signature, data, now);
        }
        if let Some(subkey) = certificate.public_subkeys.iter().find(|subkey| names(&signature, &subkey.key)) {
            return judge(key, certificate, Some(subkey), &signature, data, now);
        }
    }
    let fingerprints = signature.issuer_fingerprint();
    let named = fingerprints.first().map(ToString::to_string);
    let named = named.or_else(|| signature.issuer_key_id().first().map(ToString::to_string));
    Err(SignatureRefusal::Untrusted { fingerprint: named.unwrap_or_else(|| "a key that it does not name".to_owned()) })
}

/// Whether a signature says that this key made it. That it did is verified after.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if !fingerprints.is_empty() {
        return fingerprints.contains(&&key.fingerprint());
    }
    signature.issuer_key_id().contains(&&key.legacy_key_id())
}

fn judge(
    key: &Key,
    certificate: &SignedPublicKey,
    subkey: Option<&SignedPublicSubKey>,
    signature: &Signature,
    data: &[u8],
    now: Timestamp,
) -> Result<Signer, SignatureRefusal> {
    let name = || (key.text.name.clone(), key.fingerprint.clone());
    let unfit = |why: &str| {
        let (key, fingerprint) = name();
        SignatureRefusal::Unfit { key, fingerprint, why: why.to_owned() }
    };
    let wrong = || {
        let (key, fingerprint) = name();
        SignatureRefusal::Wrong { key, fingerprint }
    };
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(unfit("the signature is not one over data"));
    }
    if !strong(signature) {
        return Err(unfit("its hash is not one of the SHA-2 or SHA-3 families"));
    }
    match subkey {
        Some(subkey) => verify_with(&subkey.key, signature, data).map_err(|()| wrong())?,
        None => verify_with(&certificate.primary_key, signature, data).map_err(|()| wrong())?,
    }
    key.trusted(now)?;
    if is_revoked(certificate, subkey) {
        let (key, fingerprint) = name();
        return Err(SignatureRefusal::Revoked { key, fingerprint });
    }
    let bindings = self_signatures(certificate);
    let newest = bindings.iter().max_by_key(|binding| binding.created().map(pgp::types::Timestamp::as_secs));
    let Some(newest) = newest else { return Err(unfit("the key has no valid self-signature")) };
    let mut ends = vec![expiry(certificate.primary_key.created_at(), newest)];
    match subkey {
        Some(subkey) => {
            let binding = binding(certificate, subkey).ok_or_else(|| unfit("its subkey is not bound for signing"))?;
            ends.push(expiry(subkey.key.created_at(), binding));
        }
        None if has_flags(newest) && !newest.key_flags().sign() => return Err(unfit("the key is not one for signing")),
        None => {}
    }
    let made = signature.created().ok_or_else(|| unfit("the signature does not say when it was made"))?;
    let lifetime = signature.signature_expiration_time().map(pgp::types::Duration::as_secs).filter(|it| *it != 0);
    ends.push(lifetime.and_then(|lifetime| at(i64::from(made.as_secs()) + i64::from(lifetime))));
    if let Some(end) = ends.into_iter().flatten().min().filter(|end| now > *end) {
        let (key, fingerprint) = name();
        return Err(SignatureRefusal::Expired { key, fingerprint, at: end });
    }
    Ok(key.signer())
}

fn verify_with(key: &impl VerifyingKey, signature: &Signature, data: &[u8]) -> Result<(), ()> {
    signature.verify(key, data).map_err(drop)
}

/// Whether collisions of a signature's hash are out of reach.
fn strong(signature: &Signature) -> bool {
    matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha224
                | HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    )
}

/// The valid signatures of a primary key over itself and its user ids.
fn self_signatures(certificate: &SignedPublicKey) -> Vec<&Signature> {
    let primary = &certificate.primary_key;
    let direct = certificate.details.direct_signatures.iter();
    let direct = direct.filter(|signature| signature.typ() == Some(SignatureType::Key));
    let direct = direct.filter(|signature| signature.verify_key(primary).is_ok());
    let users = certificate.details.users.iter().flat_map(|user| {
        let own = user.signatures.iter().filter(|signature| signature.is_certification());
        own.filter(|signature| signature.verify_certification(primary, Tag::UserId, &user.id).is_ok())
    });
    direct.chain(users).collect()
}

/// Whether the key, or the subkey that signed, was revoked by its primary key.
fn is_revoked(certificate: &SignedPublicKey, subkey: Option<&SignedPublicSubKey>) -> bool {
    let primary = &certificate.primary_key;
    let whole = certificate.details.revocation_signatures.iter().any(|signature| signature.verify_key(primary).is_ok());
    let part = subkey.is_some_and(|subkey| {
        let revocations =
            subkey.signatures.iter().filter(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
        revocations.into_iter().any(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok())
    });
    whole || part
}

/// The newest valid binding that makes a subkey one for signing; the subkey has signed back.
fn binding<'a>(certificate: &SignedPublicKey, subkey: &'a SignedPublicSubKey) -> Option<&'a Signature> {
    let primary = &certificate.primary_key;
    let holds = |binding: &&Signature| {
        binding.typ() == Some(SignatureType::SubkeyBinding)
            && binding.verify_subkey_binding(primary, &subkey.key).is_ok()
            && binding.key_flags().sign()
            && binding
                .embedded_signature()
                .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok())
    };
    let holding = subkey.signatures.iter().filter(holds);
    holding.max_by_key(|binding| binding.created().map(pgp::types::Timestamp::as_secs))
}

/// Whether a self-signature says what the key is for. Without it, a key may do what its algorithm can.
fn has_flags(signature: &Signature) -> bool {
    let flags = signature.key_flags();
    flags.certify() || flags.sign() || flags.encrypt_comms() || flags.encrypt_storage() || flags.authentication()
}

fn expiry(created: pgp::types::Timestamp, signature: &Signature) -> Option<Timestamp> {
    let lifetime = signature.key_expiration_time()?.as_secs();
    (lifetime != 0).then(|| at(i64::from(created.as_secs()) + i64::from(lifetime))).flatten()
}

fn at(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}
