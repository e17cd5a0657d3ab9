use std::collections::BTreeSet;

use proptest::prelude::*;
use roaring::RoaringTreemap;

use super::body::Body;
use super::*;
use crate::catalogue::Key;

fn event(seq: u32, next: Next, open: u64, closed: Option<u64>, tally: u64) -> Event {
    let chunk = |records| Chunk { name: format!("chunk-{seq}"), records, bytes: records * 10, stored: 1 };
    Event {
        schema: crate::FORMAT,
        seq,
        at: Timestamp::UNIX_EPOCH,
        way: Way::Delta,
        next,
        closed: closed
            .map(|records| Closed { layer: LayerKind::Sweep, chunk: chunk(records) })
            .into_iter()
            .collect(),
        open: [Open { records: open, bytes: open * 10 }, Open::default(), Open::default(), Open::default()],
        notes: Vec::new(),
        tally: Tally { records: tally, kept: [tally, 0, 0, 0], ..Tally::default() },
        so_far: None,
    }
}

fn page() -> Next {
    Next::Page(Cursor { place: Place::Offset { offset: 1, pass: 0, news: false }, ..Cursor::default() })
}

#[test]
fn events_add_up() {
    let end = Next::End(Outcome::Complete);
    let log = [event(0, page(), 5, None, 5), event(1, page(), 2, Some(8), 10), event(2, end, 0, Some(3), 11)];
    let state = log.iter().try_fold(State::default(), State::next).unwrap();
    assert_eq!(state.outcome, Some(Outcome::Complete));
    assert_eq!(state.closed[0].len(), 2);
    assert_eq!(state.open[0], Open::default());
}

#[test]
fn what_does_not_fit_is_an_error() {
    let first = event(0, page(), 5, None, 5);
    let state = State::default().next(&first).unwrap();
    assert_eq!(
        state.clone().next(&first),
        Err(IllegalEvent::Sequence { after: 1, got: 0 }),
        "replayed twice"
    );
    assert_eq!(state.clone().next(&event(1, page(), 5, None, 11)), Err(IllegalEvent::Count(1)));
    let ended = state.next(&event(1, Next::End(Outcome::Complete), 0, Some(5), 5)).unwrap();
    assert_eq!(ended.next(&event(2, page(), 0, None, 5)), Err(IllegalEvent::AfterEnd(2)));
    let newer = Event { schema: 2, ..event(0, page(), 0, None, 0) };
    assert_eq!(State::default().next(&newer), Err(IllegalEvent::Format { seq: 0, schema: 2 }));
}

#[test]
fn a_cursor_reads_as_json() {
    let since = "2026-03-01T02:00:00Z".parse().unwrap();
    let cursor = Cursor { place: Place::Changes { since, offset: 0 }, ..Cursor::default() };
    let text = serde_json::to_string(&Next::Page(cursor.clone())).unwrap();
    assert_eq!(
        text,
        r#"{"page":{"read":0,"place":{"at":"changes","since":"2026-03-01T02:00:00Z","offset":0}}}"#
    );
    assert_eq!(serde_json::from_str::<Next>(&text).unwrap(), Next::Page(cursor));
}

#[test]
fn a_job_that_begins_anew_has_only_its_costs_left() {
    let first = event(0, page(), 5, Some(3), 8);
    let state = State::default().next(&first).unwrap();
    let anew = Event { way: Way::Sweep, ..event(1, Next::Page(Cursor::default()), 0, None, 0) };
    let state = state.next(&anew).unwrap();
    assert_eq!((state.closed[0].len(), state.open[0]), (0, Open::default()));
    assert!(state.next(&Event { way: Way::Sweep, ..event(2, page(), 2, None, 2) }).is_ok());
    let tally = Tally { requests: 3, records: 8, kept: [8, 0, 0, 0], ..Tally::default() };
    assert_eq!(tally.anew(), Tally { requests: 3, ..Tally::default() });
}

proptest! {
    /// Any prefix of a log and then the rest is the log.
    #[test]
    fn a_prefix_resumes_to_the_same_state(pages in prop::collection::vec((0_u64..20, any::<bool>()), 1..12), cut in 0_usize..12) {
        let (mut open, mut total) = (0, 0);
        let log: Vec<_> = pages.iter().enumerate().map(|(seq, (rows, close))| {
            total += rows;
            let seq = u32::try_from(seq).unwrap();
            let made = if *close { event(seq, page(), 0, Some(open + rows), total) } else { event(seq, page(), *rows, None, total) };
            open = if *close { 0 } else { open + rows };
            made
        }).collect();
        let (head, tail) = log.split_at(cut.min(log.len()));
        let whole = log.iter().try_fold(State::default(), State::next);
        let resumed = head.iter().try_fold(State::default(), State::next).and_then(|state| tail.iter().try_fold(state, State::next));
        prop_assert_eq!(&whole, &resumed);
        // An event that holds all so far stands for those before it.
        let Some(last) = head.last() else { return Ok(()) };
        prop_assert_eq!(State::at(last), None);
        let state = head.iter().try_fold(State::default(), State::next).unwrap();
        let full = Event { so_far: Some(state.so_far()), ..last.clone() };
        let text = serde_json::to_string(&full).unwrap();
        let begun = State::at(&serde_json::from_str(&text).unwrap()).unwrap();
        prop_assert_eq!(begun.as_ref().map(|begun| &begun.closed), Ok(&state.closed));
        prop_assert_eq!(begun.and_then(|state| tail.iter().try_fold(state, State::next)), whole);
        let bad = Event { tally: Tally { kept: [full.tally.kept[0] + 1, 0, 0, 0], ..full.tally }, ..full };
        prop_assert_eq!(State::at(&bad), Some(Err(IllegalEvent::Count(bad.seq))));
    }

    #[test]
    fn a_body_survives_and_a_cut_one_does_not(
        ids in prop::collection::btree_set(any::<u64>(), 0..50), marks in prop::collection::vec(any::<u64>(), 0..20),
        frame in prop::collection::vec(any::<u8>(), 0..100), fresh: bool, cut in 1_usize..40,
    ) {
        let body = Body {
            gone: ids.iter().copied().filter(|id| id % 3 == 0).collect(),
            ids: ids.into_iter().collect::<RoaringTreemap>(), marks, fresh,
            keys: [(Key::User, BTreeSet::from(["5b10:é".to_owned()]))].into(),
            frames: [frame, Vec::new(), b"x".to_vec(), b"y".to_vec()],
        };
        let bytes = body.encode();
        prop_assert_eq!(&Body::decode(&bytes).unwrap(), &body);
        prop_assert!(Body::decode(&bytes[..bytes.len() - cut.min(bytes.len())]).is_err());
        prop_assert!(Body::decode(&[&bytes[..], b"x"].concat()).is_err());
    }
}
