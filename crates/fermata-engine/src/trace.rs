//! Turns of jobs as traces show them: alike wherever a job is worked on.
//!
//! Traces are made of spans and the log of events, so neither ever shows what is meant for the other. A span holds names,
//! counts and kinds of failures; what an answer says is for the log alone, where errors are told once.

use fermata_core::names::{RunId, Tenant};
use tracing::Span;
use tracing::field::Empty;

/// A turn of a job, which in a fleet is the root of a trace of its own. `failed` are the attempts before it.
pub fn turn(tenant: &Tenant, run: &RunId, entity: &str, failed: u32) -> Span {
    tracing::info_span!(
        "turn",
        otel.name = format!("turn {entity}"),
        otel.status_code = Empty,
        fermata.tenant = tenant.as_str(),
        fermata.run = run.as_str(),
        fermata.entity = entity,
        fermata.attempt = i64::from(failed) + 1,
        fermata.outcome = Empty,
    )
}

/// How a turn ended, in the words of the queue's counters.
pub fn ended(turn: &Span, outcome: &'static str) {
    turn.record("fermata.outcome", outcome);
    if matches!(outcome, "dead" | "retry") {
        turn.record("otel.status_code", "ERROR");
    }
}
