//! Which worklogs a request is about, and in which order.
//!
//! Promises the documented default order (start, then id), GET's descending orders and POST's lists of orders. The
//! usual cases are slices of an index; mixed orders and date ranges in another order are sorted anew for each page.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::{Key, Worklogs};

/// One sort key and whether it descends.
pub(crate) type Order = (Key, bool);

/// What to look for; an absent filter lets everything through.
#[derive(Debug, Default, Clone)]
pub(crate) struct Search {
    /// Day numbers, both inclusive.
    pub(crate) from: Option<i32>,
    pub(crate) to: Option<i32>,
    /// Seconds of UTC, inclusive.
    pub(crate) updated_from: Option<i64>,
    pub(crate) authors: Option<HashSet<u32>>,
    pub(crate) issues: Option<HashSet<i64>>,
    pub(crate) projects: Option<HashSet<i64>>,
    pub(crate) account: Option<u32>,
    /// Jira projects that the token may not see.
    pub(crate) hidden_projects: Vec<i64>,
    pub(crate) order: Vec<Order>,
    pub(crate) offset: usize,
    pub(crate) limit: usize,
    pub(crate) now_ms: i64,
}

impl Search {
    fn row_filters(&self) -> bool {
        self.authors.is_some()
            || self.issues.is_some()
            || self.projects.is_some()
            || self.account.is_some()
            || !self.hidden_projects.is_empty()
    }
}

impl Worklogs {
    /// The slots of one page and whether there are more after it.
    pub(crate) fn search(&self, search: &Search) -> (Vec<u32>, bool) {
        let (first, descending) = search.order.first().copied().unwrap_or((Key::Start, false));
        let simple = match search.order.get(1) {
            None => true,
            Some((Key::Id, false)) => !descending && first != Key::Id,
            Some(_) => first == Key::Id,
        } && search.order.len() < 3;
        let in_range = self.range(Key::Start, search);
        let since = self.range(Key::Updated, search);
        let dated = search.from.is_some() || search.to.is_some();
        let by_index = match first {
            Key::Start => search.updated_from.is_none(),
            Key::Updated => !dated,
            Key::Id => !dated && search.updated_from.is_none(),
        };
        if !(simple && by_index) {
            let candidates = if search.updated_from.is_some() && (!dated || since.len() < in_range.len()) {
                since
            } else {
                in_range
            };
            return self.sorted_page(candidates, search);
        }
        let slots = match first {
            Key::Start => in_range,
            Key::Updated => since,
            Key::Id => self.index(Key::Id),
        };
        if descending { self.page(slots.iter().rev(), search) } else { self.page(slots.iter(), search) }
    }

    /// The part of an index that its own filter lets through.
    fn range(&self, key: Key, search: &Search) -> &[u32] {
        let index = self.index(key);
        let (low, high) = match key {
            Key::Start => (
                search.from.map(|from| index.partition_point(|slot| self.row(*slot).day < from)),
                search.to.map(|to| index.partition_point(|slot| self.row(*slot).day <= to)),
            ),
            Key::Updated => (
                search
                    .updated_from
                    .map(|from| index.partition_point(|slot| i64::from(self.row(*slot).updated) < from)),
                None,
            ),
            Key::Id => (None, None),
        };
        let low = low.unwrap_or(0);
        &index[low..high.unwrap_or(index.len()).max(low)]
    }

    fn matches(&self, slot: u32, search: &Search) -> bool {
        let row = self.row(slot);
        search.from.is_none_or(|from| row.day >= from)
            && search.to.is_none_or(|to| row.day <= to)
            && search.updated_from.is_none_or(|from| i64::from(row.updated) >= from)
            && search.authors.as_ref().is_none_or(|set| set.contains(&row.author))
            && search.issues.as_ref().is_none_or(|set| set.contains(&row.issue))
            && search.projects.as_ref().is_none_or(|set| set.contains(&row.project))
            && search.account.is_none_or(|account| row.account == account)
            && !search.hidden_projects.contains(&row.project)
            && self.shown(slot, search.now_ms)
    }

