//! Suggests the nearest known word for a misspelt one, and shortens texts from outside for messages.

use std::fmt::Display;

/// The most edits (insert, delete, replace, swap neighbours) between a misspelt name and the intended one.
const MISSPELT: usize = 2;

/// In characters. Longer words are not compared: names have at most 63, and comparing takes quadratic time.
const LONGEST: usize = 80;

/// The known word that `given` probably misspells. `None`: none is close.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = given.chars().count();
    if length > LONGEST {
        return None;
    }
    known
        .into_iter()
        .filter(|word| word.len().abs_diff(given.len()) <= MISSPELT * char::MAX_LEN_UTF8)
        .map(|word| (strsim::osa_distance(given, word), word))
        // Words of one or two letters are all close to each other.
        .filter(|(distance, word)| *distance <= MISSPELT && *distance < length.min(word.chars().count()))
        .min()
        .map(|(_, word)| word)
}

/// `: did you mean …` with the nearest known word. Empty if none is close.
pub(crate) fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, known).map(|word| format!(": did you mean `{word}`")).unwrap_or_default()
}

/// The same or, if none is close, the list of all known words.
pub(crate) fn did_you_mean_or_known<'a>(given: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(given, known.clone()) {
        Some(word) => format!(": did you mean `{word}`"),
        None => format!(": known are {}", list(known)),
    }
}

/// The words in backticks, or "none". A long list is cut.
pub(crate) fn list(words: impl IntoIterator<Item = impl Display>) -> String {
    const MANY: usize = 20;
    let mut words = words.into_iter();
    let first: Vec<String> = words.by_ref().take(MANY).map(|word| format!("`{word}`")).collect();
    match (first.is_empty(), words.count()) {
        (true, _) => "none".to_owned(),
        (false, 0) => first.join(", "),
        (false, more) => format!("{} and {more} more", first.join(", ")),
    }
}

/// As much of a text from outside as fits on one line of a message.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(LONGEST) {
        match c {
            '\'' | '"' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        assert_eq!(nearest("algoritms", ["profile", "algorithms"]), Some("algorithms"));
        assert_eq!(nearest("kye", ["key", "profile"]), Some("key"));
        assert_eq!(nearest("x", ["key", "y"]), None);
        assert_eq!(nearest("colour", ["key", "profile"]), None);
        assert_eq!(nearest(&"a".repeat(1 << 20), ["key"]), None);
    }
}
