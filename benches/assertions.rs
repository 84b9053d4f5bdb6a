//! What the parts of an assertion's way cost: reading, verifying, writing, signing.
//!
//! `bare_signature` is what the cryptographic library alone needs for the same job: the limit the rest of a group is
//! compared with.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start may stop")]

use aws_lc_rs::digest::{Digest, SHA512};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA512;
use divan::Bencher;
use hallmark::domain::assertion::{Assertion, PublicKey, Statement, Typed, decode};
use hallmark::domain::time::Timestamp;

fn main() {
    divan::main();
}

fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

fn key_pair(name: &str) -> KeyPair {
    let text = String::from_utf8(vector(&format!("keys/{name}.pem"))).unwrap();
    let base64: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64).unwrap();
    KeyPair::from_pkcs8(&der)
        .or_else(|_| KeyPair::from_der(&der))
        .unwrap()
}

fn bare_signature(pair: &KeyPair, sha512: &[u8; 64]) -> Vec<u8> {
    let sha512 = Digest::import_less_safe(sha512, &SHA512).unwrap();
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign_digest(&RSA_PKCS1_SHA512, &sha512, &mut signature)
        .unwrap();
    signature
}

mod reading {
    use super::*;
    use divan::counter::BytesCount;

    #[divan::bench(args = ["033-serial-request", "036-serial", "025-model-uc22"])]
    fn assertion(bencher: Bencher<'_, '_>, name: &str) {
        let bytes = vector(&format!("valid/{name}.assert"));
        bencher
            .counter(BytesCount::of_slice(&bytes))
            .bench(|| decode(&bytes).unwrap());
    }

    #[divan::bench]
    fn public_key(bencher: Bencher<'_, '_>) {
        let (_, key) = request();
        bencher.bench(|| PublicKey::decode(key.encoded()).unwrap());
    }
}

/// A serial-request and the key that signed it.
fn request() -> (Assertion, PublicKey) {
    let request = decode(&vector("valid/033-serial-request.assert")).unwrap();
    let key = match request.typed() {
        Typed::SerialRequest(request) => request.device_key.clone(),
        other => unreachable!("{other:?}"),
    };
    (request, key)
}

mod verifying {
    use super::*;

    #[divan::bench]
    fn bare_signature(bencher: Bencher<'_, '_>) {
        let (_, key) = request();
        let digest = aws_lc_rs::digest::digest(&SHA512, b"anything");
        let pair = key_pair("device");
        let signature = super::bare_signature(&pair, digest.as_ref().try_into().unwrap());
        let (n, e) = key.components();
        let key = aws_lc_rs::rsa::PublicKeyComponents { n, e }
            .to_parsed_public_key(&aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA512)
            .unwrap();
        bencher.bench(|| key.verify_digest_sig(&digest, &signature).unwrap());
    }

    #[divan::bench]
    fn serial_request(bencher: Bencher<'_, '_>) {
        let (request, key) = request();
        bencher.bench(|| key.verify_assertion(&request).unwrap());
    }
}

mod signing {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    /// The statement of a serial, and the brand's key.
    fn serial() -> (Statement, PublicKey) {
        let serial = decode(&vector("valid/036-serial.assert")).unwrap();
        let key = decode(&vector("valid/006-account-key-brand.assert")).unwrap();
        let key = match key.typed() {
            Typed::AccountKey(key) => key.public_key.clone(),
            other => unreachable!("{other:?}"),
        };
        let statement = Statement::new(serial.kind(), serial.headers().clone(), serial.body().to_vec());
        (statement, key)
    }

    #[divan::bench]
    fn bare_signature(bencher: Bencher<'_, '_>) {
        let pair = key_pair("brand");
        bencher.bench(|| super::bare_signature(&pair, &[7; 64]));
    }

    #[divan::bench]
    fn draft(bencher: Bencher<'_, '_>) {
        let (statement, key) = serial();
        let now = Timestamp::from_unix(NOW);
        bencher
            .with_inputs(|| statement.clone())
            .bench_values(|statement| statement.draft(&key).unwrap().digest(now));
    }

    #[divan::bench]
    fn assemble_and_check(bencher: Bencher<'_, '_>) {
        let (statement, key) = serial();
        let now = Timestamp::from_unix(NOW);
        let draft = statement.draft(&key).unwrap();
        let signature = super::bare_signature(&key_pair("brand"), &draft.digest(now));
        bencher
            .with_inputs(|| draft.clone())
            .bench_values(|draft| draft.finish(now, &signature).unwrap());
    }

    #[divan::bench]
    fn serial_in_all(bencher: Bencher<'_, '_>) {
        let (statement, key) = serial();
        let now = Timestamp::from_unix(NOW);
        let pair = key_pair("brand");
        bencher
            .with_inputs(|| statement.clone())
            .bench_values(|statement| {
                let draft = statement.draft(&key).unwrap();
                let signature = super::bare_signature(&pair, &draft.digest(now));
                draft.finish(now, &signature).unwrap()
            });
    }
}
