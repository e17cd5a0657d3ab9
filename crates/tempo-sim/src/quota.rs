//! Token buckets, as a gateway in front of Tempo keeps them.
//!
//! Promises that no owner gets more than `burst + rate x seconds` requests through, and that `rate` 0 means no limit.

use std::collections::HashMap;
use std::time::Instant;

/// The size of the buckets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// Requests per second; 0 for no limit.
    pub(crate) rate: f64,
    /// How many requests a rested bucket lets through at once.
    pub(crate) burst: f64,
    /// Refusals in a row that bring a ban; 0 for never.
    pub(crate) ban_after: u32,
    /// Length of a ban.
    pub(crate) ban_seconds: u32,
}

/// What the gateway says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// 429.
    Refuse,
    /// The owner is banned: 403.
    Ban,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
    refused_in_a_row: u32,
    banned_until: Option<Instant>,
}

/// All buckets, by owner (a tenant's name or an address).
#[derive(Debug, Default)]
pub(crate) struct Buckets(HashMap<String, Bucket>);

impl Buckets {
    pub(crate) fn ask(&mut self, owner: &str, rule: Rule, now: Instant) -> Verdict {
        if rule.rate <= 0.0 {
            return Verdict::Pass;
        }
        let bucket = self.0.entry(owner.to_owned()).or_insert(Bucket {
            tokens: rule.burst,
            at: now,
            refused_in_a_row: 0,
            banned_until: None,
        });
        if bucket.banned_until.is_some_and(|until| now < until) {
            return Verdict::Ban;
        }
        bucket.tokens =
            (bucket.tokens + now.duration_since(bucket.at).as_secs_f64() * rule.rate).min(rule.burst);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            bucket.refused_in_a_row = 0;
            return Verdict::Pass;
        }
        bucket.refused_in_a_row += 1;
        if rule.ban_after > 0 && bucket.refused_in_a_row >= rule.ban_after {
            bucket.refused_in_a_row = 0;
            bucket.banned_until = Some(now + std::time::Duration::from_secs(u64::from(rule.ban_seconds)));
        }
        Verdict::Refuse
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_refills_at_its_rate_and_bans_the_stubborn() {
        let rule = Rule { rate: 5.0, burst: 2.0, ban_after: 3, ban_seconds: 10 };
        let (mut buckets, start) = (Buckets::default(), Instant::now());
        let mut ask = |ms| buckets.ask("sim-1", rule, start + Duration::from_millis(ms));
        assert_eq!([ask(0), ask(0), ask(0)], [Verdict::Pass, Verdict::Pass, Verdict::Refuse]);
        assert_eq!([ask(201), ask(202)], [Verdict::Pass, Verdict::Refuse]);
        assert_eq!([ask(203), ask(204), ask(9_000)], [Verdict::Refuse, Verdict::Refuse, Verdict::Ban]);
        assert_eq!(ask(10_300), Verdict::Pass);
    }
}
