//! What each command does. All are clients of the API, except those that the API depends on (`init`, `migrate`, `config check`).

use std::path::Path;
use std::process::ExitCode;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use keyplane_api::{
    ApplyRequest, ApprovalRequest, ChangeSetView, CharterChangeView, CharterRequest, CharterState, Client, ClientError, EnrollRequest,
    ExplainRequest, PlanRequest, Proposal, ShowRequest, Source, Subject, ValidateRequest, Verdict,
};
use keyplane_model::{
    APPROVAL_NAMESPACE, APPROVALS_LAST, CLOCKS, ChangeSetState, Digest, InstallationId, Problem, ProblemCode, Statement, Timestamp,
};
use keyplane_port::{Clock as _, Entropy as _};
use keyplane_store::SqlLedger;
use tower::ServiceExt as _;
use tower::util::MapRequest;
use uuid::Uuid;

use crate::cli::{Approve, Cli, Command, ConfigCommand, HsmCommand};
use crate::config::Config;
use crate::system::{SystemClock, SystemEntropy};
use crate::{compose, files, keygen, render, sources};

type Local = Client<MapRequest<Router, fn(Request<Full<Bytes>>) -> Request<Body>>>;

/// The exit code of `plan --detailed-exitcode` when there is something to do.
const EXIT_SOMETHING_TO_DO: u8 = 2;

