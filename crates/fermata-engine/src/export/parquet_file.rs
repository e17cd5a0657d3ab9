//! Records as Parquet: typed columns, zstd, row groups that bound the memory.

use std::io;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;

use super::part::Part;
use super::shape::{Column, Columns, Flaw};
use super::value::{self, Kind};
use super::{Fault, RecordFile};

/// Rows of a row group at most; readers share out the work by row group.
const GROUP_ROWS_MAX: usize = 64 * 1024;
/// Bytes held back for a row group at most, besides the last record.
const GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Texts that are handed over at a time, each with its own allocation meanwhile.
const TEXTS_AT_ONCE: usize = 1024;
/// Records are compressed at this level elsewhere, too.
const ZSTD_LEVEL: i32 = 3;

const NULL: i16 = 0;
const PRESENT: i16 = 1;

pub(super) struct ParquetFile {
    writer: SerializedFileWriter<Part>,
    columns: Columns,
    held: Vec<Held>,
    rows: usize,
    bytes: usize,
}

/// The values of a column that wait for their row group.
struct Held {
    /// For each row, whether there is a value.
    levels: Vec<i16>,
    values: Values,
}

enum Values {
    Bools(Vec<bool>),
    Integers(Vec<i64>),
    Numbers(Vec<f64>),
    Days(Vec<i32>),
    Moments(Vec<i64>),
    Texts { bytes: Vec<u8>, ends: Vec<usize>, json: bool },
}

