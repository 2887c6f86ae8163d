//! "Did you mean": the nearest of the known words; and how texts from outside are shown.

use std::fmt::Display;

/// How many edits (insert, delete, replace, swap neighbours) a misspelt name is away from the one that was meant, at most.
const MISSPELT: usize = 2;

/// Longer words are not compared: names end at 63 characters, and the comparison takes quadratic time.
const LONGEST: usize = 80;

/// The known word that `given` probably is a misspelling of.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = given.chars().count();
    if length > LONGEST {
        return None;
    }
    known
        .into_iter()
        .filter(|word| word.len().abs_diff(given.len()) <= MISSPELT * char::MAX_LEN_UTF8)
        .map(|word| (strsim::osa_distance(given, word), word))
        // In a word of one or two letters everything is near to everything.
        .filter(|(distance, word)| *distance <= MISSPELT && *distance < length.min(word.chars().count()))
        .min()
        .map(|(_, word)| word)
}

/// ": did you mean `…`?" without the question mark, or nothing.
pub(crate) fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, known).map(|word| format!(": did you mean `{word}`")).unwrap_or_default()
}

/// The same, or else the list of all that is known.
pub(crate) fn did_you_mean_or_known<'a>(given: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(given, known.clone()) {
        Some(word) => format!(": did you mean `{word}`"),
        None => format!(": known are {}", list(known)),
    }
}

/// Words as a list in backticks, the first of them if there are many; or "none".
pub(crate) fn list(words: impl IntoIterator<Item = impl Display>) -> String {
    /// More than a message should hold.
    const MANY: usize = 20;
    let mut words = words.into_iter();
    let first: Vec<String> = words.by_ref().take(MANY).map(|word| format!("`{word}`")).collect();
    match (first.is_empty(), words.count()) {
        (true, _) => "none".to_owned(),
        (false, 0) => first.join(", "),
        (false, more) => format!("{} and {more} more", first.join(", ")),
    }
}

/// Text from outside, as much of it as a message can show on one line.
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
