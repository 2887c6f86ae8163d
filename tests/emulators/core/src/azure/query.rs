//! The query of a request.

use std::collections::BTreeMap;

/// The decoded parameters; of two with the same name, the last one.
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn read(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(name, value)| (decode(name), decode(value))).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Undoes percent-encoding; malformed escapes stay as they are.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let code = behind.get(..2).filter(|_| first == b'%').and_then(|digits| hex::decode(digits).ok());
        rest = if code.is_some() { &behind[2..] } else { behind };
        bytes.extend(code.unwrap_or_else(|| vec![first]));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_however_they_are_encoded() {
        let query = Query::read("api-version=7.4&%24skiptoken=a%2Db%&maxresults=&x&&x=2");
        for (name, value) in
            [("api-version", Some("7.4")), ("$skiptoken", Some("a-b%")), ("maxresults", Some("")), ("x", Some("2")), ("y", None)]
        {
            assert_eq!(query.get(name), value, "{name}");
        }
    }
}
