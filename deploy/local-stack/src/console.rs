//! # Console
//!
//! What a person reads. Every line is written whole, whoever writes it; colours only on a terminal. When
//! nobody reads any more (`| head`), that is an end like Ctrl-C, told by [`Console::closed`].

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use tokio::sync::watch;

use crate::service_log::{Level, LogLine};

/// Wide enough for the longest service name.
const NAME: usize = 13;

/// Where the stack speaks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Console {
    coloured: bool,
    closed: Arc<watch::Sender<bool>>,
}

/// The few colours in use, as terminals number them.
#[derive(Clone, Copy, Debug)]
pub enum Colour {
    /// What passes.
    Dim,
    /// What stands out.
    Bold,
    /// What went wrong.
    Red,
    /// What wants attention.
    Yellow,
    /// What went well.
    Green,
    /// A service's name.
    Cyan,
    /// Another service's name.
    Magenta,
    /// Yet another's.
    Blue,
}

impl Colour {
    fn number(self) -> u8 {
        match self {
            Self::Dim => 2,
            Self::Bold => 1,
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Blue => 34,
            Self::Magenta => 35,
            Self::Cyan => 36,
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            coloured: std::io::stdout().is_terminal() && !unwanted,
            closed: Arc::new(watch::Sender::new(false)),
        }
    }
}

impl Console {
    /// One line as it is; an empty one for air.
    pub fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            self.closed.send_replace(true);
        }
    }

    /// A heading, with air above.
    pub fn heading(&self, text: &str) {
        self.line("");
        self.line(&self.paint(Colour::Bold, text));
    }

    /// A fact under its name.
    pub fn fact(&self, name: &str, text: &str) {
        self.line(&format!("  {}  {text}", self.paint(Colour::Bold, &format!("{name:<NAME$}"))));
    }

    /// That something takes a while.
    pub fn progress(&self, text: &str) {
        self.line(&self.paint(Colour::Dim, &format!("  … {text}")));
    }

    /// That something is not as it should be.
    pub fn warning(&self, text: &str) {
        self.line(&format!("  {} {text}", self.paint(Colour::Yellow, "!")));
    }

    /// A service's own line, under its name.
    pub fn service(&self, name: &str, colour: Colour, line: &LogLine) {
        let name = self.paint(colour, &format!("{name:>NAME$} |"));
        let message = match line.level {
            Level::Error => self.paint(Colour::Red, &format!("ERROR {}", line.message)),
            Level::Warn => self.paint(Colour::Yellow, &format!("WARN {}", line.message)),
            Level::Other => line.message.clone(),
        };
        self.line(&format!("  {name} {message}"));
    }

    /// `text` in a colour, on a terminal.
    pub fn paint(&self, colour: Colour, text: &str) -> String {
        if self.coloured { format!("\u{1b}[{}m{text}\u{1b}[0m", colour.number()) } else { text.to_owned() }
    }

    /// Returns when nobody reads any more.
    pub async fn closed(&self) {
        // The sender lives in self, so waiting cannot fail.
        self.closed.subscribe().wait_for(|closed| *closed).await.ok();
    }
}

/// Digits in groups of three: `12,500`.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_stand_in_groups_of_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(12_500), "12,500");
        assert_eq!(grouped(-1_234_567), "-1,234,567");
    }
}
