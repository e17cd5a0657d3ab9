//! One administrator, one machine, no Redis: from nothing to a snapshot.

use super::Desk;
use crate::stage::Stage;

#[test]
fn a_tenant_is_added_and_backed_up_while_its_page_is_open() {
    let stage = Stage::new();
    stage.fermata("init").run().code(0);
    let desk = Desk::alone(&stage);
    let page = &desk.browser;
    page.sees("There is no tenant yet");
    page.click("Add a tenant");
    page.fill("Short name", "Acme Inc.");
    page.fill("Tempo's address", stage.sim.base_url());
    page.fill("Requests per second", "1000");
    page.click("Add it");
    page.sees("is not a tenant name");
    page.fill("Short name", "acme");
    page.click("Add it");
    page.is_at("/tenants/acme/token");
    page.fill("Tempo API token", &stage.sim.token(1));
    page.click("Store it");
    page.sees("it is stored, encrypted");

    page.click("Now");
    page.is_at("/tenants/acme");
    page.sees("There is no snapshot of everything yet.");
    page.click("Back up now");
    page.sees("on its way");
    // A page that is loaded again would not know this any more.
    page.run("window.untouched = true", &[]);
    page.sees("Last snapshot of everything");
    assert_eq!(page.run("return window.untouched === true", &[]), true, "the page was loaded again");
    assert_eq!(page.run("return document.querySelector('h1').innerText", &[]), "acme");
    let snapshots = stage.fermata("snapshots list acme --json").run().code(0).json();
    assert_eq!(snapshots["snapshots"].as_array().map(Vec::len), Some(1), "{snapshots}");
    page.click("Tenants");
    page.sees("ok");
    desk.is_quiet();
}
