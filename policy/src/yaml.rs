//! Splits a text into YAML documents, and parses each into a tree whose nodes know their places.
//!
//! Each document is parsed by itself, so a syntax error in one hides no problem in another. Strict: no duplicate fields, no merge keys,
//! only YAML's own tags, and limits on depth, nodes and aliases.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, MergeKeyPolicy, NonFiniteFloatPolicy, Options, Spanned};

use crate::limits::{MAX_DEPTH, MAX_DOCUMENTS, MAX_FILE_BYTES, MAX_NODES, MAX_REPLAYED};
use crate::report::{Place, Report};
use crate::syntax;

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A whole number that is not negative.
    Number(u64),
    /// Any other number, as text.
    OddNumber(String),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file. No field appears twice.
    Fields(Vec<(Field, Node)>),
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) place: Place,
    pub(crate) name: String,
}

/// The documents of a source that could be parsed and are not empty, and whether all could be parsed.
pub(crate) fn documents(source: usize, text: &str, report: &mut Report) -> (Vec<Node>, bool) {
    let top = Place { source, line: 1, column: 1 };
    if text.len() > MAX_FILE_BYTES {
        report.invalid(top, format!("the file has {} bytes, more than {MAX_FILE_BYTES}: make several of it", text.len()));
        return (Vec::new(), false);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let pieces = cut(text);
    if pieces.len() > MAX_DOCUMENTS {
        report.invalid(top, format!("the file has {} documents, more than {MAX_DOCUMENTS}: make several of it", pieces.len()));
        return (Vec::new(), false);
    }
    let mut nodes = Vec::new();
    let mut complete = true;
    for Piece { line, text } in pieces {
        let place = |(row, column): (u64, u64)| Place { source, line: line.saturating_add(number(row) - 1), column: number(column) };
        match serde_saphyr::from_str_with_options::<Spanned<Tree>>(text, options()) {
            Ok(Spanned { value: Tree::Null, .. }) => {}
            Ok(tree) => nodes.push(node(tree, &place)),
            Err(error) => {
                complete = false;
                let (at, detail) = syntax::describe(&error, text);
                report.invalid(place(at), detail);
            }
        }
    }
    (nodes, complete)
}

/// A piece of a text with one document, and its first line.
#[derive(Clone, Copy)]
struct Piece<'a> {
    line: u32,
    text: &'a str,
}

/// Splits before each line that begins with `---` and after each that begins with `...`. YAML 1.2 (9.1.2, `c-forbidden`) allows neither
/// inside a document, not even in a quoted or block text. Empty documents are left out.
fn cut(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut piece = Piece { line: 1, text: "" };
    let (mut start, mut offset, mut line) = (0, 0, 1);
    // Whether the piece has reached its document. Comments and directives (`%YAML 1.2`) belong to the `---` after them.
    let (mut begun, mut empty) = (false, true);
    for row in text.split_inclusive('\n') {
        let (begins, ends) = (is_marker(row, "---"), is_marker(row, "..."));
        if begins && begun {
            pieces.extend((!empty).then_some(piece));
            (start, begun, empty) = (offset, false, true);
            piece.line = line;
        }
        offset += row.len();
        line += 1;
        piece.text = &text[start..offset];
        let content = if begins || ends { &row[3..] } else { row }.trim();
        let content = !content.is_empty() && !content.starts_with('#') && (begun || !content.starts_with('%'));
        begun |= begins || content;
        empty &= !content;
        if ends {
            pieces.extend((!empty).then_some(piece));
            (start, begun, empty) = (offset, false, true);
            piece = Piece { line, text: "" };
        }
    }
    pieces.extend((!empty).then_some(piece));
    pieces
}

fn is_marker(row: &str, marker: &str) -> bool {
    row.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_recorded_anchor_events: MAX_REPLAYED,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
            max_replay_stack_depth: MAX_DEPTH,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        emit_comments: false,
        with_snippet: false,
    }
}

/// A tree as serde reads it. Places count from the start of the piece.
enum Tree {
    Null,
    Bool(bool),
    Number(u64),
    OddNumber(String),
    Text(String),
    List(Vec<Spanned<Tree>>),
    Fields(Vec<(Spanned<String>, Spanned<Tree>)>),
}

/// For lines and columns, from 1.
fn number(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX).max(1)
}

fn node(tree: Spanned<Tree>, place: &impl Fn((u64, u64)) -> Place) -> Node {
    let at = |location: Location| place((location.line(), location.column()));
    let value = match tree.value {
        Tree::Null => Value::Null,
        Tree::Bool(value) => Value::Bool(value),
        Tree::Number(value) => Value::Number(value),
        Tree::OddNumber(value) => Value::OddNumber(value),
        Tree::Text(value) => Value::Text(value),
        Tree::List(items) => Value::List(items.into_iter().map(|item| node(item, place)).collect()),
        Tree::Fields(fields) => Value::Fields(
            fields.into_iter().map(|(name, value)| (Field { place: at(name.referenced), name: name.value }, node(value, place))).collect(),
        ),
    };
    Node { place: at(tree.referenced), value }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(u64::try_from(value).map_or_else(|_| Tree::OddNumber(value.to_string()), Tree::Number))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::OddNumber(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            fields.push(entry);
        }
        Ok(Tree::Fields(fields))
    }
}
