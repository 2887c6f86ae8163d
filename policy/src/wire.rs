//! The policy language as types: what a file may say, before anything is resolved. The JSON Schema is generated from these types,
//! and editors show their doc comments.

use std::fmt;

use keyplane_model::{
    Algorithm, ApproverName, CloudKind, DestinationName, GroupName, KeyName, ProblemCode, ProfileName, Protection, Purpose, Retire, Source,
    Span,
};
use schemars::JsonSchema;

use crate::limits::{MAX_BYTES, MAX_FILES};
use crate::read::{At, Set, Wire, kind_of, wire, wrong_kind};
use crate::report::{Place, Report};
use crate::suggest::{did_you_mean, did_you_mean_or_known, shown};
use crate::yaml::{self, Field, Node, Value};

/// One document of a Keyplane policy file. Its first field says which kind it is: `profile`, `key` or `approver`.
#[derive(JsonSchema)]
#[schemars(untagged, title = "Keyplane policy")]
#[expect(dead_code, reason = "the documents of a file are read into lists by kind; together they are only a schema")]
pub(crate) enum Document {
    Profile(ProfileDocument),
    Key(KeyDocument),
    Approver(ApproverDocument),
}

wire! {
    /// The security team's rules for many keys.
    struct ProfileDocument as "a profile" {
        /// The profile's name.
        profile: At<ProfileName>,
        /// The profile whose rules apply where this one states none. What this profile states has to be at least as strict.
        extends: Option<At<ProfileName>>,
        /// The algorithms that a placement may have. Required, unless the profile extends another.
        algorithms: Option<At<Set<Algorithm>>>,
        /// The least protection that every placement needs. Required, unless the profile extends another.
        protection: Option<At<Protection>>,
        /// The destinations where placements may be. Default: any.
        locations: Option<At<Set<DestinationName>>>,
        /// How the bytes of symmetric keys come to be; asymmetric keys are always generated. Default: derived if the HSM can
        /// derive.
        source: Option<At<Source>>,
        /// When keys are rotated, and what becomes of old versions.
        rotation: Option<RotationRules>,
        /// The approvals that each kind of change needs. `import` and `retire` are required, unless the profile extends another.
        approvals: Option<ApprovalRules>,
    }
}

wire! {
    /// A key that an owner asks for. Its rules may be stricter than its profile's, never looser.
    struct KeyDocument as "a key" {
        /// The key's name, unique in the installation.
        key: At<KeyName>,
        /// The profile that the key is under.
        profile: At<ProfileName>,
        /// The use that the key is for.
        purpose: At<Purpose>,
        /// Whether all placements hold the same bytes. Only for keys on which the clouds must agree: signing, MAC. Default: false.
        shared: Option<At<bool>>,
        /// The places where the key has to be.
        placements: At<Placements>,
        /// Fewer algorithms than the profile allows. Default: the profile's.
        algorithms: Option<At<Set<Algorithm>>>,
        /// A stronger protection than the profile asks for. Default: the profile's.
        protection: Option<At<Protection>>,
        /// Fewer destinations than the profile allows. Default: the profile's.
        locations: Option<At<Set<DestinationName>>>,
        /// How the bytes come to be, where the profile leaves it open. Default: the profile's.
        source: Option<At<Source>>,
        /// More frequent rotation, longer overlap, later retirement. Default: the profile's.
        rotation: Option<RotationRules>,
        /// More approvals, from fewer groups. Default: the profile's.
        approvals: Option<ApprovalRules>,
    }
}

wire! {
    /// A person who may approve.
    struct ApproverDocument as "an approver" {
        /// The person's name.
        approver: At<ApproverName>,
        /// The groups that the person belongs to.
        groups: Set<GroupName>,
        /// The logins under which the person proposes changes. Nobody's approval of an own proposal counts. Default: the person's
        /// name.
        logins: Option<Set<Login>>,
        /// The person's public keys as OpenSSH writes them: `ssh-ed25519 AAAA… comment`.
        keys: At<PublicKeys>,
    }
}

