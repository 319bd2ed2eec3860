//! The kernel command line: `key=value` words separated by blanks.
//!
//! A bad value is named on the console and the default taken, unless the program asks for a
//! [`check`](CommandLine::check) of its key: an address that is wrong has no default that could be
//! right. [`CommandLine::finish`] names the keys that nobody asked for. Of a repeated key the last
//! one counts, so that a line can be extended to override what stands before.
//!
//! A key of a network interface belongs to interface 0; `nic1.` in front makes it interface 1's:
//! `ip=dhcp nic1.ip=10.9.0.2/24`.

use core::cell::Cell;
use core::fmt;
use core::str::FromStr;

/// The words past this one are ignored; `finish` says so.
const MAX_WORDS: usize = 64;

/// A command line, and which of its words have been understood so far.
#[derive(Debug)]
pub struct CommandLine<'a> {
    text: &'a str,
    /// Bit `i` is set once word `i` belongs to a key somebody asked for.
    known: Cell<u64>,
}

impl<'a> CommandLine<'a> {
    /// A command line as the loader passed it.
    pub fn new(text: &'a str) -> Self {
        Self { text, known: Cell::new(0) }
    }

    /// The value of `key`, or `default` if the key is absent or its value is not a `T`.
    ///
    /// The latter is said on the console, with the parse error: it should name the accepted form.
    pub fn value<T>(&self, key: &str, default: T) -> T
    where
        T: FromStr<Err: fmt::Display>,
    {
        or_default(self.parse(key), default)
    }

    /// The value of `key`, `None` if it is absent.
    ///
    /// # Errors
    /// The value is not a `T`.
    pub fn parse<T: FromStr>(&self, key: &str) -> Result<Option<T>, BadValue<'a, T::Err>> {
        self.find(|found| found == key)
    }

    /// Whether `key` has a `T` wherever it is, be it an interface's.
    ///
    /// # Errors
    /// The first value that is none.
    pub fn check<T: FromStr>(&self, key: &str) -> Result<(), BadValue<'a, T::Err>> {
        let values = self.words().filter_map(|word| {
            let (found, value) = word.split_once('=').unwrap_or((word, ""));
            let found = interface_of(found).map_or(found, |(_, found)| found);
            (found == key).then_some((word, value))
        });
        for (word, value) in values {
            value.parse::<T>().map_err(|error| BadValue { word, error })?;
        }
        Ok(())
    }

    /// The keys of a network interface.
    pub fn interface(&self, index: usize) -> InterfaceKeys<'_, 'a> {
        InterfaceKeys { line: self, index }
    }

    /// The value of the last word whose key `is_it` says yes to.
    fn find<T: FromStr>(
        &self,
        is_it: impl Fn(&str) -> bool,
    ) -> Result<Option<T>, BadValue<'a, T::Err>> {
        let mut last = None;
        for (i, word) in self.words().enumerate().take(MAX_WORDS) {
            // A word without `=` is a key with an empty value.
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            if is_it(key) {
                self.known.set(self.known.get() | 1 << i);
                last = Some((word, value));
            }
        }
        last.map(|(word, value)| value.parse().map_err(|error| BadValue { word, error }))
            .transpose()
    }

    /// Words whose key nobody has asked for, and words past the 64th.
    pub fn unknown(&self) -> impl Iterator<Item = &'a str> {
        let known = self.known.get();
        self.words()
            .enumerate()
            .filter(move |&(i, _)| i >= MAX_WORDS || known & 1 << i == 0)
            .map(|(_, word)| word)
    }

    /// Names on the console every word that nobody understood. Call it after the last
    /// [`value`](Self::value).
    pub fn finish(&self) {
        for word in self.unknown() {
            let key = word.split_once('=').map_or(word, |(key, _)| key);
            match interface_of(key) {
                Some((index, _)) if index > 0 => {
                    crate::println!(
                        "command line: {word}: no key, or no interface {index}; ignored"
                    );
                }
                _ => crate::println!("command line: {word}: unknown key; ignored"),
            }
        }
    }

    fn words(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.text.split_ascii_whitespace()
    }
}

