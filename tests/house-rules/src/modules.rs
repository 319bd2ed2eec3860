//! The modules of a crate, read from its files: what each defines, imports and names.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{Attribute, Item, UseTree, spanned::Spanned, visit::Visit};

/// Where in the source something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
}

/// A path that code names, such as `super::Pool`.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) segments: Vec<String>,
    pub(crate) place: Place,
}

/// An import.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    /// What it is called here; `*` for all there is.
    pub(crate) name: String,
    pub(crate) path: Named,
    /// Whether it is private. One that is not shows others what is elsewhere.
    pub(crate) is_private: bool,
}

/// A module, without those within it.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// From the crate's root, which has none.
    pub(crate) path: Vec<String>,
    /// Its number in the list, and that of the one it is in.
    pub(crate) parent: usize,
    pub(crate) children: HashMap<String, usize>,
    pub(crate) items: HashSet<String>,
    pub(crate) imports: Vec<Import>,
    pub(crate) named: Vec<Named>,
}

/// Reads the crate whose root is the file `root`. The root module comes first.
///
/// # Errors
/// A file cannot be read, or is no Rust.
pub(crate) fn read(root: &Path) -> Result<Vec<Module>> {
    let mut modules = vec![Module::default()];
    let folder = root.parent().context("a file lies in a folder")?;
    read_file(&mut modules, 0, root, folder)?;
    Ok(modules)
}

fn read_file(modules: &mut Vec<Module>, at: usize, file: &Path, folder: &Path) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let parsed = syn::parse_file(&text).with_context(|| file.display().to_string())?;
    read_items(modules, at, &parsed.items, file, folder)
}

/// Reads the items of a module whose children are in `folder`.
fn read_items(
    modules: &mut Vec<Module>,
    at: usize,
    items: &[Item],
    file: &Path,
    folder: &Path,
) -> Result<()> {
    for item in items {
        let Item::Mod(module) = item else {
            let mut reader = Reader { module: &mut modules[at], file, depth: 0 };
            reader.visit_item(item);
            if let Item::Macro(item) = item {
                let is_exported = item.attrs.iter().any(|a| a.path().is_ident("macro_export"));
                if let (true, Some(name)) = (is_exported, &item.ident) {
                    export_macro(modules, at, name.to_string(), place(file, name.span()));
                }
            }
            continue;
        };
        if is_test(&module.attrs) {
            continue;
        }
        let name = module.ident.to_string();
        let child = modules.len();
        let path = modules[at].path.iter().cloned().chain([name.clone()]).collect();
        modules.push(Module { path, parent: at, ..Module::default() });
        modules[at].children.insert(name.clone(), child);
        match &module.content {
            Some((_, items)) => read_items(modules, child, items, file, &folder.join(&name))?,
            None => {
                let given = path_attribute(&module.attrs);
                // A `#[path]` is relative to the folder of the file that has it.
                let given = given.map(|path| file.parent().unwrap_or(folder).join(path));
                let plain = folder.join(&name).with_extension("rs");
                let inner = folder.join(&name).join("mod.rs");
                let places = [given, Some(plain.clone()), Some(inner)];
                let found = places.into_iter().flatten().find(|path| path.is_file());
                let found = found.with_context(|| format!("no file {}", plain.display()))?;
                read_file(modules, child, &found, &folder.join(&name))?;
            }
        }
    }
    Ok(())
}

/// A `#[macro_export]`ed macro is found at the root, by whatever module it is defined in.
fn export_macro(modules: &mut [Module], at: usize, name: String, place: Place) {
    modules[at].items.insert(name.clone());
    if at != 0 {
        let path = ["crate".to_owned()].into_iter().chain(modules[at].path.clone());
        let segments = path.chain([name.clone()]).collect();
        let path = Named { segments, place };
        modules[0].imports.push(Import { name, path, is_private: false });
    }
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find(|attribute| attribute.path().is_ident("path")).and_then(|attribute| {
        let value = &attribute.meta.require_name_value().ok()?.value;
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = value else {
            return None;
        };
        Some(text.value())
    })
}

/// Whether code is there for tests only: under `cfg(test)`, or `cfg(all(test, …))`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let condition = attribute.parse_args::<syn::Meta>();
        condition.is_ok_and(|condition| needs_test(&condition))
    })
}

