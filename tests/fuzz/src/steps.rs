//! An input as steps, one after the other: what is to be done, and some bytes.

/// A byte that says what is to be done, and the bytes it is to be done with.
#[derive(Clone, Copy)]
pub(crate) struct Step<'a> {
    /// What is to be done.
    pub(crate) control: u8,
    /// With what.
    pub(crate) bytes: &'a [u8],
}

impl Step<'_> {
    /// Whether bit `bit` of the control byte is set.
    pub(crate) fn has(&self, bit: u8) -> bool {
        self.control & 1 << bit != 0
    }
}

/// More are not looked at: an input is to be read in milliseconds.
const MOST: usize = 64;

/// The steps of an input: control byte, length in two bytes, and so many more or what is left.
pub(crate) fn steps(mut input: &[u8]) -> impl Iterator<Item = Step<'_>> {
    core::iter::from_fn(move || {
        let (&[control, low, high], rest) = input.split_first_chunk()?;
        let len = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let bytes;
        (bytes, input) = rest.split_at(len);
        Some(Step { control, bytes })
    })
    .take(MOST)
}

/// The input that has these steps.
pub(crate) fn input<'a>(steps: impl IntoIterator<Item = (u8, &'a [u8])>) -> Vec<u8> {
    let mut input = Vec::new();
    for (control, bytes) in steps {
        input.push(control);
        input.extend((bytes.len() as u16).to_le_bytes());
        input.extend(bytes);
    }
    input
}
