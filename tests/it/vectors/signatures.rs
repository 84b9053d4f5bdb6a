//! Signatures we make: byte-equal to the reference's, good for an independent OpenPGP library, and interoperable.

use std::collections::BTreeSet;

use hallmark::domain::assertion::{Assertion, PublicKey, SignatureBlock, SignatureWriter, Statement, decode};
use hallmark::domain::time::Timestamp;
use sequoia_openpgp as openpgp;

use super::{TestKey, assert_complete, cases, json, keys, pem_bytes, read, read_text};

/// Signs content as the vault does and gives the whole assertion.
fn sign(content: &[u8], created: Timestamp, key: &TestKey) -> Vec<u8> {
    let writer = SignatureWriter::new(created).unwrap();
    let digest = writer.digest(content);
    let block = writer.block(&digest, &key.sign(&digest));
    [content, b"\n\n", block.as_bytes(), b"\n"].concat()
}

fn created(assertion: &Assertion) -> Timestamp {
    SignatureBlock::decode(assertion.signature()).unwrap().created()
}

#[test]
fn every_valid_assertion_is_reproduced_byte_for_byte() {
    let keys = keys();
    let mut used = Vec::new();
    for case in cases(|group| group == "valid") {
        let file = case["file"].as_str().unwrap();
        let bytes = read(file);
        let assertion = decode(&bytes).unwrap();
        let key = &keys[assertion.sign_key().as_str()];
        assert!(
            sign(assertion.content(), created(&assertion), key) == bytes,
            "{file}"
        );
        used.push(file.to_owned());
    }
    assert_complete("valid", ".assert", used);
}

/// The whole way: headers in, ordered, signed, decoded again.
#[test]
fn valid_assertions_are_reproduced_from_their_headers() {
    let keys = keys();
    let mut reproduced = BTreeSet::new();
    let all = cases(|group| group == "valid");
    for case in &all {
        let file = case["file"].as_str().unwrap();
        let original = decode(&read(file)).unwrap();
        let key = &keys[original.sign_key().as_str()];
        let mut statement = Statement::new(
            original.kind(),
            original.headers().clone(),
            original.body().to_vec(),
        );
        // A default the signer was not given stands among the other headers (assertions.md 1.4).
        if String::from_utf8_lossy(original.content()).contains("\nprovenance: global-upload\n") {
            statement.headers_mut().remove("provenance");
        }
        let draft = statement
            .draft(&key.public)
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        let time = created(&original);
        let signature = key.sign(&draft.digest(time));
        let again = draft.finish(time, &signature).unwrap();
        assert!(
            again.encoded() == original.encoded(),
            "{file}:\n{}",
            String::from_utf8_lossy(again.encoded())
        );
        reproduced.insert(file);
    }
    assert_eq!(reproduced.len(), all.len());
}

#[test]
fn interop_samples_of_other_tools_verify() {
    let mut used = Vec::new();
    for case in json("interop/index.json").as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let key = PublicKey::decode(&read_text(case["public-key"].as_str().unwrap())).unwrap();
        let assertion = decode(&read(file)).unwrap();
        assert_eq!(key.id(), assertion.sign_key(), "{file}");
        let result = key.verify_assertion(&assertion);
        assert_eq!(
            result.is_ok(),
            case["signature-check"] == "ok",
            "{file}: {result:?}"
        );
        used.push(file.to_owned());
    }
    assert_complete("interop", ".assert", used);
}

#[test]
fn signature_checks_outside_the_database_are_those_of_the_reference() {
    let keys = keys();
    let checks = json("signature-checks.json");
    for case in checks.as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let key = keys
            .values()
            .find(|key| case["key"] == key.name.as_str())
            .unwrap();
        let assertion = decode(&read(file)).unwrap();
        assert_eq!(
            key.public.verify_assertion(&assertion).is_ok(),
            case["ok"] == true,
            "{case}"
        );
    }
    assert_eq!(checks.as_array().unwrap().len(), 8);
}

#[test]
fn public_keys_have_the_encodings_and_ids_of_the_reference() {
    let index = json("keys/index.json");
    for entry in index.as_array().unwrap() {
        let key = PublicKey::decode(entry["encoded"].as_str().unwrap()).unwrap();
        assert_eq!(key.encoded(), entry["encoded"]);
        assert_eq!(key.id().as_str(), entry["key-id"]);
        assert_eq!(key.bits(), entry["bits"]);
        let (n, e) = key.components();
        assert_eq!(PublicKey::from_components(n, e), Ok(key.clone()));
        assert_eq!(PublicKey::from_spki_der(&key.to_spki_der()), Ok(key));
    }
}

/// The public half of a key as sequoia sees it, with the creation time that makes its id ours.
fn openpgp_key(
    key: &TestKey,
) -> openpgp::packet::Key<openpgp::packet::key::PublicParts, openpgp::packet::key::PrimaryRole> {
    let (n, e) = key.public.components();
    let born = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_451_606_400);
    openpgp::packet::key::Key4::import_public_rsa(e, n, Some(born))
        .unwrap()
        .into()
}

#[test]
fn an_independent_openpgp_library_verifies_what_we_sign() {
    use openpgp::parse::Parse as _;
    for key in keys().values() {
        let content = format!("type: model\nsign-key-sha3-384: {}\n\nbody é\n", key.public.id());
        // The library takes only integers of exact length, and ours has that of the modulus: so a signature whose
        // first bit is set is looked for, which every other one is.
        let packets = (1_735_689_600..).map(|seconds| {
            let writer = SignatureWriter::new(Timestamp::from_unix(seconds)).unwrap();
            let digest = writer.digest(content.as_bytes());
            let raw = key.sign(&digest);
            (raw[0] >= 0x80).then(|| writer.binary(&digest, &raw))
        });
        let packet = packets.flatten().next().unwrap();
        let openpgp::Packet::Signature(signature) = openpgp::Packet::from_bytes(&packet).unwrap() else {
            panic!("this is no signature packet");
        };
        assert_eq!(signature.typ(), openpgp::types::SignatureType::Binary);
        assert_eq!(signature.hash_algo(), openpgp::types::HashAlgorithm::SHA512);
        let verifier = openpgp_key(key);
        signature.verify_message(&verifier, content.as_bytes()).unwrap();
        assert!(signature.verify_message(&verifier, b"something else").is_err());
    }
}

#[test]
fn a_key_made_elsewhere_has_the_same_public_form() {
    use openpgp::serialize::MarshalInto as _;
    for key in keys().values() {
        let packet = openpgp::Packet::from(openpgp_key(key)).to_vec().unwrap();
        let text = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            [&[1][..], &packet].concat(),
        );
        assert_eq!(text, key.public.encoded().replace('\n', ""), "{}", key.name);
        let pair =
            aws_lc_rs::rsa::KeyPair::from_pkcs8(&pem_bytes(&format!("keys/{}.pem", key.name))).unwrap();
        assert_eq!(pair.public_modulus_len() * 8, key.public.bits());
    }
}
