use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use godwit::time::{Duration, Instant};

use super::*;
use crate::bounds::Bounds;
use crate::store::{MAX_VALUE, Store};

fn database() -> Database {
    Database::new(Store::new(1 << 20, 7), Bounds::within(usize::MAX))
}

/// The reply to a line, its ends of lines as blanks.
fn run(database: &mut Database, line: &str) -> String {
    let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
    let mut replies = Replies::default();
    execute(database, &words, true, &mut replies);
    let text = String::from_utf8(replies.bytes().into()).unwrap();
    text.trim_end().replace("\r\n", " ")
}

/// Carries the lines out one after another, each with the reply that it is to get.
fn check(database: &mut Database, lines: &[(&str, &str)]) {
    for (line, expected) in lines {
        assert_eq!(run(database, line), *expected, "{line}");
    }
}

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const NO_INTEGER: &str = "-ERR value is not an integer or out of range";
const SYNTAX: &str = "-ERR syntax error";

#[test]
fn texts() {
    check(
        &mut database(),
        &[
            ("get a", "$-1"),
            ("SET a hello", "+OK"),
            ("Get a", "$5 hello"),
            ("append a !", ":6"),
            ("strlen a", ":6"),
            ("strlen b", ":0"),
            ("append b x", ":1"),
            ("mset c 1 d 2", "+OK"),
            ("mset c 1 d", "-ERR wrong number of arguments for 'mset' command"),
            ("rpush l x", ":1"),
            ("mget c e d l", "*4 $1 1 $-1 $1 2 $-1"),
            ("get l", WRONG_TYPE),
            ("get", "-ERR wrong number of arguments for 'get' command"),
            ("get a b", "-ERR wrong number of arguments for 'get' command"),
        ],
    );
}

#[test]
fn a_text_may_not_grow_for_ever() {
    let mut database = database();
    let half = "x".repeat(MAX_VALUE / 2);
    check(
        &mut database,
        &[
            (&format!("append a {half}"), ":65536"),
            (&format!("append a {half}"), ":131072"),
            ("append a x", "-ERR string exceeds maximum allowed size"),
        ],
    );
}

#[test]
fn numbers() {
    check(
        &mut database(),
        &[
            ("incr n", ":1"),
            ("incrby n 41", ":42"),
            ("decr n", ":41"),
            ("decrby n 42", ":-1"),
            ("get n", "$2 -1"),
            ("set n 9223372036854775807", "+OK"),
            ("incr n", "-ERR increment or decrement would overflow"),
            ("decrby n -9223372036854775808", "-ERR increment or decrement would overflow"),
            ("set n 9223372036854775808", "+OK"),
            ("incr n", NO_INTEGER),
            ("set n +1", "+OK"),
            ("incr n", NO_INTEGER),
            ("incrby m 1.5", NO_INTEGER),
            ("exists m", ":0"),
        ],
    );
}

#[test]
fn conditions_of_set() {
    check(
        &mut database(),
        &[
            ("set a 1 xx", "$-1"),
            ("set a 1 NX", "+OK"),
            ("set a 2 nx", "$-1"),
            ("set a 3 XX", "+OK"),
            ("get a", "$1 3"),
            ("set a 1 nx xx", SYNTAX),
            ("set a 1 ex", SYNTAX),
            ("set a 1 ex 1 px 1", SYNTAX),
            ("set a 1 ex 1 keepttl", SYNTAX),
            ("set a 1 often", SYNTAX),
            ("set a 1 ex x", NO_INTEGER),
            ("set a 1 ex 0", "-ERR invalid expire time in 'set' command"),
            ("set a 1 px -1", "-ERR invalid expire time in 'set' command"),
            ("set a 1 ex 9223372036854775807", "-ERR invalid expire time in 'set' command"),
            ("get a", "$1 3"),
        ],
    );
}

#[test]
fn times() {
    let mut database = database();
    let mut at = |ms, lines: &[_]| {
        database.store.advance(Instant::from_millis(ms));
        check(&mut database, lines);
    };
    at(0, &[("set a 1 ex 2", "+OK"), ("set b 1 px 1500", "+OK"), ("set c 1", "+OK")]);
    at(0, &[("ttl a", ":2"), ("pttl b", ":1500"), ("ttl c", ":-1"), ("ttl d", ":-2")]);
    at(1000, &[("incr a", ":2"), ("ttl a", ":1"), ("set b 2 keepttl", "+OK"), ("pttl b", ":500")]);
    at(1500, &[("get b", "$-1"), ("dbsize", ":2"), ("keys *", "*2 $1 a $1 c")]);
    at(1999, &[("get a", "$1 2"), ("expire c 10", ":1"), ("expire d 10", ":0")]);
    at(2000, &[("get a", "$-1"), ("persist c", ":1"), ("persist c", ":0"), ("ttl c", ":-1")]);
    at(2000, &[("pexpire c 0", ":1"), ("exists c", ":0"), ("pexpire c x", NO_INTEGER)]);
    let far = Duration::MAX.as_millis() + 1;
    let late = format!("pexpire c {far}");
    at(2000, &[(&late, "-ERR invalid expire time in 'pexpire' command")]);
}

