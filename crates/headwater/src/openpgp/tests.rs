use pgp::composed::{CleartextSignedMessage, Deserializable, DetachedSignature, SignedPublicKey};

use super::*;

fn now() -> Timestamp {
    Timestamp::from_unix(1_760_000_000).unwrap()
}

fn later(seconds: i64) -> Timestamp {
    now().plus_seconds(seconds)
}

/// Whether a verifier that has the key's certificate believes the text.
fn believed(key: &StreamKey, text: &str) -> Result<String, String> {
    let (message, _) = CleartextSignedMessage::from_string(text).map_err(|error| error.to_string())?;
    let certificate = SignedPublicKey::from_bytes(key.certificate.as_slice()).unwrap();
    certificate.verify_bindings().unwrap();
    let verified = match certificate.public_subkeys.first() {
        Some(subkey) => message.verify(&subkey.key),
        None => message.verify(&certificate.primary_key),
    };
    verified.map_err(|error| error.to_string())?;
    Ok(message.signed_text())
}

fn clear(key: &StreamKey, text: &str, at: Timestamp) -> String {
    let signed = Signer::new(key).unwrap().clear([text], at).unwrap();
    format!("{}{text}{}", signed.before, signed.after)
}

fn detached(key: &StreamKey, text: &str, at: Timestamp) -> DetachedSignature {
    let armored = Signer::new(key).unwrap().detached([text], at).unwrap();
    assert!(armored.starts_with("-----BEGIN PGP SIGNATURE-----\n"), "{armored}");
    DetachedSignature::from_armor_single(armored.as_bytes()).unwrap().0
}

const TEXT: &str = "{\"format\":\"index:1.0\",\n\"name\":\"Zürich\",\n\"index\":{}}";

#[test]
fn what_is_signed_is_believed_and_what_was_changed_is_not() {
    let key = StreamKey::create("Images of Example <images@example.com>", now()).unwrap();
    let text = clear(&key, TEXT, later(60));
    assert_eq!(believed(&key, &text).unwrap(), TEXT.replace('\n', "\r\n"));
    for (what, changed) in [
        ("a letter", text.replacen("index", "Index", 1)),
        ("a line less", text.replacen("\n\"name\":\"Zürich\",", "", 1)),
        ("a line more", text.replacen("\"index\"", "\n\"index\"", 1)),
    ] {
        assert_ne!(changed, text);
        assert_eq!(believed(&key, &changed).unwrap_err(), "No matching signature found", "{what}");
    }
    let other = StreamKey::create("Somebody", now()).unwrap();
    assert!(believed(&other, &text).is_err());

    let certificate = SignedPublicKey::from_bytes(key.certificate.as_slice()).unwrap();
    let signature = detached(&key, TEXT, later(60));
    signature.verify(&certificate.primary_key, TEXT.as_bytes()).unwrap();
    assert!(signature.verify(&certificate.primary_key, TEXT.replace('\n', "\r\n").as_bytes()).is_err());
}

#[test]
fn the_same_is_the_same_bytes_whatever_the_pieces() {
    for key in [StreamKey::create("x", now()).unwrap(), imported("rsa3072.asc", None).unwrap()] {
        let signer = Signer::new(&key).unwrap();
        let whole = (signer.clear([TEXT], now()).unwrap(), signer.detached([TEXT], now()).unwrap());
        let pieces: Vec<&[u8]> = TEXT.as_bytes().chunks(1).collect();
        let again = Signer::new(&key).unwrap();
        assert_eq!(again.clear(&pieces, now()).unwrap(), whole.0);
        assert_eq!(again.detached(&pieces, now()).unwrap(), whole.1);
        assert_ne!(again.detached(&pieces, later(1)).unwrap(), whole.1, "another time");
    }
}

#[test]
fn no_signature_is_older_than_its_key() {
    let key = StreamKey::create("x", now()).unwrap();
    for (at, wanted) in [(Timestamp::EPOCH, now()), (later(-1), now()), (later(7), later(7))] {
        let made = detached(&key, TEXT, at).signature.created().unwrap();
        assert_eq!(timestamp(made), wanted);
    }
}

