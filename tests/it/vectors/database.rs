//! The check of every single-assertion case, and the database scenarios.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use hallmark::domain::assertion::database::{
    AddError, Added, Backstore, Batch, BatchError, CheckError, Database, MemoryBackstore, Need, needs,
    prerequisites, sequence_number,
};
use hallmark::domain::assertion::{
    Assertion, AssertionType, PrimaryKey, Ref, Statement, StreamDecoder, decode,
};
use hallmark::domain::time::Timestamp;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::{assert_complete, cases, json, read};

/// A time at which the verdicts of the index hold.
fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn load(file: &str) -> Assertion {
    decode(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn loaded(files: &Json) -> Vec<Assertion> {
    files
        .as_array()
        .unwrap()
        .iter()
        .map(|file| load(file.as_str().unwrap()))
        .collect()
}

/// The database all cases of the index are checked against.
fn index_database() -> Database<MemoryBackstore> {
    let index = json("index.json");
    let mut database = Database::new(loaded(&index["trusted"]), [], MemoryBackstore::default()).unwrap();
    for (file, assertion) in index["preload"]
        .as_array()
        .unwrap()
        .iter()
        .zip(loaded(&index["preload"]))
    {
        database
            .add(assertion, now())
            .unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    database
}

/// The cases that decode, with the assertion either decoder makes of them: all that the reference checked, but for
/// those we refuse before.
fn decoded_cases() -> Vec<(String, Json, Assertion)> {
    let subject = |file: &str| {
        let bytes = read(file);
        decode(&bytes)
            .ok()
            .or_else(|| StreamDecoder::new(bytes).next()?.ok())
    };
    let stricter =
        |file: &str| super::types::STRICTER.contains(&file) || super::wire::STRICTER_DECODE.contains(&file);
    let mut decoded = Vec::new();
    for case in cases(|_| true) {
        let file = case["file"].as_str().unwrap().to_owned();
        let found = subject(&file);
        assert_eq!(
            found.is_some(),
            case.get("check").is_some() && !stricter(&file),
            "{file}"
        );
        decoded.extend(found.map(|assertion| (file, case, assertion)));
    }
    decoded
}

#[test]
fn every_case_is_checked_as_in_the_reference() {
    let database = index_database();
    for (file, case, assertion) in decoded_cases() {
        let found = database.check(&assertion, now());
        let expected = match case["check"]["ok"].as_bool() {
            Some(true) if super::wire::STRICTER_SIGNATURE.contains(&file.as_str()) => Err("signature-format"),
            Some(true) => Ok(()),
            _refused => Err(case["check"]["category"].as_str().unwrap()),
        };
        let code = found.as_ref().copied().map_err(CheckError::code);
        assert_eq!(code, expected, "{file} ({}): {found:?}", case["note"]);
    }
}

#[test]
fn prerequisites_are_those_of_the_reference() {
    for (file, case, assertion) in decoded_cases() {
        let expected = case["prerequisites"].as_array().into_iter().flatten();
        let wanted: BTreeSet<(String, Vec<String>)> = expected
            .map(|reference| {
                let key = reference["primary-key"].as_array().unwrap();
                let key = key.iter().map(|part| part.as_str().unwrap().to_owned()).collect();
                (reference["type"].as_str().unwrap().to_owned(), key)
            })
            .collect();
        let found = prerequisites(&assertion)
            .into_iter()
            .map(|Ref { kind, key }| (kind.name().to_owned(), key.0))
            .collect();
        assert_eq!(wanted, found, "{file}");
    }
}

/// Hands out only what was announced, and notes anything else that is asked for.
struct Restricted<'a> {
    all: &'a MemoryBackstore,
    announced: BTreeSet<Need>,
    surprises: RefCell<Vec<String>>,
}

impl Restricted<'_> {
    fn note(&self, asked: impl std::fmt::Debug) {
        self.surprises.borrow_mut().push(format!("{asked:?}"));
    }
}

impl Backstore for Restricted<'_> {
    fn get(&self, reference: &Ref, max_format: u32) -> Option<Assertion> {
        if !self.announced.contains(&Need::One(reference.clone())) {
            self.note(reference);
        }
        self.all.get(reference, max_format)
    }

    fn search(&self, kind: AssertionType, headers: &[(&str, &str)], max_format: u32) -> Vec<Assertion> {
        let account = headers
            .iter()
            .find(|(name, _)| *name == "account-id")
            .map(|(_, value)| (*value).to_owned());
        let announced = account.is_some_and(|account| self.announced.contains(&Need::KeysOfAccount(account)));
        if kind != AssertionType::AccountKey || !announced {
            self.note((kind, headers));
        }
        self.all.search(kind, headers, max_format)
    }

    fn sequence_member(
        &self,
        kind: AssertionType,
        sequence_key: &PrimaryKey,
        _: Option<u64>,
        _: u32,
    ) -> Option<Assertion> {
        self.note((kind, sequence_key));
        None
    }

    fn put(&mut self, _: Assertion) {}
}

