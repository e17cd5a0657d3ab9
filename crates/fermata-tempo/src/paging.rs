//! The ways in which Tempo pages its lists, as pure functions.
//!
//! [`request`] makes the request for a place; [`advance`] says, from what the page showed, where to
//! go on, and refuses a page that leads nowhere. Lists shift while they are read: pages overlap by a
//! few rows that must be known, and what takes several pages is read again until nothing is new.

use fermata_core::catalogue::{Closing, Paging, Read};
use fermata_core::checkpoint::Place;
use jiff::{Span, Timestamp, civil::Date};

use crate::error::PagingError;
use crate::page::Meta;
use crate::request::{Request, Values};

/// Rows of the page before that are asked for again, at most; a list that loses more rows than this
/// between two pages is noticed, since then the first row is not a known one.
const OVERLAP_ROWS: u64 = 50;
/// Times a list is read again before it is taken as it is.
const PASSES_MAX: u32 = 5;
/// Pages past the last new row, or without any row, after which a list is taken for endless.
const IDLE_PAGES_MAX: u64 = 100;
/// Times that all rows known may be read again before a list is taken for one that never joins up.
const REREADS_MAX: u64 = 20;
/// How far before a scan's start its closing read begins, for rows that show up late.
const CLOSING_MARGIN_SECONDS: i64 = 600;
/// The first window of days, and the widest.
const DAYS_FIRST: u32 = 32;
const DAYS_MAX: u32 = 3_660;
/// Where windows begin when nobody knows the first day: before Tempo.
const DAYS_EARLIEST: Date = jiff::civil::date(2000, 1, 1);

/// What a page showed, after its rows were compared with what was seen before.
#[derive(Debug)]
pub struct Shown<'a> {
    /// Rows on the page.
    pub rows: u64,
    /// Rows that were new or changed.
    pub news: u64,
    /// Whether the first row was known to the byte.
    pub first_known: bool,
    /// Whether the first row was known in any form.
    pub first_met: bool,
    /// When each row last changed, where the rows are ordered by that; `None` when one did not say.
    pub changed: Option<&'a [Timestamp]>,
    /// The day of the first row.
    pub first_day: Option<Date>,
    /// From when on changes were asked for; from the beginning if not at all.
    pub since: Option<Timestamp>,
    /// The answer's metadata.
    pub meta: &'a Meta,
    /// The answer's path, which a link must lead to again.
    pub path: &'a str,
    /// Rows asked for.
    pub limit: u64,
    /// Tempo's clock when the job began.
    pub began: Timestamp,
    /// Rows kept by the job before this page: no list of its rows is longer.
    pub known_rows: u64,
    /// Rows that the job read more than once before this page.
    pub reread_rows: u64,
}

/// What to do after a page.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// Where to go on; nowhere when this request is done.
    pub next: Option<Place>,
    /// Whether the page's rows count; a page that only told where to look does not.
    pub keep: bool,
    /// Which rows to remember to the byte.
    pub remember: Remember,
    /// Whether the scan was given up before nothing was new.
    pub unsettled: bool,
}

/// Which rows to remember to the byte, so that they are known when they come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remember {
    /// These and all before.
    All,
    /// The last so many of this page, and none before.
    Last(u64),
}