#[test]
fn texts_that_programs_read_in_different_ways_are_not_signed() {
    let key = StreamKey::create("x", now()).unwrap();
    let signer = Signer::new(&key).unwrap();
    for bad in ["-a", "a\n-b", "a \nb", "a\t\nb", "a\r\nb", "a ", "a\nb\t", "\n-"] {
        for size in 1..=bad.len() {
            let refused = signer.clear(bad.as_bytes().chunks(size), now());
            assert!(matches!(refused, Err(SignError::NotPlain)), "{bad:?} in pieces of {size}");
        }
        signer.detached([bad], now()).unwrap();
    }
    for good in ["", "a", "a-\n b", "a\n\nb", "{\n\"a\": -1}"] {
        let text = clear(&key, good, now());
        assert_eq!(believed(&key, &text).unwrap(), good.replace('\n', "\r\n"), "{good:?}");
    }
    let long = "x".repeat(300);
    let text = format!("ab\n{long}\nc");
    assert_eq!(signer.clear(text.as_bytes().chunks(7), now()).unwrap().longest_line, 300);
}

fn imported(file: &str, passphrase: Option<&str>) -> Result<StreamKey, KeyError> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/openpgp/testdata").join(file);
    StreamKey::import(&std::fs::read(path).unwrap(), passphrase.map(str::as_bytes), now())
}

#[test]
fn keys_that_gpg_made_sign() {
    for (file, passphrase, owner, id) in [
        (
            "ed25519-with-passphrase.asc",
            Some("correct horse"),
            "Ed <ed@example.com>",
            "D0E1458D452BC3503A25760F622877F184542C3C",
        ),
        ("rsa3072.asc", None, "Rsa <rsa@example.com>", "8E6B4355DF689C06FD4824C9871682A2957A9245"),
        ("rsa3072.asc", Some("not needed"), "Rsa <rsa@example.com>", "8E6B4355DF689C06FD4824C9871682A2957A9245"),
        ("offline-primary.asc", None, "Offline <offline@example.com>", "55C2D9CCDB370AC4E12964C7DA69EAE290DD8BFD"),
    ] {
        let key = imported(file, passphrase).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!((key.owner.as_str(), key.id.as_str(), key.expires_at), (owner, id, None), "{file}");
        assert_eq!(believed(&key, &clear(&key, TEXT, now())).unwrap(), TEXT.replace('\n', "\r\n"), "{file}");
    }
}

#[test]
fn of_a_key_that_is_brought_what_signs_is_kept_and_no_more() {
    // Besides what signs, this one has a subkey to encrypt.
    let key = imported("rsa3072.asc", None).unwrap();
    let certificate = SignedPublicKey::from_bytes(key.certificate.as_slice()).unwrap();
    assert!(certificate.public_subkeys.is_empty());
    let key = imported("offline-primary.asc", None).unwrap();
    let certificate = SignedPublicKey::from_bytes(key.certificate.as_slice()).unwrap();
    assert_eq!(certificate.public_subkeys.len(), 1, "the one that signs");
    let said = format!("{key:?}");
    assert!(!said.contains(&key.secret), "{said}");
}

#[test]
fn keys_that_cannot_sign_are_refused_with_the_reason() {
    let refused = |file, passphrase| imported(file, passphrase).unwrap_err().to_string();
    assert_eq!(
        refused("ed25519-with-passphrase.asc", None),
        "the key is protected by a passphrase; give a file that holds it with --passphrase-file"
    );
    assert_eq!(
        refused("ed25519-with-passphrase.asc", Some("correct pony")),
        "the passphrase does not open the key; check the file"
    );
    assert!(refused("public.asc", None).starts_with("this is a public key"), "{}", refused("public.asc", None));
    assert_eq!(refused("revoked.asc", None), "the key is revoked; take another one");
    assert!(refused("p256-thirty-days.asc", None).starts_with("the key expired at 2025-01-31T00:00:00Z"));
    assert!(refused("certifies-only.asc", None).contains("(none is for signing)"));
    let not_a_key = StreamKey::import(b"-----BEGIN CERTIFICATE-----\n", None, now()).unwrap_err().to_string();
    assert!(not_a_key.starts_with("this is no OpenPGP key ("), "{not_a_key}");
    for owner in ["", "a\nb", &"x".repeat(257)] {
        assert!(matches!(StreamKey::create(owner, now()), Err(KeyError::Owner)), "{owner:?}");
    }
}