#[test]
fn checking_and_adding_look_up_only_what_was_announced() {
    let index = json("index.json");
    let all = index_database().into_store();
    for (file, _, assertion) in decoded_cases() {
        let announced = needs(&assertion).into_iter().collect();
        let store = Restricted {
            all: &all,
            announced,
            surprises: RefCell::default(),
        };
        let mut database = Database::new(loaded(&index["trusted"]), [], store).unwrap();
        let _verdict_is_tested_elsewhere = database.add(assertion, now());
        assert_eq!(
            *database.store().surprises.borrow(),
            Vec::<String>::new(),
            "{file}"
        );
    }
}

#[test]
fn every_scenario_ends_as_in_the_reference() {
    let scenarios = json("scenarios.json");
    let mut used = BTreeSet::new();
    let list = scenarios["scenarios"].as_array().unwrap();
    assert_eq!(list.len(), 13);
    for scenario in list {
        let name = scenario["name"].as_str().unwrap();
        let mut database =
            Database::new(loaded(&scenarios["trusted"]), [], MemoryBackstore::default()).unwrap();
        for (number, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            let found = run(&mut database, step);
            for (field, expected) in step.as_object().unwrap() {
                if let Some(value) = found.get(field.as_str()) {
                    assert_eq!(value, expected, "{name}, step {number}: {step}");
                }
            }
            for file in step["file"].as_str().into_iter().chain(
                step["files"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Json::as_str),
            ) {
                used.insert(file.to_owned());
            }
        }
    }
    assert_complete(
        "db",
        ".assert",
        used.into_iter().filter(|file| file.starts_with("db/")),
    );
}

/// What a step gives, by the field names of the scenarios.
fn run(database: &mut Database<MemoryBackstore>, step: &Json) -> BTreeMap<&'static str, Json> {
    let kind = || step["type"].as_str().unwrap().parse::<AssertionType>().unwrap();
    let headers: Vec<(&str, &str)> = step["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let limit = |field: &str| step[field].as_i64().and_then(|number| u64::try_from(number).ok());
    let max_format = limit("max-format").map(|format| u32::try_from(format).unwrap());
    let found = match step["op"].as_str().unwrap() {
        "add" => Err(match database.add(load(step["file"].as_str().unwrap()), now()) {
            Ok(_) => "ok",
            Err(AddError::Revision { .. }) => "revision-error",
            Err(AddError::UnsupportedFormat { kept: true, .. }) => "unsupported-format-update",
            Err(AddError::UnsupportedFormat { kept: false, .. }) => "unsupported-format",
            Err(AddError::NotStorable(_) | AddError::Check(_) | AddError::Predefined(_)) => "error",
        }),
        "check" => Err(
            match database.check(&load(step["file"].as_str().unwrap()), now()) {
                Ok(()) => "ok",
                Err(_) => "error",
            },
        ),
        "batch" => {
            let mut batch = Batch::new();
            loaded(&step["files"])
                .into_iter()
                .for_each(|assertion| batch.add(assertion).unwrap());
            Err(match batch.commit(database, now()) {
                Ok(_) => "ok",
                Err(BatchError::Missing { .. } | BatchError::Circle(_) | BatchError::Refused { .. }) => {
                    "error"
                }
            })
        }
        "find" => database.find(kind(), &headers, max_format).map_err(|_| "error"),
        "find-sequence" => database
            .find_sequence(kind(), &headers, limit("after"), max_format)
            .map_err(|_| "error"),
        "find-many" => {
            let many = database.find_many(kind(), &headers);
            let result = if many.is_empty() { "not-found" } else { "ok" };
            return BTreeMap::from([("result", result.into()), ("count", many.len().into())]);
        }
        other => panic!("unknown operation {other}"),
    };
    match found {
        Err(result) => BTreeMap::from([("result", result.into())]),
        Ok(None) => BTreeMap::from([("result", "not-found".into())]),
        Ok(Some(assertion)) => BTreeMap::from([
            ("result", "ok".into()),
            ("revision", assertion.revision().into()),
            ("format", assertion.format().into()),
            ("sequence", sequence_number(&assertion).into()),
        ]),
    }
}

