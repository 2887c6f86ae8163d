//! Lists that come in pages, filtered and ordered on request.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    fields::Message,
    input::Input,
    refusal::{Code, Refusal, invalid_field},
    written::{encode, put},
};

/// The default size of a page.
const USUAL: usize = 100;

/// The parameters that every list takes.
pub(super) const PARAMETERS: [&str; 4] = ["pageSize", "pageToken", "filter", "orderBy"];

/// The page that a request asks for.
pub(super) struct Page {
    /// The parent's name, so that no list accepts the token of another.
    parent: String,
    size: usize,
    /// The rank of the last entry of the page before.
    after: Option<String>,
    filter: Option<String>,
    descending: bool,
    terms: Vec<(String, String)>,
}

impl Page {
    // contract: gcp.lists
    pub(super) fn read(input: &Input<'_>, query: &Message<'_>) -> Result<Self, Refusal> {
        let size = match query.integer("pageSize")?.unwrap_or(0) {
            0 => USUAL,
            negative if negative < 0 => return Err(invalid_field("page_size", "must not be negative")),
            size => usize::try_from(size).unwrap_or(usize::MAX),
        };
        let filter = query.text("filter")?.map(str::to_owned);
        let terms = filter.as_deref().map_or_else(|| Ok(Vec::new()), terms)?;
        let descending = match query.text("orderBy")?.unwrap_or("name") {
            "name" | "name asc" => false,
            "name desc" => true,
            other => return Err(invalid_field("order_by", format!("this emulator cannot order by `{other}`"))),
        };
        let mut page = Self { parent: input.name().to_owned(), size: size.min(input.largest_page), after: None, filter, descending, terms };
        if let Some(token) = query.text("pageToken")? {
            let after = URL_SAFE_NO_PAD
                .decode(token)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .and_then(|text| text.strip_prefix(&page.mark()).map(str::to_owned));
            page.after = Some(after.ok_or_else(|| Code::InvalidArgument.because("The page token is not one of this list."))?);
        }
        Ok(page)
    }

    /// The answer with this page of `items`, which are sorted by rank. A fact is the value of an entry's field, for filters. Only entries
    /// on the page are passed to `show`.
    pub(super) fn fill<T: Copy>(
        &self,
        member: &str,
        items: impl Iterator<Item = T>,
        rank: impl Fn(T) -> String,
        fact: impl Fn(T, &str) -> Option<String>,
        mut show: impl FnMut(T) -> Result<Value, Refusal>,
    ) -> Result<Value, Refusal> {
        let mut chosen = Vec::new();
        for item in items {
            let mut fits = true;
            for (field, wanted) in &self.terms {
                let fact = fact(item, field).ok_or_else(|| invalid_field("filter", format!("this emulator cannot filter by `{field}`")))?;
                fits &= fact == *wanted;
            }
            if fits {
                chosen.push(item);
            }
        }
        let total = chosen.len();
        if self.descending {
            chosen.reverse();
        }
        if let Some(after) = &self.after {
            chosen.retain(|item| if self.descending { rank(*item) < *after } else { rank(*item) > *after });
        }
        let mut answer = json!({});
        if let Some(last) = chosen.get(self.size.wrapping_sub(1)).filter(|_| chosen.len() > self.size) {
            answer["nextPageToken"] = URL_SAFE_NO_PAD.encode(format!("{}{}", self.mark(), rank(*last))).into();
        }
        chosen.truncate(self.size);
        put(&mut answer, member, chosen.into_iter().map(&mut show).collect::<Result<Vec<_>, _>>()?);
        // "This field is not populated if filter is applied."
        if self.filter.is_none() && total > 0 {
            answer["totalSize"] = total.into();
        }
        Ok(answer)
    }

    /// The beginning of this list's tokens.
    fn mark(&self) -> String {
        let filter = encode(self.filter.as_deref().unwrap_or_default().as_bytes());
        format!("{}|{filter}|{}|", self.parent, self.descending)
    }
}

/// Parses equalities joined by AND, the only part of the filter language that is supported.
fn terms(filter: &str) -> Result<Vec<(String, String)>, Refusal> {
    let term = |text: &str| {
        let (field, value) = text.split_once(['=', ':'])?;
        let value = value.trim().trim_matches('"');
        Some((field.trim().to_owned(), value.to_owned())).filter(|(field, value)| !field.is_empty() && !value.is_empty())
    };
    let unknown = || invalid_field("filter", format!("this emulator cannot read `{filter}`"));
    filter.split(" AND ").map(|text| term(text).ok_or_else(unknown)).collect()
}
