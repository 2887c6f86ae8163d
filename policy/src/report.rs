//! Collects problems with their places, and gives them back in the order of the files.

use keyplane_model::{KeyName, Problem, ProblemCode, SourceLocation};

use crate::NEXT;

/// Where something stands in the sources. Ordered as the sources are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Index into the sources.
    pub(crate) source: usize,
    /// From 1.
    pub(crate) line: u32,
    /// From 1, in characters.
    pub(crate) column: u32,
}

/// What was found wrong, so far.
pub(crate) struct Report {
    names: Vec<String>,
    problems: Vec<(Place, Problem)>,
    warnings: Vec<(Place, Problem)>,
}

impl Report {
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self { names, problems: Vec::new(), warnings: Vec::new() }
    }

    /// Reports that the policy says something impossible.
    pub(crate) fn invalid(&mut self, place: Place, detail: impl Into<String>) -> &mut Problem {
        self.problem(ProblemCode::PolicyInvalid, place, detail)
    }

    /// Reports a problem; the caller may add what it is about.
    pub(crate) fn problem(&mut self, code: ProblemCode, place: Place, detail: impl Into<String>) -> &mut Problem {
        let problem = Problem::new(code, detail, NEXT).at(self.location(place));
        &mut self.problems.push_mut((place, problem)).1
    }

    /// Reports something that is left out and stops nobody.
    pub(crate) fn warning(&mut self, code: ProblemCode, place: Place, detail: impl Into<String>) -> &mut Problem {
        let problem = Problem::new(code, detail, NEXT).at(self.location(place));
        &mut self.warnings.push_mut((place, problem)).1
    }

    /// How many problems there are: a mark for [`Self::about`].
    pub(crate) fn mark(&self) -> usize {
        self.problems.len()
    }

    /// Says of every problem since a mark which key it is about.
    pub(crate) fn about(&mut self, mark: usize, key: &KeyName) {
        for (_, problem) in &mut self.problems[mark..] {
            problem.key.get_or_insert_with(|| key.clone());
        }
    }

    /// A place as it is shown.
    pub(crate) fn location(&self, place: Place) -> SourceLocation {
        let file = self.names.get(place.source).cloned().unwrap_or_default();
        SourceLocation { file, line: place.line, column: place.column }
    }

    /// Problems and warnings, each in the order of the files.
    pub(crate) fn finish(mut self) -> (Vec<Problem>, Vec<Problem>) {
        // Stable: what stands at one place stays in the order of the checks.
        self.problems.sort_by_key(|(place, _)| *place);
        self.warnings.sort_by_key(|(place, _)| *place);
        let plain = |list: Vec<(Place, Problem)>| list.into_iter().map(|(_, problem)| problem).collect();
        (plain(self.problems), plain(self.warnings))
    }
}
