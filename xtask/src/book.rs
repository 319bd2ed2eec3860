//! `cargo xtask book`: the pages of this repository as mdBook shows them.
//!
//! Pages link to one another and to sources, across the whole repository, as somebody reads them
//! who browses it. mdBook wants them in a folder of their own, of which it copies everything. So
//! they are laid out in one as they lie here, and what they link to besides is copied afterwards.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use lab::{
    build::mdbook::MdBook,
    system::{paths, progress::Step, scratch::Scratch},
};

use crate::{cli::Book, ending::Ending};

/// What is said of the book as a whole.
const SETTINGS: &str = "docs/book.toml";
/// The list of chapters.
const CHAPTERS: &str = "docs/SUMMARY.md";

pub(crate) fn main(options: &Book) -> Result<Ending> {
    let output = match &options.out {
        Some(out) => std::path::absolute(out)?,
        None => paths::target().join("book"),
    };
    let mdbook = MdBook::get()?;
    let step = Step::new("Making the book");
    let pages = Scratch::new()?;
    let chapters = lay_out(paths::checkout(), &pages)?;
    mdbook.build(&pages, &output)?;
    let links = complete(paths::checkout(), &output)?;
    step.finish(format_args!("{chapters} chapters, {links} links"));
    println!("{}", output.join("index.html").display());
    Ok(Ending::AsAsked)
}

/// Copies the chapters to where they lie in the repository, with the settings and a list of
/// chapters at its root. How many there are.
fn lay_out(repository: &Path, pages: &Path) -> Result<usize> {
    let read = |path: &str| fs::read_to_string(repository.join(path)).context(path.to_owned());
    let list = read(CHAPTERS)?;
    let folder = Path::new(CHAPTERS).parent().unwrap_or(Path::new(""));
    let mut moved = String::new();
    let mut count = 0;
    for line in list.lines() {
        let link = line.split_once("](").and_then(|(title, rest)| {
            rest.split_once(')').map(|(target, rest)| (title, target, rest))
        });
        if let Some((title, target, rest)) = link {
            let page = plain(&folder.join(target));
            let to = pages.join(&page);
            fs::create_dir_all(to.parent().unwrap_or(pages))?;
            fs::copy(repository.join(&page), to).with_context(|| page.display().to_string())?;
            moved += &format!("{title}]({}){rest}\n", page.display());
            count += 1;
        } else {
            moved += &format!("{line}\n");
        }
    }
    fs::write(pages.join("SUMMARY.md"), moved)?;
    fs::write(pages.join("book.toml"), read(SETTINGS)?)?;
    Ok(count)
}

/// Copies what the book links to and is no chapter, and finds links that lead nowhere. How many
/// links there are within the book.
fn complete(repository: &Path, book: &Path) -> Result<usize> {
    let mut pages = Vec::new();
    collect(book, &mut pages)?;
    let mut count = 0;
    let mut broken = BTreeSet::new();
    for page in &pages {
        let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
        let folder = page.strip_prefix(book)?.parent().unwrap_or(Path::new("")).to_owned();
        for target in targets(&text) {
            count += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                page.strip_prefix(book)?.to_owned()
            } else {
                plain(&folder.join(file))
            };
            let (there, here) = (book.join(&path), repository.join(&path));
            // A page of this repository has to be a chapter: nothing shows it else.
            let is_source = here.is_file() && path.extension().is_none_or(|end| end != "md");
            if !there.exists() && is_source {
                fs::create_dir_all(there.parent().unwrap_or(book))?;
                fs::copy(&here, &there).with_context(|| path.display().to_string())?;
            }
            let has_heading = || {
                let text = fs::read_to_string(&there).unwrap_or_default();
                heading.is_empty() || text.contains(&format!("id=\"{heading}\""))
            };
            if !there.is_file() || !has_heading() {
                broken.insert(format!("{}: {target}", page.display()));
            }
        }
    }
    let broken: Vec<_> = broken.into_iter().collect();
    ensure!(broken.is_empty(), "links of the book lead nowhere:\n{}", broken.join("\n"));
    Ok(count)
}

/// Every page of HTML in a folder.
fn collect(folder: &Path, pages: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, pages)?;
        } else if path.extension().is_some_and(|end| end == "html") {
            pages.push(path);
        }
    }
    Ok(())
}

/// Where a page's links and pictures lead, but for those to elsewhere.
fn targets(html: &str) -> impl Iterator<Item = &str> {
    let after = |start| html.split(start).skip(1).filter_map(|rest| rest.split('"').next());
    let all = after(" href=\"").chain(after(" src=\""));
    all.filter(|target| !target.contains(':') && !target.is_empty() && *target != "#")
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn chapters_keep_their_places() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let list = "# Book\n\n[It](../README.md)\n\n- [A page](a.md)\n";
        write(from.path(), CHAPTERS, list);
        write(from.path(), SETTINGS, "[book]\n");
        write(from.path(), "README.md", "it");
        write(from.path(), "docs/a.md", "a");
        write(from.path(), "docs/b.md", "b");
        assert_eq!(lay_out(from.path(), to.path()).unwrap(), 2);
        let read = |name: &str| fs::read_to_string(to.path().join(name)).unwrap();
        assert_eq!(read("SUMMARY.md"), "# Book\n\n[It](README.md)\n\n- [A page](docs/a.md)\n");
        assert_eq!((read("README.md"), read("docs/a.md")), ("it".into(), "a".into()));
        assert!(!to.path().join("docs/b.md").exists());
        fs::remove_file(from.path().join("docs/a.md")).unwrap();
        let error = format!("{:#}", lay_out(from.path(), to.path()).unwrap_err());
        assert!(error.starts_with("docs/a.md"), "{error}");
    }

    #[test]
    fn sources_come_along_and_links_to_nowhere_are_named() {
        let (repository, book) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(repository.path(), "src/main.rs", "fn main() {}");
        write(repository.path(), "docs/b.md", "no chapter");
        write(book.path(), "index.html", "<h1 id=\"one\">");
        let good = "<a href=\"../index.html#one\"> <img src=\"../src/main.rs\"> \
                    <a href=\"https://elsewhere\">";
        write(book.path(), "docs/a.html", good);
        assert_eq!(complete(repository.path(), book.path()).unwrap(), 2);
        assert!(book.path().join("src/main.rs").is_file());
        for wrong in ["../index.html#two", "c.html", "../src/none.rs", "b.md"] {
            write(book.path(), "docs/a.html", &format!("{good} <a href=\"{wrong}\">"));
            let error = complete(repository.path(), book.path()).unwrap_err().to_string();
            assert!(error.ends_with(&format!("a.html: {wrong}")), "{error}");
        }
    }
}
