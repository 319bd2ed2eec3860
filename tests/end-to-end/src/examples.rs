//! The examples, each booted and asked by a client that somebody else wrote, and each migrated
//! warm.

use std::{
    collections::VecDeque,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::{
    addresses::MAC,
    guest::{
        Forward, Guest, Net, READY, Wire,
        clients::{free_port, request},
        nic,
    },
    parts::NicModel,
    segment::{Frame, Mac, Segment},
    system::{
        command, paths,
        tools::{self, Tool},
    },
};

use crate::{
    migrations::{check, completed, migrate},
    options::Kernel,
    suite::{LONG, MINUTES, Suite},
};

const ECHO_PORT: u16 = 7;
const HTTP_PORT: u16 = 80;
const KV_PORT: u16 = 6379;

const CURL: Tool = Tool::program("curl", "curl");
const NC: Tool = Tool::program("nc", "netcat-openbsd");
const REDIS: [Tool; 2] =
    [Tool::program("redis-cli", "redis-tools"), Tool::program("redis-benchmark", "redis-tools")];

/// What redis-benchmark is asked for in a migration, by its usual 50 connections at once: with so
/// few keys each is written some twenty times in a run, so that it has written them all (one is
/// left out in fewer than a millionth of the runs), three bytes each.
const BENCHMARK: &str = "redis-benchmark -h $1 -p $2 -t set,get -n 20000 -r 1000 -q";
const BENCHMARK_KEYS: usize = 1000;
/// Keys that each run of the client writes for itself.
const KEYS: usize = 2_000;

pub(crate) fn add(suite: &mut Suite, kernel: Kernel) {
    suite.test("examples/echo answers nc", MINUTES, echo);
    suite.test("examples/http answers curl, many at once", MINUTES, http);
    suite.test("examples/kv answers redis-cli and redis-benchmark", MINUTES, kv);
    suite.test("examples/kv refuses writes when it is full", MINUTES, full);
    suite.test("examples/reflect sends frames back", MINUTES, reflect);
    suite.test("migrate --app examples/http, asked by curl all the while", LONG, move |log| {
        tools::require("this test", &[CURL])?;
        let client = "curl --silent --show-error --fail --max-time 60 http://{host}:{port}/";
        asked(log, kernel, "examples/http", HTTP_PORT, client, &[])
    });
    suite.test("migrate --app examples/reflect", LONG, move |log| {
        tools::require("this test", &[Tool::program("socat", "socat")])?;
        // What is sent back is not recorded, and broadcasts are.
        let client = "head -c 1000000 /dev/zero | socat -u -b 1400 STDIN UDP:{host}:{port} && \
             head -c 100000 /dev/zero | \
             socat -u -b 1400 STDIN UDP-DATAGRAM:10.0.2.255:{port},broadcast && sleep 0.1";
        asked(log, kernel, "examples/reflect", ECHO_PORT, client, &[])
    });
    suite.test(
        "redis-benchmark across a migration with a standby loses no key",
        LONG,
        move |log| keys(log, kernel),
    );
}

/// Boots an example whose port is forwarded.
fn boot(log: &Path, example: &str, port: u16, append: &str) -> Result<(Guest, u16)> {
    let forward = Forward { host: free_port()?, guest: port };
    let wire = Wire::Netdev(nic::backend(&Net::User, &[forward])?);
    let folder = paths::checkout().join(example);
    let mut guest = Guest::boot_application(&folder, &wire, NicModel::E1000e, log, append)?;
    guest.wait_for(READY)?;
    Ok((guest, forward.host))
}

fn shell(line: &str) -> Result<String> {
    let output = command::run(Command::new("sh").args(["-c", line]))?;
    Ok(String::from_utf8(output.stdout)?)
}

fn echo(log: &Path) -> Result<String> {
    tools::require("this test", &[NC])?;
    let (_guest, port) = boot(log, "examples/echo", ECHO_PORT, "")?;
    let said = shell(&format!("echo there and back | timeout 60 nc -N 127.0.0.1 {port}"))?;
    ensure!(said == "there and back\n", "{said:?} came back");
    Ok(String::new())
}

fn http(log: &Path) -> Result<String> {
    tools::require("this test", &[CURL])?;
    let (_guest, port) = boot(log, "examples/http", HTTP_PORT, "")?;
    let page = request(port, "GET", "/", None)?;
    ensure!(page.starts_with("HTTP/1.1 200") && page.contains("<html"), "the page is {page:?}");
    let status = shell(&format!("curl -sSf --max-time 60 http://127.0.0.1:{port}/api/status"))?;
    let status: serde_json::Value = serde_json::from_str(&status).context("its JSON")?;
    ensure!(status.is_object(), "{status}");
    let metrics = request(port, "GET", "/metrics", None)?;
    let received = metrics
        .lines()
        .find_map(|line| {
            line.strip_prefix("godwit_interface_receive_frames_total{interface=\"nic\"} ")
        })
        .and_then(|count| count.trim_end().parse::<u64>().ok());
    ensure!(received.is_some_and(|count| count > 0), "/metrics is {metrics:?}");
    let parallel = format!(
        "curl -sSf --max-time 60 --parallel --parallel-max 16 -o /dev/null -w '%{{http_code}}\\n' \
         $(for i in $(seq 32); do echo http://127.0.0.1:{port}/; done)"
    );
    // curl gives the first a place to go to; the others come out where the codes do.
    let codes = shell(&parallel)?.lines().filter(|line| *line == "200").count();
    ensure!(codes == 32, "{codes} of 32 requests at the same time were answered");
    Ok(String::new())
}

fn kv(log: &Path) -> Result<String> {
    tools::require("this test", &REDIS)?;
    let (_guest, port) = boot(log, "examples/kv", KV_PORT, "")?;
    let cli = |what: &str| shell(&format!("timeout 60 redis-cli -p {port} {what}"));
    ensure!(cli("set name godwit")? == "OK\n" && cli("get name")? == "godwit\n", "set and get");
    let wrong = cli("incr name")?;
    ensure!(wrong.contains("ERR"), "a wrong command is answered by {wrong:?}");
    let said = shell(&format!(
        "timeout 300 redis-benchmark -p {port} -t set,get,incr,lpush -P 16 -n 20000 -q --csv"
    ))?;
    let lines: Vec<_> = said.lines().filter(|line| line.starts_with('"')).collect();
    ensure!(lines.len() > 4 && !said.contains("rror"), "redis-benchmark said {said:?}");
    ensure!(cli("get name")? == "godwit\n", "the key is gone");
    Ok(lines[1..].iter().map(|line| line.replace('"', "")).collect::<Vec<_>>().join("; "))
}

/// A store that was given more than there is refuses writes before the machine is out of memory.
fn full(log: &Path) -> Result<String> {
    tools::require("this test", &REDIS)?;
    let (guest, port) = boot(log, "examples/kv", KV_PORT, "kv.memory=900G")?;
    ensure!(guest.console().contains("kv.memory=900G is more"), "nobody is warned");
    let cli = |what: &str| shell(&format!("timeout 60 redis-cli -p {port} {what}"));
    let fill = "-c 1 -t set -d 100000 -r 1000000 -n 20000 -q";
    let said = shell(&format!("timeout 300 redis-benchmark -p {port} {fill} 2>&1 || true"))?;
    ensure!(said.contains("OOM"), "two gigabytes were taken: {said:?}");
    ensure!(cli("ping")? == "PONG\n", "it does not answer any more");
    ensure!(cli("flushall")? == "OK\n" && cli("set name godwit")? == "OK\n", "it is still full");
    Ok(String::new())
}

/// The far end is a port of the lab's switch: what is sent to it is compared with what was sent.
fn reflect(log: &Path) -> Result<String> {
    const FRAMES: usize = 500;
    let sockets = tempfile::Builder::new().prefix("godwit-reflect-").tempdir()?;
    let path = sockets.path().join("wire");
    let segment = Segment::start(None)?;
    segment.listen("nic-source", &path)?;
    let (sender, receiver) = segment.local("generator");
    let folder = paths::checkout().join("examples/reflect");
    let append = "ip=10.0.0.2/24";
    let wire = Wire::Socket(&path);
    let mut guest = Guest::boot_application(&folder, &wire, NicModel::E1000e, log, append)?;
    guest.wait_for(READY)?;

    let to = mac(MAC)?;
    let me: Mac = [0x02, 0, 0, 0, 0, 0x99];
    let (mut sent, mut back) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while back < FRAMES && Instant::now() < deadline {
        if sent < FRAMES {
            let frame = Frame::build(14 + 46 + sent, |bytes| {
                bytes.extend(to);
                bytes.extend(me);
                // An experimental type (IEEE 802, local experimental ethertype 1).
                bytes.extend([0x88, 0xb5]);
                bytes.extend(vec![sent as u8; 46 + sent]);
            });
            sender.send(&mut VecDeque::from([frame]), Duration::from_secs(1));
            sent += 1;
        }
        while let Some(frame) = receiver.receive(Duration::from_millis(1)) {
            let bytes = frame.ethernet();
            if bytes.len() < 60 || bytes[12..14] != [0x88, 0xb5] {
                continue;
            }
            ensure!(
                bytes[..6] == me && bytes[6..12] == to,
                "the addresses are {:02x?}",
                &bytes[..12]
            );
            let fill = bytes[14];
            ensure!(
                bytes[14..].iter().all(|byte| *byte == fill),
                "frame {back} came back changed: {bytes:02x?}"
            );
            back += 1;
        }
    }
    ensure!(back == FRAMES, "{back} of {FRAMES} frames came back");
    Ok(format!("{FRAMES} frames"))
}

fn mac(text: &str) -> Result<Mac> {
    let bytes: Result<Vec<u8>, _> =
        text.split(':').map(|part| u8::from_str_radix(part, 16)).collect();
    bytes?.try_into().ok().context("six bytes")
}

/// Migrates an example on this machine while its client is run over and over.
fn asked(
    log: &Path,
    kernel: Kernel,
    app: &str,
    port: u16,
    client: &str,
    more: &[&str],
) -> Result<String> {
    let port = port.to_string();
    let traffic = ["--traffic", "client", "--port", &port, "--client", client];
    let place = ["--lab", "local", "--nic", "e1000e", "--app", app];
    let migration = migrate(log, kernel, &[&place[..], &traffic, more].concat())?;
    completed(&migration)?;
    let (stale, checked) = check(&migration)?;
    ensure!(stale == 0 && checked > 0, "{stale} of {checked} frames stale");
    let runs = migration.client.context("there was no client")?.runs;
    Ok(format!("0 of {checked} frames stale, the client succeeded {runs} times"))
}

/// None of redis-benchmark's requests fails, and every key that was ever written is there, with
/// its value: those that each run of the client writes for itself, and redis-benchmark's.
fn keys(log: &Path, kernel: Kernel) -> Result<String> {
    tools::require("this test", &REDIS)?;
    let directory = log.with_extension("keys");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    let script = directory.join("client.sh");
    fs::write(&script, client_script())?;
    let client = format!("cd {} && sh {} {{host}} {{port}}", directory.display(), script.display());
    let said = asked(log, kernel, "examples/kv", KV_PORT, &client, &["--standby"])?;
    let kept = fs::read_to_string(directory.join("expected"))?.lines().count();
    ensure!(kept > 0, "no key was written");
    Ok(format!("{said}, {kept} keys of its own and {BENCHMARK_KEYS} of redis-benchmark's kept"))
}

/// Writes keys that no other run writes, has redis-benchmark write its own, and reads back all.
fn client_script() -> String {
    format!(
        "set -eu\n\
         cli=\"redis-cli -h $1 -p $2\"\n\
         echo >> runs\n\
         run=$(wc -l < runs)\n\
         seq -f \"%.0f $run\" {KEYS} > own\n\
         sed 's/\\(.*\\) \\(.*\\)/SET run-\\2:\\1 value-\\2-\\1/' own > written\n\
         $cli --pipe < written | grep 'errors: 0'\n\
         sed 's/SET \\(.*\\) .*/GET \\1/' written >> asked\n\
         sed 's/.* //' written >> expected\n\
         said=$({BENCHMARK} 2>&1) || {{ echo \"$said\"; exit 1; }}\n\
         echo \"$said\"\n\
         case \"$said\" in *rror*) exit 1;; esac\n\
         $cli < asked > found\n\
         cmp expected found\n\
         seq -f 'GET key:%012.0f' 0 {last} | $cli | sort | uniq -c > values\n\
         grep -E '^ *{BENCHMARK_KEYS} ...$' values || {{ cat values; exit 1; }}\n",
        last = BENCHMARK_KEYS - 1,
    )
}
