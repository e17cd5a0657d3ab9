//! Records as they are, one per line.

use std::io::Write;

use super::part::Part;
use super::{Fault, RecordFile};

pub(super) struct NdjsonFile(Part);

impl NdjsonFile {
    pub(super) fn new(part: Part) -> Self {
        Self(part)
    }
}

impl RecordFile for NdjsonFile {
    fn add(&mut self, record: &str) -> Result<(), Fault> {
        self.0.write_all(record.as_bytes()).and_then(|()| self.0.write_all(b"\n")).map_err(Fault::Write)
    }

    fn finish(self: Box<Self>) -> Result<Part, Fault> {
        Ok(self.0)
    }
}
