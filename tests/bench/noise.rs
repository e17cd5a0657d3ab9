//! How much the machine itself varies: the same work again and again, and who else is at work.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;

use crate::sheet::{self, Aim, Unit};

const TIMES: usize = 15;
/// Some 50 ms of work.
const STEPS: u64 = 50_000_000;

/// Times a fixed piece of work.
pub(crate) fn measure() -> Result<()> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let cores = std::thread::available_parallelism()?;
    sheet::part(&format!(
        "noise ({cores} cores, load {})",
        load.split(' ').take(3).collect::<Vec<_>>().join(" ")
    ));
    let times: Vec<f64> = (0..TIMES).map(|_| work()).collect();
    sheet::line("the same work each time, wall", Unit::Seconds, &times, Aim::None);
    Ok(())
}

fn work() -> f64 {
    let began = Instant::now();
    let sum =
        (0..STEPS).fold(1_u64, |sum, step| black_box(sum.wrapping_mul(6_364_136_223_846_793_005) ^ step));
    black_box(sum);
    began.elapsed().as_secs_f64()
}
