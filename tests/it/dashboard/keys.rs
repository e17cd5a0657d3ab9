//! The whole of it without a mouse.

use super::Desk;
use super::fleet::{at_work, break_tempo};

#[test]
fn a_failure_is_found_and_retried_by_keys_alone() {
    let (fleet, _worker) = at_work();
    break_tempo(&fleet);
    fleet.fermata("enqueue sim-1").run().code(0);
    let desk = Desk::of(&fleet);
    let page = &desk.browser;
    page.press("?");
    page.sees("next row, row before");
    page.press("Escape");
    page.sees_no("next row, row before");
    page.press("/");
    page.write("sim-1");
    page.press("Enter");
    page.sees_no("sim-2");
    page.press("j");
    assert_eq!(page.focus(), "sim-1");
    page.press("Enter");
    page.is_at("/tenants/sim-1");
    page.sees("Last snapshot of everything");

    page.press("g");
    page.press("j");
    page.is_at("/jobs");
    page.press("/");
    page.press("Tab");
    page.write("roles");
    page.press("Enter");
    page.sees("dead");
    page.press("j");
    page.press("x");
    fleet.stage.sim.clear_faults();
    page.press("r");
    page.is_at("/actions/new");
    page.sees("This would retry 1 job");
    // The reason is where the writing begins.
    page.write("tempo was broken");
    page.press("Enter");
    page.sees("done");
    desk.is_quiet();
}