wire! {
    /// When keys are rotated, and what becomes of old versions.
    struct RotationRules as "`rotation`" {
        /// The longest time for which a version is active, as in `90d`. Default: no schedule.
        every: Option<At<Span>>,
        /// The least time for which the previous version stays usable after its successor became active. Default: `0d`.
        overlap: Option<At<Span>>,
        /// What becomes of deactivated versions. Default: `never`.
        retire: Option<At<Retirement>>,
    }
}

wire! {
    /// The approvals that each kind of change needs.
    struct ApprovalRules as "`approvals`" {
        /// For making and importing keys, and for clean-ups.
        import: Option<At<ApprovalNeed>>,
        /// For disabling and destroying versions.
        retire: Option<At<ApprovalNeed>>,
        /// How long approvals count after they were asked for, as in `7d`: `1h` to `30d`. Default: `30d`.
        valid: Option<At<Span>>,
        /// What an approval of the profile approves in advance. Default: nothing.
        standing: Option<StandingRules>,
    }
}

wire! {
    /// Needs `need` different approvers, each from one of the groups in `from`.
    struct ApprovalNeed as "an approval rule" {
        /// How many different approvers are needed, not counting the proposer. 0: none.
        need: At<u32>,
        /// The groups that count; an approver needs to be in one of them. Not empty, unless `need` is 0.
        from: Option<Set<GroupName, 0>>,
    }
}

wire! {
    /// What an approval of the profile approves in advance.
    struct StandingRules as "`standing`" {
        /// Approves scheduled rotations for this long, as in `365d`. Default: each rotation needs its own approvals.
        rotation: Option<At<Span>>,
    }
}

wire! {
    /// The time after which deactivated versions may be retired.
    struct RetireAfter as "`retire`" {
        /// How long after its deactivation a version may be retired, as in `365d`.
        after: At<Span>,
    }
}

/// What becomes of deactivated versions: `never`, or `{ after: 365d }`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retirement(pub(crate) Retire);

impl Wire for Retirement {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "never" => Some(Self(Retire::Never)),
            Value::Fields(_) => RetireAfter::read(node, report).map(|retire| Self(Retire::After(retire.after.value))),
            _ => wrong_kind(node, "`never` or `{ after: 365d }`", report),
        }
    }
}

impl JsonSchema for Retirement {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Retire::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Retire::json_schema(generator)
    }
}

/// The name of a login: one line, at most 256 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(inline)]
pub(crate) struct Login(#[schemars(length(min = 1, max = 256))] pub(crate) String);

impl Wire for Login {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let login = String::read(node, report)?;
        if login.trim().is_empty() || login.chars().count() > 256 || login.chars().any(char::is_control) {
            report.invalid(node.place, format!("`{}` is no login: one line of 1 to 256 characters", shown(&login)));
            return None;
        }
        Some(Self(login))
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A list of public keys whose contents are not checked yet.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline)]
pub(crate) struct PublicKeys(#[schemars(length(min = 1), inner(regex(pattern = r"^(ssh-|ecdsa-|sk-)\S+ \S+")))] pub(crate) Vec<At<String>>);

impl Wire for PublicKeys {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        list(node, "a list of public keys", report).map(Self)
    }
}

/// A list of placements.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline)]
pub(crate) struct Placements(#[schemars(length(min = 1))] pub(crate) Vec<At<Placement>>);

impl Wire for Placements {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        list(node, "a list of placements", report).map(Self)
    }
}

/// One placement: the word for the cloud, and below it what that cloud needs to know.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(crate) enum Placement {
    /// At AWS KMS.
    Aws(AwsPlacement),
    /// At Google Cloud KMS.
    Gcp(GcpPlacement),
    /// At Azure Key Vault or Managed HSM.
    Azure(AzurePlacement),
}

wire! {
    /// A placement at AWS KMS.
    struct AwsPlacement as "an `aws` placement" {
        /// The destination's name in the configuration.
        destination: At<DestinationName>,
        /// The alias by which users find the key, without `alias/`.
        alias: At<AwsAlias>,
        /// The algorithm of the key there.
        algorithm: At<Algorithm>,
    }
}