/// The request for a place in a list; in one of what changed `since` a moment, if there is one.
pub fn request(
    read: &Read,
    place: &Place,
    values: &Values,
    limit: u64,
    since: Option<&Timestamp>,
) -> Request {
    let mut request = Request::new(read, values);
    let (offset, since) = match place {
        Place::Start | Place::Token { .. } => (0, since),
        Place::Offset { offset, .. } | Place::Days { offset, .. } => (*offset, since),
        Place::Changes { since, offset } | Place::Closing { since, offset, .. } => (*offset, Some(since)),
    };
    if read.paging == Paging::OffsetInBody {
        request.tell("limit", limit);
        request.tell("offset", offset);
    } else if read.limit > 0 {
        request.ask("limit", &limit);
        if matches!(read.paging, Paging::Offset | Paging::Changes | Paging::Days) {
            request.ask("offset", &offset);
        }
    } else if offset > 0 {
        request.ask("offset", &offset);
    }
    if read.paging == Paging::Changes {
        let by = |field: &str| serde_json::json!({"field": field, "order": "ASC"});
        request.tell("orderBy", vec![by("UPDATED"), by("ID")]);
    }
    if let Some(since) = since {
        let since = since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        match request.body {
            Some(_) => request.tell("updatedFrom", since),
            None => request.ask("updatedFrom", &since),
        }
    }
    match (read.paging, place) {
        (Paging::Days, Place::Start) => request.ask("limit", &1),
        (_, Place::Days { from, days, open, .. }) => {
            request.ask("from", from);
            if let Some(to) = last_day(*from, *days).filter(|_| !open) {
                request.ask("to", &to);
            }
        }
        (Paging::PageToken, Place::Token { token, .. }) => request.ask("nextPageToken", token),
        (Paging::LastKey, Place::Token { token, .. }) => request.ask("lastEvaluatedKey", token),
        _ => {}
    }
    request
}

/// Where to go on after a page.
pub fn advance(
    read: &Read,
    place: &Place,
    today: Date,
    identified: bool,
    shown: &Shown,
) -> Result<Step, PagingError> {
    // A link past the page that is due would pass rows over.
    let due = offset(place).saturating_add(shown.page_rows());
    let link = link_offset(shown)?.map(|link| if read.limit > 0 { link.min(due) } else { link });
    if shown.reread_rows > REREADS_MAX.saturating_mul(shown.known_rows + shown.page_rows()) {
        return Err(PagingError::Stuck);
    }
    match (read.paging, place) {
        (Paging::PageToken, _) => token(place, shown.meta.next_page_token.as_deref(), shown),
        (Paging::LastKey, _) => token(place, shown.meta.last_evaluated_key.as_deref(), shown),
        (_, Place::Closing { since, offset, pass, news }) => {
            closing(*since, (*offset, *pass, *news), link, shown)
        }
        // A list that comes whole has no link; should one come after all, it is followed like any other.
        (Paging::Whole | Paging::Offset | Paging::OffsetInBody, _) => {
            list(read, place, identified, link, shown)
        }
        (Paging::Changes, Place::Changes { since, offset }) => changes(Some((*since, *offset)), link, shown),
        (Paging::Changes, _) => changes(None, link, shown),
        (Paging::Days, Place::Days { from, days, open, offset }) => {
            in_days((*from, *days, *open, *offset), today, link, shown)
        }
        (Paging::Days, _) => Ok(Step {
            next: Some(match shown.first_day {
                Some(from) => window(from, DAYS_FIRST, today),
                None if shown.rows == 0 && link.is_none() => start_closing(shown),
                None => window(DAYS_EARLIEST, DAYS_FIRST, today),
            }),
            keep: false,
            remember: Remember::Last(0),
            unsettled: false,
        }),
    }
}

impl Step {
    fn on(next: Place, remember: Remember) -> Self {
        Self { next: Some(next), keep: true, remember, unsettled: false }
    }

    fn done(remember: Remember) -> Self {
        Self { next: None, keep: true, remember, unsettled: false }
    }
}

