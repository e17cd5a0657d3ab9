//! Records of a real Tempo, through the whole program and out again: the same to the byte.

use std::collections::BTreeMap;

use tempo_sim::Sim;

use crate::root;
use crate::stage::Stage;

/// Beside the repository, since the records are not ours to publish.
const RECORDED: &str = "../shared/data/recorded";

#[test]
fn recorded_records_come_out_as_they_went_in() {
    let folder = root().join(RECORDED);
    let Ok(files) = std::fs::read_dir(&folder) else {
        announce(&format!("{} is not there; nothing recorded was tested", folder.display()));
        return;
    };
    let stage = Stage::of(Sim::builder().rate(0.0).records(&folder)).ready();
    // Nobody recorded who these people are, so the simulator knows none of them.
    stage.fermata("tenant set acme --without user-schedules").run().code(0);
    stage.fermata("backup acme").run().code(0);
    let exported = stage.exported();
    let mut recorded = BTreeMap::new();
    for path in files.map(|file| file.unwrap().path()) {
        if path.extension().is_some_and(|ending| ending == "jsonl") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut records: Vec<_> = text.lines().map(str::to_owned).collect();
            records.sort_unstable();
            recorded.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), records);
        }
    }
    assert!(recorded.len() >= 4, "{recorded:?}");
    for (entity, records) in recorded {
        assert_eq!(exported.get(&entity), Some(&records), "{entity}");
    }
}

#[expect(clippy::print_stderr, reason = "a test that cannot run must not be silent about it")]
fn announce(words: &str) {
    eprintln!("NOTICE: {words}");
}
