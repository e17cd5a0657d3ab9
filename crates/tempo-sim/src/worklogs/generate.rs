//! Worklogs that look like those of a site at work.
//!
//! Promises the exact number asked for, empty weekends and holidays, back-dated entries, edits long after, bulk edits
//! that share one second, a day with 5,001 worklogs on big sites, and every optional field missing somewhere.

use super::{EXTRA, NO_ISSUE_ID, NO_UTC, NONE, Row, Worklogs};
use crate::clock::{self, DAY};
use crate::random::{Random, mix};
use crate::site::Facts;

/// From this many worklogs on, one day holds [`CROWD`] of them and one second [`BULK`] edits.
const BIG: usize = 20_000;
/// One more than the largest page.
const CROWD: usize = 5_001;
/// Rows of the largest bulk edit: more than a page can hold.
const BULK: usize = 5_200;

/// Whether a day is a holiday of the default scheme, wherever it falls.
pub(crate) fn is_fixed_holiday(day: i32) -> bool {
    let (_, month, of_month) = clock::civil(day);
    matches!((month, of_month), (1 | 5, 1) | (6, 17) | (12, 24..=26 | 31))
}

/// Whether someone works on a day: part-timers have Fridays off.
pub(crate) fn works(part_time: bool, day: i32) -> bool {
    let weekday = clock::weekday(day);
    weekday < 5 && !is_fixed_holiday(day) && !(part_time && weekday == 4)
}

impl Worklogs {
    /// All worklogs of a site.
    pub(crate) fn generate(facts: &Facts, random: &mut Random) -> Self {
        let mut worklogs = Self::empty(&facts.jira);
        worklogs.accounts = facts.accounts.iter().map(|(_, key)| key.clone()).collect();
        for person in &facts.people {
            worklogs.author(&person.account_id, person.zone_hours);
        }
        let wanted = facts.sizes.worklogs;
        let crowd = if wanted >= BIG { CROWD } else { 0 };
        let crowd_day = crowd_day(facts);
        let mut rows = Vec::with_capacity(wanted);
        for n in 0..crowd {
            let author = (n % facts.people.len()) as u32;
            let mut row = fresh(facts, random, crowd_day, author);
            row.start = 8 * 3600;
            rows.push(row);
        }
        fill(facts, random, wanted - crowd, (crowd > 0).then_some(crowd_day), &mut rows);
        // Ids are given in the order of creation, with gaps where rows were deleted since.
        rows.sort_by_key(|row| row.created);
        let mut id = 1_000;
        for row in &mut rows {
            id += 1 + i64::from(random.chance(8)) * (1 + random.below(3) as i64);
            row.id = id;
            edit_later(facts, random, row);
        }
        edit_in_bulk(facts, random, &mut rows);
        rows.shrink_to_fit();
        worklogs.rows = rows;
        worklogs.reindex();
        worklogs
    }

    /// A new worklog of today or of the weeks before, as a user enters one at `now`.
    pub(crate) fn new_row(&self, facts: &Facts, random: &mut Random, now: i64) -> Row {
        let today = now.div_euclid(DAY) as i32;
        let day = today - if random.chance(70) { 0 } else { random.below(45) as i32 };
        let author = random.index(self.authors.len()) as u32;
        let mut row = fresh(facts, random, day, author);
        (row.id, row.created, row.updated) = (self.next_id, now as u32, now as u32);
        row
    }
}

fn crowd_day(facts: &Facts) -> i32 {
    let mut day = facts.today - facts.sizes.days as i32 / 3;
    while !works(true, day) {
        day -= 1;
    }
    day
}

/// Spreads rows evenly over the days and people that have work.
fn fill(facts: &Facts, random: &mut Random, wanted: usize, skip: Option<i32>, rows: &mut Vec<Row>) {
    let slots: Vec<(i32, u32)> = (facts.first_day..=facts.today)
        .filter(|day| Some(*day) != skip)
        .flat_map(|day| facts.people.iter().enumerate().map(move |(n, person)| (day, n, person)))
        .filter(|(day, n, person)| works(person.part_time, *day) && !away(facts, *n, *day, person.removed))
        .map(|(day, n, _)| (day, n as u32))
        .collect();
    for n in 0..wanted {
        let Some((day, author)) = slots.get(n * slots.len() / wanted.max(1)) else { break };
        rows.push(fresh(facts, random, *day, *author));
    }
    while rows.len() < wanted && slots.is_empty() {
        rows.push(fresh(facts, random, facts.today, 0));
    }
}

