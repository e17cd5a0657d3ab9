//! What to know before buying machines: requests, bytes, memory and processor time of a tenant's night, and of a thousand tenants'.
//! `just bench-sizing`, or `just bench-sizing tenant` for one part. `docs/sizing.md` is made of it.
//!
//! The store is a bucket in this process that counts what it is asked; a worker, a scheduler, a dashboard, Redis and Tempo are
//! processes.

mod control;
mod kept;
mod tenant;
mod worker;

use anyhow::Result;
use fermata_vault::fake::{Fake, Verb};

use crate::child;
use crate::fleet::stage::Process;
use crate::sheet::{self, Aim, Unit};

/// The first argument, for all of it.
pub(crate) const NAME: &str = "sizing";
/// What may be asked for by itself.
pub(crate) const PARTS: [&str; 4] = ["tenant", "worker", "kept", "control"];

/// What a process and the bucket have done so far, or in a time.
#[derive(Clone, Copy, Debug)]
struct Spent {
    /// Processor time of the process, in seconds.
    cpu: f64,
    /// Requests to the bucket by any process: [`VERBS`].
    store: [usize; 4],
    /// Bytes in the bucket.
    stored: f64,
}

const VERBS: [(Verb, &str); 4] =
    [(Verb::Put, "PUT"), (Verb::Get, "GET"), (Verb::List, "LIST"), (Verb::Delete, "DELETE")];
const MIB: f64 = 1_048_576.0;

/// Measures these parts, or all.
pub(crate) async fn measure(parts: &[String]) -> Result<()> {
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|named| named == part);
    if wanted("tenant") {
        tenant::measure().await?;
    }
    if wanted("worker") {
        worker::measure().await?;
    }
    if wanted("kept") {
        kept::measure().await?;
    }
    if wanted("control") {
        control::measure().await?;
    }
    Ok(())
}

impl Spent {
    fn so_far(process: &Process, bucket: &Fake) -> Result<Self> {
        Ok(Self {
            cpu: child::cpu(process.pid())?,
            store: VERBS.map(|(verb, _)| bucket.requests(verb)),
            stored: bucket.bytes() as f64,
        })
    }

    fn since(self, before: Self) -> Self {
        let mut store = self.store;
        store.iter_mut().zip(before.store).for_each(|(now, before)| *now -= before);
        Self { cpu: self.cpu - before.cpu, store, stored: self.stored - before.stored }
    }
}

/// Writes a line for each kind of request to the bucket, each divided by so many.
fn store_lines(what: &str, of: &[Spent], by: f64) {
    for (place, (_, verb)) in VERBS.iter().enumerate() {
        let requests: Vec<f64> = of.iter().map(|spent| spent.store[place] as f64 / by).collect();
        sheet::line(&format!("{what}: {verb}"), Unit::Count, &requests, Aim::None);
    }
}

fn line(what: &str, unit: Unit, values: &[f64]) {
    sheet::line(what, unit, values, Aim::None);
}
