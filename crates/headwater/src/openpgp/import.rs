//! Reads a secret key that other programs made, and keeps of it what signs.

use headwater_formats::timestamp::Timestamp;
use pgp::composed::{
    Deserializable, SignedKeyDetails, SignedPublicKey, SignedPublicSubKey, SignedSecretKey, SignedSecretSubKey,
};
use pgp::packet::{KeyFlags, PublicKey, Signature, SignatureType};
use pgp::ser::Serialize as _;
use pgp::types::{
    EcdsaPublicParams, EddsaLegacyPublicParams, KeyDetails, KeyVersion, Password, PublicParams, RsaPublicParams,
    SignedUser, Tag,
};

use super::key::{KeyError, StreamKey, kept};
use super::timestamp;

/// Fewest bits of an RSA key.
const RSA_BITS: u16 = 2048;

pub(super) fn read(bytes: &[u8], passphrase: Option<&[u8]>, now: Timestamp) -> Result<StreamKey, KeyError> {
    let key = parse(bytes)?;
    let primary = key.primary_key.public_key();
    if key.primary_key.version() != KeyVersion::V4 {
        return Err(KeyError::Unusable("it is not of version 4, which gpg can read".to_owned()));
    }
    if key.details.revocation_signatures.iter().any(|signature| signature.verify_key(primary).is_ok()) {
        return Err(KeyError::Revoked);
    }
    let (users, (bound_at, flags, lasts)) =
        users(&key, primary).ok_or_else(|| KeyError::unusable("nobody's name is bound to it"))?;
    let created = timestamp(key.primary_key.created_at());
    let ends = lasts.map(|seconds| created.plus_seconds(seconds));
    let expired = |ends: Option<Timestamp>| ends.filter(|ends| *ends <= now);
    if let Some(ended) = expired(ends) {
        return Err(KeyError::Expired(ended.rfc3339()));
    }
    let details = SignedKeyDetails::new(Vec::new(), Vec::new(), users, Vec::new());

    let mut reasons = Vec::new();
    let mut subkeys: Vec<(Timestamp, Binding, &SignedSecretSubKey)> = Vec::new();
    for subkey in &key.secret_subkeys {
        let made = timestamp(subkey.key.created_at());
        let name = subkey.key.legacy_key_id().to_string().to_ascii_uppercase();
        match binding(subkey, primary) {
            Err(why) => reasons.push(format!("{name} {why}")),
            Ok((_, flags, _)) if !flags.sign() => {}
            Ok((at, _, lasts)) if expired(lasts.map(|seconds| made.plus_seconds(seconds))).is_some() => {
                reasons.push(format!("{name}, bound at {}, has expired", at.rfc3339()));
            }
            Ok(bound) => match accepted(subkey.key.public_params()) {
                Ok(()) => subkeys.push((made, bound, subkey)),
                Err(why) => reasons.push(format!("{name} {why}")),
            },
        }
    }
    // As gpg does, the newest subkey that may sign goes before the primary key.
    subkeys.sort_by_key(|(made, ..)| *made);
    let mut refused = None;
    while let Some((made, (sub_bound_at, _, lasts), subkey)) = subkeys.pop() {
        let mut secret = subkey.key.clone();
        if let Err(error) =
            unlock(|password| secret.remove_password(password), secret_is_locked(&subkey.key), passphrase)
        {
            refused.get_or_insert(error);
            continue;
        }
        let public = SignedPublicSubKey::new(subkey.key.public_key().clone(), subkey.signatures.clone());
        let certificate = SignedPublicKey::new(primary.clone(), details, vec![public]);
        let ends = [ends, lasts.map(|seconds| made.plus_seconds(seconds))].into_iter().flatten().min();
        let from = [created, made, bound_at, sub_bound_at].into_iter().max().unwrap_or(created);
        return kept(&certificate, &secret, from, ends).map_err(KeyError::unusable);
    }
    if flags.sign() {
        accepted(key.primary_key.public_params()).map_err(KeyError::unusable)?;
        let mut secret = key.primary_key.clone();
        let locked = key.primary_key.secret_params().is_encrypted();
        unlock(|password| secret.remove_password(password), locked, passphrase)?;
        let certificate = SignedPublicKey::new(primary.clone(), details, Vec::new());
        return kept(&certificate, &secret, created.max(bound_at), ends).map_err(KeyError::unusable);
    }
    Err(refused.unwrap_or_else(|| match reasons.is_empty() {
        true => KeyError::NoSigner("none is for signing".to_owned()),
        false => KeyError::NoSigner(reasons.join(", ")),
    }))
}

