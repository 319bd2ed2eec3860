//! Round axes.

/// A step of 1, 2 or 5 times a power of ten that divides what is up to `limit` into at most
/// `parts`, and the multiple of it that covers `limit`.
pub(super) fn scale(limit: f64, parts: f64) -> (f64, f64) {
    let rough = limit / parts;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|n| n * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    (step, (limit / step).ceil() * step)
}

/// A round number, without what floating point adds to it.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.len() > 5 && value >= 10_000.0 { format!("{}k", value / 1000.0) } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_steps() {
        assert_eq!(scale(74e6, 5.0), (20e6, 80e6));
        assert_eq!(scale(101.0, 5.0), (50.0, 150.0));
        assert_eq!(scale(9.0, 5.0), (2.0, 10.0));
        assert_eq!(scale(61.2, 2.0), (50.0, 100.0));
    }

    #[test]
    fn numbers_have_no_tails() {
        assert_eq!(
            [18.2, 0.25, 1400.0, 40_000.0, 120_000.0].map(number),
            ["18.2", "0.25", "1400", "40000", "120k"]
        );
    }
}
