//! The envelopes P0 to P4 of section 2 of the reference.
//!
//! Promises that `next` is absent on the last page and keeps every parameter of the request, repeated ones too, and
//! that `previous` comes after the first page. The faults that bend links and rows are applied here.

use std::fmt::Write as _;

use crate::faults::FaultKind;
use crate::quirks::LimitAboveMax;
use crate::server::call::{Answer, Call, Refusal, Reply, bad};
use crate::text::quote;

/// Rows on a page when nobody says.
pub(crate) const LIMIT_DEFAULT: usize = 50;
/// The most rows on a page of most endpoints.
pub(crate) const LIMIT_MAX: usize = 5_000;

/// Which rows a page has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) offset: usize,
    pub(crate) limit: usize,
    /// Where the rows are taken from: the offset, unless a fault says otherwise.
    pub(crate) row_offset: usize,
    /// How many rows are taken: the limit, or none where a fault empties the page.
    pub(crate) row_limit: usize,
}

fn push_all<'r>(out: &mut Vec<u8>, rows: impl IntoIterator<Item = &'r str>) -> usize {
    let mut count = 0;
    for row in rows {
        if count > 0 {
            out.push(b',');
        }
        out.extend_from_slice(row.as_bytes());
        count += 1;
    }
    count
}

/// Cuts a window out of rows; tells whether there are more.
fn cut<T>(rows: impl Iterator<Item = T>, window: Window) -> (Vec<T>, bool) {
    let mut rows = rows.skip(window.row_offset);
    let page: Vec<T> = rows.by_ref().take(window.row_limit).collect();
    (page, rows.next().is_some())
}

/// An answer whose metadata is still open.
fn closed(head: String, page: &[&str]) -> Vec<u8> {
    let mut out = head.into_bytes();
    out.extend_from_slice(b"},\"results\":[");
    push_all(&mut out, page.iter().copied());
    out.extend_from_slice(b"]}");
    out
}

