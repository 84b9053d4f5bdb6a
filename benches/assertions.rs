//! What the parts of an assertion's way cost: reading, verifying, writing, signing.
//!
//! `bare …` is what the cryptographic library alone needs for the same job: the limit the rest is compared with.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start may stop")]

use std::hint::black_box;

use aws_lc_rs::digest::{Digest, SHA512, digest};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA512;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hallmark::domain::assertion::{
    Assertion, PublicKey, Statement, StreamDecoder, Typed, decode, encode_stream,
};
use hallmark::domain::time::Timestamp;

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

fn device_key(request: &Assertion) -> PublicKey {
    match request.typed() {
        Typed::SerialRequest(request) => request.device_key.clone(),
        other => unreachable!("{other:?}"),
    }
}

fn reading(criterion: &mut Criterion) {
    let request = vector("valid/033-serial-request.assert");
    let model = vector("valid/025-model-uc22.assert");
    let serial = vector("valid/036-serial.assert");
    let mut group = criterion.benchmark_group("decode");
    for (name, bytes) in [
        ("serial-request", &request),
        ("model", &model),
        ("serial", &serial),
    ] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |b| b.iter(|| decode(black_box(bytes)).unwrap()));
    }
    let stream = encode_stream([&Bytes::from(request.clone()), &Bytes::from(model)]);
    group.throughput(Throughput::Bytes(stream.len() as u64));
    group.bench_function("stream of serial-request and model", |b| {
        b.iter(|| {
            StreamDecoder::new(black_box(stream.clone()))
                .map(Result::unwrap)
                .count()
        })
    });
    group.finish();

    let key = device_key(&decode(&request).unwrap());
    let mut group = criterion.benchmark_group("public key");
    group.bench_function("decode", |b| {
        b.iter(|| PublicKey::decode(black_box(key.encoded())).unwrap())
    });
    group.finish();
}

fn verifying(criterion: &mut Criterion) {
    let request = decode(&vector("valid/033-serial-request.assert")).unwrap();
    let key = device_key(&request);
    let pair = key_pair("device");
    let sha512 = digest(&SHA512, request.content());
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign_digest(&RSA_PKCS1_SHA512, &sha512, &mut signature)
        .unwrap();
    let (n, e) = key.components();
    let bare = aws_lc_rs::rsa::PublicKeyComponents { n, e }
        .to_parsed_public_key(&aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA512);
    let bare = bare.unwrap();

    let mut group = criterion.benchmark_group("verify");
    group.bench_function("bare signature", |b| {
        b.iter(|| bare.verify_digest_sig(black_box(&sha512), &signature).unwrap())
    });
    group.bench_function("serial-request", |b| {
        b.iter(|| key.verify_assertion(black_box(&request)).unwrap())
    });
    group.finish();
}

fn signing(criterion: &mut Criterion) {
    let serial = decode(&vector("valid/036-serial.assert")).unwrap();
    let pair = key_pair("brand");
    let public = {
        let text = serial.sign_key().to_string();
        let keys = std::fs::read_dir(format!("{}/tests/vectors/valid", env!("CARGO_MANIFEST_DIR"))).unwrap();
        keys.map(|entry| decode(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap())
            .find_map(|assertion| match assertion.typed() {
                Typed::AccountKey(key) if key.public_key.id().as_str() == text => {
                    Some(key.public_key.clone())
                }
                _ => None,
            })
            .unwrap()
    };
    let statement = || Statement::new(serial.kind(), serial.headers().clone(), serial.body().to_vec());
    let now = Timestamp::from_unix(1_790_000_000);
    let sign = |sha512: &[u8; 64]| {
        let sha512 = Digest::import_less_safe(sha512, &SHA512).unwrap();
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign_digest(&RSA_PKCS1_SHA512, &sha512, &mut signature)
            .unwrap();
        signature
    };
    let signature = sign(&statement().draft(&public).unwrap().digest(now));

    let mut group = criterion.benchmark_group("sign");
    group.sample_size(50);
    group.bench_function("bare signature", |b| b.iter(|| sign(black_box(&[7; 64]))));
    group.bench_function("serial: draft and digest", |b| {
        b.iter(|| statement().draft(black_box(&public)).unwrap().digest(now))
    });
    group.bench_function("serial: assemble and check", |b| {
        b.iter_batched(
            || statement().draft(&public).unwrap(),
            |draft| draft.finish(now, black_box(&signature)).unwrap(),
            criterion::BatchSize::SmallInput,
        )
    });
    group.bench_function("serial: all of it", |b| {
        b.iter(|| {
            let draft = statement().draft(&public).unwrap();
            let signature = sign(&draft.digest(now));
            draft.finish(now, &signature).unwrap()
        })
    });
    group.finish();
}

criterion_group!(benches, reading, verifying, signing);
criterion_main!(benches);
