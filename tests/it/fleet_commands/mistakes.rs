//! Addresses that are none, servers that are none of ours, and passwords, which nobody is to see.

use std::io::{Read, Write};
use std::net::TcpListener;

use fermata_fleet::testing::RedisServer;

use super::fleet;
use crate::fleet::Fleet;
use crate::stage::{Ended, site};

const PASSWORD: &str = "s3cret-Pa55word";
const WRONG: &str = "wr0ng-Pa55word";

/// Everything that asks the queue, the two that run for long included.
const COMMANDS: [&str; 7] =
    ["enqueue sim-1", "reconcile", "jobs list", "queue status", "queue pause", "worker", "scheduler"];

/// A server that answers whatever comes with what `answer` makes of it.
fn server(answer: impl Fn(&str) -> String + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut asked) {
                let said = answer(&String::from_utf8_lossy(&asked[..length]));
                if stream.write_all(said.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    port
}

/// A Redis of long ago, as far as it is asked here.
fn old_redis(asked: &str) -> String {
    use std::fmt::Write as _;
    let mut said = "+OK\r\n".repeat(asked.matches("SETINFO").count());
    if asked.contains("$4\r\nINFO") {
        let info = "# Server\r\nredis_version:5.0.7\r\n";
        let _ = write!(said, "${}\r\n{info}\r\n", info.len());
    }
    said
}

#[test]
fn what_is_no_address_is_said_before_anything_is_done() {
    let fleet = fleet();
    let before = fleet.stage.stored();
    for (address, shown) in [
        ("nonsense", "\"nonsense\" is no address of a Redis"),
        ("localhost:6379", "\"localhost:6379\""),
        ("http://localhost:6379", "\"http://localhost:6379\""),
        ("redis+sentinel://one,two", "redis+sentinel://host1,host2/master"),
        (&format!("user:{PASSWORD}@localhost"), "\"user:***@localhost\""),
        (&format!("redis:/u:{PASSWORD}@localhost"), "\"redis:***@localhost\""),
        (&format!("redis://:pa/{PASSWORD}@localhost"), "\"redis://:***@localhost\""),
        (&format!("redis+sentinel://u:{PASSWORD}@one"), "\"redis+sentinel://u:***@one\""),
    ] {
        for line in COMMANDS.into_iter().chain(["tenant pause sim-1", "doctor"]) {
            let said = fleet.stage.fermata(line).env("FERMATA_REDIS", address).run();
            let said = said.error(2, &["FERMATA_REDIS", "is no address of a Redis", shown]);
            assert!(!said.stderr.contains(PASSWORD) && said.stdout.is_empty(), "{said:?}");
        }
    }
    assert_eq!(fleet.stage.changed_since(&before), [""; 0]);
    // A command line is there for everybody to see.
    let line = format!("--redis redis://:{PASSWORD}@localhost queue status");
    let said = fleet.stage.fermata(&line).run().error(2, &["--redis", "FERMATA_REDIS"]);
    assert!(!said.stderr.contains(PASSWORD), "{said:?}");
    let line = format!("--redis {} queue status", fleet.redis.url());
    fleet.stage.fermata(&line).env("FERMATA_REDIS", "redis://127.0.0.1:1").run().code(0);
    fleet.stage.write("fermata.toml", format!("redis = \"{}\"\n", fleet.redis.url()));
    fleet.stage.fermata("queue status").run().code(0);
}

#[test]
fn what_answers_and_is_no_redis_of_ours_is_said() {
    let fleet = fleet();
    let http = server(|_| "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_owned());
    let old = server(old_redis);
    let (plain, sentinel) = (fleet.redis.url(), fleet.redis.port());
    for (address, words) in [
        (format!("redis://127.0.0.1:{http}"), "is no Redis; FERMATA_REDIS names one"),
        (format!("redis://127.0.0.1:{old}"), "this is Redis 5.0.7; Fermata needs 6.2 or later"),
        (
            format!("redis+sentinel://127.0.0.1:{sentinel}/main"),
            "is no Redis; FERMATA_REDIS names one, or with redis+sentinel://",
        ),
        (plain.replace("redis://", "redis://somebody:x@"), "Redis refuses us: wrong user or password"),
    ] {
        for line in COMMANDS {
            fleet.stage.fermata(line).env("FERMATA_REDIS", &address).run().error(2, &[words]);
        }
        let said = fleet.stage.fermata("doctor").env("FERMATA_REDIS", &address).run().code(1).stdout;
        assert!(said.contains("PROBLEM  redis: ") && said.contains(words), "{said}");
        let said = fleet.stage.fermata("tenant pause sim-1").env("FERMATA_REDIS", &address).run().code(0);
        assert!(said.stderr.contains(words) && said.stderr.lines().count() == 1, "{said:?}");
    }
}

#[test]
fn no_password_is_ever_said() {
    let fleet = fleet();
    let folder = tempfile::tempdir().unwrap();
    let guarded = RedisServer::start(folder.path(), &["--requirepass", PASSWORD]);
    let with = |password: &str| guarded.url().replace("redis://", &format!("redis://:{password}@"));
    let mut said: Vec<Ended> = Vec::new();
    let call = |line: &str, address: &str| {
        let call = fleet.stage.fermata(&format!("{line} --log json")).env("FERMATA_REDIS", address);
        call.env("FERMATA_LOG", "trace").env("RUST_LOG", "trace")
    };
    let right = with(PASSWORD);
    for line in [
        "enqueue sim-1",
        "queue pause",
        "queue resume",
        "jobs list --json",
        "tenant pause sim-1",
        "tenant resume sim-1",
        "queue audit",
        "doctor",
    ] {
        let ended = call(line, &right).run();
        said.push(if line == "doctor" { ended.code(1) } else { ended.code(0) });
    }
    let worker = call("worker", &right).start();
    super::until(&fleet, "a snapshot", || {
        !fleet.stage.block_on(fleet.snapshots(&fleet.tenants[0])).is_empty()
    });
    said.push(worker.terminate().code(0));
    for address in [with(WRONG), guarded.url(), with("")] {
        for line in COMMANDS {
            said.push(call(line, &address).run().code(2));
        }
        said.push(call("tenant resume sim-1", &address).run().code(0));
    }
    // Redis goes away under a worker, and it says so again and again.
    let scheduler = call("scheduler --sweep 1", &right).start();
    drop(guarded);
    for line in ["queue status", "tenant pause sim-1"] {
        said.push(call(line, &right).run());
    }
    said.push(scheduler.terminate().code(0));
    assert!(said.iter().any(|ended| ended.stderr.contains("TRACE")));
    for ended in said {
        for secret in [PASSWORD, WRONG] {
            assert!(!ended.stderr.contains(secret) && !ended.stdout.contains(secret), "{ended:?}");
        }
    }
}

#[test]
fn a_queue_that_fails_is_said_once_and_not_for_each_tenant() {
    let fleet = Fleet::start(site(), 3, 1_000.0);
    fleet.fermata("enqueue --all").run().code(0);
    super::tell_redis(&fleet, "ACL SETUSER reader on >x ~* &* +@all -@scripting");
    let address = fleet.redis.url().replace("redis://", "redis://reader:x@");
    for line in ["enqueue --all", "reconcile"] {
        let call = |line: &str| fleet.stage.fermata(line).env("FERMATA_REDIS", &address);
        let said = call(line).run().error(2, &["Redis refuses us"]);
        assert_eq!((said.stderr.lines().count(), &*said.stdout), (1, ""), "{line}: {said:?}");
        let said = call(&format!("{line} --json")).run().error(2, &["Redis refuses us"]);
        assert_eq!(said.stderr.lines().count(), 1, "{line}: {said:?}");
        let document = said.json();
        let why: Vec<_> =
            document["tenants"].as_array().unwrap().iter().map(|line| &line["reason"]).collect();
        assert!(why[0].as_str().unwrap().starts_with("Redis refuses us"), "{document}");
        let rest = "not tried, since the queue failed before its turn";
        assert_eq!(why[1..], [rest, rest], "{document}");
    }
}

#[test]
fn names_and_values_of_the_fleets_commands() {
    let fleet = fleet();
    for (line, words) in [
        ("jobs", "list"),
        ("jobs list --state asleep", "running, queued, waiting, retry, parked, dead, done"),
        ("jobs list --entity nope", "there is no entity \"nope\""),
        ("jobs list --tenant ACME", "lower-case letters"),
        ("jobs list --run yesterday", "20260301T020000Z-k3f9a2"),
        ("jobs list --limit many", "many"),
        ("jobs retry", "say which jobs"),
        ("jobs retry sim-1/20260301T020000Z-aaaaaa/teams --all", "--all"),
        ("jobs retry sim-1/20260301T020000Z-aaaaaa/teams --tenant sim-1", "--tenant"),
        ("jobs retry --all --rps 0", "from 1 to 1000"),
        ("jobs retry --all --rps -1", "-1"),
        ("jobs snooze --all", "--for 2h or --until"),
        ("jobs snooze --all --for 2", "2h, 90m or 3d"),
        ("jobs snooze --all --for 8d", "seven days"),
        ("jobs snooze --all --until 2020-01-01T00:00Z", "this moment is over"),
        ("jobs snooze --all --until 2999-01-01T00:00Z", "seven days"),
        ("jobs snooze --all --until tomorrow", "2026-11-25T06:00Z"),
        ("jobs snooze --all --for 1h --until 2999-01-01T00:00Z", "--until"),
        ("jobs show", "<JOB>"),
        ("jobs why teams", "its name looks like acme/"),
        ("queue pause --tenant nobody", "there is no tenant nobody"),
        ("queue drain nobody", "no worker \"nobody\" was heard of"),
        ("queue frob", "frob"),
        ("worker --concurrency 0", "1..=1024"),
        ("worker --listen here", "here"),
        ("worker --egress-rate 5", "--egress"),
        ("worker --egress a --egress-rate NaN", "--egress-rate"),
        ("scheduler --sweep 0", "1..=86400"),
        ("enqueue", "--all"),
        ("enqueue nobody", "there is no tenant nobody"),
        ("enqueue sim-1 --entity nope", "there is no entity \"nope\""),
        ("enqueue --due --entity teams", "--entity"),
        ("enqueue sim-1 --from 2999-01-01", "yet to come"),
    ] {
        let ended = fleet.fermata(line).run().code(2);
        assert!(ended.stderr.contains(words) && ended.stdout.is_empty(), "{line}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    }
    // A port that is taken.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let line = format!("worker --listen {}", taken.local_addr().unwrap());
    fleet.fermata(&line).run().error(1, &["cannot listen on 127.0.0.1:"]);
    // A store that is for one writer has no fleet.
    let other = fleet.stage.at("single");
    let call = |line: &str| {
        let call = fleet.fermata(line).env("FERMATA_STORE", other.to_str().unwrap());
        call.env("FERMATA_KEY_FILE", fleet.stage.at("single.key").to_str().unwrap())
    };
    call("init --single-writer").run().code(0);
    call("queue status").run().error(2, &["for a single writer", "fermata backup"]);
}
