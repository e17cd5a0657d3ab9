//! The real program, as cargo builds it.
//!
//! A run of the whole workspace has built it before the first test starts, since `crates/fermata` has a test of its
//! own that names it. A run of this package alone has not: then cargo is asked here, unless the program is newer
//! than all that it is made of.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::root;

/// Where the program is.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().expect("a program knows where it is");
        let profile = test.parent().and_then(Path::parent).expect("tests lie in <target>/<profile>/deps");
        let program = profile.join("fermata");
        if !is_fresh(&program) {
            build(profile);
        }
        assert!(program.exists(), "cargo did not build {}", program.display());
        program
    })
}

/// Whether the program is newer than every file that cargo says it is made of.
fn is_fresh(program: &Path) -> bool {
    let Ok(list) = std::fs::read_to_string(program.with_extension("d")) else { return false };
    let Some((_, files)) = list.split_once(": ") else { return false };
    // Cargo writes a blank that belongs to a name as `\ `.
    let files = files.replace("\\ ", "\0");
    let files = files.split_whitespace().map(|file| PathBuf::from(file.replace('\0', " ")));
    let built = changed(program);
    built.is_some() && files.chain([root().join("Cargo.lock")]).all(|file| changed(&file) <= built)
}

fn changed(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|data| data.modified()).ok()
}

fn build(profile: &Path) {
    let name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--package", "fermata", "--profile", name])
        .current_dir(root())
        .status()
        .expect("cargo runs, since it built this");
    assert!(built.success(), "cargo build -p fermata failed, see above");
}
