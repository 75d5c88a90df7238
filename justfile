# `just` lists the recipes; `just check` is what CI runs.

_default:
    @just --list

# Everything CI runs.
check:
    .ci/run

fmt:
    cargo fmt --all

clippy:
    cargo clippy --locked --all-targets --features failpoints,benchmarks -- -D warnings

# All tests, those with real clients included.
test:
    tests/run

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# The whole story on a simulated Wise.
demo *arguments:
    cargo run --release --locked -- demo {{ arguments }}

bench *arguments:
    cargo bench --locked {{ arguments }}

# What each step of a request of ours costs, and their sum.
steps *arguments:
    cargo bench --locked --features benchmarks --bench steps {{ arguments }}

deny:
    cargo deny --locked check bans licenses sources
    cargo deny --locked --manifest-path tests/fuzz/Cargo.toml --config deny.toml check bans licenses sources

# Each fuzzer for so long or 10 million executions; `just fuzz keep` minimises what they found.
fuzz *arguments:
    tests/fuzz/run {{ arguments }}

# Everything at once, on the released program; memory and descriptors must stay flat.
soak minutes="60":
    SOAK_MINUTES={{ minutes }} cargo test --release --locked --test soak

# The proxy beside nginx, HAProxy and plain hyper; `just compare --write` renews docs/performance.md.
compare *arguments:
    benches/compare/setup
    benches/compare/run {{ arguments }}

# A release build trained on its own work, in target/pgo.
pgo:
    benches/pgo
