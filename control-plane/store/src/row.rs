//! Typed cells and rows. Everything read from a database is checked before it is used.

use keyplane_model::{Digest, KeyId, Timestamp};
use keyplane_port::LedgerError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A table, for error messages.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// How many columns, from the first that a query selects, identify a row.
    pub(crate) id_columns: usize,
}

/// `None` is NULL.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Text(Option<String>),
    Number(Option<i64>),
}

impl Cell {
    /// A value that the model serializes as a JSON string: a name, an id, a digest, a word.
    pub(crate) fn word<T: Serialize>(value: &T) -> Result<Self, LedgerError> {
        match serde_json::to_value(value) {
            Ok(serde_json::Value::String(text)) => Ok(Self::Text(Some(text))),
            Ok(serde_json::Value::Null) => Ok(Self::Text(None)),
            Ok(_) | Err(_) => Err(LedgerError::Broken("a value that cannot be written as a word".to_owned())),
        }
    }

    /// What the ids that follow `after` are greater than, as text; `None`: all ids.
    pub(crate) fn after(after: Option<KeyId>) -> Result<Self, LedgerError> {
        after.map_or_else(|| Ok(Self::from("")), |after| Self::word(&after))
    }

    /// As canonical JSON (RFC 8785).
    pub(crate) fn document<T: Serialize>(value: &T) -> Result<Self, LedgerError> {
        let bytes = keyplane_model::canonical_bytes(value).map_err(no_json)?;
        Ok(Self::Text(Some(String::from_utf8(bytes).map_err(no_json)?)))
    }

    /// Refused if it does not fit into the database's signed 64 bits.
    pub(crate) fn number(value: u64) -> Result<Self, LedgerError> {
        let number = i64::try_from(value).map_err(|_| LedgerError::Failed(format!("`{value}` is too large a number to be kept")))?;
        Ok(Self::Number(Some(number)))
    }
}

/// A range of key ids in the order of their text.
#[derive(Clone, Copy)]
pub(crate) struct IdRange {
    /// Exclusive. `None`: from the first.
    pub(crate) after: Option<KeyId>,
    /// Inclusive. `None`: to the end.
    pub(crate) last: Option<KeyId>,
}

impl IdRange {
    /// The arguments of `id > $1 AND id <= $2`.
    pub(crate) fn cells(self) -> Result<[Cell; 2], LedgerError> {
        // Ids are hexadecimal digits, so `g` sorts after all of them.
        Ok([Cell::after(self.after)?, self.last.map_or_else(|| Ok(Cell::from("g")), |last| Cell::word(&last))?])
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<&str>> for Cell {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Number(Some(number.into()))
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Self::Number(Some(flag.into()))
    }
}

impl From<Timestamp> for Cell {
    fn from(time: Timestamp) -> Self {
        Self::Number(Some(time.0))
    }
}

impl From<Option<Timestamp>> for Cell {
    fn from(time: Option<Timestamp>) -> Self {
        Self::Number(time.map(|time| time.0))
    }
}

/// A row as read, with its names for error messages.
#[derive(Debug)]
pub(crate) struct Row {
    table: &'static str,
    id: String,
    cells: Vec<(String, Cell)>,
}

impl Row {
    pub(crate) fn new(table: Table, cells: Vec<(String, Cell)>) -> Self {
        let id: Vec<String> = cells.iter().take(table.id_columns).map(|(_, cell)| shown(cell)).collect();
        Self { table: table.name, id: id.join(" "), cells }
    }

    pub(crate) fn text(&self, column: &str) -> Result<&str, LedgerError> {
        self.maybe_text(column)?.ok_or_else(|| self.wrong(column))
    }

    pub(crate) fn maybe_text(&self, column: &str) -> Result<Option<&str>, LedgerError> {
        match self.cell(column)? {
            Cell::Text(text) => Ok(text.as_deref()),
            Cell::Number(None) => Ok(None),
            Cell::Number(Some(_)) => Err(self.wrong(column)),
        }
    }

