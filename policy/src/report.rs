//! Collects problems with their places, and returns them in the order of the files.

use keyplane_model::{KeyName, Problem, ProblemCode, SourceLocation};

/// The next command of every problem of this crate. It lists all of them again.
pub(crate) const NEXT: &str = "keyplane validate";

/// Ordered as the sources are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The index of the source.
    pub(crate) source: usize,
    /// From 1.
    pub(crate) line: u32,
    /// From 1, in characters.
    pub(crate) column: u32,
}

pub(crate) struct Report {
    names: Vec<String>,
    problems: Vec<(Place, Problem)>,
    warnings: Vec<(Place, Problem)>,
}

impl Report {
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self { names, problems: Vec::new(), warnings: Vec::new() }
    }

    /// With the code `policy-invalid`.
    pub(crate) fn invalid(&mut self, place: Place, detail: impl Into<String>) -> &mut Problem {
        self.problem(ProblemCode::PolicyInvalid, place, detail)
    }

    /// The caller may add the key or destination that it is about.
    pub(crate) fn problem(&mut self, code: ProblemCode, place: Place, detail: impl Into<String>) -> &mut Problem {
        let problem = Problem::new(code, detail, NEXT).at(self.location(place));
        &mut self.problems.push_mut((place, problem)).1
    }

    /// Reports that something was left out.
    pub(crate) fn warning(&mut self, code: ProblemCode, place: Place, detail: impl Into<String>) -> &mut Problem {
        let problem = Problem::new(code, detail, NEXT).at(self.location(place));
        &mut self.warnings.push_mut((place, problem)).1
    }

    /// The number of problems so far, for [`Self::about`].
    pub(crate) fn mark(&self) -> usize {
        self.problems.len()
    }

    /// Sets the key of every problem since a mark.
    pub(crate) fn about(&mut self, mark: usize, key: &KeyName) {
        for (_, problem) in &mut self.problems[mark..] {
            problem.key.get_or_insert_with(|| key.clone());
        }
    }

    /// With the source's name, for people.
    pub(crate) fn location(&self, place: Place) -> SourceLocation {
        let file = self.names.get(place.source).cloned().unwrap_or_default();
        SourceLocation { file, line: place.line, column: place.column }
    }

    /// Problems and warnings, each in the order of the files.
    pub(crate) fn finish(mut self) -> (Vec<Problem>, Vec<Problem>) {
        // A stable sort: problems at the same place keep the order of the checks.
        self.problems.sort_by_key(|(place, _)| *place);
        self.warnings.sort_by_key(|(place, _)| *place);
        let plain = |list: Vec<(Place, Problem)>| list.into_iter().map(|(_, problem)| problem).collect();
        (plain(self.problems), plain(self.warnings))
    }
}
