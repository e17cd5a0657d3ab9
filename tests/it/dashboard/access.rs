//! Coming in and going out.

use super::{Desk, Served};
use crate::browser::Browser;
use crate::stage::Stage;

const PASSWORD: &str = "correct horse battery";

#[test]
fn a_link_signs_in_once() {
    let stage = Stage::new().ready();
    let desk = Desk::at_the_link(&stage, |arguments| stage.fermata(arguments));
    let link = desk.browser.address();
    desk.browser.click("Sign in");
    desk.browser.is_at("/");
    desk.browser.sees("acme");
    desk.browser.click("local");
    desk.browser.click("Sign out");
    desk.browser.is_at("/sign-in");
    desk.browser.open(&link);
    desk.browser.click("Sign in");
    desk.browser.sees("This link was used before");
    desk.go("/");
    desk.browser.is_at("/sign-in");
    desk.is_quiet();
}

#[test]
fn a_viewer_with_a_password_sees_their_tenant_and_changes_nothing() {
    let stage = Stage::new().ready();
    stage.add_tenant("bolt", 1);
    let user = "user set ann --role viewer --tenant acme";
    stage.fermata(user).stdin(PASSWORD).run().code(0);
    let served = Served::start(&stage, |arguments| stage.fermata(arguments));
    let desk = Desk { browser: Browser::start(), served };
    let page = &desk.browser;
    desk.go("/tenants/acme");
    page.is_at("/sign-in");
    page.fill("Name", "ann");
    page.fill("Password", "a wrong password");
    page.click("Sign in");
    page.sees("Name or password is wrong.");
    page.fill("Password", PASSWORD);
    page.press("Enter");
    // To where they wanted to go in the first place.
    page.is_at("/tenants/acme");
    assert!(!page.words().contains("Back up now"), "a viewer begins no backup: {}", page.words());
    page.click("Tenants");
    page.sees("acme");
    let words = page.words();
    assert!(!words.contains("bolt") && !words.contains("Add a tenant"), "{words}");
    desk.is_quiet();
    desk.go("/tenants/bolt");
    page.sees("there is no tenant bolt");
}
