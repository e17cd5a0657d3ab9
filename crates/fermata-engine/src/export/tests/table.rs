//! NDJSON is the records. CSV and Parquet read back are the records laid out by a second, slower way of doing it.

use std::fs::File;

use jiff::civil::Date;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use proptest::prelude::*;

use super::*;

/// The kind of a member goes with its name; the last two hold objects.
const NAMES: [&str; 10] = ["bool", "int", "cost", "day", "moment", "list", "text", "größe", "in", "side"];

/// JSON as it is written.
#[derive(Clone, Debug)]
enum Json {
    Object(Vec<(String, Json)>),
    /// Anything else.
    Raw(String),
}

/// A column and its values as they are written.
#[derive(Debug)]
struct Expected {
    name: String,
    json: bool,
    values: Vec<Option<String>>,
}

impl Json {
    fn text(&self) -> String {
        match self {
            Self::Raw(raw) => raw.clone(),
            Self::Object(members) => {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("{}: {}", quoted(name), value.text()))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Raw(raw) if raw == "null")
    }

    fn member(&self, wanted: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(name, _)| name == wanted).map(|(_, value)| value)
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// Lays out what all records have at one place.
fn expect(name: &str, values: &[Option<&Json>], into: &mut Vec<Expected>) {
    let there: Vec<_> = values.iter().flatten().filter(|value| !value.is_null()).collect();
    let mut names: Vec<&str> = Vec::new();
    for value in &there {
        if let Json::Object(members) = value {
            for (name, _) in members {
                if !names.contains(&name.as_str()) {
                    names.push(name);
                }
            }
        }
    }
    if there.iter().all(|value| matches!(value, Json::Object(_))) && !names.is_empty() {
        for member in names {
            let values: Vec<_> =
                values.iter().map(|value| value.and_then(|value| value.member(member))).collect();
            let name = if name.is_empty() { member.to_owned() } else { format!("{name}.{member}") };
            expect(&name, &values, into);
        }
        return;
    }
    let json = there.iter().any(|value| value.text().starts_with(['{', '[']));
    let name = if name.is_empty() { "_record".to_owned() } else { name.to_owned() };
    let values = values.iter().map(|value| value.filter(|value| !value.is_null()).map(Json::text)).collect();
    into.push(Expected { name, json, values });
}

impl Expected {
    fn plain(&self, value: &str) -> String {
        if self.json {
            value.to_owned()
        } else {
            serde_json::from_str(value).unwrap_or_else(|_| value.to_owned())
        }
    }

    /// The values as Parquet's reader shows them.
    fn fields(&self) -> Vec<Field> {
        type Reading = fn(&str) -> Option<Field>;
        let text = |raw: &str| serde_json::from_str::<String>(raw).ok();
        let readings: [Reading; 5] = [
            |raw| Some(Field::Bool(raw.parse().ok()?)),
            |raw| Some(Field::Long(raw.parse().ok()?)),
            |raw| {
                raw.parse()
                    .ok()
                    .filter(|_| {
                        raw.parse::<i64>().is_ok_and(|n| n.unsigned_abs() <= 1 << 53)
                            || raw.contains(['.', 'e'])
                    })
                    .map(Field::Double)
            },
            |raw| {
                let text: String = serde_json::from_str(raw).ok()?;
                let date: Date = text.parse().ok().filter(|_| text.len() == 10)?;
                let days = date.since(Date::constant(1970, 1, 1)).unwrap().get_days();
                Some(Field::Date(days))
            },
            |raw| {
                let text: String = serde_json::from_str(raw).ok()?;
                let moment: jiff::Timestamp = text.parse().ok().filter(|_| text.ends_with('Z'))?;
                Some(Field::TimestampMicros(moment.as_microsecond()))
            },
        ];
        let there: Vec<&String> = self.values.iter().flatten().collect();
        let reading = readings
            .iter()
            .find(|reading| !there.is_empty() && there.iter().all(|raw| reading(raw).is_some()));
        let field = |raw: &String| match reading {
            Some(reading) if !self.json => reading(raw).unwrap(),
            _ if self.json => Field::Str(raw.clone()),
            _ => Field::Str(text(raw).unwrap_or_else(|| raw.clone())),
        };
        self.values.iter().map(|value| value.as_ref().map_or(Field::Null, field)).collect()
    }
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (-1000_i32..1000).prop_map(|number| number.to_string()),
    ]
}

