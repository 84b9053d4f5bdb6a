//! Replays the fuzz corpus on the stable toolchain: once a crash, never again.

use std::path::Path;

#[path = "../fuzz/checks.rs"]
pub(crate) mod checks;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display())) {
        let path = entry.unwrap().path();
        let data = std::fs::read(&path).unwrap();
        if std::panic::catch_unwind(|| check(&data)).is_err() {
            panic!("{} breaks the {target} check", path.display());
        }
        count += 1;
    }
    assert!(count > 0, "{} is empty", corpus.display());
}

#[test]
fn the_corpus_of_the_stream_decoder_passes() {
    replay("stream", checks::stream);
}

#[test]
fn the_corpus_of_the_header_grammar_passes() {
    replay("headers", checks::headers);
}

#[test]
fn the_corpus_of_public_keys_and_signatures_passes() {
    replay("public_key", checks::public_key);
}

#[test]
fn the_corpus_of_statements_passes() {
    replay("statement", checks::statement);
}

#[test]
fn the_corpus_of_snap_documents_passes() {
    replay("snap_yaml", checks::snap_yaml);
}

#[test]
fn the_corpus_of_snap_files_passes() {
    replay("snap_file", checks::snap_file);
}
