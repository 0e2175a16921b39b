//! What is wrong with a text, where, and what would be accepted.

use std::fmt;

/// One finding about a source text.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// Name of the text (a file name, or `sql`).
    pub file: String,
    /// Line, from 1; 0 when the finding has no position.
    pub line: u64,
    /// Column in characters, from 1; 0 when the finding has no position.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// What would be accepted.
    pub hint: Option<String>,
}

/// All findings of one compilation, in the order of the texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Diagnostics(pub Vec<Diagnostic>);

/// A position in a text: line and column from 1, 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
}

/// A finding that does not know its file yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub at: Position,
    /// What is wrong.
    pub message: String,
    /// What would be accepted.
    pub hint: Option<String>,
}

impl Finding {
    /// A finding at a position.
    pub fn new(at: Position, message: impl Into<String>) -> Self {
        Finding { at, message: message.into(), hint: None }
    }

    /// Adds what would be accepted.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Gives the finding a position where it has none.
    pub fn or_at(mut self, at: Position) -> Self {
        if self.at.line == 0 {
            self.at = at;
        }
        self
    }

    /// Names the file.
    pub fn in_file(self, file: &str) -> Diagnostic {
        Diagnostic { file: file.to_string(), line: self.at.line, column: self.at.column, message: self.message, hint: self.hint }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": error: {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}
