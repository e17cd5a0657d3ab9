//! What it costs to back up with a worker what one command backs up too.

use std::time::Instant;

use anyhow::Result;

use super::costs;
use super::stage::Fleet;
use crate::child;
use crate::sheet::{self, Aim, Unit};
use crate::site::Site;

const WORKLOGS: usize = 100_000;
const RUNS: u32 = 3;
/// So that pace is no part of it.
const RATE: f64 = 1_000.0;

pub(crate) async fn measure() -> Result<()> {
    sheet::part(&format!("price: a whole site of {WORKLOGS} worklogs, by `backup` and by one worker"));
    let site = Site::start(WORKLOGS, &["--rate", "0", "--tenants", &(2 * RUNS).to_string()])?;
    let fleet = Fleet::start().await?;
    let worker = fleet.worker(&[], "worker.log")?;
    let (mut backups, mut workers, mut redis) = (Vec::new(), Vec::new(), Vec::new());
    for run in 1..=RUNS {
        let name = format!("alone-{run}");
        fleet.add(&name, &site, run, RATE).await?;
        let used = child::run(&mut fleet.fermata(&["backup", &name])).await?;
        backups.push((used.wall, used.cpu));

        let name = format!("fleet-{run}");
        let tenant = fleet.add(&name, &site, RUNS + run, RATE).await?;
        let before = (child::cpu(worker.pid())?, costs::calls(fleet.queue.link()).await?);
        let began = Instant::now();
        let enqueued = child::run(&mut fleet.fermata(&["enqueue", &name])).await?;
        fleet.wait_for_snapshots(&tenant, 1).await?;
        let wall = began.elapsed().as_secs_f64();
        workers.push((wall, child::cpu(worker.pid())? - before.0 + enqueued.cpu));
        let calls = costs::calls(fleet.queue.link()).await?.since(before.1);
        redis.push(calls.cpu_us as f64 / 1e6);
    }
    let walls = |of: &[(f64, f64)]| of.iter().map(|(wall, _)| *wall).collect::<Vec<_>>();
    let cpus = |of: &[(f64, f64)]| of.iter().map(|(_, cpu)| *cpu).collect::<Vec<_>>();
    sheet::line("backup: wall", Unit::Seconds, &walls(&backups), Aim::None);
    sheet::line("backup: CPU", Unit::Seconds, &cpus(&backups), Aim::None);
    sheet::line("enqueue and worker: wall", Unit::Seconds, &walls(&workers), Aim::None);
    sheet::line("enqueue and worker: CPU", Unit::Seconds, &cpus(&workers), Aim::None);
    sheet::line("scripts in Redis: CPU", Unit::Seconds, &redis, Aim::None);
    let share = sheet::median(&cpus(&workers)) / sheet::median(&cpus(&backups));
    sheet::line("worker's CPU of the backup's", Unit::Share, &[share], Aim::None);
    Ok(())
}
