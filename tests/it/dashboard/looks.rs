//! Whether everybody can read it: every page in light and dark, on a small screen, enlarged, with what axe knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use fermata_core::catalogue;
use serde_json::Value;

use super::Desk;
use super::fleet::{at_work, break_tempo, until_given_up};
use crate::assert_none;
use crate::browser::Eyes;

/// What a page is looked at with besides the usual.
const DARK: Eyes = Eyes { dark: true, ..Eyes::USUAL };
/// A small telephone.
const SMALL: Eyes = Eyes { width: 360, height: 740, ..Eyes::USUAL };
/// 1,280 pixels at 200 %.
const LARGE: Eyes = Eyes { width: 640, height: 400, zoom: 2, ..Eyes::USUAL };
/// Pages that look alike, of tenants and runs, are looked at so often.
const ALIKE_MAX: usize = 2;

/// Every link of a page that leads to another of them; what is downloaded is no page.
const LINKS: &str = "
    return [...document.querySelectorAll('a[href]')]
        .filter((link) => link.origin === location.origin && !link.hasAttribute('download'))
        .map((link) => link.pathname + link.search);";
/// Elements that are too wide, by their names, where the page is.
const TOO_WIDE: &str = "
    const wide = document.documentElement;
    if (wide.scrollWidth <= wide.clientWidth) return null;
    const out = [...document.querySelectorAll('body *')]
        .filter((element) => element.getBoundingClientRect().right > wide.clientWidth + 1
            && !element.closest('.scroll, pre'));
    return `${wide.scrollWidth} pixels of ${wide.clientWidth}: `
        + out.slice(0, 3).map((element) => element.outerHTML.slice(0, 80)).join(' ');";
const AXE: &str = "
    const done = arguments[arguments.length - 1];
    axe.run(document, { resultTypes: ['violations'], preload: false }).then(
        (found) => done(found.violations.filter((one) => ['serious', 'critical'].includes(one.impact))
            .map((one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => node.html + ' ' + node.failureSummary).join(' | ')}`)),
        (error) => done(['axe failed: ' + error]));";

#[test]
fn everybody_can_read_every_page() {
    let (fleet, _worker) = at_work();
    fleet.fermata("backup --all").run().code(0);
    break_tempo(&fleet);
    fleet.fermata("enqueue sim-1").run().code(0);
    until_given_up(&fleet);
    let desk = Desk::of(&fleet);
    let axe = std::fs::read_to_string(installed()).unwrap();
    let (pages, mut problems) = all(&desk);
    for path in pages {
        desk.go(&path);
        for eyes in [Eyes::USUAL, DARK] {
            desk.browser.look_with(eyes);
            desk.browser.run(&axe, &[]);
            let found = desk.browser.run_until_done(AXE, &[]);
            let found = found.as_array().unwrap().iter().map(|found| format!("{path} {eyes:?}: {found}"));
            problems.extend(found);
        }
        for eyes in [SMALL, LARGE] {
            desk.browser.look_with(eyes);
            if let Value::String(what) = desk.browser.run(TOO_WIDE, &[]) {
                problems.push(format!("{path} {eyes:?}: it is too wide: {what}"));
            }
        }
        desk.browser.look_with(Eyes::USUAL);
        let troubles = desk.troubles();
        problems.extend(troubles.iter().map(|trouble| format!("{path}: {trouble}")));
    }
    assert_none(&problems);
}

/// Every page that links lead to from the first, and links that lead nowhere.
fn all(desk: &Desk) -> (Vec<String>, Vec<String>) {
    let (mut known, mut alike) = (BTreeSet::new(), BTreeMap::<_, usize>::new());
    let mut next = VecDeque::from([("/".to_owned(), "the first page".to_owned())]);
    let (mut pages, mut problems) = (Vec::new(), Vec::new());
    while let Some((path, from)) = next.pop_front() {
        let count = alike.entry(shape(&path)).or_default();
        if *count == ALIKE_MAX || !known.insert(path.clone()) {
            continue;
        }
        *count += 1;
        desk.go(&path);
        let status =
            desk.browser.run("return performance.getEntriesByType('navigation')[0].responseStatus", &[]);
        if status != 200 {
            problems.push(format!("{path}: HTTP {status}; the link is on {from}"));
        } else if desk.browser.run("return document.contentType", &[]) == "text/html" {
            let links = desk.browser.run(LINKS, &[]);
            let links = links.as_array().unwrap().iter().map(|link| link.as_str().unwrap().to_owned());
            next.extend(links.map(|link| (link, path.clone())));
            pages.push(path);
        }
    }
    // What is no page has no icon, and Chromium asks for one.
    desk.troubles();
    (pages, problems)
}

/// A path without what differs between pages that are alike.
fn shape(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let part = |part: &str| {
        let differs = part.contains(|c: char| c.is_ascii_digit()) || catalogue::entity(part).is_some();
        if differs { "*".to_owned() } else { part.to_owned() }
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Where `./test` puts it, beside what cargo builds.
fn installed() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let mut found = test.ancestors().map(|folder| folder.join("axe/node_modules/axe-core/axe.min.js"));
    found.find(|file| file.exists()).expect("axe-core is not installed; `./test` does it")
}
