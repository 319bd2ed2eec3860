use super::*;
use alloc::format;
use godwit::time::Duration;

fn store() -> Store {
    Store::new(1 << 20, 7)
}

fn text(bytes: &[u8]) -> Value {
    Value::Text(bytes.into())
}

fn at(seconds: u64) -> Instant {
    Instant::MIN + Duration::from_secs(seconds)
}

/// What is in use is what it all costs.
fn check(store: &Store) {
    let cost: usize = store.entries.iter().map(|(key, entry)| entry.cost(key)).sum();
    assert_eq!(store.used(), cost);
    let expiring = store.entries.values().filter(|entry| entry.expires.is_some()).count();
    assert_eq!(store.expiring(), expiring);
}

#[test]
fn what_is_set_is_there_until_it_is_removed() {
    let mut store = store();
    store.set(b"a", text(b"1"), None).unwrap();
    store.set(b"a", text(b"22"), None).unwrap();
    assert_eq!(store.text(b"a"), Ok(Some(&b"22"[..])));
    assert_eq!(store.text(b"b"), Ok(None));
    check(&store);
    assert!(store.remove(b"a") && !store.remove(b"a"));
    assert_eq!((store.len(), store.used()), (0, 0));
}

#[test]
fn keys_go_when_their_time_has_come() {
    let mut store = store();
    store.set(b"a", text(b"1"), Some(at(2))).unwrap();
    store.set(b"b", text(b"1"), Some(at(2))).unwrap();
    store.set(b"c", text(b"1"), Some(at(2))).unwrap();
    // Whoever is set anew stays, unless that says otherwise.
    store.set(b"b", text(b"1"), None).unwrap();
    assert_eq!(store.expire(b"c", Some(at(3))), Ok(true));
    assert_eq!(store.expire(b"d", Some(at(3))), Ok(false));
    check(&store);
    store.advance(at(1));
    assert_eq!(store.len(), 3);
    store.advance(at(2));
    assert!(store.get(b"a").is_none() && store.get(b"b").is_some() && store.get(b"c").is_some());
    assert_eq!(store.expire(b"c", None), Ok(true));
    store.advance(at(9));
    assert_eq!((store.len(), store.expiring()), (2, 0));
    check(&store);
}

#[test]
fn memory_has_an_end() {
    let mut store = Store::new(10_000, 7);
    let mut count = 0;
    while store.set(format!("{count}").as_bytes(), text(&[0; 100]), None).is_ok() {
        count += 1;
    }
    assert!((30..50).contains(&count), "{count}");
    check(&store);
    assert_eq!(store.set(b"0", text(&[0; 2000]), None), Err(Failure::OutOfMemory));
    assert_eq!(store.text(b"0"), Ok(Some(&[0; 100][..])));
    assert_eq!(store.set(b"0", text(b"small"), None), Ok(()));
    store.remove(b"1");
    assert_eq!(store.set(b"new", text(&[0; 100]), None), Ok(()));
    check(&store);
    while store.push(b"list", End::Left, b"item").is_ok() {}
    assert_eq!(store.expire(b"2", Some(at(1))), Err(Failure::OutOfMemory));
    assert_eq!(store.expires(b"2"), None);
    check(&store);
    store.clear();
    assert_eq!((store.len(), store.used()), (0, 0));
}

#[test]
fn a_list_has_two_ends_and_ends() {
    let mut store = store();
    for (end, item, len) in [(End::Left, b"b", 1), (End::Left, b"a", 2), (End::Right, b"c", 3)] {
        assert_eq!(store.push(b"l", end, item), Ok(len));
    }
    check(&store);
    assert_eq!(store.pop(b"l", End::Left).unwrap().as_deref(), Some(&b"a"[..]));
    assert_eq!(store.pop(b"l", End::Right).unwrap().as_deref(), Some(&b"c"[..]));
    check(&store);
    assert_eq!(store.pop(b"l", End::Right).unwrap().as_deref(), Some(&b"b"[..]));
    assert_eq!(store.pop(b"l", End::Right), Ok(None));
    assert_eq!((store.len(), store.used()), (0, 0));
    store.set(b"t", text(b"1"), None).unwrap();
    assert_eq!(store.push(b"t", End::Left, b"x"), Err(Failure::WrongType));
    assert_eq!(store.pop(b"t", End::Left), Err(Failure::WrongType));
    store.push(b"l", End::Left, b"x").unwrap();
    assert_eq!(store.text(b"l"), Err(Failure::WrongType));
    check(&store);
}

#[test]
fn a_walk_meets_every_key_that_stays() {
    let mut store = store();
    let key = |number: u32| format!("key{number}").into_bytes();
    for number in 0..100 {
        store.set(&key(number), text(b""), None).unwrap();
    }
    let (mut met, mut cursor, mut step) = (BTreeSet::new(), 0, 0);
    loop {
        let (next, keys) = store.scan(cursor, 7);
        met.extend(keys.into_iter().map(<[u8]>::to_vec));
        if next == 0 {
            break;
        }
        cursor = next;
        // One goes and another comes; those with even numbers stay.
        store.remove(&key(step * 14 % 100 + 1));
        store.set(&key(1000 + step), text(b""), None).unwrap();
        step += 1;
    }
    assert!((0..100).step_by(2).all(|number| met.contains(&key(number))));
    assert!(step < 20, "it ends although keys come");
    assert_eq!(store.scan(5000, 7).1.len(), 7, "a cursor of nobody's is none too high");
    assert_eq!(Store::new(0, 0).scan(0, 7), (0, Vec::new()));
}