fn needs_test(condition: &syn::Meta) -> bool {
    match condition {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) => {
            type Conditions = syn::punctuated::Punctuated<syn::Meta, syn::Token![,]>;
            let parts = list.parse_args_with(Conditions::parse_terminated).unwrap_or_default();
            match () {
                () if list.path.is_ident("all") => parts.iter().any(needs_test),
                () if list.path.is_ident("any") => parts.iter().all(needs_test),
                () => false,
            }
        }
        syn::Meta::NameValue(_) => false,
    }
}

fn place(file: &Path, span: Span) -> Place {
    Place { file: file.into(), line: span.start().line }
}

/// Goes through the code of one module.
struct Reader<'a> {
    module: &'a mut Module,
    file: &'a Path,
    /// How many items it is inside of: only the outermost belong to the module itself.
    depth: usize,
}

impl Reader<'_> {
    fn name(&mut self, segments: Vec<String>, span: Span) {
        let place = place(self.file, span);
        self.module.named.push(Named { segments, place });
    }

    fn import(&mut self, tree: &UseTree, before: &[String], is_private: bool) {
        let with = |name: &syn::Ident| {
            before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>()
        };
        let (name, segments) = match tree {
            UseTree::Path(path) => return self.import(&path.tree, &with(&path.ident), is_private),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(tree, before, is_private));
            }
            UseTree::Glob(_) => ("*".into(), before.to_vec()),
            // `a::{self}` is `a`.
            UseTree::Name(name) if name.ident == "self" => {
                (before.last().cloned().unwrap_or_default(), before.to_vec())
            }
            UseTree::Name(name) => (name.ident.to_string(), with(&name.ident)),
            UseTree::Rename(rename) if rename.ident == "self" => {
                (rename.rename.to_string(), before.to_vec())
            }
            UseTree::Rename(rename) => (rename.rename.to_string(), with(&rename.ident)),
        };
        let path = Named { segments, place: place(self.file, tree.span()) };
        self.module.imports.push(Import { name, path, is_private });
    }

    /// What looks like a path among the tokens of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_colon = |index: usize| {
            let at = |index: usize| match tokens.get(index) {
                Some(TokenTree::Punct(punct)) => punct.as_char(),
                _ => ' ',
            };
            at(index) == ':' && at(index + 1) == ':'
        };
        let mut index = 0;
        while index < tokens.len() {
            match &tokens[index] {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let mut segments = vec![first.to_string()];
                    while let (true, Some(TokenTree::Ident(next))) =
                        (is_colon(index + 1), tokens.get(index + 3))
                    {
                        segments.push(next.to_string());
                        index += 3;
                    }
                    // A single word in small letters is as likely a variable.
                    if segments.len() > 1 || segments[0].starts_with(char::is_uppercase) {
                        self.name(segments, first.span());
                    }
                }
                _ => {}
            }
            index += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name) = described(item);
        if is_test(attributes) {
            return;
        }
        if let (0, Some(name)) = (self.depth, name) {
            self.module.items.insert(name.to_string());
        }
        self.depth += 1;
        syn::visit::visit_item(self, item);
        self.depth -= 1;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // A leading `::` names another crate.
        if item.leading_colon.is_none() {
            self.import(&item.tree, &[], matches!(item.vis, syn::Visibility::Inherited));
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes = match item {
            syn::ImplItem::Fn(item) => &item.attrs[..],
            syn::ImplItem::Const(item) => &item.attrs,
            syn::ImplItem::Type(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            syn::visit::visit_impl_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_test(&field.attrs) {
            syn::visit::visit_field(self, field);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.name(segments, path.span());
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        // A macro's own name counts only as a path: without one it may be anybody's.
        if item.path.segments.len() > 1 {
            self.visit_path(&item.path);
        }
        self.tokens(item.tokens.clone());
    }

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

/// An item's attributes, and its name if it has one that others may use.
fn described(item: &Item) -> (&[Attribute], Option<&syn::Ident>) {
    match item {
        Item::Const(item) => (&item.attrs, Some(&item.ident)),
        Item::Enum(item) => (&item.attrs, Some(&item.ident)),
        Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
        Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
        Item::Static(item) => (&item.attrs, Some(&item.ident)),
        Item::Struct(item) => (&item.attrs, Some(&item.ident)),
        Item::Trait(item) => (&item.attrs, Some(&item.ident)),
        Item::Type(item) => (&item.attrs, Some(&item.ident)),
        Item::Union(item) => (&item.attrs, Some(&item.ident)),
        Item::Impl(item) => (&item.attrs, None),
        Item::Use(item) => (&item.attrs, None),
        Item::ForeignMod(item) => (&item.attrs, None),
        _ => (&[], None),
    }
}