#[test]
fn lists() {
    check(
        &mut database(),
        &[
            ("lpush l b a", ":2"),
            ("rpush l c d", ":4"),
            ("llen l", ":4"),
            ("llen m", ":0"),
            ("lrange l 0 -1", "*4 $1 a $1 b $1 c $1 d"),
            ("lrange l 1 2", "*2 $1 b $1 c"),
            ("lrange l -2 -1", "*2 $1 c $1 d"),
            ("lrange l -100 0", "*1 $1 a"),
            ("lrange l 2 1", "*0"),
            ("lrange l 0 -5", "*0"),
            ("lrange l 4 9", "*0"),
            ("lrange l 0 9223372036854775807", "*4 $1 a $1 b $1 c $1 d"),
            ("lrange l -9223372036854775808 0", "*1 $1 a"),
            ("lrange m 0 -1", "*0"),
            ("lrange l x 1", NO_INTEGER),
            ("lpop l", "$1 a"),
            ("rpop l 2", "*2 $1 d $1 c"),
            ("lpop l 0", "*0"),
            ("lpop l -1", NO_INTEGER),
            ("lpop l 9", "*1 $1 b"),
            ("lpop l", "$-1"),
            ("lpop l 1", "$-1"),
            ("exists l", ":0"),
            ("set t x", "+OK"),
            ("lpush t x", WRONG_TYPE),
            ("llen t", WRONG_TYPE),
            ("lrange t 0 1", WRONG_TYPE),
        ],
    );
}

#[test]
fn nothing_is_taken_from_a_list_that_cannot_be_sent() {
    let mut database = database();
    let item = "x".repeat(100_000);
    for _ in 0..3 {
        run(&mut database, &format!("rpush l {item}"));
    }
    check(
        &mut database,
        &[
            ("lpop l 3", "-ERR the reply is too long: ask for less at a time"),
            ("rpop l 3", "-ERR the reply is too long: ask for less at a time"),
            ("lrange l 0 -1", "-ERR the reply is too long: ask for less at a time"),
            ("llen l", ":3"),
        ],
    );
    assert!(run(&mut database, "lpop l 2").starts_with("*2 $100000 x"));
}

#[test]
fn keys() {
    let mut database = database();
    check(
        &mut database,
        &[
            ("mset k1 1 k2 2 x 3", "+OK"),
            ("rpush l 1", ":1"),
            ("dbsize", ":4"),
            ("exists k1 k1 nope", ":2"),
            ("type k1", "+string"),
            ("type l", "+list"),
            ("type nope", "+none"),
            ("keys k?", "*2 $2 k1 $2 k2"),
            ("scan 0 match k*", "*2 $1 0 *2 $2 k1 $2 k2"),
            ("scan 0 count 3", "*2 $1 1 *3 $2 k2 $1 x $1 l"),
            ("scan 1 count 3", "*2 $1 0 *1 $2 k1"),
            ("scan 0 type list", "*2 $1 0 *1 $1 l"),
            ("scan 0 match", SYNTAX),
            ("scan -1", NO_INTEGER),
            ("del k1 k1 x", ":2"),
            ("flushall now", SYNTAX),
            ("flushall async", "+OK"),
            ("dbsize", ":0"),
        ],
    );
}

#[test]
fn what_clients_ask_before_they_begin() {
    let mut database = database();
    check(
        &mut database,
        &[
            ("ping", "+PONG"),
            ("ping x", "$1 x"),
            ("echo x", "$1 x"),
            ("select 0", "+OK"),
            ("select 1", "-ERR DB index is out of range"),
            ("config get save", "*2 $4 save $0"),
            ("config get max* append*", "*4 $10 appendonly $2 no $9 maxmemory $7 1048576"),
            ("config set save x", "-ERR unknown subcommand 'set'"),
            ("client setinfo lib-name x", "+OK"),
            ("client kill x", "-ERR unknown subcommand 'kill'"),
            ("command docs", "*0"),
            // The answer that has clients speak RESP2.
            ("hello 3", "-ERR unknown command 'hello'"),
        ],
    );
    assert!(run(&mut database, "info").contains("db0:keys=0,expires=0"));
}

#[test]
fn a_full_store_says_so_and_goes_on() {
    let mut database = Database::new(Store::new(1000, 7), Bounds::within(usize::MAX));
    check(
        &mut database,
        &[
            ("set a 1", "+OK"),
            (
                &format!("set b {}", "x".repeat(1000)),
                "-OOM the store is full: delete keys, or boot with a larger kv.memory=",
            ),
            ("get a", "$1 1"),
            ("set b 1", "+OK"),
        ],
    );
}

#[test]
fn writes_are_those_that_write() {
    // Each command with arguments that work, on keys that exist.
    let mut database = database();
    for command in COMMANDS {
        let arguments = match command.name {
            "lrange" => "l 0 -1",
            name if name.ends_with("by") || name.ends_with("expire") => "t 1",
            name if name.contains("push") => "l 1",
            name if name.starts_with('l') || name == "rpop" => "l",
            "set" | "mset" | "append" => "t 1",
            "config" => "get save",
            "client" => "setname x",
            "scan" | "select" => "0",
            "dbsize" | "flushall" | "flushdb" => "",
            _ => "t",
        };
        let line = format!("{} {arguments}", command.name);
        let state = |database: &mut Database| {
            ["get t", "pttl t", "lrange l 0 -1", "dbsize"].map(|line| run(database, line))
        };
        run(&mut database, "flushall");
        run(&mut database, "set t 1 ex 1000");
        run(&mut database, "rpush l 1");
        let before = state(&mut database);
        let reply = run(&mut database, line.trim_end());
        assert!(!reply.starts_with('-'), "{line}: {reply}");
        let changes = state(&mut database) != before;
        // These two have nothing to write when it is the same.
        let is_same = ["set", "mset"].contains(&command.name) && !changes;
        assert!(changes == command.writes || is_same, "{line}");
    }
}