/// A value whose kind mostly goes with its name, so that columns of every kind come about.
fn value(name: &str) -> BoxedStrategy<String> {
    let usual = match name {
        "bool" => any::<bool>().prop_map(|bool| bool.to_string()).boxed(),
        "int" => number().boxed(),
        "cost" => prop_oneof!["-?[1-9][0-9]{0,4}\\.[0-9]{1,4}0", "[1-9]e[0-9]", "[1-9][0-9]{0,5}"].boxed(),
        "day" => "2[0-9]{3}-0[1-9]-[12][0-8]".prop_map(|day| quoted(&day)).boxed(),
        "moment" => "2[0-9]{3}-0[1-9]-[12][0-8]T[01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?Z"
            .prop_map(|moment| quoted(&moment))
            .boxed(),
        "list" => {
            prop::collection::vec(number(), 0..3).prop_map(|list| format!("[{}]", list.join(", "))).boxed()
        }
        _ => prop_oneof![".{0,8}", "[\"',\r\n\\\\é😀= ]{0,6}"].prop_map(|text| quoted(&text)).boxed(),
    };
    prop_oneof![12 => usual, 2 => Just("null".to_owned()), 1 => number(), 1 => ".{0,3}".prop_map(|text| quoted(&text))]
        .boxed()
}

fn object(depth: u32) -> BoxedStrategy<Json> {
    let member = prop::sample::select(&NAMES[..]).prop_flat_map(move |name| {
        let inside = name == "in" || name == "side";
        let value = if inside && depth > 0 {
            prop_oneof![8 => object(depth - 1), 1 => Just(Json::Raw("null".to_owned())), 1 => Just(Json::Raw("7".to_owned()))].boxed()
        } else {
            value(name).prop_map(Json::Raw).boxed()
        };
        (Just(name.to_owned()), value)
    });
    prop::collection::vec(member, 0..8)
        .prop_map(|mut members: Vec<(String, Json)>| {
            let mut seen = BTreeSet::new();
            members.retain(|(name, _)| seen.insert(name.clone()));
            Json::Object(members)
        })
        .boxed()
}

/// Writes records as a table, in the given folder.
fn write(format: Format, records: &[Json], folder: &Path) -> PathBuf {
    let target = folder.join(format!("x.{format}"));
    let mut shape = Shape::default();
    let records: Vec<_> = records.iter().map(Json::text).collect();
    for record in &records {
        shape.learn(record).unwrap();
    }
    let part = Part::create(&target).unwrap();
    let mut file: Box<dyn RecordFile> = match format {
        Format::Csv => Box::new(CsvFile::new(part, shape.columns()).unwrap()),
        _ => Box::new(ParquetFile::new(part, shape.columns()).unwrap()),
    };
    for record in &records {
        assert!(file.add(record).is_ok(), "{record}");
    }
    let Ok(part) = file.finish() else { panic!("the file is not finished") };
    part.keep().unwrap();
    target
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn lines_are_the_records(records in prop::collection::vec(object(2), 1..12)) {
        let records: Vec<_> = records.iter().map(Json::text).collect();
        let folder = TempDir::new().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let lines: Vec<_> = records.iter().map(String::as_str).collect();
            let mut room = Room::new().await;
            room.add("teams", EntryStatus::Complete, &[(LayerKind::Sweep, &lines)]).await;
            room.export(Format::Ndjson, folder.path()).await.unwrap();
        });
        let found = std::fs::read_to_string(folder.path().join("teams.ndjson")).unwrap();
        prop_assert_eq!(found, records.join("\n") + "\n");
    }
}

proptest! {
    #[test]
    fn tables_hold_what_the_records_say(records in prop::collection::vec(object(2), 1..12)) {
        let mut expected = Vec::new();
        expect("", &records.iter().map(Some).collect::<Vec<_>>(), &mut expected);
        let names: Vec<_> = expected.iter().map(|column| column.name.clone()).collect();
        let folder = TempDir::new().unwrap();

        let mut csv = csv::Reader::from_path(write(Format::Csv, &records, folder.path())).unwrap();
        prop_assert_eq!(csv.headers().unwrap().iter().collect::<Vec<_>>(), names.clone());
        let rows: Vec<_> = csv.records().map(Result::unwrap).collect();
        prop_assert_eq!(rows.len(), records.len());
        for (number, row) in rows.iter().enumerate() {
            let cells: Vec<_> = expected
                .iter()
                .map(|column| column.values[number].as_ref().map(|raw| column.plain(raw)).unwrap_or_default())
                .collect();
            prop_assert_eq!(row.iter().collect::<Vec<_>>(), cells);
        }

        let file = File::open(write(Format::Parquet, &records, folder.path())).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(rows.len(), records.len());
        for (at, column) in expected.iter().enumerate() {
            let found: Vec<_> = rows.iter().map(|row| row.get_column_iter().nth(at).unwrap()).collect();
            let fields = column.fields();
            let expect: Vec<_> = fields.iter().map(|field| (&column.name, field)).collect();
            prop_assert_eq!(found, expect);
        }
    }
}
