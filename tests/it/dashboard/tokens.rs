//! Storing a token: one that is good, one that Tempo refuses, one that may not read everything.

use tempo_sim::{Family, TokenSpec};

use super::Desk;
use crate::stage::{Stage, site};

#[test]
fn a_token_is_taken_refused_or_shown_to_see_too_little() {
    let mut narrow = TokenSpec::full(1);
    narrow.token = "a-token-that-sees-too-little".to_owned();
    narrow.deny = [Family::Audit, Family::Financial].into();
    let stage = Stage::of(site().token(narrow.clone())).ready();
    let desk = Desk::alone(&stage);
    let page = &desk.browser;
    desk.go("/tenants/acme/token");

    page.fill("Tempo API token", "nobody-knows-this-one");
    page.click("Replace it");
    page.sees("Not stored.");
    page.sees("Tempo refused the token (HTTP 401)");

    page.fill("Tempo API token", &stage.sim.token(1));
    page.fill("Expires on", "01312099");
    page.click("Replace it");
    page.sees("it is stored, encrypted");
    page.sees("2099-01-31");
    page.sees("The token may read everything");

    page.fill("Tempo API token", &narrow.token);
    page.click("Replace it");
    page.sees("it is stored, encrypted");
    let row = "return [...document.querySelectorAll('#coverage tr')]
        .find((row) => row.cells[0].innerText === 'audit-events')?.innerText || ''";
    let grant = fermata_core::catalogue::entity("audit-events").unwrap().family.grant();
    page.wait("the gap is not shown with its reason and its cure", || {
        let row = page.run(row, &[]);
        let has = |word: &str| row.as_str().unwrap().contains(word);
        (has("no") && has("403") && has(grant)).then_some(())
    });
    for token in [&narrow.token, &stage.sim.token(1)] {
        let page = page.run("return document.documentElement.outerHTML", &[]);
        assert!(!page.as_str().unwrap().contains(token), "a token is on the page");
    }
    desk.is_quiet();
}
