//! Text from elsewhere that cannot change how what is around it is displayed.

use std::fmt::Write as _;

/// Whether a character changes how others are displayed, or is invisible. Control characters move a terminal's cursor. Unicode's format
/// characters, and its line and paragraph separators, reverse the direction of writing (Unicode Standard Annex 9), begin a line, or are not
/// seen at all.
fn is_misleading(char: char) -> bool {
    let is_format = matches!(char, '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    char.is_control() || is_format
}

/// Replaces each misleading character, line feeds among them, by U+FFFD: for people, on one line.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(|char| if is_misleading(char) { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

/// In quotes, with each misleading character escaped as JSON does it: two different texts stay different.
#[must_use]
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if is_misleading(char) => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    // A string takes everything that is written to it.
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A colour, a line feed, a reversal, something invisible, one beyond the basic plane.
    const HOSTILE: &str = "a\u{1b}[31m\nkey: b\u{202e}c\u{200b}\u{e0041}\"\\é";

    #[test]
    fn what_is_quoted_stays_on_its_line_and_is_the_same_text_as_json() {
        let quoted = quoted(HOSTILE);
        assert!(!quoted.chars().any(is_misleading), "{quoted:?}");
        assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), HOSTILE);
        assert!(quoted.contains("é") && quoted.contains("\\udb40\\udc41"), "{quoted}");
    }

    #[test]
    fn nothing_misleading_is_left_and_nothing_else_is_lost() {
        assert_eq!(plain(HOSTILE), "a\u{fffd}[31m\u{fffd}key: b\u{fffd}c\u{fffd}\u{fffd}\"\\é");
    }
}
