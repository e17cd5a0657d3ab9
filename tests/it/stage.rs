//! A simulated Tempo, a folder, and the real program that works there as its users start it: with nothing in the
//! environment but what a test puts there.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tempo_sim::{Sim, SimBuilder};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::program::program;

/// Longer than any command of these tests takes.
const COMMAND_SECONDS_MAX: Duration = Duration::from_mins(1);
/// Between two looks at the simulator's ledger.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// The tenant of these tests.
pub(crate) const TENANT: &str = "acme";

/// A small site of which everything may be read as fast as it goes.
pub(crate) fn site() -> SimBuilder {
    Sim::builder().worklogs(1_000).rate(0.0)
}

/// A simulated Tempo and a folder.
pub(crate) struct Stage {
    pub(crate) sim: Sim,
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
    runtime: Runtime,
}

/// A command that is about to be given.
pub(crate) struct Call<'a> {
    stage: &'a Stage,
    command: Command,
    stdin: Vec<u8>,
    line: String,
}

/// A command under way.
pub(crate) struct Running<'a> {
    stage: &'a Stage,
    child: Child,
    line: String,
}

/// A command that runs until it is told to stop; what it says goes to a file.
pub(crate) struct Server {
    child: Child,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ended {
    line: String,
    code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Stage {
    /// A small site of which everything may be read as fast as it goes.
    pub(crate) fn new() -> Self {
        Self::of(site())
    }

    pub(crate) fn of(sim: SimBuilder) -> Self {
        let runtime = Runtime::new().unwrap();
        // Ahead, or its oldest events leave what Tempo still shows between two backups that are to be the same; by
        // less than the hour that Fermata keeps from that limit.
        let now = Timestamp::now() + jiff::SignedDuration::from_mins(50);
        let sim = runtime.block_on(sim.now(now).start()).unwrap();
        Self { sim, folder: TempDir::new().unwrap(), variables: Vec::new(), runtime }
    }

    /// From now on the store of every command is this one, which these variables lead to.
    pub(crate) fn move_to(
        &mut self,
        store: &str,
        variables: impl IntoIterator<Item = (&'static str, String)>,
    ) {
        self.variables = vec![("FERMATA_STORE", store.to_owned())];
        self.variables.extend(variables);
    }

    /// With a vault, a tenant and its token.
    pub(crate) fn ready(self) -> Self {
        self.fermata("init").run().code(0);
        self.add_tenant(TENANT, 1);
        self
    }

    /// Adds a tenant that is site `number` of the simulator.
    pub(crate) fn add_tenant(&self, tenant: &str, number: u32) {
        let base_url = self.sim.base_url();
        self.fermata(&format!("tenant add {tenant} --base-url {base_url} --rate 1000")).run().code(0);
        self.set_token(tenant, &self.sim.token(number)).code(0);
    }

    pub(crate) fn set_token(&self, tenant: &str, token: &str) -> Ended {
        self.fermata(&format!("token set {tenant}")).stdin(token).run()
    }

    /// The program with these arguments, with blanks between.
    pub(crate) fn fermata(&self, arguments: &str) -> Call<'_> {
        self.command(program(), arguments.split_whitespace(), arguments)
    }

    /// A shell in which `fermata` is the program.
    pub(crate) fn shell(&self, script: &str) -> Call<'_> {
        self.command(Path::new("bash"), ["-c", script], script)
    }

    fn command<'a>(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
        line: &str,
    ) -> Call<'_> {
        let mut command = Command::new(program);
        let path = self::program().parent().unwrap().display();
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .envs(self.variables.iter().cloned())
            .env("PATH", format!("{path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Call { stage: self, command, stdin: Vec::new(), line: line.to_owned() }
    }

    /// Waits for something that runs beside the test.
    pub(crate) fn block_on<F: Future>(&self, what: F) -> F::Output {
        self.runtime.block_on(what)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder there when the test ends, to look at.
    pub(crate) fn keep(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// A file or folder of this name in the folder.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.at(name), content).unwrap();
    }

    /// Waits until Tempo was asked so often in all.
    pub(crate) fn wait_for_requests(&self, requests: u64) {
        let waited = async {
            while self.sim.ledger().total.requests < requests {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let waited = self.runtime.block_on(async { timeout(COMMAND_SECONDS_MAX, waited).await });
        assert!(waited.is_ok(), "Tempo was not asked {requests} times: {:?}", self.sim.ledger().total);
    }

    /// Every file of the vault, by its path in there.
    pub(crate) fn stored(&self) -> BTreeMap<String, Vec<u8>> {
        files(&self.at("fermata-data"))
    }

    /// Every file below a folder of this name, by its path in there.
    pub(crate) fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        files(&self.at(folder))
    }

    /// The objects of the vault that are not as they were; that a tenant was locked for a moment changes none.
    pub(crate) fn changed_since(&self, before: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
        let now = self.stored();
        let names = now.keys().chain(before.keys().filter(|name| !now.contains_key(*name)));
        let changed = names.filter(|name| now.get(*name) != before.get(*name) && *name != ".acme.lock");
        changed.cloned().collect()
    }

    /// The records that an export of the latest snapshot holds, sorted, by entity.
    pub(crate) fn exported(&self) -> BTreeMap<String, Vec<String>> {
        self.fermata("export acme --out exported --overwrite").run().code(0);
        let files = files(&self.at("exported")).into_iter().map(|(name, text)| {
            let text = String::from_utf8(text).unwrap();
            let mut records: Vec<_> = text.lines().map(str::to_owned).collect();
            records.sort_unstable();
            (name.trim_end_matches(".ndjson").to_owned(), records)
        });
        files.collect()
    }
}

impl<'a> Call<'a> {
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        bytes.as_ref().clone_into(&mut self.stdin);
        self
    }

    /// Starts it; nobody waits for it.
    pub(crate) fn start(mut self) -> Running<'a> {
        let _inside = self.stage.runtime.enter();
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.line));
        let (mut pipe, bytes) = (child.stdin.take().unwrap(), self.stdin);
        // One that reads nothing closes the pipe; that is its right.
        tokio::spawn(async move { pipe.write_all(&bytes).await });
        Running { stage: self.stage, child, line: self.line }
    }

    pub(crate) fn run(self) -> Ended {
        self.start().wait()
    }

    /// Starts what runs until it is told to stop, and adds what it says to a file of this name.
    pub(crate) fn serve(mut self, log: &str) -> Server {
        let _inside = self.stage.runtime.enter();
        let log = std::fs::File::options().create(true).append(true).open(self.stage.at(log)).unwrap();
        self.command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.line));
        Server { child }
    }
}

