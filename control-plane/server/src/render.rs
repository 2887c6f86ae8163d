//! The output for people. With `--json`, prints the API's answers unchanged.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the one place that writes to the terminal")]

use std::process::ExitCode;

use keyplane_api::{
    Applied, ApplyLine, Approved, ChangeSetView, CharterChangeView, EvidenceTable, HsmReport, HsmRoute, Planned, ProposedCharter,
    StatusReport, Validated, Verdict,
};
use keyplane_model::{ApproverName, Problem, plain};
use serde::Serialize;

/// Prints a line to standard output. Whatever is in it stays on that line, and does not change how it is displayed.
macro_rules! out {
    ($($part:tt)*) => { println!("{}", plain(&format!($($part)*))) };
}

/// The same to standard error.
macro_rules! err {
    ($($part:tt)*) => { eprintln!("{}", plain(&format!($($part)*))) };
}

/// A text of several lines, each of which is plain.
fn lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// Prints a result: as JSON, or by calling `text`.
pub(crate) fn result<T: Serialize>(value: &T, json: bool, text: impl FnOnce(&T)) {
    if json {
        match serde_json::to_string(value) {
            Ok(line) => println!("{line}"),
            Err(error) => err!("{error}"),
        }
    } else {
        text(value);
    }
}

/// Prints a text that ends with a line feed.
pub(crate) fn text(text: &str) {
    print!("{}", lines(text));
}

/// Prints a question, whose answer is on the same line.
pub(crate) fn question(text: &str) {
    use std::io::Write as _;
    print!("{}", lines(text));
    // A terminal that is gone gives no answer.
    let _ = std::io::stdout().flush();
}

pub(crate) fn line(text: &str) {
    println!("{}", lines(text));
}

/// Prints problems. Returns the exit code of the first.
pub(crate) fn failed(problems: &[Problem], json: bool) -> ExitCode {
    if json {
        match serde_json::to_string(&serde_json::json!({ "problems": problems })) {
            Ok(line) => eprintln!("{line}"),
            Err(error) => err!("{error}"),
        }
    } else {
        problems.iter().for_each(problem);
    }
    problems.first().map_or(ExitCode::SUCCESS, |problem| ExitCode::from(problem.class.exit_code()))
}

/// On one line, without a next command.
fn warning(problem: &Problem) {
    err!("warning[{}]: {problem}", problem.code);
}

fn problem(problem: &Problem) {
    err!("error[{}]: {problem}", problem.code);
    if let Some(key) = &problem.key {
        err!("  key:         {key}");
    }
    if let Some(destination) = &problem.destination {
        err!("  destination: {destination}");
    }
    err!("  next:        {}", problem.next);
}

pub(crate) fn validated(validated: &Validated) {
    validated.warnings.iter().for_each(warning);
    out!(
        "valid: {} keys, {} profiles, {} approvers{}",
        validated.keys.len(),
        validated.profiles,
        validated.approvers,
        match validated.warnings.len() {
            0 => String::new(),
            left_out => format!("; {left_out} placements or keys left out, see the warnings"),
        }
    );
}

pub(crate) fn planned(planned: &Planned) {
    // `validate` shows warnings about policy files; a plan does not repeat them.
    let (of_files, of_world): (Vec<&Problem>, Vec<&Problem>) = planned.warnings.iter().partition(|warning| warning.location.is_some());
    of_world.into_iter().for_each(warning);
    if !of_files.is_empty() {
        err!("{} placements or keys are left out for want of a destination: see `keyplane validate`", of_files.len());
    }
    for change_set in &planned.change_sets {
        change_set_view(change_set);
    }
    for key in planned.keys.iter().filter(|key| key.verdict == Verdict::Blocked) {
        out!("{}: blocked: {}", key.key, key.reason);
    }
    for key in planned.keys.iter().filter(|key| key.verdict == Verdict::Nothing) {
        out!("{}: nothing to do: {}", key.key, key.reason);
    }
    let takes = planned.change_sets.iter().map(|change_set| change_set.seconds).max().unwrap_or(0);
    let blocked = planned.keys.iter().filter(|key| key.verdict == Verdict::Blocked).count();
    match planned.change_sets.len() {
        0 if blocked > 0 => out!("nothing can be done: {blocked} key(s) are blocked"),
        0 => out!("nothing to do"),
        1 => out!("1 change set is open; takes at least {takes} s by the clouds' quotas"),
        count => out!("{count} change sets are open; together they take at least {takes} s by the clouds' quotas"),
    }
}