#[test]
fn a_key_that_ends_says_when() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/openpgp/testdata/p256-thirty-days.asc");
    let at = Timestamp::parse_rfc3339("2025-01-02T00:00:00Z").unwrap();
    let key = StreamKey::import(&std::fs::read(path).unwrap(), None, at).unwrap();
    assert_eq!(key.expires_at.unwrap().rfc3339(), "2025-01-31T00:00:00Z");
    assert!(believed(&key, &clear(&key, TEXT, at)).is_ok());
}

#[test]
fn keyrings_hold_all_keys() {
    let keys = ["a", "b"].map(|owner| StreamKey::create(owner, now()).unwrap());
    let ids = |read: Vec<SignedPublicKey>| -> Vec<String> {
        read.iter().map(|key| format!("{:X}", pgp::types::KeyDetails::fingerprint(key))).collect()
    };
    let binary = binary_keyring(&keys);
    let read = SignedPublicKey::from_bytes_many(binary.as_slice()).unwrap().map(Result::unwrap).collect();
    let wanted = keys.clone().map(|key| key.id);
    assert_eq!(ids(read), wanted);
    let armored = armored_keyring(&keys);
    let (read, _) = SignedPublicKey::from_string_many(&armored).unwrap();
    assert_eq!(ids(read.map(Result::unwrap).collect()), wanted);
}

#[test]
fn a_keyring_believes_its_keys_and_no_others() {
    let (key, other) = (StreamKey::create("One", now()).unwrap(), StreamKey::create("Other", now()).unwrap());
    let ring = |keys: &[&StreamKey]| Keyring::read(armored_keyring(keys.iter().copied()).as_bytes()).unwrap();
    let text = clear(&key, TEXT, later(60));
    let opened = |ring: &Keyring, text: &str| ring.open(text.as_bytes()).map(|text| String::from_utf8(text).unwrap());
    assert_eq!(opened(&ring(&[&key]), &text), Ok(TEXT.replace('\n', "\r\n")));
    assert_eq!(opened(&ring(&[&other, &key]), &text), Ok(TEXT.replace('\n', "\r\n")));
    assert_eq!(opened(&ring(&[&other]), &text), Err(VerifyError::Unknown));
    assert_eq!(opened(&ring(&[&key]), &text.replacen("index", "Index", 1)), Err(VerifyError::Unknown));
    assert_eq!(opened(&ring(&[&key]), TEXT), Err(VerifyError::Unsigned));
    assert_eq!(opened(&ring(&[&key]), ""), Err(VerifyError::Unsigned));
    // From before the key was made.
    let binary = Keyring::read(&binary_keyring([&key])).unwrap();
    assert_eq!(opened(&binary, &clear(&key, TEXT, later(60))), Ok(TEXT.replace('\n', "\r\n")));

    let signature = Signer::new(&key).unwrap().detached([TEXT], later(60)).unwrap();
    assert_eq!(ring(&[&key]).check(TEXT.as_bytes(), signature.as_bytes()), Ok(()));
    assert_eq!(ring(&[&other]).check(TEXT.as_bytes(), signature.as_bytes()), Err(VerifyError::Unknown));
    assert_eq!(ring(&[&key]).check(b"{}", signature.as_bytes()), Err(VerifyError::Unknown));
    assert_eq!(ring(&[&key]).check(TEXT.as_bytes(), b"none"), Err(VerifyError::Unsigned));

    assert!(matches!(Keyring::read(b"no key"), Err(VerifyError::NoKey(_))));
    assert!(matches!(Keyring::read(b""), Err(VerifyError::NoKey(_))));
    assert_eq!(Keyring::read(&vec![0; MAX_KEYRING_BYTES + 1]).err(), Some(VerifyError::TooLarge));
}