pub(crate) async fn run(cli: Cli) -> Result<ExitCode, Vec<Problem>> {
    let json = cli.json;
    if let Command::Validate { schema: true } = cli.command {
        render::result(&keyplane_policy::json_schema(), true, |_| {});
        return Ok(ExitCode::SUCCESS);
    }
    let config = Config::read(&cli.config).map_err(one)?;
    let read = || sources::read(&if cli.policy.is_empty() { config.policy() } else { cli.policy.clone() });
    match cli.command {
        Command::Init => init(&config, json).await.map_err(one)?,
        Command::Migrate => migrate(&config, json).await.map_err(one)?,
        Command::Config { command: ConfigCommand::Check } => return check(&config, json).await,
        Command::Validate { .. } => {
            let request = ValidateRequest { sources: read()? };
            render::result(&client(&config).await?.validate(&request).await.map_err(problems)?, json, render::validated);
        }
        Command::Explain { key } => {
            let request = ExplainRequest { sources: read()?, key };
            let explanation = client(&config).await?.explain(&request).await.map_err(problems)?;
            let text = explanation.get("text").and_then(|text| text.as_str()).unwrap_or_default().to_owned();
            render::result(&explanation.get("explanation"), json, |_| render::line(text.trim_end()));
        }
        Command::Plan { detailed_exitcode } => return plan(&config, read()?, detailed_exitcode, json).await,
        Command::Show { digest, message } => show(&config, digest, message, json).await?,
        Command::Approve(approve) => return approving(&config, approve, json).await,
        Command::Apply { digests } => {
            // Whoever names change sets asks about those alone. The configured policy is about every key, so it is read only for a plan.
            let sources = if digests.is_empty() || !cli.policy.is_empty() { read()? } else { Vec::new() };
            return apply(&config, sources, digests, json).await;
        }
        Command::Status => render::result(&client(&config).await?.status().await.map_err(problems)?, json, render::status),
        Command::Evidence => {
            let table = client(&config).await?.evidence().await.map_err(problems)?;
            render::result(&table, json, render::evidence);
            if !table.problems.is_empty() {
                return Err(table.problems);
            }
        }
        Command::Hsm { command: HsmCommand::Enroll } => {
            let request = EnrollRequest { sources: read()? };
            render::result(&client(&config).await?.hsm_enroll(&request).await.map_err(problems)?, json, render::hsm);
        }
        Command::Hsm { command: HsmCommand::Test } => {
            render::result(&client(&config).await?.hsm_test().await.map_err(problems)?, json, render::hsm);
        }
        Command::Hsm { command: HsmCommand::Charter { own } } => charter(&config, read()?, own, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn init(config: &Config, json: bool) -> Result<(), Problem> {
    let drawn = SystemEntropy.draw().map_err(|error| Problem::new(ProblemCode::Internal, error.to_string(), "keyplane init"))?;
    let mut id = [0; 16];
    id.copy_from_slice(&drawn[..16]);
    let installation = InstallationId(uuid::Builder::from_random_bytes(id).into_uuid());
    let path = config.database()?;
    if path.exists() {
        let ledger = compose::open(config).await?;
        let there = keyplane_port::Ledger::installation(&ledger).await.map_err(|error| error.problem())?;
        let detail = format!("the database `{}` is there already, of installation {there}", path.display());
        return Err(Problem::new(ProblemCode::DatabaseExists, detail, "keyplane status"));
    }
    compose::pinned(config, installation)?;
    SqlLedger::init(&compose::database_url(config)?, installation, SystemClock.now()).await.map_err(|error| error.problem())?;
    render::result(&serde_json::json!({ "installation": installation }), json, |_| {
        render::line(&format!("installation {installation}, database `{}`", path.display()));
    });
    Ok(())
}

async fn migrate(config: &Config, json: bool) -> Result<(), Problem> {
    let url = compose::database_url(config)?;
    // Before it is changed.
    compose::pinned(config, SqlLedger::installation_of(&url).await.map_err(|error| error.problem())?)?;
    let migrated = SqlLedger::migrate(&url).await.map_err(|error| error.problem())?;
    render::result(&serde_json::json!({ "from": migrated.from, "to": migrated.to }), json, |_| {
        render::line(&if migrated.from == migrated.to {
            format!("the database has schema {}: nothing to do", migrated.to)
        } else {
            format!("the database was brought from schema {} to {}", migrated.from, migrated.to)
        });
    });
    Ok(())
}

/// Tries everything that the configuration names, and reports every failure.
async fn check(config: &Config, json: bool) -> Result<ExitCode, Vec<Problem>> {
    let mut good = Vec::new();
    let mut bad = Vec::new();
    let mut installation = InstallationId(Uuid::nil());
    match compose::open(config).await {
        Ok(ledger) => {
            installation = keyplane_port::Ledger::installation(&ledger).await.map_err(|error| vec![error.problem()])?;
            good.push(format!("database: installation {installation}"));
        }
        Err(problem) => bad.push(problem),
    }
    match compose::custodian(config) {
        Ok(custodian) => match custodian.status().await {
            Ok(status) => good.push(format!(
                "token: {}; {}",
                status.token,
                status.epoch.map_or_else(|| "not enrolled".to_owned(), |epoch| format!("root epoch {epoch}"))
            )),
            Err(error) => bad.push(error.problem()),
        },
        Err(problem) => bad.push(problem),
    }
    match compose::clouds(config, installation).await {
        Ok(clouds) => {
            for (name, cloud) in clouds {
                let destination = cloud.destination();
                match tokio::time::timeout(destination.capabilities.call_timeout.to_std(), cloud.sweep(None)).await {
                    Ok(Ok(_)) => good.push(format!("destination {name}: {} answers", destination.home)),
                    Ok(Err(error)) => bad.push(error.problem(destination)),
                    Err(_) => {
                        let detail =
                            format!("`{name}` ({}) did not answer within {}", destination.home, destination.capabilities.call_timeout);
                        bad.push(Problem::new(ProblemCode::DestinationUnreachable, detail, "keyplane config check").destination(&name));
                    }
                }
            }
        }
        Err(problem) => bad.push(problem),
    }
    match sources::read(&config.policy()) {
        Ok(files) => good.push(format!("policy: {} files", files.len())),
        Err(problems) => bad.extend(problems),
    }
    render::result(&serde_json::json!({ "good": good, "problems": bad }), json, |_| {
        good.iter().for_each(|text| render::line(&format!("good: {text}")));
    });
    if bad.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(bad) }
}

async fn plan(config: &Config, sources: Vec<Source>, detailed: bool, json: bool) -> Result<ExitCode, Vec<Problem>> {
    let planned = client(config).await?.plan(&PlanRequest { sources }).await.map_err(problems)?;
    render::result(&planned, json, render::planned);
    let blocked: Vec<Problem> =
        planned.keys.iter().filter(|key| key.verdict == Verdict::Blocked).filter_map(|key| key.problem.clone()).collect();
    if !blocked.is_empty() {
        return Err(blocked);
    }
    Ok(if detailed && !planned.is_empty() { ExitCode::from(EXIT_SOMETHING_TO_DO) } else { ExitCode::SUCCESS })
}

async fn apply(config: &Config, sources: Vec<Source>, digests: Vec<Digest>, json: bool) -> Result<ExitCode, Vec<Problem>> {
    let client = client(config).await?;
    let request = ApplyRequest { digests, sources };
    let applied = client
        .apply(&request, |line| {
            if !json {
                render::progress(line);
            }
        })
        .await
        .map_err(problems)?;
    if !json {
        render::applied(&applied);
    }
    if !applied.problems.is_empty() {
        render::result(&applied, json, |_| {});
        return Err(applied.problems);
    }
    if !request.digests.is_empty() {
        render::result(&serde_json::json!({ "applied": applied }), json, |_| {});
        return Ok(ExitCode::SUCCESS);
    }
    // Plans again, to report what is left to do, or why nothing is.
    let planned = client.plan(&PlanRequest { sources: request.sources }).await.map_err(problems)?;
    render::result(&serde_json::json!({ "applied": applied, "plan": planned }), json, |_| render::planned(&planned));
    let blocked: Vec<Problem> =
        planned.keys.into_iter().filter(|key| key.verdict == Verdict::Blocked).filter_map(|key| key.problem).collect();
    if blocked.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(blocked) }
}

/// Something to approve.
struct Proposed {
    proposal: Proposal,
    words: Words,
    statement: Statement,
}

/// What people read before they sign.
enum Words {
    ChangeSet(ChangeSetView),
    Charter(CharterChangeView),
}

impl Proposed {
    /// Digest, words and statement are computed here from what the ledger gives, so a compromised ledger cannot show one thing and have
    /// another one signed.
    async fn read(client: &Local, digest: Digest) -> Result<Self, Vec<Problem>> {
        let proposal = client.show(&ShowRequest { digest }).await.map_err(problems)?;
        let by = proposal.approvals.iter().map(|approval| approval.approver.clone()).collect();
        let same = |computed: Digest, of: Digest, what: &str| {
            if computed == of {
                return Ok(());
            }
            let detail = format!("the ledger gives another {what} ({computed}) for {of}: somebody changed it");
            Err(vec![Problem::new(ProblemCode::ChangeSetRefused, detail, "keyplane status")])
        };
        let uncanonical = |error: serde_json::Error| vec![usage(&error.to_string())];
        let (words, statement) = match &proposal.subject {
            Subject::ChangeSet { change_set, state, charter } => {
                same(change_set.digest().map_err(uncanonical)?, digest, "change set")?;
                let view = ChangeSetView::of(change_set, digest, *state, by, &std::collections::BTreeSet::new());
                (Words::ChangeSet(view), Statement::of_change_set(change_set, &digest, charter))
            }
            Subject::Charter { change, current } => {
                same(change.digest().map_err(uncanonical)?, digest, "proposed charter")?;
                // The differences that are shown are those to the charter that the statement names.
                same(current.digest().map_err(uncanonical)?, change.before.digest, "charter in force")?;
                let view = CharterChangeView::of(change, current, by).map_err(uncanonical)?;
                (Words::Charter(view), Statement::of_charter(change).map_err(uncanonical)?)
            }
        };
        Ok(Self { proposal, words, statement })
    }

    fn until(&self) -> Timestamp {
        match &self.words {
            Words::ChangeSet(view) => view.until,
            Words::Charter(view) => view.until,
        }
    }

    fn render(&self) {
        match &self.words {
            Words::ChangeSet(view) => render::change_set_view(view),
            Words::Charter(view) => render::charter_change_view(view),
        }
        for rule in &self.proposal.rules {
            render::line(&format!("  asks for approval by {}", keyplane_api::rule(rule)));
        }
        render::line("  an approval signs:");
        self.statement.as_str().lines().for_each(|line| render::line(&format!("    {line}")));
    }
}

async fn show(config: &Config, digest: Digest, message: bool, json: bool) -> Result<(), Vec<Problem>> {
    let proposed = Proposed::read(&client(config).await?, digest).await?;
    let statement = proposed.statement.as_str();
    if message {
        render::result(&serde_json::json!({ "message": statement, "namespace": APPROVAL_NAMESPACE }), json, |_| render::text(statement));
        return Ok(());
    }
    let shown = serde_json::json!({ "proposal": proposed.proposal, "statement": statement, "namespace": APPROVAL_NAMESPACE });
    render::result(&shown, json, |_| {
        proposed.render();
        how_to_approve(&digest);
    });
    Ok(())
}

fn how_to_approve(digest: &Digest) {
    render::line("to approve it:");
    render::line(&format!("  keyplane approve {digest} --as NAME --key KEY"));
    render::line("or, with a key that is elsewhere:");
    render::line(&format!("  keyplane show {digest} --message > approval.txt"));
    render::line(&format!("  ssh-keygen -Y sign -n {APPROVAL_NAMESPACE} -f KEY approval.txt"));
    render::line(&format!("  keyplane approve {digest} --as NAME --signature approval.txt.sig"));
}

async fn approving(config: &Config, approve: Approve, json: bool) -> Result<ExitCode, Vec<Problem>> {
    let client = client(config).await?;
    let digests = match approve.digest {
        Some(digest) => vec![digest],
        None => {
            let status = client.status().await.map_err(problems)?;
            status.open.iter().filter(|view| view.state == ChangeSetState::Proposed).map(|view| view.digest).collect()
        }
    };
    let mut failed = Vec::new();
    let mut shown = Vec::new();
    for digest in digests {
        match Proposed::read(&client, digest).await {
            Ok(proposed) => {
                if !json {
                    proposed.render();
                }
                match ends_in_time(&digest, proposed.until(), SystemClock.now()) {
                    Ok(()) => shown.push((digest, proposed.statement)),
                    Err(problem) => failed.push(problem),
                }
            }
            Err(problems) => failed.extend(problems),
        }
    }
    if let Some(key) = approve.key.as_ref().filter(|_| !shown.is_empty()) {
        let fingerprint = keygen::fingerprint(key).await.map_err(|why| vec![usage(&why)])?;
        let question = format!("sign {} approval(s) as {} with the key {fingerprint}", shown.len(), approve.approver);
        if !approve.yes {
            agreed(&question, json).map_err(one)?;
        }
    }
    let mut taken = Vec::new();
    for (digest, statement) in &shown {
        let signature = match (&approve.signature, &approve.key) {
            (Some(file), _) => read_signature(file).map_err(one)?,
            (None, Some(key)) => sign(digest, statement, key).await.map_err(one)?,
            (None, None) => return Err(vec![usage("give a key to sign with, or a signature")]),
        };
        match client.approve(&ApprovalRequest { digest: *digest, approver: approve.approver.clone(), signature }).await {
            Ok(approved) => {
                if !json {
                    render::approved(&approved);
                }
                taken.push(approved);
            }
            Err(ClientError(problems)) => failed.extend(problems),
        }
    }
    if json {
        render::result(&taken, true, |_| {});
    } else if taken.is_empty() && failed.is_empty() {
        render::line("nothing waits for approval");
    }
    if failed.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(failed) }
}

