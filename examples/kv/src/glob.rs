//! Patterns of keys: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before what is meant as it stands.

/// Whether `text` is one that `pattern` means.
pub(crate) fn matches(mut pattern: &[u8], mut text: &[u8]) -> bool {
    // What is tried next when the last `*` was taken for too few bytes.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some(rest) = pattern.strip_prefix(b"*") {
            retry = Some((rest, text));
            pattern = rest;
            continue;
        }
        match (text.split_first(), one(pattern, text.first().copied())) {
            (None, _) if pattern.is_empty() => return true,
            (Some((_, left)), Some(rest)) => (pattern, text) = (rest, left),
            _ => match retry {
                Some((rest, [_, left @ ..])) => {
                    retry = Some((rest, left));
                    (pattern, text) = (rest, left);
                }
                _ => return false,
            },
        }
    }
}

/// Takes what stands for one byte off the pattern, if it is one for `byte`.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<&[u8]> {
    let byte = byte?;
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'\\', escaped, rest @ ..] => (*escaped == byte).then_some(rest),
        [b'[', set @ ..] => {
            let (is_negated, mut set) = match set {
                [b'^', set @ ..] => (true, set),
                _ => (false, set),
            };
            let mut is_in = false;
            loop {
                (is_in, set) = match set {
                    [] => break,
                    [b']', rest @ ..] => {
                        set = rest;
                        break;
                    }
                    [b'\\', escaped, rest @ ..] => (is_in | (*escaped == byte), rest),
                    [from, b'-', to, rest @ ..] if *to != b']' => {
                        let (from, to) = (from.min(to), from.max(to));
                        (is_in | (from..=to).contains(&&byte), rest)
                    }
                    [plain, rest @ ..] => (is_in | (*plain == byte), rest),
                };
            }
            (is_in != is_negated).then_some(set)
        }
        [plain, rest @ ..] => (*plain == byte).then_some(rest),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "abc"),
            ("a*c", "abbc"),
            ("a*b*c", "abcbc"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("key:[0-9]*", "key:42"),
            ("[b-a]", "a"),
            (r"a\*", "a*"),
            (r"[\]]", "]"),
            ("[a-]", "-"),
            ("**", "x"),
        ] {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("a*c", "abb"),
            ("h[^a]llo", "hallo"),
            ("key:[0-9]", "key:x"),
            (r"a\*", "ab"),
            ("*a", "ab"),
        ] {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_are_no_trap() {
        assert!(!matches(&b"*a".repeat(5000), &[b'a'; 4000]));
    }
}
