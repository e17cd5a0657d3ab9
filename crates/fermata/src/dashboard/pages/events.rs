//! `/events`: tells browsers that there is something new to see, and nothing of what it is.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream};

use crate::dashboard::routes::Asker;
use crate::dashboard::{Shared, now};

/// The least time between two looks that a browser is asked for.
const EVERY: Duration = Duration::from_secs(2);

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (changes, end) = (app.changes.listen(), app.end.clone());
    let holds = move || app.access.holds(&headers, &person, now());
    let events = stream::unfold((changes, end, holds), |(mut changes, end, holds)| async move {
        tokio::select! {
            told = changes.changed() => told.ok()?,
            () = end.cancelled() => return None,
        }
        if !holds() {
            return None;
        }
        let event = Event::default().event("change").data(changes.borrow_and_update().to_string());
        // What else changes meanwhile is one event with this.
        let quiet = async {
            tokio::time::sleep(EVERY).await;
            changes
        };
        let changes = tokio::select! {
            changes = quiet => changes,
            () = end.cancelled() => return None,
        };
        Some((Ok(event), (changes, end, holds)))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}
