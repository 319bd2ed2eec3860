//! Small crates, with circles and without.

use std::fs;

use super::*;

/// The circles of a package with these files in its `src`.
fn circles_of(files: &[(&str, &str)]) -> Vec<Circle> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join("src").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    of_crate(folder.path()).unwrap()
}

#[track_caller]
fn assert_circle(files: &[(&str, &str)], modules: &[&str]) {
    let circles = circles_of(files);
    assert_eq!(circles.len(), 1, "{circles:?}");
    assert_eq!(circles[0].modules, modules, "{}", circles[0]);
}

#[track_caller]
fn assert_none(files: &[(&str, &str)]) {
    let circles = circles_of(files);
    assert!(circles.is_empty(), "{}", circles[0]);
}

#[test]
fn two_modules_that_import_from_each_other() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b/mod.rs", "\nuse super::a; pub struct B; fn f(_: a::A) {}"),
    ];
    assert_circle(&files, &["a", "b"]);
    let shown = circles_of(&files)[0].to_string();
    assert!(shown.contains("a -> b (") && shown.contains("b/mod.rs:2"), "{shown}");
}

#[test]
fn a_child_that_uses_what_its_parent_defines_and_uses_it_for() {
    assert_circle(
        &[
            ("lib.rs", "mod a;"),
            (
                "a.rs",
                "mod x { fn f() -> super::A { todo!() } pub struct X; }\
          pub struct A(x::X);",
            ),
        ],
        &["a", "a::x"],
    );
}

#[test]
fn showing_what_children_have_is_no_use_of_it() {
    assert_none(&[
        ("lib.rs", "pub mod a;"),
        ("a/mod.rs", "mod x; mod y; pub use x::X; pub(crate) use self::y::*; pub struct A;"),
        ("a/x.rs", "use super::A; pub struct X(A);"),
        // By the parent, which shows what is the sibling's.
        ("a/y.rs", "use super::X; pub struct Y(X);"),
    ]);
}

#[test]
fn re_exports_and_globs_are_looked_through() {
    assert_circle(
        &[
            ("lib.rs", "mod a; mod b; mod shown { pub use crate::a::*; }"),
            ("a.rs", "use crate::b::*; pub struct A(B);"),
            ("b.rs", "pub struct B; fn f(_: crate::shown::A) {}"),
        ],
        &["a", "b"],
    );
}

#[test]
fn paths_in_macros_count() {
    assert_circle(
        &[
            ("main.rs", "mod a; mod b;"),
            ("a.rs", "pub const A: u8 = 1; fn f() { println!(\"{}\", crate::b::g()); }"),
            ("b.rs", "use crate::a::A; pub fn g() -> u8 { A }"),
        ],
        &["a", "b"],
    );
}

#[test]
fn exported_macros_are_those_of_the_module_that_defines_them() {
    assert_circle(
        &[
            ("lib.rs", "#[macro_use] mod a; mod b;"),
            ("a.rs", "#[macro_export] macro_rules! say { () => {} } fn f() { crate::b::g() }"),
            ("b.rs", "pub fn g() { crate::say!() }"),
        ],
        &["a", "b"],
    );
}

#[test]
fn tests_do_not_count() {
    assert_none(&[
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "pub struct A; #[cfg(test)] mod tests { use crate::b::B; fn f(_: B) {} }\
          #[cfg(all(test, unix))] fn g(_: crate::b::B) {}",
        ),
        ("b.rs", "use crate::a::A; pub struct B(A);"),
    ]);
}

#[test]
fn folders_that_need_each_other_though_no_single_modules_do() {
    assert_circle(
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "pub mod x; pub struct A;"),
            ("a/x.rs", "fn f(_: crate::b::y::Y) {}"),
            ("b/mod.rs", "pub mod y; fn f(_: crate::a::A) {}"),
            ("b/y.rs", "pub struct Y;"),
        ],
        &["a", "b"],
    );
}

#[test]
fn every_program_of_a_package_is_looked_at() {
    let circle = "mod a { pub struct A(super::b::B); } mod b { pub struct B(super::a::A); }";
    for root in ["main.rs", "bin/one.rs", "bin/two/main.rs"] {
        assert_circle(&[("lib.rs", ""), (root, circle)], &["a", "b"]);
    }
}
