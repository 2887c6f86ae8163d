//! Makes text from outside fit for logs and messages.

use std::error::Error;

/// The longest message that is kept, in characters; the rest is cut off.
const MAX_MESSAGE: usize = 500;

/// The longest value that is shown in a message, in characters; the rest is cut off.
const MAX_VALUE: usize = 80;

/// How many errors of a chain of causes are followed. SDKs give fewer than ten.
const MAX_CAUSES: usize = 16;

/// Turns text from outside into one line of at most 500 characters. Control characters, line separators and marks that change the
/// direction of writing become spaces, so that a log line cannot be forged.
#[must_use]
pub fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c) { ' ' } else { c });
    plain.take(MAX_MESSAGE).collect::<String>().trim().to_owned()
}

/// The first 80 characters of a value, to be shown in a message.
#[must_use]
pub fn cut(text: &str) -> String {
    text.chars().take(MAX_VALUE).collect()
}

/// An error and its causes, the error itself first.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source()).take(MAX_CAUSES)
}

/// The first error of a type in a chain of causes.
#[must_use]
pub fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|error| error.downcast_ref())
}

/// The texts of an error and its causes, for people. A cause is left out if the error before it already contains its text.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in causes(error).map(|error| error.to_string().trim().to_owned()) {
        // The text of an SDK's error often contains that of its cause.
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Told(&'static str, #[source] Option<Box<Told>>);

    #[test]
    fn a_message_is_one_line_that_does_what_it_looks_like() {
        assert_eq!(one_line("one\r\n\u{1b}[31mtwo\u{2028}\u{202e}three\n"), "one   [31mtwo  three");
        assert_eq!(one_line(&"ä".repeat(501)).chars().count(), 500);
        assert_eq!(cut(&"ä".repeat(81)).chars().count(), 80);
    }

    #[test]
    fn a_chain_says_nothing_twice_and_ends() {
        let inner = || Some(Box::new(Told("refused", None)));
        let error = Told("no connection", Some(Box::new(Told("connect: refused", inner()))));
        assert_eq!(chain(&error), "no connection: connect: refused");
        let deep = (0..40).fold(Told("0", None), |inner, n| Told(if n % 2 == 0 { "a" } else { "b" }, Some(Box::new(inner))));
        assert_eq!(causes(&deep).count(), 16);
        assert!(cause::<std::io::Error>(&deep).is_none() && cause::<Told>(&deep).is_some());
    }
}
