//! Warnings and errors that the page about what does not work says nothing of.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};

use crate::lines::sources;

/// Macros whose messages people see without having asked for more.
const LOUD: [&str; 2] = ["warn", "error"];
/// A part of a message that is shorter could be of any other.
const TELLING: usize = 12;

/// Every message of a warning or an error in a `.rs` file of `folder`, tests aside, of whose parts
/// between the braces the longest is not on `page`, as `FILE: MESSAGE`. One with no part that is
/// long enough is passed by: it is another error with a name in front.
///
/// # Errors
/// Something in the folder cannot be read, or is no Rust.
pub fn unexplained(folder: &Path, page: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for file in sources(folder)? {
        let is_test = file.iter().any(|part| part == "tests" || part == "tests.rs");
        if is_test {
            continue;
        }
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let tokens: TokenStream =
            text.parse().map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
        let mut messages = Vec::new();
        collect(tokens, &mut messages);
        for message in messages {
            let parts = message.split(['{', '}']).step_by(2).map(str::trim);
            let longest = parts.max_by_key(|part| part.len()).unwrap_or_default();
            let longest = longest.trim_matches([':', ';', ',', ' ']);
            if longest.len() >= TELLING && !page.contains(longest) {
                found.push(format!("{}: {message}", file.display()));
            }
        }
    }
    Ok(found)
}

/// The first text in each call of such a macro.
fn collect(tokens: TokenStream, messages: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        if is_loud(&tokens[..index])
            && let Some(text) = group.stream().into_iter().find_map(text)
        {
            messages.push(text);
        }
        collect(group.stream(), messages);
    }
}

/// Whether they end in the name of such a macro, and its exclamation mark.
fn is_loud(before: &[TokenTree]) -> bool {
    match before {
        [.., TokenTree::Ident(name), TokenTree::Punct(mark)] => {
            mark.as_char() == '!' && LOUD.contains(&name.to_string().as_str())
        }
        _ => false,
    }
}

fn text(token: TokenTree) -> Option<String> {
    let TokenTree::Literal(literal) = token else { return None };
    Some(syn::parse_str::<syn::LitStr>(&literal.to_string()).ok()?.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_on_the_page_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let code = r#"
            fn f() {
                log::warn!("{name}: the widget is missing: {error}");
                if true { error!("the gadget is broken \
                    in {place}"); }
                warn!("{name}: {error}");
                log::info!("nobody needs to know of this");
            }
        "#;
        fs::write(folder.path().join("code.rs"), code).unwrap();
        fs::create_dir(folder.path().join("tests")).unwrap();
        fs::write(folder.path().join("tests/code.rs"), r#"m!{ warn!("not in a test of it") }"#)
            .unwrap();
        let found = |page| unexplained(folder.path(), page).unwrap();
        assert_eq!(found("the widget is missing, the gadget is broken in"), [""; 0]);
        let missing = found("the widget is missing");
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert!(missing[0].contains("the gadget is broken"), "{missing:?}");
    }
}
