//! Records as RFC 4180 has it: a header, then a line per record, each ended by CR LF.

use std::io;

use super::part::Part;
use super::shape::Columns;
use super::value::{self, Kind};
use super::{Fault, RecordFile};

pub(super) struct CsvFile {
    writer: csv::Writer<Part>,
    columns: Columns,
}

impl CsvFile {
    /// Writes the header, unless no record was seen and so no column is known.
    pub(super) fn new(part: Part, columns: Columns) -> io::Result<Self> {
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(part);
        if !columns.is_guess() {
            writer.write_record(columns.list().iter().map(|column| &column.name)).map_err(cause)?;
        }
        Ok(Self { writer, columns })
    }
}

impl RecordFile for CsvFile {
    fn add(&mut self, record: &str) -> Result<(), Fault> {
        let Self { writer, columns } = self;
        for (column, cell) in columns.read(record).map_err(Fault::Record)? {
            let written = match (column.kind, cell) {
                (_, None) => writer.write_field(b""),
                (Kind::Json, Some(raw)) => writer.write_field(raw),
                (_, Some(raw)) => writer.write_field(value::plain(raw).as_bytes()),
            };
            written.map_err(|error| Fault::Write(cause(error)))?;
        }
        writer.write_record(None::<&[u8]>).map_err(|error| Fault::Write(cause(error)))
    }

    fn finish(self: Box<Self>) -> Result<Part, Fault> {
        self.writer.into_inner().map_err(|error| Fault::Write(error.into_error()))
    }
}

/// What the system said, so that a full disk is known as one.
fn cause(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