pub(crate) fn change_set_view(view: &ChangeSetView) {
    out!("{} (profile {}): {}", view.key, view.profile, view.action);
    out!("  change set {}", view.digest);
    for reason in &view.reasons {
        out!("  because {reason}");
    }
    let rows: Vec<[String; 6]> = (1..)
        .zip(&view.steps)
        .map(|(number, step)| {
            let done = if step.done { "done" } else { "" };
            [format!("  {number}"), done.to_owned(), step.act.clone(), step.destination.to_string(), step.name.clone(), step.detail.clone()]
        })
        .collect();
    table(&rows);
    for placement in &view.placements {
        out!(
            "  at {} destination {} with fingerprint {}: {} to {}",
            placement.cloud,
            placement.destination,
            placement.fingerprint,
            placement.algorithm,
            placement.purpose
        );
    }
    out!(
        "  needs approval by {}, until {}; approved by {}; proposed by {}",
        keyplane_api::rule(&view.approvals),
        view.until,
        names(&view.approved_by),
        view.proposer
    );
}

pub(crate) fn charter_change_view(view: &CharterChangeView) {
    out!("change of charter {}", view.before.serial);
    out!("  proposal {}", view.digest);
    for line in &view.differences {
        out!("  {line}");
    }
    out!("  approvals count until {}; approved by {}; proposed by {}", view.until, names(&view.approved_by), view.proposer);
}

