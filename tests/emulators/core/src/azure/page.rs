//! Lists that come in pages.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    readings::Pages,
    refusal::{Code, Refusal},
    scope::Scope,
};

/// The most objects on a page, and the default.
const MOST: usize = 25;

/// The page that a request asks for.
pub(super) struct Page {
    list: String,
    limit: usize,
    /// The position after which it begins, possibly empty. `None`: it is the first page.
    after: Option<String>,
}

impl Page {
    /// Reads `maxresults` and `$skiptoken`. The token of another list is refused.
    // contract: azure.lists
    pub(super) fn read(scope: &Scope<'_>, list: &str) -> Result<Self, Refusal> {
        let limit = match scope.query.get("maxresults") {
            None => MOST,
            Some(text) => {
                let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
                limit.ok_or_else(|| Code::BadParameter.because(format!("maxresults must be between 1 and {MOST}")))?
            }
        };
        let after = match scope.query.get("$skiptoken") {
            None => None,
            Some(token) => {
                let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let place = text.and_then(|text| text.strip_prefix(list)?.strip_prefix(':').map(str::to_owned));
                Some(place.ok_or_else(|| Code::BadParameter.because("$skiptoken is not one of this list"))?)
            }
        };
        Ok(Self { list: list.to_owned(), limit, after })
    }

    /// This page of `items`, which are sorted by position.
    pub(super) fn fill(&self, scope: &Scope<'_>, items: impl Iterator<Item = (String, Value)>) -> Value {
        let limit = match (scope.config.readings.pages, &self.after) {
            (Pages::Full, _) => self.limit,
            (Pages::Short, None) => 0,
            (Pages::Short, Some(_)) => self.limit.saturating_sub(1).max(1),
        };
        let after = self.after.as_deref().unwrap_or_default();
        let mut items = items.skip_while(|(place, _)| place.as_str() <= after).peekable();
        let mut last = after.to_owned();
        let mut page = Vec::new();
        while page.len() < limit
            && let Some((place, item)) = items.next()
        {
            page.push(item);
            last = place;
        }
        let next = items.peek().map(|_| {
            let token = URL_SAFE_NO_PAD.encode(format!("{}:{last}", self.list));
            let version = scope.writer.api_version;
            // The service names the port in these addresses, even the default one.
            let port = if scope.writer.authority.contains(':') { "" } else { ":443" };
            let path = format!("{}{port}/{}", scope.writer.authority, self.list);
            format!("https://{path}?api-version={version}&$skiptoken={token}&maxresults={}", self.limit)
        });
        json!({ "value": page, "nextLink": next })
    }
}
