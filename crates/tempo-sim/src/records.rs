//! Recorded records, served byte for byte.
//!
//! Takes `<entity>.jsonl` (or `.ndjson`) files from a folder, one record a line. Entities without a file are empty.
//! Refuses lines that are not JSON objects and files that name no entity, with the file and the line.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::site::Site;
use crate::tables::Record;
use crate::truth::ENTITIES;
use crate::worklogs::Worklogs;

/// What is wrong with a folder of records.
#[derive(Debug, Error)]
pub enum RecordsError {
    /// It cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// A line is not a JSON object.
    #[error("{} line {line}: not a JSON object", .file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The name is not an entity's.
    #[error("{}: the file is not named after an entity (accounts.jsonl, worklogs.jsonl, ...)", .0.display())]
    Name(PathBuf),
    /// Nothing is there.
    #[error("{} has no .jsonl files", .0.display())]
    Empty(PathBuf),
}

/// The records of one entity, as text.
pub(crate) type Recorded = Vec<(&'static str, Vec<String>)>;

/// Reads a folder.
pub(crate) fn read(dir: &Path) -> Result<Recorded, RecordsError> {
    let unread = |error| RecordsError::Read(dir.to_owned(), error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        if path.extension().is_some_and(|ending| ending == "jsonl" || ending == "ndjson") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(RecordsError::Empty(dir.to_owned()));
    }
    files.into_iter().map(read_file).collect()
}

fn read_file(file: PathBuf) -> Result<(&'static str, Vec<String>), RecordsError> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
    let Some(entity) = ENTITIES.iter().find(|entity| **entity == stem) else {
        return Err(RecordsError::Name(file));
    };
    let text = std::fs::read_to_string(&file).map_err(|error| RecordsError::Read(file.clone(), error))?;
    let mut records = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str::<serde_json::Value>(line) {
            Ok(serde_json::Value::Object(_)) => records.push(line.trim().to_owned()),
            _ => return Err(RecordsError::Line { file, line: n + 1 }),
        }
    }
    Ok((entity, records))
}

impl Site {
    /// Replaces everything but the configuration by recorded records.
    pub(crate) fn give(&mut self, recorded: &Recorded) {
        let configuration = self.tables.all("global-configuration").to_vec();
        self.tables.clear();
        self.tables.rows_mut("global-configuration").extend(configuration);
        self.facts.teams.clear();
        let mut worklogs = Worklogs::empty(&self.facts.jira);
        for (entity, records) in recorded {
            if *entity == "accounts" {
                worklogs.accounts =
                    records.iter().map(|text| Record::new("", text.clone()).str("key").to_owned()).collect();
            }
        }
        for (entity, records) in recorded {
            for text in records {
                if *entity == "worklogs" {
                    worklogs.give(text).expect("the text was parsed before");
                } else {
                    self.tables.add(entity, "", text.clone());
                }
            }
        }
        self.worklogs = worklogs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_with_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let message = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            let error = read(dir.path()).unwrap_err().to_string();
            std::fs::remove_file(dir.path().join(name)).unwrap();
            error
        };
        assert!(
            message("worklogs.jsonl", "{}\nnonsense\n").ends_with("worklogs.jsonl line 2: not a JSON object")
        );
        assert!(message("worklog.jsonl", "{}\n").contains("not named after an entity"));
        assert!(read(dir.path()).unwrap_err().to_string().ends_with("has no .jsonl files"));
    }
}
