//! What a Redis that is not as it should be is told apart as.

use fermata_fleet::testing::RedisServer;
use fermata_fleet::{Link, LinkError};
use redis::Script;

#[tokio::test]
async fn greets_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = RedisServer::start(folder.path(), &["--maxmemory-policy", "allkeys-lru"]);
    let info = Link::new(&server.url(), "t").unwrap().greet().await.unwrap();
    assert_eq!(info.maxmemory_policy.as_deref(), Some("allkeys-lru"));
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = RedisServer::start(folder.path(), &["--requirepass", "secret"]);
    for login in ["", ":wrong@", "nobody:secret@"] {
        let url = server.url().replace("redis://", &format!("redis://{login}"));
        let error = Link::new(&url, "t").unwrap().greet().await.unwrap_err();
        assert!(matches!(error, LinkError::Refused(_)), "{login}: {error:?}");
        assert!(!error.to_string().contains("secret"));
    }
    let url = server.url().replace("redis://", "redis://:secret@");
    Link::new(&url, "t").unwrap().greet().await.unwrap();
}

#[tokio::test]
async fn a_user_may_be_held_to_our_keys() {
    let folder = tempfile::tempdir().unwrap();
    let acl = "fermata on >secret ~{fermata:*} &{fermata:*} +@all -@admin -@dangerous +info";
    let mut options = vec!["--user"];
    options.extend(acl.split(' '));
    let server = RedisServer::start(folder.path(), &options);
    let url = server.url().replace("redis://", "redis://fermata:secret@");
    let link = Link::new(&url, "t").unwrap();
    link.greet().await.unwrap();
    let script = Script::new("return redis.call('SET', KEYS[1], ARGV[1])");
    link.run(&script, &[b"1"]).await.unwrap();
    let foreign = Script::new("return redis.call('SET', 'other', ARGV[1])");
    assert!(matches!(link.run(&foreign, &[b"1"]).await, Err(LinkError::Refused(_) | LinkError::Odd(_))));
}

#[tokio::test]
async fn a_full_server_says_so_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        RedisServer::start(folder.path(), &["--maxmemory", "2mb", "--maxmemory-policy", "noeviction"]);
    let link = Link::new(&server.url(), "t").unwrap();
    let fill = Script::new("redis.call('SET', KEYS[1]..ARGV[1], string.rep('x', 500000)) return 1");
    let mut last = Ok(redis::Value::Nil);
    for n in 0..8_u8 {
        last = link.run(&fill, &[&[b'a' + n]]).await;
    }
    let error = last.unwrap_err();
    assert!(matches!(error, LinkError::Full) && error.may_pass(), "{error:?}");
    let _: () = link.ask(redis::cmd("FLUSHALL").arg("SYNC")).await.unwrap();
    link.run(&fill, &[b"a"]).await.unwrap();
}

#[tokio::test]
async fn an_old_server_is_named() {
    // No package brings a Redis this old any more, so this one only says that it is.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut bytes = vec![0; 4096];
                while let Ok(read) = socket.read(&mut bytes).await {
                    let said = String::from_utf8_lossy(&bytes[..read]).to_uppercase();
                    if read == 0 {
                        return;
                    }
                    let info = "redis_version:5.0.14\r\n";
                    let answer = if said.contains("INFO\r\n") && !said.contains("SETINFO") {
                        format!("${}\r\n{info}\r\n", info.len())
                    } else {
                        "-ERR unknown command\r\n".repeat(said.matches("\r\n*").count() + 1)
                    };
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    let error = Link::new(&url, "t").unwrap().greet().await.unwrap_err();
    assert!(error.to_string().starts_with("this is Redis 5.0.14; Fermata needs 6.2"), "{error:?}");
}

#[tokio::test]
async fn a_restart_costs_one_call() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = RedisServer::start(folder.path(), &[]);
    let link = Link::new(&server.url(), "t").unwrap();
    let count = Script::new("return redis.call('INCR', KEYS[1])");
    link.run(&count, &[]).await.unwrap();
    server.kill();
    let error = link.run(&count, &[]).await.unwrap_err();
    assert!(matches!(error, LinkError::Away(_)), "{error:?}");
    server.restart();
    let stop = tokio_util::sync::CancellationToken::new();
    let answer = link.run_until(&count, &[], &stop).await.unwrap().unwrap();
    assert_eq!(answer, redis::Value::Int(2), "what was written before the kill is there");
}
