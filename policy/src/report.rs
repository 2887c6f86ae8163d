//! Collects problems with their places, and gives them back in the order of the files.

use keyplane_model::{KeyName, Problem, ProblemCode, SourceLocation};

/// The next command for every problem of this crate: it tells all of them again.
pub(crate) const NEXT: &str = "keyplane validate";

/// A place in the sources. Ordered as the sources are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The index of the source.
    pub(crate) source: usize,
    /// The line, from 1.
    pub(crate) line: u32,
    /// The column, from 1, in characters.
    pub(crate) column: u32,
}

/// The problems and warnings found so far.
pub(crate) struct Report {
    names: Vec<String>,
    problems: Vec<(Place, Problem)>,
    warnings: Vec<(Place, Problem)>,
}

impl Report {
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self { names, problems: Vec::new(), warnings: Vec::new() }
    }

    /// Reports a problem with the code `policy-invalid`.
    pub(crate) fn invalid(&mut self, place: Place, detail: impl Into<String>) -> &mut Problem {
        self.problem(ProblemCode::PolicyInvalid, place, detail)
    }

    /// Reports a problem. The caller may add which key or destination it is about.
    pub(crate) fn problem(&mut self, code: ProblemCode, place: Place, detail: impl Into<String>) -> &mut Problem {
        let problem = Problem::new(code, detail, NEXT).at(self.location(place));
        &mut self.problems.push_mut((place, problem)).1
    }

    /// Reports that something is left out; this fails nothing.
    pub(crate) fn warning(&mut self, code: ProblemCode, place: Place, detail: impl Into<String>) -> &mut Problem {
        let problem = Problem::new(code, detail, NEXT).at(self.location(place));
        &mut self.warnings.push_mut((place, problem)).1
    }

    /// The number of problems so far: a mark for [`Self::about`].
    pub(crate) fn mark(&self) -> usize {
        self.problems.len()
    }

    /// Sets the key of every problem since a mark.
    pub(crate) fn about(&mut self, mark: usize, key: &KeyName) {
        for (_, problem) in &mut self.problems[mark..] {
            problem.key.get_or_insert_with(|| key.clone());
        }
    }

    /// The place with its source's name, as it is shown.
    pub(crate) fn location(&self, place: Place) -> SourceLocation {
        let file = self.names.get(place.source).cloned().unwrap_or_default();
        SourceLocation { file, line: place.line, column: place.column }
    }

    /// Problems and warnings, each in the order of the files.
    pub(crate) fn finish(mut self) -> (Vec<Problem>, Vec<Problem>) {
        // The sort is stable: problems at one place keep the order of the checks.
        self.problems.sort_by_key(|(place, _)| *place);
        self.warnings.sort_by_key(|(place, _)| *place);
        let plain = |list: Vec<(Place, Problem)>| list.into_iter().map(|(_, problem)| problem).collect();
        (plain(self.problems), plain(self.warnings))
    }
}
