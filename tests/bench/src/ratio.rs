//! A ratio and its verdict: only arithmetic, without clock or process.

use std::fmt;
use std::process::ExitCode;

/// A measurement relative to another, with a bound. `M`: how it is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio<M> {
    /// As in the report.
    pub(crate) name: &'static str,
    /// The largest value within the bound.
    pub(crate) bound: f64,
    pub(crate) measure: M,
}

/// A ratio whose value is known. `Err` says why there is none, which counts as out of bounds.
#[derive(Debug)]
pub(crate) struct Judged {
    name: &'static str,
    bound: f64,
    value: Result<f64, String>,
}

impl<M> Ratio<M> {
    pub(crate) fn judged(&self, value: Result<f64, String>) -> Judged {
        Judged { name: self.name, bound: self.bound, value }
    }
}

impl Judged {
    /// `false` also if there is no value.
    fn is_in_bounds(&self) -> bool {
        self.value.as_ref().is_ok_and(|value| *value <= self.bound)
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, bound, value } = self;
        let mark = if self.is_in_bounds() { "" } else { "  OUT OF BOUNDS" };
        match value {
            Ok(value) => write!(f, "{name:<48} {value:>6.2}  at most {bound:.2}{mark}"),
            Err(why) => write!(f, "{name:<48}      -  at most {bound:.2}{mark}: {why}"),
        }
    }
}

/// All ratios of a run.
pub(crate) struct Verdict(pub(crate) Vec<Judged>);

impl Verdict {
    fn out_of_bounds(&self) -> usize {
        self.0.iter().filter(|judged| !judged.is_in_bounds()).count()
    }

    /// A failure if any ratio is out of bounds.
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.out_of_bounds() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The last line of a run.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ratios, {} out of bounds", self.0.len(), self.out_of_bounds())
    }
}

/// The value in the middle, or the mean of the two; NaN, which is out of all bounds, if there is no value.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    f64::midpoint(at(sorted.len().saturating_sub(1) / 2), at(sorted.len() / 2))
}

/// A number of keys, and the CPU time in seconds of each of the command's runs with it.
pub(crate) type Runs = (u32, Vec<f64>);

/// How the time per key grows from `small` to `large`.
///
/// The median of `empty` is the time of the command without any key (to start, to open database and token). The time per key is the rest of
/// a median, divided by the number of keys. NaN if the keys of `small` take no measurable time.
pub(crate) fn growth(empty: &Runs, small: &Runs, large: &Runs) -> f64 {
    let start = median(&empty.1);
    let per_key = |(keys, times): &Runs| (median(times) - start) / f64::from(*keys);
    let before = per_key(small);
    if before > 0.0 { per_key(large) / before } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(value: Result<f64, String>) -> Judged {
        Judged { name: "this against that", bound: 1.2, value }
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order_and_whatever_is_far_off() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[1.0, 1_000.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn growth_is_of_the_time_per_key_without_the_start() {
        let runs = |keys: u32, per_key: f64| (keys, vec![0.5 + f64::from(keys) * per_key; 3]);
        let empty = (0, vec![0.4, 0.5, 9.0]);
        assert!((growth(&empty, &runs(100, 0.01), &runs(1_000, 0.01)) - 1.0).abs() < 1e-9, "linear");
        assert!((growth(&empty, &runs(100, 0.01), &runs(1_000, 0.1)) - 10.0).abs() < 1e-9, "quadratic");
        assert!(growth(&empty, &(100, vec![0.5]), &runs(1_000, 0.01)).is_nan(), "nothing to compare with");
    }

    #[test]
    fn a_value_above_its_bound_fails_the_run_and_one_at_it_does_not() {
        let run = |values: Vec<Result<f64, String>>| Verdict(values.into_iter().map(judged).collect());
        let good = run(vec![Ok(1.2), Ok(0.3)]);
        assert_eq!((good.to_string(), good.exit_code()), ("2 ratios, 0 out of bounds".to_owned(), ExitCode::SUCCESS));
        for bad in [Ok(1.21), Ok(f64::NAN), Err("the command failed".to_owned())] {
            let verdict = run(vec![Ok(1.0), bad]);
            assert_eq!((verdict.to_string(), verdict.exit_code()), ("2 ratios, 1 out of bounds".to_owned(), ExitCode::FAILURE));
        }
    }

    #[test]
    fn a_line_tells_value_bound_and_what_is_wrong() {
        let line = |value| judged(value).to_string();
        assert!(line(Ok(1.0)).ends_with(" 1.00  at most 1.20"));
        assert!(line(Ok(1.5)).ends_with(" 1.50  at most 1.20  OUT OF BOUNDS"));
        assert!(line(Err("it failed".to_owned())).ends_with("at most 1.20  OUT OF BOUNDS: it failed"));
    }
}
