//! A real Redis for tests: a process of its own on a free port, killed when it is dropped.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time that a server takes to start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A Redis server, as one that keeps what it was told across a restart.
pub struct RedisServer {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
    options: Vec<String>,
}

impl RedisServer {
    /// Starts a server with what more `redis-server` takes: `&["--requirepass", "secret"]`; `{port}` stands for its port.
    pub fn start(folder: &Path, options: &[&str]) -> Self {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let options = options.iter().map(|option| option.replace("{port}", &port.to_string())).collect();
        let mut server = Self { child: None, port, folder: folder.to_owned(), options };
        server.restart();
        server
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it at once, as a lost machine would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port, with what it had written down.
    pub fn restart(&mut self) {
        self.kill();
        let began = Instant::now();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--dir", &self.folder.display().to_string()])
            .args(["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"])
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                panic!("redis-server is not here; `apt-get install redis-server` brings it")
            }
            _ => panic!("redis-server does not start: {error}"),
        }));
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(began.elapsed() < START_TIMEOUT, "redis-server does not listen on port {}", self.port);
            std::thread::yield_now();
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