#[test]
fn a_batch_takes_all_or_nothing_and_keeps_the_newest() {
    let index = json("index.json");
    let open = || Database::new(loaded(&index["trusted"]), [], MemoryBackstore::default()).unwrap();
    let files = [
        "valid/024-model-uc18.assert",
        "valid/006-account-key-brand.assert",
        "valid/003-account-brand.assert",
    ];

    let mut database = open();
    let mut batch = Batch::new();
    for file in files.iter().chain(&["db/001-account-brand-r2.assert"]) {
        batch.add(load(file)).unwrap();
    }
    let added = batch.clone().commit(&mut database, now()).unwrap();
    let kinds: Vec<_> = added
        .iter()
        .map(|assertion| (assertion.kind(), assertion.revision()))
        .collect();
    assert_eq!(
        kinds,
        [
            (AssertionType::Account, 2),
            (AssertionType::AccountKey, 0),
            (AssertionType::Model, 2)
        ]
    );
    assert_eq!(batch.commit(&mut database, now()).unwrap(), []);

    let mut database = open();
    let mut batch = Batch::new();
    // The signature of the last one is good, but a brand cannot sign accounts.
    for file in files.iter().chain(&["types/account/011-signed-by-brand.assert"]) {
        batch.add(load(file)).unwrap();
    }
    let refused = batch.commit(&mut database, now());
    assert!(matches!(refused, Err(BatchError::Refused { .. })), "{refused:?}");
    assert!(database.store().is_empty());
}

#[test]
fn only_accounts_and_keys_can_be_trusted() {
    let model = load("valid/024-model-uc18.assert");
    assert!(Database::new([model], [], MemoryBackstore::default()).is_err());
}

/// The same account in revisions 0 to 5, signed by the test root.
fn account_revisions() -> Vec<Assertion> {
    let original = load("valid/003-account-brand.assert");
    let root = super::key("root");
    let created = Timestamp::from_unix(1_700_000_000);
    let sign = |revision: u64| {
        let mut headers = original.headers().clone();
        headers.set("revision", revision.to_string());
        let draft = Statement::new(AssertionType::Account, headers, Vec::new())
            .draft(&root.public)
            .unwrap();
        let signature = root.sign(&draft.digest(created));
        draft.finish(created, &signature).unwrap()
    };
    (0..6).map(sign).collect()
}

#[test]
fn whatever_the_order_of_arrival_only_higher_revisions_take_the_place() {
    let revisions = account_revisions();
    let index = json("index.json");
    let empty = Database::new(loaded(&index["trusted"]), [], MemoryBackstore::default()).unwrap();
    proptest!(|(arrivals in proptest::collection::vec(0..revisions.len(), 0..12))| {
        let mut database = empty.clone();
        let mut current: Option<u64> = None;
        for place in arrivals {
            let offered = revisions[place].revision();
            let result = database.add(revisions[place].clone(), now());
            let expected = match current {
                Some(current) if current >= offered => Err(AddError::Revision { current, offered }),
                Some(current) => Ok(Added::Replaced(current)),
                None => Ok(Added::New),
            };
            prop_assert_eq!(result, expected);
            current = current.max(Some(offered));
            let found = database.resolve(&revisions[place].reference()).map(|kept| kept.revision());
            prop_assert_eq!(found, current);
        }
    });
}
