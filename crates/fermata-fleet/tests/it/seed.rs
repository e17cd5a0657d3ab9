//! The seeds of random tests, and how to replay one: `FERMATA_SEED=17 cargo nextest run -p fermata-fleet`.

use std::ops::Range;

/// The seeds to try: these, or the one that a failure named.
pub(crate) fn seeds(these: Range<u64>) -> Vec<u64> {
    #[expect(clippy::disallowed_methods, reason = "the one place where these tests read the environment")]
    let named = std::env::var("FERMATA_SEED").ok();
    match named {
        Some(seed) => vec![seed.parse().unwrap()],
        None => these.collect(),
    }
}
