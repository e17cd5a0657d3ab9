# `just` lists these. Each calls what also works without just.

_list:
    @just --list --unsorted

# all tests; arguments go to the runner (`just test verify`)
test *args:
    ./test {{ args }}

# what clippy and rustfmt say
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# format the code
fmt:
    cargo fmt --all

# the documentation of the crates, in a browser
doc:
    cargo doc --workspace --no-deps --open

# a simulated Tempo, a backup that is interrupted and resumed, a verified snapshot
demo:
    cargo run --release -- demo

# speed, memory, requests, quota and views against their aims; names of parts go to it (`just bench speed`)
bench *parts:
    cargo bench -p fermata-tests --bench bench -- {{ parts }}

# a fleet against its aims, beside apalis-redis and BullMQ; names of parts go to it (`just bench-fleet empty`)
bench-fleet *parts:
    cargo bench -p fermata-tests --bench bench --features stock -- fleet {{ parts }}

# what to know before buying machines: docs/sizing.md is made of it; names of parts go to it (`just bench-sizing tenant`)
bench-sizing *parts:
    cargo bench -p fermata-tests --bench bench -- sizing {{ parts }}

# a fleet in a storm of faults, seed after seed (`just chaos 20 60`: 20 seeds of a minute each)
chaos seeds="10" seconds="60":
    for seed in $(seq {{ seeds }}); do FERMATA_SEED=$seed FERMATA_CHAOS_SECONDS={{ seconds }} cargo nextest run -p fermata-tests chaos --no-capture || exit 1; done

# pictures of the dashboard for docs/ (needs pngquant)
shots:
    FERMATA_SHOTS="$PWD/docs/images" cargo nextest run -p fermata-tests dashboard::shots
    pngquant --force --ext .png --skip-if-larger --quality 60-95 docs/images/*.png

# the tree that the image holds, under target/image-root
image-root:
    cargo build --release --locked --package fermata
    rm -rf target/image-root
    deploy/image-root target/release/fermata target/image-root

# the image (needs docker)
image:
    docker build --tag fermata --file deploy/Dockerfile .

# an upgrade under load, with real processes on this machine
rollout:
    cargo nextest run -p fermata-tests rollout --no-capture

# the same and more in a cluster that it makes (needs docker, kind, kubectl)
try-kind:
    deploy/try-kind.sh

# licences, sources, advisories (needs cargo-deny)
deny:
    cargo deny check

# everything that must hold before a change is merged
ci:
    .ci/run