    fn page<'a>(&self, slots: impl ExactSizeIterator<Item = &'a u32>, search: &Search) -> (Vec<u32>, bool) {
        if !search.row_filters() && self.hidden_until.is_empty() {
            let total = slots.len();
            let page = slots.skip(search.offset).take(search.limit).copied().collect();
            return (page, search.offset + search.limit < total);
        }
        let mut matching = slots.copied().filter(|slot| self.matches(*slot, search)).skip(search.offset);
        let page = matching.by_ref().take(search.limit).collect();
        (page, matching.next().is_some())
    }

    fn sorted_page(&self, candidates: &[u32], search: &Search) -> (Vec<u32>, bool) {
        let mut slots: Vec<u32> =
            candidates.iter().copied().filter(|slot| self.matches(*slot, search)).collect();
        slots.sort_unstable_by(|a, b| self.compare(*a, *b, &search.order));
        let total = slots.len();
        let page = slots.into_iter().skip(search.offset).take(search.limit).collect();
        (page, search.offset + search.limit < total)
    }

    fn compare(&self, a: u32, b: u32, order: &[Order]) -> Ordering {
        let (a, b) = (self.row(a), self.row(b));
        let default: &[Order] = &[(Key::Start, false)];
        for (key, descending) in if order.is_empty() { default } else { order } {
            // Without its tie-breaker: the next key of the list decides.
            let value = |row: &super::Row| match key {
                Key::Id => (row.id, 0),
                Key::Start => (row.sort_key(Key::Start).0, row.sort_key(Key::Start).1),
                Key::Updated => (i64::from(row.updated), 0),
            };
            let ordering = value(a).cmp(&value(b));
            if ordering != Ordering::Equal {
                return if *descending { ordering.reverse() } else { ordering };
            }
        }
        // A single descending order is an index read backwards.
        if matches!(order, [(_, true)]) { b.id.cmp(&a.id) } else { a.id.cmp(&b.id) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Row;
    use super::*;

    fn ten() -> Worklogs {
        let mut worklogs = Worklogs::default();
        for id in 1..=10_i64 {
            let updated = 100 + (id * 7 % 4) as u32;
            worklogs.rows.push(Row {
                id,
                day: (id * 3 % 5) as i32,
                updated,
                project: id % 2,
                ..Row::default()
            });
        }
        worklogs.reindex();
        worklogs
    }

    fn ids(worklogs: &Worklogs, search: &Search) -> Vec<i64> {
        worklogs.search(search).0.iter().map(|slot| worklogs.row(*slot).id).collect()
    }

    #[test]
    fn every_way_of_ordering_agrees_with_a_plain_sort() {
        let worklogs = ten();
        let orders: &[&[Order]] = &[
            &[],
            &[(Key::Id, true)],
            &[(Key::Updated, true)],
            &[(Key::Updated, false), (Key::Id, false)],
            &[(Key::Updated, false), (Key::Id, true)],
            &[(Key::Updated, true), (Key::Start, false)],
            &[(Key::Start, true)],
        ];
        for order in orders {
            for (from, updated_from) in
                [(None, None), (Some(2), None), (None, Some(102)), (Some(1), Some(101))]
            {
                let search =
                    Search { from, updated_from, order: order.to_vec(), limit: 10, ..Search::default() };
                let mut expect: Vec<u32> =
                    worklogs.by_id.iter().copied().filter(|s| worklogs.matches(*s, &search)).collect();
                expect.sort_by(|a, b| worklogs.compare(*a, *b, order));
                let expect: Vec<i64> = expect.iter().map(|slot| worklogs.row(*slot).id).collect();
                assert_eq!(ids(&worklogs, &search), expect, "{order:?}");
            }
        }
    }

    #[test]
    fn pages_join_without_seam_and_hidden_projects_are_silent() {
        let worklogs = ten();
        let mut seen = Vec::new();
        for offset in (0..10).step_by(3) {
            let search = Search { offset, limit: 3, ..Search::default() };
            let (_, more) = worklogs.search(&search);
            assert_eq!(more, offset < 9);
            seen.extend(ids(&worklogs, &search));
        }
        assert_eq!(seen, ids(&worklogs, &Search { limit: 10, ..Search::default() }));
        let hidden = Search {
            limit: 10,
            hidden_projects: vec![1],
            order: vec![(Key::Id, false)],
            ..Search::default()
        };
        assert_eq!(ids(&worklogs, &hidden), [2, 4, 6, 8, 10]);
    }
}