/// The custodian knows when an approval ends, and not when somebody signed. A signature with an end in ten years would count in ten years, so
/// none is given here.
fn ends_in_time(digest: &Digest, until: Timestamp, now: Timestamp) -> Result<(), Problem> {
    if until <= now + APPROVALS_LAST + CLOCKS {
        return Ok(());
    }
    let detail = format!("nothing was signed for {digest}: approvals count for `{APPROVALS_LAST}` at most, and these would until {until}");
    Err(Problem::new(ProblemCode::ApprovalInvalid, detail, format!("keyplane show {digest}")))
}

/// Asks at the terminal before anything is signed. Whoever reads JSON has seen no words to agree to.
fn agreed(question: &str, json: bool) -> Result<(), Problem> {
    use std::io::IsTerminal as _;
    if json || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let detail = format!("nothing was signed: there is no terminal to ask at whether to {question}; `--yes` signs without asking");
        return Err(usage(&detail));
    }
    render::question(&format!("{question}? [y/N] "));
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    match read.map(|_| answer.trim()) {
        Ok("y" | "Y" | "yes") => Ok(()),
        Ok(_) | Err(_) => Err(usage("nothing was signed: the answer was not yes")),
    }
}

async fn charter(config: &Config, sources: Vec<Source>, own: bool, json: bool) -> Result<(), Vec<Problem>> {
    let read: Vec<(String, String)> = sources.iter().map(|source| (source.name.clone(), source.text.clone())).collect();
    let client = client(config).await?;
    let state = client.charter(&CharterRequest { sources, own }).await.map_err(problems)?;
    let Some(digest) = state.proposal else {
        render::result(&state, json, |state| {
            in_force(state);
            if !state.adopted {
                render::line("the policy says the same: nothing to do");
            }
        });
        return Ok(());
    };
    let proposed = Proposed::read(&client, digest).await?;
    // Whoever proposes sees that the server proposes what the files here say.
    if let Subject::Charter { change, current } = &proposed.proposal.subject
        && change.next != keyplane_policy::load(&read, None)?.intent.charter(current.installation)
    {
        let detail = format!("the server proposes another charter than the policy's, as {digest}");
        return Err(vec![Problem::new(ProblemCode::CharterChanged, detail, format!("keyplane show {digest}"))]);
    }
    render::result(&state, json, |state| {
        in_force(state);
        proposed.render();
        how_to_approve(&digest);
        render::line("once it is approved, adopt it:");
        render::line("  keyplane hsm charter");
    });
    Ok(())
}

