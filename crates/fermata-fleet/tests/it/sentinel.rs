//! A master that Sentinel replaces: the queue goes on at the new one.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fermata_fleet::Link;
use fermata_fleet::testing::RedisServer;
use redis::{Script, Value};

/// A failover takes Sentinel a few seconds.
const PATIENCE: Duration = Duration::from_mins(1);

struct Sentinel(Child);

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a Sentinel that watches a master alone, on this port.
fn sentinel(folder: &std::path::Path, port: u16, master: u16) -> Sentinel {
    let config = folder.join("sentinel.conf");
    let text = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor queue 127.0.0.1 {master} 1\n\
         sentinel down-after-milliseconds queue 500\nsentinel failover-timeout queue 3000\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("redis-server");
    command.arg(config).arg("--sentinel").current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    Sentinel(command.spawn().expect("redis-server is here, since the master runs"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let mut master = RedisServer::start(folders[0].path(), &[]);
    let follow = master.port().to_string();
    let replica = RedisServer::start(folders[1].path(), &["--replicaof", "127.0.0.1", &follow]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _sentinel = sentinel(folders[2].path(), free, master.port());

    let link = Link::new(&format!("redis+sentinel://127.0.0.1:{free}/queue"), "t").unwrap();
    let count = Script::new("return redis.call('INCR', KEYS[1])");
    let until = async |port: u16| {
        loop {
            // While there is no master every call fails, and the next may not.
            let here: Result<(String, String), _> =
                link.ask(redis::cmd("CONFIG").arg("GET").arg("port")).await;
            if here.is_ok_and(|(_, here)| here == port.to_string())
                && let Ok(Value::Int(counted)) = link.run(&count, &[]).await
            {
                return counted;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let before = tokio::time::timeout(PATIENCE, until(master.port())).await.expect("the master answers");
    // What the replica has not heard of yet is lost with the master, and that Sentinel must know of it.
    let knows = async || {
        let replicas = redis::cmd("INFO").arg("replication").to_owned();
        link.ask::<String>(&replicas).await.is_ok_and(|said| said.contains("state=online"))
    };
    let heard = async {
        let client = redis::Client::open(format!("redis://127.0.0.1:{free}")).unwrap();
        let mut sentinel = client.get_multiplexed_async_connection().await.unwrap();
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("replicas").arg("queue");
        while !knows().await || ask.query_async::<Vec<Value>>(&mut sentinel).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("the replica is known");
    master.kill();
    let after = tokio::time::timeout(PATIENCE, until(replica.port())).await.expect("the replica took over");
    assert!(after > before, "{after} after {before}: it holds what the master held");
}
