//! What the pages look like on a day on which something is wrong, in pictures for `docs/`: `just shots`.

use std::path::PathBuf;

use fermata_core::names::Tenant;
use fermata_core::settings::Settings;
use jiff::{Span, Timestamp, tz::TimeZone};
use tempo_sim::{Family, Fault, Sizes, TokenSpec};

use super::Desk;
use super::fleet::until_given_up;
use crate::browser::Eyes;
use crate::fleet::Fleet;
use crate::stage::{Server, site};

/// Names of tenants, for people too, and how each is.
const COMPANIES: [(&str, &str, How); 8] = [
    ("acme", "Acme Corporation", How::Good),
    ("brightwater", "Brightwater Energy", How::Good),
    ("corvid-labs", "Corvid Labs", How::SeesLittle),
    ("delphi", "Delphi Consulting", How::Broken),
    ("ember", "Ember & Sons", How::Broken),
    ("fjord", "Fjord Shipping", How::Expires),
    ("garnet", "Garnet Insurance", How::NoToken),
    ("harbour", "Harbour Studios", How::Paused),
];
/// Of a page that is longer only this much is shown.
const HEIGHT_MAX: u64 = 1_000;
const SMALL: Eyes = Eyes { width: 360, height: 740, ..Eyes::USUAL };

/// How a tenant is.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Good,
    SeesLittle,
    Broken,
    Expires,
    NoToken,
    Paused,
}

impl How {
    fn set(self, settings: &mut Settings, now: Timestamp) {
        settings.rate = 1_000.0;
        settings.schedule = Some("30 2 * * *".to_owned());
        settings.time_zone = Some("Europe/Berlin".to_owned());
        let today = now.to_zoned_datetime(TimeZone::UTC).date();
        let days = if self == Self::Expires { 5 } else { 200 };
        if let Some(token) = &mut settings.token {
            token.expires = today.checked_add(Span::new().days(days)).ok();
        }
        match self {
            Self::NoToken => settings.token = None,
            Self::Paused => settings.paused = true,
            _ => {}
        }
    }
}

#[test]
fn pictures_of_a_day_on_which_something_is_wrong() {
    let (fleet, _worker) = company();
    let desk = Desk::of(&fleet);
    desk.browser.sees("Harbour Studios");
    let shot = |name: &str, path: &str, eyes: Eyes| {
        desk.browser.look_with(eyes);
        desk.go(path);
        desk.browser.run("scrollTo(0, 0); document.activeElement.blur()", &[]);
        let picture = desk.browser.picture(HEIGHT_MAX);
        assert!(picture.starts_with(b"\x89PNG"), "{name}");
        if let Some(folder) = folder() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
        }
    };
    let link = |path: &str, selector: &str| {
        desk.go(path);
        desk.browser.wait(&format!("{path} has no {selector}"), || {
            let link = format!("return document.querySelector({selector:?})?.getAttribute('href')");
            desk.browser.run(&link, &[]).as_str().map(str::to_owned)
        })
    };
    shot("tenants", "/", Eyes::USUAL);
    shot("tenants-dark", "/", Eyes { dark: true, ..Eyes::USUAL });
    shot("tenants-small", "/", SMALL);
    shot("tenant", "/tenants/delphi", Eyes::USUAL);
    shot("token", "/tenants/corvid-labs/token", Eyes::USUAL);
    shot("settings", "/tenants/acme/settings", Eyes::USUAL);
    shot("jobs", "/jobs?state=dead", Eyes::USUAL);
    let job = link("/jobs?state=dead", "tbody th a");
    shot("job", &job, Eyes::USUAL);
    shot("failures", "/failures", Eyes::USUAL);
    let group = link("/failures", "a[href^='/failures/']");
    shot("failure", &group, Eyes::USUAL);
    shot("failure-dark", &group, Eyes { dark: true, ..Eyes::USUAL });
    shot("workers", "/workers", Eyes::USUAL);
    shot("snapshots", "/tenants/acme/snapshots", Eyes::USUAL);
    let snapshot = link("/tenants/acme/snapshots", "tbody a[href*='/snapshots/']");
    shot("snapshot", &snapshot, Eyes::USUAL);
    shot("records", &format!("{snapshot}/records/worklogs"), Eyes::USUAL);
    shot("diff", "/tenants/acme/diff", Eyes::USUAL);
    shot("audit", "/audit", Eyes::USUAL);
    desk.is_quiet();
}

/// Where pictures go, where somebody wants them.
fn folder() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the one place where these tests read the environment")]
    let folder = std::env::var_os("FERMATA_SHOTS");
    folder.map(PathBuf::from)
}

/// A fleet after two backups of everything, of which Tempo broke the second for some.
fn company() -> (Fleet, Server) {
    let number = |place: usize| u32::try_from(place + 1).unwrap();
    let mut sim = site().tenants(number(COMPANIES.len() - 1));
    for (place, (_, _, how)) in COMPANIES.iter().enumerate() {
        let worklogs = 400 + 2_300 * (place * 5 % 7);
        sim = sim.sizes_of(number(place), Sizes::for_worklogs(worklogs));
        if *how == How::SeesLittle {
            let mut token = TokenSpec::full(number(place));
            token.deny = [Family::Audit, Family::Financial].into();
            sim = sim.token(token);
        }
    }
    let fleet = Fleet::without_tenants(sim);
    let now = Timestamp::now();
    for (place, (name, words, how)) in COMPANIES.iter().enumerate() {
        let tenant: Tenant = name.parse().unwrap();
        fleet.add_tenant(&tenant, number(place), |settings| {
            settings.name = Some((*words).to_owned());
            how.set(settings, now);
        });
    }
    fleet.fermata("backup --all --quiet").run();
    for (place, _) in COMPANIES.iter().enumerate().filter(|(_, company)| company.2 == How::Broken) {
        for path in ["/4/teams", "/4/roles", "/4/plans"] {
            fleet.stage.sim.fault(Fault::status(400).tenant(number(place)).path(path).times(u64::MAX));
        }
    }
    let worker = fleet.serve("worker", "worker.log");
    fleet.fermata("enqueue --all").run();
    until_given_up(&fleet);
    (fleet, worker)
}
