//! Figures and how people read them: medians, ratios, few digits. Pure.

/// What one run of one cell measured: names and numbers.
pub(crate) type Figures = Vec<(&'static str, f64)>;

pub(crate) const PER_SECOND: &str = "per_second";
pub(crate) const CPU: &str = "server_cpu_seconds_per_million";
pub(crate) const P50: &str = "p50_us";
pub(crate) const P99: &str = "p99_us";
pub(crate) const P999: &str = "p999_us";
pub(crate) const INTENDED_P50: &str = "from_intended_p50_us";
pub(crate) const INTENDED_P99: &str = "from_intended_p99_us";
pub(crate) const INTENDED_P999: &str = "from_intended_p999_us";
pub(crate) const MESSAGES: &str = "messages";
pub(crate) const SECONDS: &str = "seconds";
pub(crate) const FILL: &str = "fill_per_second";
pub(crate) const DRAIN: &str = "drain_per_second";
pub(crate) const RESIDENT: &str = "resident_mib";
pub(crate) const RESTART: &str = "restart_to_first_delivery_seconds";

/// The figure of that name.
pub(crate) fn figure(figures: &Figures, name: &str) -> Option<f64> {
    let found = figures.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value)
}

/// The middle one; of an even number, the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get(middle.checked_sub(1)?)?;
    Some(f64::midpoint(lower, upper))
}

/// The median of every figure over all runs of one cell.
pub(crate) fn medians(runs: &[Figures]) -> Figures {
    let names = runs.first().into_iter().flatten().map(|(name, _)| *name);
    let middle = |name| {
        let values = runs.iter().filter_map(|run| figure(run, name)).collect();
        Some((name, median(values)?))
    };
    names.filter_map(middle).collect()
}

/// A number of things, for arithmetic.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of messages and bytes fit 52 bits"
)]
pub(crate) const fn float(count: u64) -> f64 {
    count as f64
}

/// A number of things that came out of arithmetic.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and a count is not negative"
)]
pub(crate) const fn whole(value: f64) -> u64 {
    value as u64
}

/// Four digits of it.
pub(crate) fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e6 => (value / 1e6, " M"),
        value if value >= 1e4 => (value / 1e3, " k"),
        value => (value, ""),
    };
    digits(value) + unit
}

fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// `Siding / peer`, as a factor.
pub(crate) fn ratio(siding: Option<f64>, peer: Option<f64>) -> String {
    match (siding, peer) {
        (Some(siding), Some(peer)) if peer > 0.0 => digits(siding / peer),
        _ => "–".to_owned(),
    }
}

/// To three decimals, for the record.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_runs_reach_the_median() {
        assert_eq!(median(vec![9.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(vec![1.0, 2.0]), Some(1.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn each_figure_has_a_median_of_its_own() {
        let runs = [
            vec![(PER_SECOND, 1.0), (CPU, 30.0)],
            vec![(PER_SECOND, 2.0), (CPU, 10.0)],
            vec![(PER_SECOND, 3.0), (CPU, 20.0)],
        ];
        assert_eq!(medians(&runs), vec![(PER_SECOND, 2.0), (CPU, 20.0)]);
        assert_eq!(medians(&[]), Vec::new());
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (6_531_000.0, "6.53 M"),
            (408_200.0, "408 k"),
            (9_200.0, "9200"),
            (0.0912, "0.09"),
            (12.34, "12.3"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn a_ratio_needs_both_sides() {
        assert_eq!(ratio(Some(6.0), Some(4.0)), "1.50");
        assert_eq!(ratio(Some(6e6), Some(4e3)), "1500");
        assert_eq!(ratio(Some(6.0), None), "–");
        assert_eq!(ratio(Some(6.0), Some(0.0)), "–");
    }
}