/// Vacation weeks, and the years after someone left.
fn away(facts: &Facts, person: usize, day: i32, removed: bool) -> bool {
    let week = (day + 3).div_euclid(7);
    (removed && day > facts.first_day + facts.sizes.days as i32 / 2)
        || mix(week as u64 ^ ((person as u64) << 32)).is_multiple_of(12)
}

fn fresh(facts: &Facts, random: &mut Random, day: i32, author: u32) -> Row {
    let issue = random.index(facts.sizes.issues);
    let seed = random.next() as u32;
    let start = 8 * 3600 + random.below(36) as u32 * 900;
    let seconds = (1 + random.below(16)) as u32 * 900;
    // Most enter their time the same evening, some weeks later.
    let late = if random.chance(4) { 1 + random.below(20) as i64 } else { 0 };
    let created = (i64::from(day) + late) * DAY + i64::from(start) + random.below(30_000) as i64;
    let created = created.min(facts.now - 1).max(0) as u32;
    let mut flags = 0;
    for (flag, in_thousand) in [(NO_ISSUE_ID, 4), (NO_UTC, 30), (EXTRA, 10)] {
        if random.below(1000) < in_thousand && (flag != EXTRA || facts.unknown_fields) {
            flags |= flag;
        }
    }
    Row {
        id: 0,
        created,
        updated: created,
        day,
        start: if random.below(1000) < 8 { NONE } else { start },
        seconds,
        billable: match random.below(100) {
            0 => NONE,
            1..25 => 0,
            25..35 => seconds / 2,
            _ => seconds,
        },
        author,
        issue: Facts::issue_id(issue),
        project: facts.jira_projects[facts.project_of_issue(issue) % facts.jira_projects.len()],
        account: if random.chance(12) { NONE } else { random.index(facts.accounts.len()) as u32 },
        seed,
        flags,
    }
}

fn edit_later(facts: &Facts, random: &mut Random, row: &mut Row) {
    let created = i64::from(row.created);
    let updated = match random.below(100) {
        // Recorded rows show an update one second before the creation.
        0..3 => created - 1,
        3..20 => created + 60 + random.below(3 * DAY as u64) as i64,
        20..24 => created + DAY + random.below(200 * DAY as u64) as i64,
        _ => created,
    };
    row.updated = updated.min(facts.now - 1).max(0) as u32;
}

fn edit_in_bulk(facts: &Facts, random: &mut Random, rows: &mut [Row]) {
    let largest = if rows.len() >= BIG { BULK } else { rows.len() / 40 };
    let small = (0..rows.len() / 1_500).map(|_| 30);
    for size in std::iter::once(largest).chain(small) {
        if size == 0 || size >= rows.len() {
            continue;
        }
        let first = random.index(rows.len() - size);
        let last = first + size;
        let after = i64::from(rows[last - 1].created) + random.below(20 * DAY as u64) as i64;
        for row in &mut rows[first..last] {
            row.updated = after.min(facts.now - 1) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Sizes;
    use crate::worklogs::Key;

    fn site(worklogs: usize) -> (Facts, Worklogs) {
        let facts = Facts::new(1, 7, 1_770_000_000, Sizes::for_worklogs(worklogs), true);
        let generated = Worklogs::generate(&facts, &mut Random::new(7, 1));
        (facts, generated)
    }

    #[test]
    fn a_big_site_has_a_crowded_day_and_a_crowded_second() {
        let (facts, worklogs) = site(25_000);
        assert_eq!(worklogs.len(), 25_000);
        let of_day = worklogs.rows.iter().filter(|row| row.day == crowd_day(&facts)).count();
        assert_eq!(of_day, CROWD);
        let mut most = 0;
        for run in
            worklogs.index(Key::Updated).chunk_by(|a, b| worklogs.row(*a).updated == worklogs.row(*b).updated)
        {
            most = most.max(run.len());
        }
        assert!(most > 5_000, "{most}");
        assert!(worklogs.rows.iter().all(|row| clock::weekday(row.day) < 5));
        assert!(worklogs.rows.iter().any(|row| row.updated < row.created));
        let bytes: usize = (0..5_000).map(|slot| worklogs.json(slot).len()).sum();
        assert!((640..710).contains(&(bytes / 5_000)), "{} bytes each", bytes / 5_000);
    }

    #[test]
    fn small_sites_have_exactly_what_was_asked() {
        for wanted in [0, 1, 7, 999] {
            assert_eq!(site(wanted).1.len(), wanted);
        }
    }
}