fn parse(bytes: &[u8]) -> Result<SignedSecretKey, KeyError> {
    let unreadable = |error: pgp::errors::Error| KeyError::Unreadable(error.to_string());
    let secret =
        |bytes| -> pgp::errors::Result<Vec<SignedSecretKey>> { SignedSecretKey::from_reader_many(bytes)?.0.collect() };
    match secret(bytes) {
        Ok(mut keys) if keys.len() == 1 => keys.pop().ok_or(KeyError::Several),
        Ok(keys) if keys.len() > 1 => Err(KeyError::Several),
        _ if SignedPublicKey::from_reader_single(bytes).is_ok() => Err(KeyError::Public),
        Ok(_) => Err(KeyError::Unreadable("it is empty".to_owned())),
        Err(error) => Err(unreadable(error)),
    }
}

/// When a part was bound to its key, what it is for, and for how many seconds it is good.
type Binding = (Timestamp, KeyFlags, Option<i64>);

fn said(signature: &Signature) -> Option<Binding> {
    let lasts = signature.key_expiration_time().map(|lasts| i64::from(lasts.as_secs())).filter(|seconds| *seconds > 0);
    Some((timestamp(signature.created()?), signature.key_flags(), lasts))
}

/// The names with what the key itself says of them, and what it says last.
fn users(key: &SignedSecretKey, primary: &PublicKey) -> Option<(Vec<SignedUser>, Binding)> {
    let mut newest: Option<Binding> = None;
    let mut users = Vec::new();
    for user in &key.details.users {
        let own: Vec<Signature> = user
            .signatures
            .iter()
            .filter(|signature| signature.verify_certification(primary, Tag::UserId, &user.id).is_ok())
            .cloned()
            .collect();
        if own.is_empty() || own.iter().any(|signature| signature.typ() == Some(SignatureType::CertRevocation)) {
            continue;
        }
        newest = own.iter().filter_map(said).chain(newest).max_by_key(|(at, ..)| *at);
        users.push(SignedUser::new(user.id.clone(), own));
    }
    newest.map(|newest| (users, newest))
}

fn binding(subkey: &SignedSecretSubKey, primary: &PublicKey) -> Result<Binding, &'static str> {
    let public = subkey.key.public_key();
    let of_type = |wanted| subkey.signatures.iter().filter(move |signature| signature.typ() == Some(wanted));
    if of_type(SignatureType::SubkeyRevocation).next().is_some() {
        return Err("is revoked");
    }
    of_type(SignatureType::SubkeyBinding)
        .filter(|signature| signature.verify_subkey_binding(primary, public).is_ok())
        .filter_map(said)
        .max_by_key(|(at, ..)| *at)
        .ok_or("is not bound to the key")
}

fn secret_is_locked(subkey: &pgp::packet::SecretSubkey) -> bool {
    subkey.secret_params().is_encrypted()
}

fn unlock(
    open: impl FnOnce(&Password) -> pgp::errors::Result<()>,
    locked: bool,
    passphrase: Option<&[u8]>,
) -> Result<(), KeyError> {
    match (locked, passphrase) {
        (false, _) => Ok(()),
        (true, None) => Err(KeyError::Protected),
        (true, Some(passphrase)) => open(&Password::from(passphrase)).map_err(|_| KeyError::Passphrase),
    }
}

/// The bits of the modulus: a number of OpenPGP begins with them.
fn rsa_bits(params: &RsaPublicParams) -> u16 {
    let bytes = params.to_bytes().unwrap_or_default();
    bytes.first_chunk().map_or(0, |bits| u16::from_be_bytes(*bits))
}

/// Whether keys of this kind are taken: those that gpg knows, and that sign without random numbers.
fn accepted(params: &PublicParams) -> Result<(), String> {
    match params {
        PublicParams::RSA(rsa) => match rsa_bits(rsa) {
            bits if bits < RSA_BITS => Err(format!("is RSA of {bits} bits, and {RSA_BITS} is the least")),
            _ => Ok(()),
        },
        PublicParams::EdDSALegacy(EddsaLegacyPublicParams::Ed25519 { .. }) | PublicParams::Ed25519(_) => Ok(()),
        PublicParams::ECDSA(
            EcdsaPublicParams::P256 { .. } | EcdsaPublicParams::P384 { .. } | EcdsaPublicParams::P521 { .. },
        ) => Ok(()),
        _ => Err("is neither RSA, Ed25519, nor ECDSA over a curve of NIST".to_owned()),
    }
}
