//! Lists that come in pages.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    fields::Fields,
    refusal::{Code, Refusal},
};

/// The page that a request asks for.
pub(super) struct Page {
    list: &'static str,
    limit: usize,
    /// The name after which the page begins. `None`: it is the first page.
    pub(super) after: Option<String>,
}

impl Page {
    /// Reads `Limit` and `Marker`. The marker of another list is refused.
    pub(super) fn read(fields: &Fields<'_>, list: &'static str, usual: u32, most: u32) -> Result<Self, Refusal> {
        let limit = fields.integer("Limit", 1..=most)?.unwrap_or(usual) as usize;
        let after = match fields.text("Marker", 1..=1024)? {
            None => None,
            Some(marker) => Some(
                URL_SAFE_NO_PAD
                    .decode(marker)
                    .ok()
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .and_then(|text| text.strip_prefix(list)?.strip_prefix(':').map(str::to_owned))
                    .ok_or_else(|| Code::InvalidMarker.because("the marker is not one of this list"))?,
            ),
        };
        Ok(Self { list, limit, after })
    }

    /// The answer with this page of `items`, which are sorted by name and begin after [`Page::after`].
    pub(super) fn fill(&self, member: &str, items: impl Iterator<Item = (String, Value)>) -> Value {
        let mut items = items.peekable();
        let mut page = Vec::new();
        let mut last = String::new();
        while page.len() < self.limit
            && let Some((name, item)) = items.next()
        {
            page.push(item);
            last = name;
        }
        let truncated = items.peek().is_some();
        let mut answer = json!({ "Truncated": truncated });
        answer[member] = Value::Array(page);
        if truncated {
            answer["NextMarker"] = URL_SAFE_NO_PAD.encode(format!("{}:{last}", self.list)).into();
        }
        answer
    }
}