impl Shown<'_> {
    /// The page size that the server really uses.
    fn page_rows(&self) -> u64 {
        self.meta.limit.filter(|limit| *limit > 0).map_or(self.limit, |limit| limit.min(self.limit)).max(1)
    }

    /// Whether the list may go on after this page.
    fn goes_on(&self, link: Option<u64>) -> bool {
        link.is_some() || self.rows >= self.page_rows()
    }

    /// Rows of this page to ask for again with the next.
    fn overlap(&self) -> u64 {
        (self.page_rows() / 20).clamp(1, OVERLAP_ROWS).min(self.rows.saturating_sub(1))
    }

    /// Where to go back to when this page, be it the last, did not join the one before: rows were lost
    /// between them. An end without rows did not either; but what it lacks may also be hidden from the
    /// token, so it is believed once as much was read again as is known.
    fn torn(&self, offset: u64, link: Option<u64>, joined: bool) -> Option<u64> {
        let torn = if self.rows > 0 {
            !joined
        } else {
            link.is_none() && self.page_rows() > 1 && self.reread_rows < self.known_rows
        };
        (offset > 0 && torn).then(|| offset.saturating_sub((self.page_rows() / 2).max(1)))
    }

    /// The offset of the page after the one at `offset`.
    fn next_offset(&self, offset: u64, link: Option<u64>) -> u64 {
        let next = link.unwrap_or(offset.saturating_add(self.rows));
        next.saturating_sub(self.overlap()).max(offset.saturating_add(1))
    }

    /// Refuses a place further on than all known rows reach.
    fn check_reach(&self, offset: u64) -> Result<(), PagingError> {
        let reach = self.known_rows.saturating_add(IDLE_PAGES_MAX.saturating_mul(self.page_rows()));
        if offset > reach { Err(PagingError::Stuck) } else { Ok(()) }
    }
}

/// The offset that a link leads to. A link is a hint, never an address: its path must be the
/// request's own, and of its query the offset alone is taken.
fn link_offset(shown: &Shown) -> Result<Option<u64>, PagingError> {
    let Some(next) = shown.meta.next.as_deref().filter(|next| !next.is_empty()) else { return Ok(None) };
    let Some(url) = url::Url::parse(next).ok().filter(|url| url.path().ends_with(&encoded(shown.path)))
    else {
        return Err(PagingError::ForeignLink);
    };
    if url.query_pairs().any(|(name, _)| name == "lastEvaluatedKey") {
        return Ok(None);
    }
    let offset =
        url.query_pairs().find(|(name, _)| name == "offset").and_then(|(_, value)| value.parse().ok());
    offset.map(Some).ok_or(PagingError::NoOffset)
}

/// A path as a link has it.
fn encoded(path: &str) -> String {
    let mut url = url::Url::parse("https://host").expect("a constant");
    url.set_path(path);
    url.path().to_owned()
}

/// Rows that a place skips.
fn offset(place: &Place) -> u64 {
    match place {
        Place::Start | Place::Token { .. } => 0,
        Place::Offset { offset, .. }
        | Place::Changes { offset, .. }
        | Place::Days { offset, .. }
        | Place::Closing { offset, .. } => *offset,
    }
}

fn token(place: &Place, next: Option<&str>, shown: &Shown) -> Result<Step, PagingError> {
    let remember = Remember::Last(0);
    let Some(next) = next.filter(|next| !next.is_empty()) else { return Ok(Step::done(remember)) };
    let (same, idle) = match place {
        Place::Token { token, idle } => (token == next, *idle),
        _ => (false, 0),
    };
    let idle = if shown.rows == 0 { idle + 1 } else { 0 };
    if same || idle > IDLE_PAGES_MAX {
        return Err(PagingError::Stuck);
    }
    Ok(Step::on(Place::Token { token: next.to_owned(), idle }, remember))
}