fn names(approvers: &[ApproverName]) -> String {
    if approvers.is_empty() {
        return "nobody yet".to_owned();
    }
    approvers.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

pub(crate) fn approved(approved: &Approved) {
    let what = approved.key.as_ref().map_or_else(|| "charter".to_owned(), ToString::to_string);
    out!("{what}: approved, {} of {} approvals", approved.have, approved.need);
}

/// Progress goes to standard error, so that the result can be piped.
pub(crate) fn progress(line: &ApplyLine) {
    match line {
        ApplyLine::Acting { key, destination, act, attempt } => {
            let again = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
            err!("  {key} @ {destination}: {act}{again} …");
        }
        ApplyLine::Waiting { key, destination, act, until, why } => err!("  {key} @ {destination}: {act} waits until {until}: {why}"),
        ApplyLine::Watching { destination, holder, longest } => {
            err!("  {destination}: server {holder} works there; it takes up to {longest} to see whether it still does");
        }
        ApplyLine::Again { problem } => warning(problem),
        ApplyLine::Received { key, destination, act, found } => {
            err!("  {key} @ {destination}: {act} {}", if *found { "found done" } else { "confirmed" });
        }
        ApplyLine::Completed { key, .. } => err!("  {key}: complete"),
        ApplyLine::Ended(_) => {}
    }
}

pub(crate) fn applied(applied: &Applied) {
    out!("{} change set(s) done", applied.done.len());
}

pub(crate) fn status(report: &StatusReport) {
    let mut rows =
        vec![["KEY", "DESTINATION", "NAME", "VERSION", "STATE", "ALGORITHM", "SOURCE", "CHECK VALUE", "IMPORTED"].map(str::to_owned)];
    for key in &report.keys {
        for copy in &key.copies {
            rows.push([
                key.key.to_string(),
                copy.destination.to_string(),
                copy.name.clone(),
                copy.version.to_string(),
                word(&copy.state),
                copy.algorithm.to_string(),
                format!("{}, root {}", copy.source, copy.epoch),
                copy.check_value.map_or_else(|| "-".to_owned(), |value| value.to_string()),
                copy.imported.map_or_else(|| "not yet".to_owned(), |at| at.to_string()),
            ]);
        }
    }
    table(&rows);
    for view in &report.open {
        out!("open ({}):", word(&view.state));
        change_set_view(view);
    }
    report.charters.iter().for_each(proposed_charter);
}

fn proposed_charter(charter: &ProposedCharter) {
    out!("proposed: charter {}", charter.serial);
    out!("  proposal {}", charter.digest);
    match &charter.missing {
        Some(missing) => out!("  has {missing}"),
        None => out!("  has enough approvals: `keyplane hsm charter` adopts it"),
    }
    out!("  approvals count until {}; approved by {}; proposed by {}", charter.until, names(&charter.approved_by), charter.proposer);
}

pub(crate) fn evidence(report: &EvidenceTable) {
    let mut rows = vec![["KEY", "DESTINATION", "VERSION", "EVIDENCE", "CHECK VALUE", "WRAPPED UNDER", "OBJECT"].map(str::to_owned)];
    for line in &report.lines {
        rows.push([
            line.key.to_string(),
            line.destination.to_string(),
            line.evidence.version.to_string(),
            match &line.evidence.reason {
                Some(reason) => format!("{}: {reason}", line.evidence.strength),
                None => line.evidence.strength.to_string(),
            },
            line.evidence.check_value.map_or_else(|| "-".to_owned(), |value| value.to_string()),
            line.evidence.wrapped_under.map_or_else(|| "-".to_owned(), |digest| digest.short()),
            line.object.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        ]);
    }
    table(&rows);
}

pub(crate) fn hsm(report: &HsmReport) {
    out!("token: {}{}", report.token, if report.development { " (for development only)" } else { "" });
    out!("root epoch: {}", report.epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string()));
    if let Some((serial, digest)) = &report.charter {
        out!("charter in force: {serial}, {digest}");
    }
    out!("derives keys: {}", if report.derives { "yes" } else { "no" });
    for route in &report.routes {
        out!("route {:<24} {}", route.scheme, way(route));
    }
    for check in &report.checks {
        out!(
            "{} {} ({}): {}",
            if check.passed { "pass" } else { "FAIL" },
            check.name,
            if check.must_be_refused { "must be refused" } else { "must work" },
            check.detail
        );
    }
}

/// The route of a scheme, and the algorithms that it does not serve; both may be present.
fn way(route: &HsmRoute) -> String {
    match (&route.way, &route.reason) {
        (Some(way), None) => way.clone(),
        (Some(way), Some(reason)) => format!("{way}; {reason}"),
        (None, reason) => format!("none: {}", reason.as_deref().unwrap_or("unknown")),
    }
}

/// As in JSON.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => other.map(|value| value.to_string()).unwrap_or_default(),
    }
}

/// Prints rows in columns, each as wide as its longest cell.
fn table<const N: usize>(rows: &[[String; N]]) {
    let widths: Vec<usize> =
        (0..N).map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out!("{}", cells.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_says_what_it_is_not_for_even_where_there_is_a_way() {
        let route = |way: Option<&str>, reason: Option<&str>| {
            super::way(&HsmRoute { scheme: "rsa-oaep-sha1".to_owned(), way: way.map(str::to_owned), reason: reason.map(str::to_owned) })
        };
        assert_eq!(route(Some("direct"), None), "direct");
        assert_eq!(route(Some("composed"), Some("not for ec-p256: no")), "composed; not for ec-p256: no");
        assert_eq!(route(None, Some("not for aes-256: no")), "none: not for aes-256: no");
        assert_eq!(route(None, None), "none: unknown");
    }
}