    /// A value that the model serializes as a JSON string. Any other spelling of the same value is refused.
    pub(crate) fn word<T: DeserializeOwned + Serialize>(&self, column: &str) -> Result<T, LedgerError> {
        self.maybe_word(column)?.ok_or_else(|| self.wrong(column))
    }

    pub(crate) fn maybe_word<T: DeserializeOwned + Serialize>(&self, column: &str) -> Result<Option<T>, LedgerError> {
        let Some(text) = self.maybe_text(column)? else { return Ok(None) };
        let json = serde_json::Value::String(text.to_owned());
        let word: T = serde_json::from_value(json.clone()).map_err(|_| self.wrong(column))?;
        // INVARIANT: a value has only one spelling, because SQL compares ids as text.
        if serde_json::to_value(&word).ok() == Some(json) { Ok(Some(word)) } else { Err(self.wrong(column)) }
    }

    pub(crate) fn number<T: TryFrom<i64>>(&self, column: &str) -> Result<T, LedgerError> {
        let number = self.maybe_number(column)?.ok_or_else(|| self.wrong(column))?;
        T::try_from(number).map_err(|_| self.wrong(column))
    }

    pub(crate) fn time(&self, column: &str) -> Result<Timestamp, LedgerError> {
        self.number(column).map(Timestamp)
    }

    pub(crate) fn maybe_time(&self, column: &str) -> Result<Option<Timestamp>, LedgerError> {
        Ok(self.maybe_number(column)?.map(Timestamp))
    }

    pub(crate) fn flag(&self, column: &str) -> Result<bool, LedgerError> {
        match self.number(column)? {
            0_i64 => Ok(false),
            1 => Ok(true),
            _ => Err(self.wrong(column)),
        }
    }

    pub(crate) fn document<T: DeserializeOwned>(&self, column: &str) -> Result<T, LedgerError> {
        self.maybe_document(column)?.ok_or_else(|| self.wrong(column))
    }

    pub(crate) fn maybe_document<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, LedgerError> {
        let Some(text) = self.maybe_text(column)? else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|error| self.broken(&format!("column `{column}` cannot be read: {error}")))
    }

    /// The document in column `body`, checked against column `digest`.
    ///
    /// The digest is checked twice: of the text, and of the document as this program parsed it. The second check also notices a field that
    /// this program does not know and would ignore.
    pub(crate) fn sealed_document<T: DeserializeOwned + Serialize>(&self) -> Result<(Digest, T), LedgerError> {
        let digest: Digest = self.word("digest")?;
        let document: T = self.document("body")?;
        let understood = keyplane_model::canonical_bytes(&document).map_err(no_json)?;
        if Digest::of(self.text("body")?.as_bytes()) == digest && Digest::of(&understood) == digest {
            Ok((digest, document))
        } else {
            Err(self.broken("its body does not have its digest"))
        }
    }

    /// The error for a row that this program cannot have written.
    pub(crate) fn broken(&self, what: &str) -> LedgerError {
        LedgerError::Broken(format!("table `{}`, row `{}`: {what}", self.table, self.id))
    }

    fn maybe_number(&self, column: &str) -> Result<Option<i64>, LedgerError> {
        match self.cell(column)? {
            Cell::Number(number) => Ok(*number),
            Cell::Text(None) => Ok(None),
            Cell::Text(Some(_)) => Err(self.wrong(column)),
        }
    }

    fn cell(&self, column: &str) -> Result<&Cell, LedgerError> {
        let cell = self.cells.iter().find(|(name, _)| name == column).map(|(_, cell)| cell);
        cell.ok_or_else(|| self.broken(&format!("there is no column `{column}`")))
    }

    fn wrong(&self, column: &str) -> LedgerError {
        let found = self.cell(column).map_or_else(|_| String::new(), shown);
        self.broken(&format!("column `{column}` cannot be `{found}`"))
    }
}

/// For error messages: the first 80 characters.
fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Text(Some(text)) => text.chars().take(80).collect(),
        Cell::Number(Some(number)) => number.to_string(),
        Cell::Text(None) | Cell::Number(None) => "NULL".to_owned(),
    }
}

fn no_json(error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Broken(format!("a document without canonical bytes: {error}"))
}