impl Call<'_> {
    /// The absolute URL of this request with some parameters set anew.
    pub(crate) fn url(&self, set: &[(&str, String)]) -> String {
        let mut pairs = self.query.clone();
        for (key, value) in set {
            match pairs.iter_mut().find(|(old, _)| old == key) {
                Some(pair) => pair.1.clone_from(value),
                None => pairs.push(((*key).to_owned(), value.clone())),
            }
        }
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{}{mark}{query}", self.host, self.path)
    }

    fn next_url(&self, set: &[(&str, String)]) -> String {
        match self.twist {
            Some(FaultKind::Loop) => self.url(&[]),
            Some(FaultKind::ForeignLink { url }) => url.clone(),
            _ => self.url(set),
        }
    }

    fn bent(&self) -> bool {
        matches!(self.twist, Some(FaultKind::Loop | FaultKind::ForeignLink { .. } | FaultKind::EmptyPage))
    }

    /// A number from the query or, for searches that page in the body, from there.
    fn number(&self, name: &str, default: usize, least: i64) -> Result<usize, Refusal> {
        // The query first: a link's offset must win over that of the body that is posted again.
        let Some(text) = self.one(name).map(str::to_owned).or_else(|| self.value(name)) else {
            return Ok(default);
        };
        let number = text
            .parse::<i64>()
            .map_err(|_| bad(format!("The parameter '{name}' is not a number: {text}")))?;
        if number < least {
            return Err(bad(format!("The parameter '{name}' must be at least {least}")));
        }
        usize::try_from(number).map_err(|_| bad(format!("The parameter '{name}' is too large")))
    }

    /// The limit, by the endpoint's default, minimum and maximum and by the server's.
    pub(crate) fn limit(&self, default: usize, least: i64, most: usize) -> Result<usize, Refusal> {
        let most = self.quirks.limit_max.map_or(most, |max| most.min(max as usize));
        let limit = self.number("limit", default.min(most), least)?;
        if limit > most && self.quirks.limit_above_max == LimitAboveMax::Reject {
            return Err(bad(format!("The parameter 'limit' must be at most {most}")));
        }
        Ok(limit.min(most))
    }

    /// Offset and limit.
    pub(crate) fn window(&self) -> Result<Window, Refusal> {
        let limit = self.limit(LIMIT_DEFAULT, 1, LIMIT_MAX)?;
        let offset = self.number("offset", 0, 0)?;
        let row_offset = match self.twist {
            Some(FaultKind::DuplicateIds) => offset.saturating_sub(limit),
            _ => offset,
        };
        let row_limit = if self.twist == Some(&FaultKind::EmptyPage) { 0 } else { limit };
        Ok(Window { offset, limit, row_offset, row_limit })
    }

    /// P0: everything at once.
    #[allow(clippy::unnecessary_wraps, reason = "it is what handlers return")]
    pub(crate) fn p0<'r>(&self, rows: impl IntoIterator<Item = &'r str>) -> Answer {
        let mut results = Vec::new();
        let count = push_all(&mut results, rows);
        let mut out =
            format!("{{\"self\":{},\"metadata\":{{\"count\":{count}}},\"results\":[", quote(&self.url(&[])))
                .into_bytes();
        out.append(&mut results);
        out.extend_from_slice(b"]}");
        Ok(Reply::Json(out))
    }

    /// P1: offset and limit in the query, links in the answer.
    pub(crate) fn p1<'r>(&self, rows: impl Iterator<Item = &'r str>) -> Answer {
        let window = self.window()?;
        let (page, more) = cut(rows, window);
        Ok(Reply::Json(self.p1_bytes(window, page.len(), more, 0, |out| {
            push_all(out, page.iter().copied());
        })))
    }

    /// The same without `self`, as the search of generic resources has it.
    pub(crate) fn p1_without_self<'r>(&self, rows: impl Iterator<Item = &'r str>) -> Answer {
        let Reply::Json(bytes) = self.p1(rows)? else { return Ok(Reply::NoContent) };
        let from = bytes.windows(11).position(|part| part == b"\"metadata\":").unwrap_or(1);
        Ok(Reply::Json([b"{", &bytes[from..]].concat()))
    }

    /// P1 with rows written by the caller; `capacity` is how many bytes they will be, about.
    pub(crate) fn p1_bytes(
        &self,
        window: Window,
        count: usize,
        more: bool,
        capacity: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Vec<u8> {
        let mut head = format!(
            "{{\"self\":{},\"metadata\":{{\"count\":{count},\"limit\":{},\"offset\":{}",
            quote(&self.url(&[])),
            window.limit,
            window.offset
        );
        let at = |offset: usize| [("offset", offset.to_string()), ("limit", window.limit.to_string())];
        if more || self.bent() {
            let _ = write!(head, ",\"next\":{}", quote(&self.next_url(&at(window.offset + window.limit))));
        }
        if window.offset > 0 {
            let _ = write!(
                head,
                ",\"previous\":{}",
                quote(&self.url(&at(window.offset.saturating_sub(window.limit))))
            );
        }
        let mut out = Vec::with_capacity(head.len() + capacity + 32);
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(b"},\"results\":[");
        write(&mut out);
        out.extend_from_slice(b"]}");
        out
    }

    /// P2: offset and limit in the body, no links, no `self`.
    pub(crate) fn p2<'r>(&self, rows: impl Iterator<Item = &'r str>) -> Answer {
        let window = self.window()?;
        let (page, _) = cut(rows, window);
        let Window { offset, limit, .. } = window;
        let mut results = Vec::new();
        let count = push_all(&mut results, page.iter().copied());
        let mut out = format!(
            "{{\"metadata\":{{\"count\":{count},\"limit\":{limit},\"offset\":{offset}}},\"results\":["
        )
        .into_bytes();
        out.append(&mut results);
        out.extend_from_slice(b"]}");
        Ok(Reply::Json(out))
    }

    /// The place that a cursor names; cursors are opaque to clients.
    fn place(&self, name: &str) -> Result<usize, Refusal> {
        let Some(token) = self.one(name) else { return Ok(0) };
        let place = token.strip_prefix("c0").and_then(|hex| usize::from_str_radix(hex, 16).ok());
        place.map(|place| place ^ CURSOR_MASK).ok_or_else(|| bad(format!("Invalid {name}")))
    }

    /// P3: a token in the query. `rows` are all rows with their places in a table that only grows.
    pub(crate) fn p3<'r>(
        &self,
        default: usize,
        most: usize,
        rows: impl Iterator<Item = (usize, &'r str)>,
    ) -> Answer {
        let limit = self.limit(default, 1, most)?;
        let (page, next) = self.after("nextPageToken", limit, rows)?;
        let mut head = format!("{{\"self\":{},\"metadata\":{{\"limit\":{limit}", quote(&self.url(&[])));
        if let Some(token) = next {
            let url = self.next_url(&[("nextPageToken", token.clone()), ("limit", limit.to_string())]);
            let _ = write!(head, ",\"nextPageToken\":{},\"nextPageUrl\":{}", quote(&token), quote(&url));
        }
        Ok(Reply::Json(closed(head, &page)))
    }

    /// P4: the legacy cursor.
    pub(crate) fn p4<'r>(&self, rows: impl Iterator<Item = (usize, &'r str)>) -> Answer {
        let limit = self.limit(50, 50, 1_000)?;
        let (page, next) = self.after("lastEvaluatedKey", limit, rows)?;
        let mut head = format!(
            "{{\"self\":{},\"metadata\":{{\"count\":{},\"limit\":{limit}",
            quote(&self.url(&[])),
            page.len()
        );
        if let Some(key) = next {
            let url = self.next_url(&[("limit", limit.to_string()), ("lastEvaluatedKey", key.clone())]);
            let _ = write!(head, ",\"lastEvaluatedKey\":{},\"next\":{}", quote(&key), quote(&url));
        }
        Ok(Reply::Json(closed(head, &page)))
    }

    /// The rows after the cursor, and the next cursor if there are more.
    fn after<'r>(
        &self,
        name: &str,
        limit: usize,
        rows: impl Iterator<Item = (usize, &'r str)>,
    ) -> Result<(Vec<&'r str>, Option<String>), Refusal> {
        let first = self.place(name)?;
        let rows: Vec<(usize, &str)> = rows.collect();
        let at = rows.partition_point(|(place, _)| *place < first);
        let from = if self.twist == Some(&FaultKind::DuplicateIds) { at.saturating_sub(limit) } else { at };
        let page = rows.iter().skip(from).take(limit).map(|(_, row)| *row);
        let page = if self.twist == Some(&FaultKind::EmptyPage) { Vec::new() } else { page.collect() };
        let next = rows.get(at + limit).map(|(place, _)| *place);
        let end = rows.last().map_or(0, |(place, _)| place + 1);
        let next = match self.twist {
            Some(FaultKind::Loop) => Some(first),
            Some(FaultKind::ForeignLink { .. } | FaultKind::EmptyPage) => Some(next.unwrap_or(end)),
            _ => next,
        };
        Ok((page, next.map(|place| format!("c0{:x}", place ^ CURSOR_MASK))))
    }
}

/// Makes cursors look like nothing one could count with.
const CURSOR_MASK: usize = 0x5bd1_e995;
