//! What a machine counts, as Prometheus reads it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::string::{String, ToString};

use prometheus_parse::{Scrape, Value};
use unikernel::dma::{Policy, fake};

use super::nic::quiet;
use crate::host::{Hardware, run};
use crate::metrics::render;

/// Of a machine with two NICs.
fn rendered() -> String {
    let nics = [1, 2].map(|id| quiet(id, None)).into();
    let hardware = Hardware { nics, ..Hardware::default() };
    let text = Rc::new(RefCell::new(String::new()));
    let into = text.clone();
    let machine = run(fake::pool(1 << 20, Policy::Always), "", hardware, |system| async move {
        system.interface(1).await;
        *into.borrow_mut() = render(&system);
        system.power_off();
    });
    futures_executor::block_on(machine);
    text.take()
}

#[test]
fn prometheus_understands_it() {
    let text = rendered();
    let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_string()))).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(scrape.samples.len(), lines, "{text}");
    let value = |metric: &str, labels: &[(&str, &str)]| {
        let found = scrape.samples.iter().find(|sample| {
            sample.metric == metric
                && labels.iter().all(|(key, label)| sample.labels.get(key) == Some(label))
        });
        found.unwrap_or_else(|| panic!("no {metric} in {text}")).value.clone()
    };
    assert_eq!(value("godwit_dma_marking", &[]), Value::Gauge(1.0));
    assert_eq!(value("godwit_migration_state", &[("state", "running")]), Value::Gauge(1.0));
    assert_eq!(value("godwit_migration_state", &[("state", "warm_up")]), Value::Gauge(0.0));
    for interface in ["nic", "nic1"] {
        let labels = [("interface", interface)];
        assert_eq!(value("godwit_interface_up", &labels), Value::Gauge(1.0));
        assert_eq!(value("godwit_interface_connections", &labels), Value::Gauge(0.0));
        assert!(matches!(
            value("godwit_interface_receive_frames_total", &labels),
            Value::Counter(_)
        ));
        assert!(matches!(value("godwit_nic_missed_total", &labels), Value::Counter(_)));
    }
}

/// <https://prometheus.io/docs/practices/naming/>
#[test]
fn names_keep_the_conventions() {
    let text = rendered();
    let mut families = HashSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(families.insert(name), "{name} twice");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(name.starts_with("godwit_") && name.bytes().all(plain), "{name}");
        assert!(text.contains(&std::format!("# HELP {name} ")), "{name} without help");
    }
    assert!(families.len() > 25, "{families:?}");
}

/// A dashboard that asks for what nobody counts shows nothing, and says nothing.
#[test]
fn the_dashboard_asks_for_what_there_is() {
    let dashboard = include_str!("../../../docs/grafana/godwit.json");
    let parsed: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let text = rendered();
    let names: HashSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, _)| name)
        .collect();
    let mut asked = 0;
    for panel in parsed["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let word = |c: char| c.is_ascii_lowercase() || c == '_';
            for name in expression.split(|c| !word(c)).filter(|name| name.starts_with("godwit_")) {
                assert!(names.contains(name), "{name} is in no answer of /metrics");
                asked += 1;
            }
        }
    }
    assert!(asked > 10, "{asked}");
}