/// A list by offset. One page is the list as it was at one moment. What takes more is read again
/// until a pass brings nothing new, since a row may have moved from the unread part to the read one.
fn list(
    read: &Read,
    place: &Place,
    identified: bool,
    link: Option<u64>,
    shown: &Shown,
) -> Result<Step, PagingError> {
    let (offset, pass, news) = match place {
        Place::Offset { offset, pass, news } => (*offset, *pass, *news),
        _ => (0, 0, false),
    };
    let closes = identified && read.closing != Closing::Never;
    let remember = if closes { Remember::All } else { Remember::Last(2 * OVERLAP_ROWS) };
    let news = news || shown.news > 0;
    // A row may be another at each reading, so that it is known is enough; the next pass tells the rest.
    if let Some(back) = shown.torn(offset, link, shown.first_met).filter(|_| identified) {
        return Ok(Step::on(Place::Offset { offset: back, pass, news }, remember));
    }
    // Rows of a kind that never changes come with links that can be trusted to end.
    let trusted = read.closing == Closing::Never && shown.page_rows() >= shown.limit;
    let full = shown.rows >= shown.page_rows() && read.limit > 0 && !trusted;
    if link.is_some() || full {
        shown.check_reach(offset)?;
        if link.is_some_and(|next| next <= offset) {
            return Err(PagingError::Stuck);
        }
        let next = if identified {
            shown.next_offset(offset, link)
        } else {
            link.unwrap_or(offset.saturating_add(shown.rows))
        };
        return Ok(Step::on(Place::Offset { offset: next, pass, news }, remember));
    }
    let several_pages = offset > 0 || pass > 0;
    match read.closing {
        Closing::Since if closes && several_pages => Ok(Step::on(start_closing(shown), remember)),
        Closing::Again if closes && several_pages && (pass == 0 || news) => {
            if pass + 1 >= PASSES_MAX {
                return Ok(Step { unsettled: true, ..Step::done(remember) });
            }
            Ok(Step::on(Place::Offset { offset: 0, pass: pass + 1, news: false }, remember))
        }
        _ => Ok(Step::done(remember)),
    }
}

/// Rows in the order of their last change. The place moves with the rows, so nothing shifts under
/// it; only where many rows share the last second is an offset used, inside that second.
fn changes(place: Option<(Timestamp, u64)>, link: Option<u64>, shown: &Shown) -> Result<Step, PagingError> {
    let changed = shown.changed.ok_or(PagingError::Unordered)?;
    let since = place.map(|(since, _)| since);
    let offset = place.map_or(0, |(_, offset)| offset);
    let begins_late =
        since.or(shown.since).is_none_or(|since| changed.first().is_none_or(|first| *first >= since));
    if !changed.is_sorted() || !begins_late {
        return Err(PagingError::Unordered);
    }
    if let (Some(since), Some(back)) = (since, shown.torn(offset, link, shown.first_known)) {
        return Ok(Step::on(Place::Changes { since, offset: back }, Remember::All));
    }
    if !shown.goes_on(link) {
        // What came to light only after its second was read, or changed twice in that second.
        let closing = place.map(|_| start_closing(shown));
        return Ok(Step { next: closing, ..Step::done(Remember::All) });
    }
    let Some(last) = changed.last() else {
        shown.check_reach(offset)?;
        let since = since.or(shown.since).unwrap_or(Timestamp::UNIX_EPOCH);
        let offset = shown.next_offset(offset, link);
        return Ok(Step::on(Place::Changes { since, offset }, Remember::All));
    };
    // Tempo's times have no fraction: rows not yet seen may share the last second. One more second
    // is taken back, because nobody says whether `updatedFrom` includes the moment it names.
    let back = last.checked_sub(Span::new().seconds(1)).unwrap_or(*last);
    // What the closing read will show again is remembered; of the rest only what the next page repeats.
    let closes_here = *last >= closing_since(shown);
    let remember = |rows| if closes_here { Remember::All } else { Remember::Last(rows) };
    let before = changed.partition_point(|changed| *changed < back);
    let again = u64::try_from(changed.len() - before).unwrap_or(u64::MAX);
    // At an offset the rows to be read again may begin on a page before this one.
    let moves_on = since.is_none_or(|since| back > since) && (offset == 0 || before > 0);
    if moves_on && again <= (shown.page_rows() / 100).max(1) {
        return Ok(Step::on(Place::Changes { since: back, offset: 0 }, remember(again)));
    }
    // Before the first row there is nothing, so the beginning of time does for "no place yet".
    let since = since.or(shown.since).unwrap_or(Timestamp::UNIX_EPOCH);
    shown.check_reach(offset)?;
    let next = shown.next_offset(offset, link.filter(|link| *link > offset));
    Ok(Step::on(Place::Changes { since, offset: next }, remember(2 * OVERLAP_ROWS)))
}