fn in_force(state: &CharterState) {
    render::line(&format!("in force: charter {}", state.id));
    if state.adopted {
        render::line("it was approved and is adopted");
    }
}

/// A client of the API in this process.
async fn client(config: &Config) -> Result<Local, Vec<Problem>> {
    let router = compose::local(config).await.map_err(one)?;
    let whole: fn(Request<Full<Bytes>>) -> Request<Body> = |request| request.map(Body::new);
    Ok(Client::new(router.map_request(whole)))
}

/// In bytes. The verifier has a stricter limit.
const LARGEST_SIGNATURE: usize = 64 << 10;

fn read_signature(path: &Path) -> Result<String, Problem> {
    files::text(path, LARGEST_SIGNATURE).map_err(|error| {
        let detail = format!("the signature `{}` cannot be read: {error}", path.display());
        Problem::new(ProblemCode::ApprovalInvalid, detail, "keyplane status")
    })
}

/// Signs by running `ssh-keygen`, which supports agents and hardware keys. The private key never enters this process.
async fn sign(digest: &Digest, statement: &Statement, key: &Path) -> Result<String, Problem> {
    use tokio::io::AsyncWriteExt as _;
    let failed = |detail: String| Problem::new(ProblemCode::ApprovalInvalid, detail, format!("keyplane show {digest} --message"));
    let mut child = keygen::command()
        .args(["-q", "-Y", "sign", "-n", APPROVAL_NAMESPACE, "-f"])
        .arg(key)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("`ssh-keygen` cannot be run: {error}")))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(statement.as_str().as_bytes()).await.map_err(|error| failed(format!("`ssh-keygen` ended early: {error}")))?;
    }
    let output = child.wait_with_output().await.map_err(|error| failed(format!("`ssh-keygen` ended early: {error}")))?;
    if !output.status.success() {
        let said: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(300).collect();
        return Err(failed(format!("`ssh-keygen` does not sign with `{}`: {said}", key.display())));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("`ssh-keygen` gave no armored signature".to_owned()))
}

fn usage(detail: &str) -> Problem {
    Problem::new(ProblemCode::ApprovalInvalid, detail, "keyplane approve --help")
}

fn one(problem: Problem) -> Vec<Problem> {
    vec![problem]
}

fn problems(error: ClientError) -> Vec<Problem> {
    error.0
}

#[cfg(test)]
mod tests {
    use keyplane_model::Span;

    use super::*;

    #[test]
    fn nothing_is_signed_whose_end_is_further_away_than_approvals_may_count() {
        let (digest, now) = (Digest::of(b"a change set"), Timestamp(1_790_000_000_000_000));
        assert_eq!(ends_in_time(&digest, now + APPROVALS_LAST, now), Ok(()));
        let refused = ends_in_time(&digest, now + APPROVALS_LAST + Span::days(1), now).unwrap_err();
        assert!(refused.detail.contains(&digest.to_string()) && refused.detail.contains("`30d` at most"), "{refused}");
    }
}
