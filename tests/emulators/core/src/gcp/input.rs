//! A request as its operation gets it.

use serde_json::{Map, Value};

use super::{fields::Message, operation::Route, refusal::Refusal};

/// The route, and the members of query and body, which are not parsed yet.
pub(super) struct Input<'a> {
    pub(super) route: Route<'a>,
    pub(super) query: &'a [(String, Value)],
    pub(super) body: &'a Map<String, Value>,
    /// The most entries on a page.
    pub(super) largest_page: usize,
}

impl<'a> Input<'a> {
    /// The name in the path: the object itself, or the parent of what is created or listed.
    pub(super) fn name(&self) -> &'a str {
        self.route.name
    }

    /// The members of the query. The body has to be empty.
    pub(super) fn parameters(&self, known: &[&str]) -> Result<Message<'a>, Refusal> {
        Message::of_body(self.body, &[])?;
        Message::of_query(self.query, known)
    }

    /// The members of the body. The query has to be empty.
    pub(super) fn members(&self, known: &[&str]) -> Result<Message<'a>, Refusal> {
        Message::of_query(self.query, &[])?;
        Message::of_body(self.body, known)
    }
}
