//! Medians and quantiles of a few numbers.

/// The value below which that share of the numbers lies. 0 of none.
pub(crate) fn quantile(numbers: &[f64], share: f64) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = ((sorted.len() as f64 - 1.0).max(0.0) * share).round() as usize;
    sorted.get(place).copied().unwrap_or(0.0)
}

/// The middle one.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    quantile(numbers, 0.5)
}
