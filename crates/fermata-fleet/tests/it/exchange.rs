//! Several jobs in one call: what ended is told and more is claimed, as if each had been a call of its own.

use fermata_fleet::queue::{Claim, Claimed, Exchanged};
use fermata_fleet::{JobState, Turn};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

use crate::laws;
use crate::stage::{Dump, LEASE, Stage, job};

const TENANTS: [&str; 4] = ["acme", "beta", "corp", "duck"];
const STEPS: usize = 40;

fn jobs(answer: Exchanged) -> Vec<Claimed> {
    let job = |claim| if let Claim::Job(claimed) = claim { Some(claimed) } else { None };
    answer.claims.into_iter().filter_map(job).collect()
}

async fn exchange(stage: &Stage, token: &str, most: usize, ended: &[(Claimed, Turn)]) -> Exchanged {
    stage.queue.exchange("w", token, LEASE, most, ended).await.unwrap()
}

/// All but what only the last call of a worker brought.
async fn dump(stage: &Stage) -> Dump {
    let mut dump = stage.dump().await;
    dump.hashes.remove("claims");
    dump
}

async fn filled() -> Stage {
    let stage = Stage::new();
    for tenant in TENANTS {
        stage.push(tenant, &[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &[]), ("e", &["b", "d"])]).await;
    }
    stage
}

#[tokio::test]
async fn one_call_does_what_several_would() {
    for seed in crate::seed::seeds(0..6) {
        let mut random = StdRng::seed_from_u64(seed);
        let (together, apart) = (filled().await, filled().await);
        let mut held: Vec<Claimed> = Vec::new();
        for step in 0..STEPS {
            let pass = random.random_range(0..2_000);
            together.pass(pass);
            apart.pass(pass);
            let most = random.random_range(0..6);
            let count = random.random_range(0..=held.len());
            let ended: Vec<_> = held.drain(..count).map(|job| (job, turn(&mut random))).collect();
            let answer = exchange(&together, &step.to_string(), most, &ended).await;
            let settled = answer.settled.clone();
            let claimed = jobs(answer);
            laws::check(&together.dump().await)
                .unwrap_or_else(|broken| panic!("seed {seed}, {step}: {broken}"));

            for ((job, turn), settled) in ended.iter().zip(settled) {
                assert_eq!(apart.queue.settle(job, turn).await.unwrap(), settled, "seed {seed}, {step}");
            }
            for want in &claimed {
                assert_eq!(apart.claim("w").await.as_ref(), Some(want), "seed {seed}, {step}");
            }
            if claimed.len() < most {
                assert_eq!(apart.claim("w").await, None, "seed {seed}, {step}: there was another");
            }
            assert_eq!(dump(&together).await, dump(&apart).await, "seed {seed}, {step}");
            held.extend(claimed);
        }
    }
}

fn turn(random: &mut StdRng) -> Turn {
    let pause = Duration::from_secs(random.random_range(0..5));
    match random.random_range(0..7) {
        0 => Turn::Again,
        1 => Turn::Back,
        2 => Turn::Dead("why".to_owned()),
        3 => Turn::Waiting { pause, why: "quota".to_owned() },
        4 => Turn::Retry { pause, error: "oh".to_owned(), attempts: 1, mark: 2 },
        _ => Turn::Done,
    }
}

#[tokio::test]
async fn the_same_question_again_brings_the_same_jobs() {
    let stage = filled().await;
    let first = jobs(exchange(&stage, "1", 3, &[]).await);
    assert_eq!(first.len(), 3);
    let ended: Vec<_> = first.iter().map(|job| (job.clone(), Turn::Done)).collect();
    let answer = exchange(&stage, "2", 3, &ended).await;
    assert_eq!(answer.settled, [true, true, true]);
    let (second, before) = (jobs(answer), stage.dump().await);
    // Its answer was lost on the way.
    let answer = exchange(&stage, "2", 3, &ended).await;
    assert_eq!(answer.settled, [true, true, true]);
    assert_eq!((jobs(answer), stage.dump().await), (second, before));
}

#[tokio::test]
async fn what_was_claimed_last_goes_back_with_the_goodbye_as_it_came() {
    let stage = filled().await;
    let before = stage.dump().await.lists;
    let claimed = jobs(exchange(&stage, "1", 5, &[]).await);
    assert_eq!(claimed.len(), 5);
    stage.queue.bye("w").await.unwrap();
    let dump = stage.dump().await;
    assert_eq!(dump.lists, before);
    laws::check(&dump).unwrap();
    for claimed in claimed {
        let view = stage.job(&claimed.id).await.unwrap();
        assert_eq!((view.state, view.lost), (JobState::Queued, 0));
    }
}

#[tokio::test]
async fn no_tenant_gets_more_than_its_cap_by_one_call() {
    let stage = Stage::new();
    let entities: Vec<String> = (0..9).map(|n| format!("e{n}")).collect();
    let wanted: Vec<(&str, &[&str])> = entities.iter().map(|entity| (&**entity, &[] as &[&str])).collect();
    stage.push("acme", &wanted).await;
    stage.push("beta", &[("a", &[])]).await;
    let claimed = jobs(exchange(&stage, "1", 16, &[]).await);
    assert_eq!(claimed.len(), 7, "six of a tenant at a time");
    assert_eq!(stage.job(&job("beta", "a")).await.unwrap().state, JobState::Running);
}