/// Windows of days that fit one page each: a full one is halved, a sparse one doubled.
fn in_days(
    (from, days, open, offset): (Date, u32, bool, u64),
    today: Date,
    link: Option<u64>,
    shown: &Shown,
) -> Result<Step, PagingError> {
    if let Some(back) = shown.torn(offset, link, shown.first_known) {
        return Ok(Step::on(Place::Days { from, days, open, offset: back }, Remember::All));
    }
    let full = shown.goes_on(link);
    if full && (open || days > 1) {
        let days = if open { days } else { days / 2 };
        let place = Place::Days { from, days, open: false, offset: 0 };
        return Ok(Step { keep: false, ..Step::on(place, Remember::Last(0)) });
    }
    if full {
        shown.check_reach(offset)?;
        let next = shown.next_offset(offset, link.filter(|link| *link > offset));
        let place = Place::Days { from, days, open, offset: next };
        return Ok(Step::on(place, Remember::Last(2 * OVERLAP_ROWS)));
    }
    if open {
        return Ok(Step::on(start_closing(shown), Remember::Last(0)));
    }
    let sparse = shown.rows < shown.page_rows() / 4;
    let days_next = if sparse { (days * 2).min(DAYS_MAX) } else { days };
    let next = last_day(from, days).and_then(|last| last.tomorrow().ok());
    // Past the last day that there is, there is nothing.
    let next = next.map_or_else(|| start_closing(shown), |from| window(from, days_next, today));
    Ok(Step::on(next, Remember::Last(0)))
}

/// A window of days, tried with all that lies beyond when it reaches past today.
fn window(from: Date, days: u32, today: Date) -> Place {
    let open = last_day(from, days).is_none_or(|last| last > today);
    Place::Days { from, days, open, offset: 0 }
}

/// The last day of a window; none past the end of the calendar.
fn last_day(from: Date, days: u32) -> Option<Date> {
    from.checked_add(Span::new().days(days.saturating_sub(1))).ok()
}

fn start_closing(shown: &Shown) -> Place {
    Place::Closing { since: closing_since(shown), offset: 0, pass: 0, news: false }
}

fn closing_since(shown: &Shown) -> Timestamp {
    let margin = Span::new().seconds(CLOSING_MARGIN_SECONDS);
    shown.began.checked_sub(margin).unwrap_or(shown.began)
}

/// What changed since a scan began, again and again until nothing is new.
fn closing(
    since: Timestamp,
    (offset, pass, news): (u64, u32, bool),
    link: Option<u64>,
    shown: &Shown,
) -> Result<Step, PagingError> {
    let news = news || shown.news > 0;
    if let Some(back) = shown.torn(offset, link, shown.first_known) {
        return Ok(Step::on(Place::Closing { since, offset: back, pass, news }, Remember::All));
    }
    if shown.goes_on(link) {
        shown.check_reach(offset)?;
        if link.is_some_and(|next| next <= offset) {
            return Err(PagingError::Stuck);
        }
        let offset = shown.next_offset(offset, link);
        return Ok(Step::on(Place::Closing { since, offset, pass, news }, Remember::All));
    }
    if !news || pass + 1 >= PASSES_MAX {
        return Ok(Step { unsettled: news, ..Step::done(Remember::All) });
    }
    Ok(Step::on(Place::Closing { since, offset: 0, pass: pass + 1, news: false }, Remember::All))
}

#[cfg(test)]
mod tests;