wire! {
    /// A placement at Google Cloud KMS.
    struct GcpPlacement as "a `gcp` placement" {
        /// The destination's name in the configuration.
        destination: At<DestinationName>,
        /// The id of the crypto key in the destination's key ring.
        name: At<GcpName>,
        /// The algorithm of the key there.
        algorithm: At<Algorithm>,
    }
}

wire! {
    /// A placement at Azure Key Vault or Managed HSM.
    struct AzurePlacement as "an `azure` placement" {
        /// The destination's name in the configuration.
        destination: At<DestinationName>,
        /// The key's name in the vault.
        name: At<AzureName>,
        /// The algorithm of the key there.
        algorithm: At<Algorithm>,
    }
}

impl Placement {
    pub(crate) fn cloud(&self) -> CloudKind {
        match self {
            Self::Aws(_) => CloudKind::Aws,
            Self::Gcp(_) => CloudKind::Gcp,
            Self::Azure(_) => CloudKind::Azure,
        }
    }

    pub(crate) fn destination(&self) -> &At<DestinationName> {
        match self {
            Self::Aws(placement) => &placement.destination,
            Self::Gcp(placement) => &placement.destination,
            Self::Azure(placement) => &placement.destination,
        }
    }

    pub(crate) fn name(&self) -> (&str, Place) {
        match self {
            Self::Aws(placement) => (&placement.alias.value.0, placement.alias.place),
            Self::Gcp(placement) => (&placement.name.value.0, placement.name.place),
            Self::Azure(placement) => (&placement.name.value.0, placement.name.place),
        }
    }

    pub(crate) fn algorithm(&self) -> &At<Algorithm> {
        match self {
            Self::Aws(placement) => &placement.algorithm,
            Self::Gcp(placement) => &placement.algorithm,
            Self::Azure(placement) => &placement.algorithm,
        }
    }
}

impl Wire for Placement {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        const CLOUDS: [&str; 3] = ["aws", "gcp", "azure"];
        let Value::Fields(entries) = &node.value else {
            return wrong_kind(node, "a placement, as in `aws: { destination: …, alias: …, algorithm: … }`", report);
        };
        let [(Field { name, place }, inner)] = entries.as_slice() else {
            report.invalid(node.place, "a placement names one cloud: begin a new item with `-` for each");
            return None;
        };
        match name.as_str() {
            "aws" => AwsPlacement::read(inner, report).map(Self::Aws),
            "gcp" => GcpPlacement::read(inner, report).map(Self::Gcp),
            "azure" => AzurePlacement::read(inner, report).map(Self::Azure),
            other => {
                report.invalid(*place, format!("`{}` is no cloud{}", shown(other), did_you_mean_or_known(other, CLOUDS)));
                None
            }
        }
    }
}

/// An AWS alias without `alias/`; with it, an alias has at most 256 characters. Aliases that begin with `aws/` are Amazon's, and
/// those that begin with `keyplane/` are Keyplane's own.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline)]
pub(crate) struct AwsAlias(#[schemars(regex(pattern = "^(?!alias/|aws/|keyplane/)[a-zA-Z0-9/_-]{1,250}$"))] String);

impl Wire for AwsAlias {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let rule = "AWS alias: letters, digits, `/`, `_` and `-`, at most 250 characters";
        let alias = cloud_name(node, 250, "/_-", rule, report)?;
        let complaint = match alias.split_once('/') {
            Some(("alias", rest)) => format!("aliases are written without `alias/`: `{rest}`"),
            Some(("aws", _)) => "aliases that begin with `aws/` are Amazon's: choose another".to_owned(),
            Some(("keyplane", _)) => "aliases that begin with `keyplane/` are Keyplane's own: choose another".to_owned(),
            _ => return Some(Self(alias)),
        };
        report.invalid(node.place, complaint);
        None
    }
}

/// The id of a Google Cloud crypto key.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline)]
pub(crate) struct GcpName(#[schemars(regex(pattern = "^[a-zA-Z0-9_-]{1,63}$"))] String);

impl Wire for GcpName {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let rule = "Google Cloud key name: letters, digits, `_` and `-`, at most 63 characters";
        cloud_name(node, 63, "_-", rule, report).map(Self)
    }
}

