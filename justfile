# Short names for what is done often. `just --list`

# what must hold before a change is taken, without root
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo test

# only the tests
test *FILTER:
    cargo test {{FILTER}}

# a server with throw-away keys
dev:
    cargo run -- quickstart

# review golden files after a change of the wire
golden:
    INSTA_UPDATE=always cargo test --test it
    git diff --stat

# storage conformance on PostgreSQL
postgres:
    tests/postgres.sh cargo test --test it postgres

# real snap clients and a real device (root)
clients *SUITE:
    tests/clients/run.sh {{SUITE}}