impl Server {
    /// Sends it a signal: `KILL`, `TERM`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id().unwrap(), name);
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn end(mut self) {
        self.signal("KILL");
        while self.ended().is_none() {
            std::thread::yield_now();
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

/// Sends a process a signal.
pub(crate) fn signal(id: u32, name: &str) {
    let sent = std::process::Command::new("kill").args([format!("-{name}"), id.to_string()]).status();
    assert!(sent.unwrap().success(), "process {id} takes no {name}");
}

impl Running<'_> {
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// SIGKILL, which nothing survives.
    pub(crate) fn kill(mut self) -> Ended {
        self.child.start_kill().unwrap();
        self.wait()
    }

    /// SIGTERM, as a shutdown of the machine sends it.
    pub(crate) fn terminate(self) -> Ended {
        signal(self.id(), "TERM");
        self.wait()
    }

    pub(crate) fn wait(self) -> Ended {
        let Self { stage, child, line } = self;
        let output =
            stage.runtime.block_on(async { timeout(COMMAND_SECONDS_MAX, child.wait_with_output()).await });
        let output = output.unwrap_or_else(|_| panic!("{line}: it does not end")).unwrap();
        Ended {
            line,
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// With this exit code, or the test fails and shows everything.
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "`{}`\n{}\n{}", self.line, self.stdout, self.stderr);
        self
    }

    /// Whether it ended well.
    pub(crate) fn is_done(&self) -> bool {
        self.code == Some(0)
    }

    /// Ended by a signal.
    pub(crate) fn killed(self) -> Self {
        assert_eq!(self.code, None, "`{}`\n{}\n{}", self.line, self.stdout, self.stderr);
        self
    }

    /// The one document on stdout.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "`{}`: {}", self.line, self.stdout);
        let document: Value = serde_json::from_str(&self.stdout).unwrap();
        assert_eq!(document["schema"], 1, "`{}`: {document}", self.line);
        document
    }

    /// A failure that says in its last lines, and nowhere else, what is wrong: `error: ` and these words.
    pub(crate) fn error(self, code: i32, words: &[&str]) -> Self {
        let ended = self.code(code);
        let at =
            ended.stderr.find("error: ").unwrap_or_else(|| panic!("`{}`: no error: {ended:?}", ended.line));
        let said = &ended.stderr[at..];
        let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "`{}`: {said}", ended.line);
        // Besides what clap adds to a mistake in the command line.
        let clap =
            |line: &&str| line.is_empty() || line.starts_with("Usage: ") || line.starts_with("For more ");
        assert!(said.lines().filter(|line| !clap(line)).count() <= 3, "`{}`: {said}", ended.line);
        for word in words {
            assert!(said.contains(word), "`{}`: no {word:?} in {said}", ended.line);
        }
        for noise in ["panicked", "Error {", "RUST_BACKTRACE"] {
            assert!(!said.contains(noise), "`{}`: {said}", ended.line);
        }
        ended
    }
}

/// Every file below a folder, by its path in there.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                all.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    all
}