/// An Azure key name. It becomes part of a URL's path without escaping.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline)]
pub(crate) struct AzureName(#[schemars(regex(pattern = "^[a-zA-Z0-9-]{1,127}$"))] String);

impl Wire for AzureName {
    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let rule = "Azure key name: letters, digits and `-`, at most 127 characters";
        cloud_name(node, 127, "-", rule, report).map(Self)
    }
}

/// Reads a name of ASCII letters, digits and some other characters.
fn cloud_name(node: &Node, max: usize, others: &str, rule: &str, report: &mut Report) -> Option<String> {
    let name = String::read(node, report)?;
    if (1..=max).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c)) {
        return Some(name);
    }
    report.invalid(node.place, format!("`{}` is no {rule}", shown(&name)));
    None
}

/// The documents that could be read, in the order of the sources.
pub(crate) struct Documents {
    pub(crate) profiles: Vec<ProfileDocument>,
    pub(crate) keys: Vec<KeyDocument>,
    pub(crate) approvers: Vec<ApproverDocument>,
    /// Whether every document could be read. If so, a name that is not here does not exist.
    pub(crate) complete: bool,
}

pub(crate) fn documents(sources: &[(String, String)], report: &mut Report) -> Documents {
    let mut documents = Documents { profiles: Vec::new(), keys: Vec::new(), approvers: Vec::new(), complete: true };
    if sources.len() > MAX_FILES {
        let place = Place { source: MAX_FILES, line: 1, column: 1 };
        report.invalid(place, format!("there are {} policy files, more than {MAX_FILES}", sources.len()));
        documents.complete = false;
        return documents;
    }
    let mut bytes = 0;
    for (source, (_, text)) in sources.iter().enumerate() {
        bytes += text.len();
        if bytes > MAX_BYTES {
            let place = Place { source, line: 1, column: 1 };
            report.invalid(place, format!("the policy files have more than {MAX_BYTES} bytes together, counted up to this one"));
            documents.complete = false;
            return documents;
        }
        let (nodes, complete) = yaml::documents(source, text, report);
        documents.complete &= complete;
        for node in &nodes {
            let read = document(node, &mut documents, report).is_some();
            documents.complete &= read;
        }
    }
    documents
}

/// A node that does not begin like a policy document is not quoted: it may be a secret that a link led to.
fn document(node: &Node, documents: &mut Documents, report: &mut Report) -> Option<()> {
    const KINDS: [&str; 3] = ["profile", "key", "approver"];
    let Value::Fields(fields) = &node.value else {
        let found = kind_of(&node.value);
        report.invalid(node.place, format!("here has to be a document that begins with `profile:`, `key:` or `approver:`, not {found}"));
        return None;
    };
    let Some((first, name)) = fields.first() else {
        report.invalid(node.place, "the document is empty: it begins with `profile:`, `key:` or `approver:`");
        return None;
    };
    match first.name.as_str() {
        "profile" => documents.profiles.push(ProfileDocument::read(node, report)?),
        "approver" => documents.approvers.push(ApproverDocument::read(node, report)?),
        "key" => {
            let mark = report.mark();
            let read = KeyDocument::read(node, report);
            if let Value::Text(name) = &name.value
                && let Ok(name) = name.parse()
            {
                report.about(mark, &name);
            }
            documents.keys.push(read?);
        }
        other => {
            let hint = did_you_mean(other, KINDS);
            let detail = format!("a document begins with `profile:`, `key:` or `approver:`, not with another field{hint}");
            report.problem(ProblemCode::PolicyInvalid, first.place, detail);
            return None;
        }
    }
    Some(())
}

/// Reads a list of at least one value.
fn list<T: Wire>(node: &Node, needed: &str, report: &mut Report) -> Option<Vec<At<T>>> {
    let Value::List(items) = &node.value else {
        return wrong_kind(node, needed, report);
    };
    if items.is_empty() {
        report.invalid(node.place, format!("the list is empty: here has to be {needed}"));
        return None;
    }
    // Reads all items before the first broken one returns, so that all are reported.
    let read: Vec<_> = items.iter().map(|item| At::read(item, report)).collect();
    read.into_iter().collect()
}
