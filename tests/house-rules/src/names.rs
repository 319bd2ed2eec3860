//! What a path means: the module that defines what it names.

use crate::modules::Module;

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// A module.
    Module(usize),
    /// Something that this module defines.
    Item(usize),
}

/// How many imports may lead from one to the next.
const DEPTH: usize = 16;

/// What `segments` means in the module `at`; `None` for what is in another crate, or no path.
pub(crate) fn resolve(modules: &[Module], at: usize, segments: &[String]) -> Option<Target> {
    resolve_path(modules, at, segments, DEPTH)
}

fn resolve_path(modules: &[Module], at: usize, path: &[String], depth: usize) -> Option<Target> {
    let (first, mut rest) = path.split_first()?;
    let mut target = match first.as_str() {
        "crate" => Target::Module(0),
        "self" => Target::Module(at),
        "super" => Target::Module(modules[at].parent),
        name => look_up(modules, at, name, depth)?,
    };
    while let (Target::Module(module), Some((next, others))) = (target, rest.split_first()) {
        target = match next.as_str() {
            "super" => Target::Module(modules[module].parent),
            name => look_up(modules, module, name, depth)?,
        };
        rest = others;
    }
    Some(target)
}

/// A single name in a module.
fn look_up(modules: &[Module], at: usize, name: &str, depth: usize) -> Option<Target> {
    let depth = depth.checked_sub(1)?;
    let module = &modules[at];
    // Before the children: a function may have the name of the module it is in.
    if module.items.contains(name) && !module.children.contains_key(name) {
        return Some(Target::Item(at));
    }
    if let Some(&child) = module.children.get(name) {
        return Some(Target::Module(child));
    }
    let named = module.imports.iter().filter(|import| import.name == name);
    let globs = module.imports.iter().filter(|import| import.name == "*");
    named
        .filter_map(|import| resolve_import(modules, at, &import.path.segments, depth))
        .next()
        .or_else(|| {
            globs
                .filter_map(|import| resolve_import(modules, at, &import.path.segments, depth))
                .filter_map(|target| match target {
                    Target::Module(module) => look_up(modules, module, name, depth),
                    Target::Item(_) => None,
                })
                .next()
        })
}

/// An import's own first name may be that of another crate, which it then hides: `use log;`.
fn resolve_import(modules: &[Module], at: usize, path: &[String], depth: usize) -> Option<Target> {
    match path {
        [only] if !matches!(only.as_str(), "crate" | "self" | "super") => {
            modules[at].children.get(only).map(|&child| Target::Module(child))
        }
        _ => resolve_path(modules, at, path, depth),
    }
}
