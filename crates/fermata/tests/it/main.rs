//! That there is a test here makes cargo build the program before any test of the workspace runs.
//! What it does is tested in `tests/`, which finds it where cargo puts it.

use std::process::Command;

#[test]
fn the_program_starts() {
    let output = Command::new(env!("CARGO_BIN_EXE_fermata")).arg("--version").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), said.trim()),
        (Some(0), concat!("fermata ", env!("CARGO_PKG_VERSION")))
    );
}
