//! # Visible text
//!
//! What somebody else wrote, a header, an answer, a name, is shown to a person in a log or a terminal. Nothing in it may move
//! a cursor, forge a line, or turn the reading direction of what stands behind it.

/// The text with everything escaped that is an instruction and not a character.
pub fn visible(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut visible, character| {
        if character.is_control() || turns_direction(character) {
            visible.extend(character.escape_default());
        } else {
            visible.push(character);
        }
        visible
    })
}

/// Unicode's bidirectional controls: marks, embeddings, overrides and isolates.
fn turns_direction(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        assert_eq!(visible("no\u{1b}[2Jsuch\nproduct é"), "no\\u{1b}[2Jsuch\\nproduct é");
        assert_eq!(visible("a\u{202e}b\u{2066}c"), "a\\u{202e}b\\u{2066}c");
    }
}
