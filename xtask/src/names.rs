//! Names of packages.

/// What others are called that it is compiled with.
const TAKEN: [&str; 6] = ["alloc", "core", "godwit", "proc_macro", "std", "test"];

/// Checks that a package can have this name, and a folder.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !is_word {
        return Err("a name is of letters, digits, - and _, and begins with a letter".into());
    }
    let as_crate = text.replace('-', "_");
    if TAKEN.contains(&as_crate.as_str()) || syn::parse_str::<syn::Ident>(&as_crate).is_err() {
        return Err(format!("`{text}` means something else in Rust: choose another name"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_packages() {
        for good in ["hello", "my-app2", "A_b"] {
            assert_eq!(parse_name(good).as_deref(), Ok(good));
        }
        for bad in ["", "2do", "a b", "../x", "fn", "self", "godwit", "std", "é"] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }
}