impl ParquetFile {
    pub(super) fn new(part: Part, columns: Columns) -> io::Result<Self> {
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(cause)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by(concat!("fermata ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let schema = schema(columns.list()).map_err(cause)?;
        let writer =
            SerializedFileWriter::new(part, Arc::new(schema), Arc::new(properties)).map_err(cause)?;
        let held = columns.list().iter().map(|column| Held::new(column.kind)).collect();
        Ok(Self { writer, columns, held, rows: 0, bytes: 0 })
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for held in &mut self.held {
            let mut column = group.next_column()?.expect("the schema has a column for each that is held");
            held.write(&mut column)?;
            column.close()?;
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

impl RecordFile for ParquetFile {
    fn add(&mut self, record: &str) -> Result<(), Fault> {
        let Self { columns, held, bytes, rows, .. } = self;
        for (held, (_, cell)) in held.iter_mut().zip(columns.read(record).map_err(Fault::Record)?) {
            *bytes += held.push(cell).ok_or(Fault::Record(Flaw::Changed))?;
        }
        *rows += 1;
        if *rows == GROUP_ROWS_MAX || *bytes >= GROUP_BYTES_MAX {
            self.write_group().map_err(|error| Fault::Write(cause(error)))?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Part, Fault> {
        let last = if self.rows > 0 { self.write_group() } else { Ok(()) };
        last.and_then(|()| self.writer.into_inner()).map_err(|error| Fault::Write(cause(error)))
    }
}

impl Held {
    fn new(kind: Kind) -> Self {
        let values = match kind {
            Kind::Bool => Values::Bools(Vec::new()),
            Kind::Integer => Values::Integers(Vec::new()),
            Kind::Number => Values::Numbers(Vec::new()),
            Kind::Day => Values::Days(Vec::new()),
            Kind::Moment => Values::Moments(Vec::new()),
            Kind::Text | Kind::Json => {
                Values::Texts { bytes: Vec::new(), ends: Vec::new(), json: kind == Kind::Json }
            }
        };
        Self { levels: Vec::new(), values }
    }

    /// Takes a cell; returns the bytes that it costs, or nothing when its value is of another kind.
    fn push(&mut self, cell: Option<&str>) -> Option<usize> {
        let Some(raw) = cell else {
            self.levels.push(NULL);
            return Some(size_of::<i16>());
        };
        let size = match &mut self.values {
            Values::Bools(values) => put(values, raw.parse().ok()),
            Values::Integers(values) => put(values, value::integer(raw)),
            Values::Numbers(values) => put(values, value::number(raw)),
            Values::Days(values) => put(values, value::day(value::inside(raw))),
            Values::Moments(values) => put(values, value::moment(value::inside(raw))),
            Values::Texts { bytes, ends, json } => {
                let start = bytes.len();
                if *json {
                    bytes.extend_from_slice(raw.as_bytes());
                } else {
                    bytes.extend_from_slice(value::plain(raw).as_bytes());
                }
                let size = bytes.len() - start;
                put(ends, Some(bytes.len())).map(|end| end + size)
            }
        }?;
        self.levels.push(PRESENT);
        Some(size_of::<i16>() + size)
    }

    /// Writes what is held and empties it.
    fn write(&mut self, column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let levels = Some(self.levels.as_slice());
        match &mut self.values {
            Values::Bools(values) => {
                column.typed::<BoolType>().write_batch(values, levels, None)?;
                values.clear();
            }
            Values::Integers(values) | Values::Moments(values) => {
                column.typed::<Int64Type>().write_batch(values, levels, None)?;
                values.clear();
            }
            Values::Numbers(values) => {
                column.typed::<DoubleType>().write_batch(values, levels, None)?;
                values.clear();
            }
            Values::Days(values) => {
                column.typed::<Int32Type>().write_batch(values, levels, None)?;
                values.clear();
            }
            Values::Texts { bytes, ends, .. } => {
                write_texts(column, &self.levels, bytes, ends)?;
                bytes.clear();
                ends.clear();
            }
        }
        self.levels.clear();
        Ok(())
    }
}

fn put<T>(values: &mut Vec<T>, value: Option<T>) -> Option<usize> {
    values.push(value?);
    Some(size_of::<T>())
}

fn write_texts(
    column: &mut SerializedColumnWriter<'_>,
    levels: &[i16],
    bytes: &[u8],
    ends: &[usize],
) -> Result<(), ParquetError> {
    let mut start = 0;
    let mut texts = ends.iter().map(|end| {
        let text = &bytes[start..*end];
        start = *end;
        ByteArray::from(text)
    });
    for levels in levels.chunks(TEXTS_AT_ONCE) {
        let present = levels.iter().filter(|level| **level == PRESENT).count();
        let batch: Vec<_> = texts.by_ref().take(present).collect();
        column.typed::<ByteArrayType>().write_batch(&batch, Some(levels), None)?;
    }
    Ok(())
}

fn schema(columns: &[Column]) -> Result<Type, ParquetError> {
    let fields = columns.iter().map(|column| {
        let (physical, logical) = match column.kind {
            Kind::Bool => (Physical::BOOLEAN, None),
            Kind::Integer => (Physical::INT64, None),
            Kind::Number => (Physical::DOUBLE, None),
            Kind::Day => (Physical::INT32, Some(LogicalType::Date)),
            Kind::Moment => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
            // Not the type for JSON: readers that do not know it show bytes.
            Kind::Text | Kind::Json => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let field = Type::primitive_type_builder(&column.name, physical);
        Ok(Arc::new(field.with_repetition(Repetition::OPTIONAL).with_logical_type(logical).build()?))
    });
    let fields = fields.collect::<Result<Vec<_>, ParquetError>>()?;
    Type::group_type_builder("record").with_fields(fields).build()
}

/// What the system said, so that a full disk is known as one.
fn cause(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(source) => io::Error::other(source),
        },
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::Shape;
    use super::*;
    use parquet::file::metadata::RowGroupMetaData;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use std::fs::File;
    use tempfile::TempDir;

    /// The rows of each row group of a file of these records.
    fn groups(records: &[String]) -> Vec<i64> {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("x.parquet");
        let mut shape = Shape::default();
        for record in records {
            shape.learn(record).unwrap();
        }
        let mut file = Box::new(ParquetFile::new(Part::create(&target).unwrap(), shape.columns()).unwrap());
        for record in records {
            assert!(file.add(record).is_ok());
        }
        let Ok(part) = file.finish() else { panic!("the file is not finished") };
        assert_eq!(part.keep().unwrap(), std::fs::metadata(&target).unwrap().len());
        let reader = SerializedFileReader::new(File::open(&target).unwrap()).unwrap();
        assert_eq!(reader.get_row_iter(None).unwrap().count(), records.len());
        reader.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).collect()
    }

    #[test]
    fn row_groups_are_bounded_in_rows_and_bytes() {
        let rows = GROUP_ROWS_MAX + 1;
        assert_eq!(groups(&(0..rows).map(|id| format!("{{\"id\":{id}}}")).collect::<Vec<_>>()), [65_536, 1]);
        let huge = format!("{{\"text\":\"{}\"}}", "é".repeat(GROUP_BYTES_MAX / 3));
        assert_eq!(groups(&vec![huge; 3]), [2, 1]);
        assert_eq!(groups(&[]), [] as [i64; 0]);
    }

    #[test]
    fn a_full_disk_is_known_as_one() {
        let error = cause(ParquetError::from(io::Error::from(io::ErrorKind::StorageFull)));
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
