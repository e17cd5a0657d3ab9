//! Nothing that is secret, and nothing of anybody's records, lies readable in the store or in the log.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use fermata_engine::BackupError;
use serde_json::Value;
use tempo_sim::{Fault, FaultKind, Quirks, Shape, Sim};
use tracing_subscriber::fmt::MakeWriter;

use crate::site::Site;

/// Below this, a text of a record may well stand elsewhere by chance.
const TEXT_CHARS_MIN: usize = 9;

/// Where the log goes.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Vec<u8>>>);

impl io::Write for Book {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Book {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Every text in the records of a site that a person wrote or that names one.
fn texts(site: &Site) -> BTreeSet<String> {
    let mut texts = BTreeSet::new();
    for entity in tempo_sim::ENTITIES {
        for record in site.sim.truth(1, entity) {
            collect(&serde_json::from_str(&record).unwrap(), &mut texts);
        }
    }
    assert!(texts.len() > 500, "{}", texts.len());
    texts
}

fn collect(value: &Value, texts: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let time = text.get(..10).is_some_and(|day| day.parse::<jiff::civil::Date>().is_ok());
            let constant = text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
            if text.len() >= TEXT_CHARS_MIN && !time && !constant {
                texts.insert(text.clone());
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, texts)),
        Value::Object(members) => members.values().for_each(|value| collect(value, texts)),
        _ => {}
    }
}

/// A run that meets every kind of trouble on its way, ends before it is sealed, and is then finished.
#[tokio::test]
async fn nothing_secret_is_readable() {
    let book = Book::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    let _log = tracing::subscriber::set_default(subscriber.with_writer(book.clone()).finish());

    let quirks = Quirks { limit_max: Some(100), ..Quirks::default() };
    let site = Site::start(Sim::builder().seed(5).worklogs(300).quirks(quirks)).await;
    let (texts, token) = (texts(&site), site.sim.token(1));
    assert!(texts.iter().any(|text| text.contains("sim-secret-")), "the site has secrets");
    trouble(&site);
    // It waits for all that knows users: by then many jobs have left their checkpoints.
    site.sim.fault(Fault::status(401).path("/4/user-schedule").nth(5));
    let refused = site.backup().await;
    assert!(matches!(refused, Err(BackupError::TokenRefused(_))), "{refused:?}");
    let before = site.objects().await;
    let checkpoints = before.keys().filter(|key| key.contains("/runs/")).count();
    assert!(checkpoints > 60, "{checkpoints}");

    let now = jiff::Timestamp::now();
    let mut settings = site.vault.settings(&site.tenant).await.unwrap().unwrap();
    settings.token = Some(site.vault.seal_token(&site.tenant, &token.clone().into(), now, None));
    site.vault.save_settings(settings, now).await.unwrap();
    site.backup().await.unwrap();
    let after = site.objects().await;

    for (key, bytes) in before.iter().chain(&after) {
        // What is sealed or compressed is noise here; what is readable is found as it is.
        let bytes = String::from_utf8_lossy(bytes);
        assert!(!bytes.contains(&token), "{key} holds the token");
        for text in &texts {
            assert!(!bytes.contains(text.as_str()), "{key} holds {text:?} of a record");
            assert!(!key.contains(text.as_str()), "{key} is named after {text:?} of a record");
        }
    }
    for (entity, records) in site.records(&site.latest().await).await {
        let secret = records.iter().find(|record| record.contains("sim-secret-"));
        assert!(secret.is_none(), "{entity} keeps a webhook's secret: {secret:?}");
    }
    let log = String::from_utf8(book.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("/4/worklogs/search") && log.contains("asking again"), "the log was heard");
    assert!(!log.contains(&token), "the log holds the token");
    let told: Vec<_> = texts.iter().filter(|text| log.contains(text.as_str())).collect();
    assert!(told.is_empty(), "the log holds {told:?} of records");
}

/// Faults of many kinds, in several places.
fn trouble(site: &Site) {
    for (path, kind) in [
        ("/4/teams", FaultKind::Cut),
        ("/4/roles", FaultKind::Html200),
        ("/4/worklogs/search", FaultKind::WrongShape { shape: Shape::ResultsNotArray }),
        ("/4/customers", FaultKind::NotUtf8),
        ("/4/accounts/search", FaultKind::AfterEffect),
        ("/4/programs", FaultKind::Status { code: 400, body: None, content_type: None, retry_after: None }),
        (
            "/4/plans/search",
            FaultKind::Status { code: 429, body: None, content_type: None, retry_after: Some(1) },
        ),
        (
            "/4/user-schedule",
            FaultKind::Status { code: 403, body: None, content_type: None, retry_after: None },
        ),
        ("/4/skills", FaultKind::Status { code: 500, body: None, content_type: None, retry_after: None }),
    ] {
        site.sim.fault(Fault::new(kind).path(path));
    }
    site.sim.fault(
        Fault::new(FaultKind::ForeignLink { url: "https://elsewhere.example/4/x?offset=5".to_owned() })
            .path("/4/portfolios"),
    );
}
