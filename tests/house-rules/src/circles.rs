//! Circles between modules: modules each of which can be reached from each other one by what their
//! code names.
//!
//! They are looked for between single modules, and between the modules within another one, each
//! with all that is in it: `a::x` and `b` may know `b::y` and `a` without a circle between the
//! four, and yet nobody could read `a` before `b`, or `b` before `a`.
//!
//! Names are what `use` and paths say. What a method call or a macro's expansion reaches is not
//! seen, nor is code under `cfg(test)` looked at.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};

use crate::{
    graph::{self, Edges},
    modules::{self, Module, Place},
};

/// How many places are shown of one module that names another.
const PLACES: usize = 3;

/// Modules that depend on each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    /// Their paths, in order.
    pub modules: Vec<String>,
    /// Which names items of which, and where.
    links: Vec<Link>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    from: String,
    to: String,
    places: Vec<Place>,
}

/// The circles of the package in `folder`: of its library, and of each of its programs.
///
/// # Errors
/// There is no such package, or its source cannot be read.
pub fn of_crate(folder: &Path) -> Result<Vec<Circle>> {
    let mut found = Vec::new();
    for root in roots(&folder.join("src"))? {
        found.extend(of_root(&root)?);
    }
    Ok(found)
}

/// The roots of a package's crates.
fn roots(source: &Path) -> Result<Vec<PathBuf>> {
    let mut roots = vec![source.join("lib.rs"), source.join("main.rs")];
    for entry in fs::read_dir(source.join("bin")).into_iter().flatten() {
        let path = entry?.path();
        roots.push(if path.is_dir() { path.join("main.rs") } else { path });
    }
    roots.retain(|root| root.is_file());
    roots.sort();
    roots.first().with_context(|| format!("there is no crate in {}", source.display()))?;
    Ok(roots)
}

fn of_root(root: &Path) -> Result<Vec<Circle>> {
    let modules = modules::read(root)?;
    let edges = graph::edges(&modules);
    let mut circles = of_edges(&modules, &edges);
    for parent in 0..modules.len() {
        circles.extend(of_edges(&modules, &graph::between_children(&modules, &edges, parent)));
    }
    circles.sort_by(|one, other| one.modules.cmp(&other.modules));
    // Modules that have nothing in them were looked at twice.
    circles.dedup_by(|one, other| one.modules == other.modules);
    Ok(circles)
}

fn of_edges(modules: &[Module], edges: &Edges) -> Vec<Circle> {
    let graph = DiGraphMap::<usize, ()>::from_edges(edges.keys().copied());
    tarjan_scc(&graph)
        .into_iter()
        .filter(|members| members.len() > 1)
        .map(|members| circle(modules, edges, &members))
        .collect()
}

fn circle(modules: &[Module], edges: &Edges, members: &[usize]) -> Circle {
    let name = |at: usize| {
        let path = modules[at].path.join("::");
        if path.is_empty() { "crate".to_owned() } else { path }
    };
    let mut names: Vec<String> = members.iter().map(|&member| name(member)).collect();
    names.sort();
    let links = edges
        .iter()
        .filter(|((from, to), _)| members.contains(from) && members.contains(to))
        .map(|((from, to), places)| Link {
            from: name(*from),
            to: name(*to),
            places: places.clone(),
        })
        .collect();
    Circle { modules: names, links }
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "circle of {}", self.modules.join(", "))?;
        for Link { from, to, places } in &self.links {
            let shown: Vec<String> = places
                .iter()
                .take(PLACES)
                .map(|place| format!("{}:{}", place.file.display(), place.line))
                .collect();
            let more = if places.len() > PLACES { ", …" } else { "" };
            writeln!(f, "    {from} -> {to} ({}{more})", shown.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
