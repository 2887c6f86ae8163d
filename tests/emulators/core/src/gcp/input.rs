//! A request as its operation sees it.

use serde_json::{Map, Value};

use super::{fields::Message, operation::Route, refusal::Refusal};

/// Its route, and the members of query and body that nobody has read yet.
pub(super) struct Input<'a> {
    pub(super) route: Route<'a>,
    pub(super) query: &'a [(String, Value)],
    pub(super) body: &'a Map<String, Value>,
    /// How many entries a page has at most.
    pub(super) largest_page: usize,
}

impl<'a> Input<'a> {
    /// The name in the path: the object itself, or the parent of what is made or listed.
    pub(super) fn name(&self) -> &'a str {
        self.route.name
    }

    /// The members of the query; the body must be empty.
    pub(super) fn parameters(&self, known: &[&str]) -> Result<Message<'a>, Refusal> {
        Message::of_body(self.body, &[])?;
        Message::of_query(self.query, known)
    }

    /// The members of the body; the query must be empty.
    pub(super) fn members(&self, known: &[&str]) -> Result<Message<'a>, Refusal> {
        Message::of_query(self.query, &[])?;
        Message::of_body(self.body, known)
    }
}