/// The keys of one network interface: see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct InterfaceKeys<'l, 'a> {
    line: &'l CommandLine<'a>,
    index: usize,
}

impl InterfaceKeys<'_, '_> {
    /// As [`CommandLine::value`], of this interface.
    pub fn value<T>(&self, key: &str, default: T) -> T
    where
        T: FromStr<Err: fmt::Display>,
    {
        or_default(self.line.find(|found| self.names(found, key)), default)
    }

    fn names(&self, found: &str, key: &str) -> bool {
        match interface_of(found) {
            None => self.index == 0 && found == key,
            // One spelling for one thing: `nic0.` and `nic01.` are nobody's.
            Some((index, rest)) => index == self.index && index > 0 && rest == key,
        }
    }
}

/// Of `nic1.ip`: 1 and `ip`.
fn interface_of(key: &str) -> Option<(usize, &str)> {
    let (digits, rest) = key.strip_prefix("nic")?.split_once('.')?;
    let is_number = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((digits.parse().ok().filter(|_| is_number)?, rest))
}

/// Says on the console what is wrong with a value, and takes the default.
fn or_default<T, E: fmt::Display>(value: Result<Option<T>, BadValue<'_, E>>, default: T) -> T {
    match value {
        Ok(value) => value.unwrap_or(default),
        Err(bad) => {
            crate::println!("command line: {bad}; taking the default");
            default
        }
    }
}

/// A value that is not what its key takes.
#[derive(Debug, PartialEq, Eq)]
pub struct BadValue<'a, E> {
    /// The key and its value as they were written.
    pub word: &'a str,
    /// What is wrong with it.
    pub error: E,
}

impl<E: fmt::Display> fmt::Display for BadValue<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.word, self.error)
    }
}

/// A number of bytes, written with an optional suffix K, M or G (powers of 1024): `16M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trailing_zeros() {
            _ if self.0 == 0 => f.write_str("0"),
            30.. => write!(f, "{}G", self.0 >> 30),
            20.. => write!(f, "{}M", self.0 >> 20),
            10.. => write!(f, "{}K", self.0 >> 10),
            _ => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Size {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Self, BadSize> {
        let unit = match text.bytes().last() {
            Some(b'K' | b'k') => 1 << 10,
            Some(b'M' | b'm') => 1 << 20,
            Some(b'G' | b'g') => 1 << 30,
            _ => 1,
        };
        let digits = if unit == 1 { text } else { &text[..text.len() - 1] };
        // `u64::from_str` takes a sign, a size has none.
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadSize);
        }
        digits.parse().ok().and_then(|n: u64| n.checked_mul(unit)).map(Self).ok_or(BadSize)
    }
}

/// The text was no [`Size`].
#[derive(Debug, PartialEq, Eq)]
pub struct BadSize;

impl fmt::Display for BadSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size is a whole number of bytes, or one with K, M or G behind it, as in 16M")
    }
}

/// The level of `log=`, with an error that lists the levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLevel(pub log::LevelFilter);

impl FromStr for LogLevel {
    type Err = BadLogLevel;

    fn from_str(text: &str) -> Result<Self, BadLogLevel> {
        text.parse().map(Self).map_err(|_| BadLogLevel)
    }
}

/// The text was no [`LogLevel`].
#[derive(Debug, PartialEq, Eq)]
pub struct BadLogLevel;

impl fmt::Display for BadLogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the levels are off, error, warn, info, debug and trace")
    }
}

/// `on` or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(pub bool);

impl FromStr for Switch {
    type Err = BadSwitch;

    fn from_str(text: &str) -> Result<Self, BadSwitch> {
        match text {
            "on" => Ok(Self(true)),
            "off" => Ok(Self(false)),
            _ => Err(BadSwitch),
        }
    }
}

