//! Which module names items of which other, and where.

use std::collections::BTreeMap;

use crate::{
    modules::{Module, Place},
    names::{Target, resolve},
};

/// From a module's number to another's, with the places in the code of the first.
pub(crate) type Edges = BTreeMap<(usize, usize), Vec<Place>>;

/// All of a crate. That a module has another in it, and that it shows to others what is in there
/// (`mod child; pub use child::Item;`), is no edge: only code that uses the item is.
pub(crate) fn edges(modules: &[Module]) -> Edges {
    let mut edges = Edges::new();
    let mut add = |from: usize, path: &[String], place: &Place| {
        if let Some(Target::Item(to)) = resolve(modules, from, path)
            && to != from
        {
            edges.entry((from, to)).or_default().push(place.clone());
        }
    };
    for (at, module) in modules.iter().enumerate() {
        for named in &module.named {
            add(at, &named.segments, &named.place);
        }
        for import in &module.imports {
            let shows_child = !import.is_private && is_in_child(module, &import.path.segments);
            if !shows_child {
                add(at, &import.path.segments, &import.path.place);
            }
        }
    }
    for places in edges.values_mut() {
        places.sort();
        places.dedup();
    }
    edges
}

/// Whether a path begins with a child of this module.
fn is_in_child(module: &Module, path: &[String]) -> bool {
    let path = if path.first().is_some_and(|first| first == "self") { &path[1..] } else { path };
    path.first().is_some_and(|first| module.children.contains_key(first))
}

/// Those between the children of a module, each with all that is in it.
pub(crate) fn between_children(modules: &[Module], edges: &Edges, parent: usize) -> Edges {
    let path = &modules[parent].path;
    let child = |at: usize| {
        let below = modules[at].path.strip_prefix(&path[..])?;
        modules[parent].children.get(below.first()?).copied()
    };
    let mut between = Edges::new();
    for ((from, to), places) in edges {
        if let (Some(from), Some(to)) = (child(*from), child(*to))
            && from != to
        {
            between.entry((from, to)).or_default().extend_from_slice(places);
        }
    }
    between
}
