//! Explains a text that is no YAML: what the parser found, and what would be right. Decided by the kind of error, never by the parser's
//! text.
//!
//! INVARIANT: no message quotes the text. It may be a secret that a link in the policy folder led to, and messages go into logs. The place
//! says enough.

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::granit_parser::ErrorKind;
use serde_saphyr::{Error, ExternalMessageSource};

use crate::limits::{MAX_DEPTH, MAX_NODES, MAX_REPLAYED};

const TABS: &str = "YAML is indented by spaces, and here is a tab: replace it by spaces";
const ALIASES: &str = "the aliases (`*…`) of this document stand for too many values: write them out";

/// The line and column of an error, from 1, and its message.
pub(crate) fn describe(error: &Error, text: &str) -> ((u64, u64), String) {
    let place = error.location().map_or((1, 1), |location| (location.line(), location.column()));
    let detail = words(error);
    if detail == TABS { (indenting_tab(place, text).unwrap_or(place), detail) } else { (place, detail) }
}

/// The first tab in an indentation, from this line on. The parser stops at the value before the tab.
fn indenting_tab((line, _): (u64, u64), text: &str) -> Option<(u64, u64)> {
    (1..).zip(text.lines()).skip_while(|(number, _)| *number < line).find_map(|(number, row)| {
        let column = (1..).zip(row.chars()).take_while(|(_, c)| matches!(c, ' ' | '\t')).find(|(_, c)| *c == '\t');
        column.map(|(column, _)| (number, column))
    })
}

fn words(error: &Error) -> String {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => words(error),
        Error::ExternalMessage { source, .. } => match &**source {
            ExternalMessageSource::Parser(error) => of_parser(error.kind()),
            _ => "this is no YAML".to_owned(),
        },
        Error::DuplicateMappingKey { .. } => "this field is given twice: keep one of them".to_owned(),
        Error::MergeKeyNotAllowed { .. } => "merge keys (`<<`) are not taken: let a profile say `extends`".to_owned(),
        Error::UnknownAnchor { .. } => "this alias (`*…`) has no anchor (`&…`) before it in the same document".to_owned(),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "this alias (`*…`) stands inside of what it stands for: write it out".to_owned()
        }
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => format!("{ALIASES} (at most {MAX_REPLAYED})"),
        Error::UnsupportedTag { .. } => "tags (`!…`) are not taken: remove it".to_owned(),
        Error::InvalidScalar { .. } | Error::InvalidBinaryBase64 { .. } | Error::BinaryNotUtf8 { .. } => {
            "this is not what its tag (`!!…`) says: remove the tag".to_owned()
        }
        Error::Budget { breach, .. } => of_budget(breach),
        Error::Unexpected { .. } => "a field's name has to be a text".to_owned(),
        _ => "this is no YAML that a policy can be made of".to_owned(),
    }
}

fn of_budget(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Depth { .. } => too_deep(),
        BudgetBreach::Aliases { .. }
        | BudgetBreach::Anchors { .. }
        | BudgetBreach::AliasAnchorRatio { .. }
        | BudgetBreach::RecordedAnchorEvents { .. }
        | BudgetBreach::RecordedAnchorBytes { .. } => format!("{ALIASES} (at most {MAX_REPLAYED})"),
        _ => format!("the document has more than {MAX_NODES} values: make several of it"),
    }
}

fn too_deep() -> String {
    format!("the document is nested deeper than {MAX_DEPTH} levels")
}

/// Common mistakes get our own messages, all others the parser's.
fn of_parser(kind: &ErrorKind) -> String {
    let right = match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar => return TABS.to_owned(),
        ErrorKind::RecursionLimitExceeded => return too_deep(),
        ErrorKind::UnknownAnchor => return "this alias (`*…`) has no anchor (`&…`) before it in the same document".to_owned(),
        ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => "the quote that begins here is never closed",
        ErrorKind::UnclosedFlowCollection { open } => {
            return format!("this is no YAML: the bracket `{open}` that begins here is never closed");
        }
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            return format!("this is no YAML: the bracket `{open}` cannot be closed by `{close}`");
        }
        ErrorKind::ExpectedFlowMappingSeparator | ErrorKind::UnexpectedEofFlowMapping => {
            "a `,` or `}` is missing before this, or a text here needs quotes"
        }
        ErrorKind::ExpectedFlowSequenceSeparator | ErrorKind::UnexpectedEofFlowSequence | ErrorKind::InvalidColonPlacement => {
            "a `,` or `]` is missing before this, or a text here needs quotes"
        }
        ErrorKind::MappingValueNotAllowed => {
            "no field can begin here: indent it as the fields before it, or put a text that has `: ` in it in quotes"
        }
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::BlockSequenceEntryNotAllowed
        | ErrorKind::InvalidIndentation
        | ErrorKind::InvalidBlockScalarIndent
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::InvalidFlowScalarIndent => "this does not belong where it is indented to: indent it as the lines before it",
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => "a field needs `: ` (with a space) after its name",
        ErrorKind::UnexpectedCharacter { character } if character.is_control() => "here is a control character: take it out",
        ErrorKind::UnexpectedCharacter { .. } => "a text cannot begin with this character: put it in quotes",
        ErrorKind::UnknownQuotedScalarEscape => "inside of double quotes a `\\` begins an escape: double it, or take single quotes",
        ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            "after a closing quote nothing can follow: put all of it in quotes"
        }
        ErrorKind::MisplacedFlowCollectionEnd => "this bracket closes nothing",
        // The texts of these two come from the parser or the input.
        ErrorKind::Custom(_) | ErrorKind::InputDecoding { .. } => "here is something that the parser does not take",
        other => return format!("this is no YAML: {other}"),
    };
    format!("this is no YAML: {right}")
}