/// The text was no [`Switch`].
#[derive(Debug, PartialEq, Eq)]
pub struct BadSwitch;

impl fmt::Display for BadSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected on or off")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_value_is_found_and_the_last_one_counts() {
        let line = CommandLine::new("  swiotlb=1M ip=dhcp\tswiotlb=16M \n");
        assert_eq!(line.value("swiotlb", Size(0)), Size(16 << 20));
        assert_eq!(line.unknown().collect::<Vec<_>>(), ["ip=dhcp"]);
        assert_eq!(line.parse::<Size>("recorder"), Ok(None));
    }

    #[test]
    fn a_bad_value_is_named_and_the_default_taken() {
        let line = CommandLine::new("swiotlb=lots");
        let bad = line.parse::<Size>("swiotlb").unwrap_err();
        assert!(bad.to_string().starts_with("swiotlb=lots: a size is"), "{bad}");
        assert_eq!(line.value("swiotlb", Size(7)), Size(7));
        // Its key is known: `finish` must not name it a second time.
        assert_eq!(line.unknown().count(), 0);
    }

    #[test]
    fn keys_match_whole_and_values_keep_their_equals_signs() {
        let line = CommandLine::new("ipx=1 ip=a=b i=2 quiet");
        assert_eq!(line.parse::<std::string::String>("ip"), Ok(Some("a=b".into())));
        assert_eq!(line.parse::<std::string::String>("quiet"), Ok(Some("".into())));
        assert_eq!(line.unknown().collect::<Vec<_>>(), ["ipx=1", "i=2"]);
    }

    #[test]
    fn each_interface_has_keys_of_its_own() {
        let line =
            CommandLine::new("mtu=1 nic1.mtu=2 nic12.mtu=3 nic0.mtu=4 nic01.mtu=5 nic.mtu=6");
        let mtu = |index| line.interface(index).value("mtu", Size(0));
        assert_eq!([0, 1, 2, 12].map(mtu), [1, 2, 0, 3].map(Size));
        assert_eq!(line.value("mtu", Size(0)), Size(1));
        assert_eq!(line.unknown().collect::<Vec<_>>(), ["nic0.mtu=4", "nic01.mtu=5", "nic.mtu=6"]);
    }

    #[test]
    fn a_key_is_checked_wherever_it_is() {
        let line = CommandLine::new("mtu=1 nic1.mtu=2 nic12.mtu=3 mtux=no");
        assert_eq!(line.check::<Size>("mtu"), Ok(()));
        let line = CommandLine::new("mtu=1 nic7.mtu=lots mtu=2");
        assert_eq!(line.check::<Size>("mtu").unwrap_err().word, "nic7.mtu=lots");
        assert_eq!(line.unknown().count(), 3);
    }

    #[test]
    fn an_overlong_line_is_not_lost_silently() {
        let text = "a ".repeat(MAX_WORDS) + "log=debug";
        let line = CommandLine::new(&text);
        assert_eq!(line.parse::<LogLevel>("log"), Ok(None));
        assert_eq!(line.unknown().last(), Some("log=debug"));
    }

    #[test]
    fn sizes() {
        let size = |text: &str| text.parse::<Size>();
        assert_eq!(size("4096"), Ok(Size(4096)));
        assert_eq!(size("2k"), Ok(Size(2048)));
        assert_eq!(size("3G"), Ok(Size(3 << 30)));
        for text in ["0", "1", "1023", "1K", "16M", "1025M", "5G"] {
            assert_eq!(size(text).unwrap().to_string(), text);
        }
        for bad in ["", "M", "-1", "+1", "1.5M", "16MB", "M16", "99999999999G", "1É"] {
            assert_eq!(size(bad), Err(BadSize), "{bad}");
        }
    }

    #[test]
    fn log_levels() {
        assert_eq!("Debug".parse(), Ok(LogLevel(log::LevelFilter::Debug)));
        assert_eq!("loud".parse::<LogLevel>(), Err(BadLogLevel));
    }
}
