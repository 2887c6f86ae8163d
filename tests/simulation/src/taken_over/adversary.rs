//! A server that was taken over: what it knows, and what it does with it.
//!
//! It has the ledger and the network, everything that the server ever saw, key pairs of its own, and one approver: mallory. It proposes what
//! it likes and has people sign it, and asks the custodian for everything, mostly with one thing wrong. It does not have the custodian's
//! clock and token.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyplane_emulator_core::crypto::{Crypto as _, OaepHash, Pair, RsaSize};
use keyplane_model::{
    Act, Algorithm, Approval, ApprovalRule, ChangeSet, Charter, CharterChange, CharterId, CopyCoordinates, CopyRecord, Digest, IdTree,
    InstallationId, SealedCharter, Source, Span, Statement, StepNo, Version, WrapScheme,
};
use keyplane_port::{Clock as _, CustodianError, MOST_WRAPPING_KEYS, MintRequest, Warrant, WrapRequest, WrappingKey};

use super::cast::{self, Draw, Hand, MALLORY, PEOPLE};
use super::checker::{Broken, Checker, Subject, strictest};
use super::planted::{Custody, Planted};
use super::sets;
use crate::symbols::Symbols;

/// The most approvals with one request. Each is a signature to be verified.
const MOST_APPROVALS: usize = 6;

pub(super) struct Adversary {
    draw: Draw,
    clock: Arc<Hand>,
    symbols: Symbols,
    checker: Checker,
    /// The installation that is attacked, and another one of the same people.
    sites: Vec<Site>,
    sets: Vec<Proposed>,
    changes: Vec<CharterChange>,
    given: Vec<Given>,
    copies: Vec<CopyRecord>,
    pairs: Vec<Pair>,
    counts: BTreeMap<String, u64>,
    /// What happened, if it is to be read.
    lines: Option<Vec<String>>,
}

struct Site {
    installation: InstallationId,
    custody: Custody,
    /// Each charter that was adopted, the one in force last.
    charters: Vec<(CharterId, SealedCharter)>,
}

struct Proposed {
    set: ChangeSet,
    digest: Digest,
    /// The change set that this one is an altered form of.
    of: Option<Digest>,
}

/// An approval that somebody gave.
struct Given {
    subject: Digest,
    under: CharterId,
    approval: Approval,
}

impl Adversary {
    pub(super) fn new(seed: u64, planted: Option<Planted>, readable: bool) -> Self {
        let mut draw = Draw::new(seed);
        let (clock, symbols, mut checker) = (Arc::new(Hand::new()), Symbols::default(), Checker::new(cast::all_public()));
        let mut site = |number: u8| {
            let installation = InstallationId(IdTree::new([number; 32]).uuid());
            let custody = Custody::new(&symbols, &clock, planted);
            let enrolled = custody.enrol(&cast::charter(&mut draw, installation)).ok().flatten();
            let charters = enrolled.into_iter().filter_map(|sealed| Some((sealed.id().ok()?, sealed))).collect::<Vec<_>>();
            charters.iter().for_each(|(_, sealed)| checker.enrolled(sealed));
            Site { installation, custody, charters }
        };
        let sites = vec![site(1), site(2)];
        Self {
            draw,
            clock,
            symbols,
            checker,
            sites,
            sets: Vec::new(),
            changes: Vec::new(),
            given: Vec::new(),
            copies: Vec::new(),
            pairs: Vec::new(),
            counts: BTreeMap::new(),
            lines: readable.then(Vec::new),
        }
    }

    /// Does one thing.
    pub(super) fn act(&mut self) {
        match self.draw.below(32) {
            0..6 => self.propose(),
            6..9 => self.alter(),
            9..11 => self.ask_again(),
            11..15 => self.mint(),
            15..23 => self.wrap(),
            23..25 => self.propose_charter(),
            25 => self.adopt(),
            26 => self.finish(),
            27 => self.enrol(),
            28 => self.wait(),
            29 => self.flood(),
            30 => self.restart(),
            _ => self.wrap(),
        }
    }

    pub(super) fn end(self) -> (Vec<Broken>, BTreeMap<String, u64>, Vec<String>) {
        (self.checker.broken().to_vec(), self.counts, self.lines.unwrap_or_default())
    }

    fn note(&mut self, what: &str, text: impl FnOnce() -> String) {
        match self.counts.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(what.to_owned(), 1)),
        }
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{} {what}: {}", self.clock.now(), text()));
        }
    }

    fn refused(&mut self, what: &str, error: &CustodianError) {
        let why = match error {
            CustodianError::Refused(_) => "refused",
            CustodianError::ApprovalsMissing { .. } => "approvals are missing",
            CustodianError::CharterChanged => "another charter is in force",
            CustodianError::Spent(_) => "the change set is spent",
            CustodianError::Broken(_) => "a seal is wrong",
            CustodianError::ModuleMissing { .. }
            | CustodianError::TokenMissing { .. }
            | CustodianError::PinMissing(_)
            | CustodianError::PinWrong
            | CustodianError::PinLocked
            | CustodianError::NotEnrolled(_)
            | CustodianError::Unsupported(_)
            | CustodianError::UsageBroken(_)
            | CustodianError::Full(_)
            | CustodianError::Exhausted(_)
            | CustodianError::Failed(_) => "another error",
        };
        self.note(&format!("{what}: {why}"), || error.to_string());
    }

    /// Mostly the installation that is attacked.
    fn site(&mut self) -> usize {
        usize::from(self.draw.one_in(8))
    }

    /// The charter in force.
    fn in_force(&self, site: usize) -> Option<(CharterId, SealedCharter)> {
        self.sites.get(site)?.charters.last().cloned()
    }

    /// Any charter that was ever adopted anywhere.
    fn any_charter(&mut self) -> Option<(CharterId, SealedCharter)> {
        self.draw.any(self.sites.iter().flat_map(|site| &site.charters)).cloned()
    }

    /// Mostly one of the last three.
    fn recent(&mut self, length: usize) -> Option<usize> {
        let back = if self.draw.one_in(4) { length } else { length.min(3) };
        (length > 0).then(|| length - 1 - self.draw.below(back))
    }

    /// Proposes a change set such as a planner makes, and has it signed.
    fn propose(&mut self) {
        let site = self.site();
        let Some((id, sealed)) = self.in_force(site) else { return };
        let set = sets::planned(&mut self.draw, &sealed.charter, &self.copies, self.clock.now());
        self.add(set, None);
        self.ask(self.sets.len() - 1, id, &sealed.charter);
    }

    /// Alters a change set that was proposed, and mostly keeps the signatures of the one before.
    fn alter(&mut self) {
        let Some(at) = self.recent(self.sets.len()) else { return };
        let Some(site) = self.site_of(at) else { return };
        let Some((id, sealed)) = self.in_force(site) else { return };
        let (before, of) = (self.sets[at].set.clone(), self.sets[at].digest);
        let set = sets::altered(&mut self.draw, &before, &sealed.charter, &self.copies);
        self.add(set, Some(of));
        if self.draw.one_in(2) {
            self.ask(self.sets.len() - 1, id, &sealed.charter);
        }
    }

    fn add(&mut self, set: ChangeSet, of: Option<Digest>) {
        let Ok(digest) = set.digest() else { return };
        self.note("proposes a change set", || {
            format!("{digest} {} under {} {:?} by {}", set.key, set.profile, set.approvals, set.proposer)
        });
        self.sets.push(Proposed { set, digest, of });
    }

    /// Has a change set signed by more people, or under another charter.
    fn ask_again(&mut self) {
        let Some(at) = self.recent(self.sets.len()) else { return };
        let charter = match self.site_of(at) {
            Some(site) if !self.draw.one_in(4) => self.in_force(site),
            _ => self.any_charter(),
        };
        if let Some((id, sealed)) = charter {
            self.ask(at, id, &sealed.charter);
        }
    }

    fn ask(&mut self, at: usize, under: CharterId, charter: &Charter) {
        let Some(Proposed { set, digest, .. }) = self.sets.get(at) else { return };
        let (digest, statement) = (*digest, Statement::of_change_set(set, digest, &under));
        let mut rules: Vec<ApprovalRule> = vec![set.approvals.clone()];
        rules.extend(charter.profiles.get(&set.profile).map(|rules| rules.import.clone()));
        for step in &set.steps {
            if let Act::Import { made: Some(made), .. } = &step.act {
                rules.extend(charter.profiles.get(&made.profile).map(|rules| rules.import.clone()));
                rules.push(made.approvals.clone());
            }
        }
        // What bytes of before were made under is left out at times: that is what a server that was taken over would not tell.
        if self.draw.one_in(3) {
            rules.truncate(2);
        }
        self.have_signed(&rules, charter, Subject::ChangeSet(digest), digest, under, &statement);
    }

    /// Has people sign something: about as many as these rules need.
    fn have_signed(
        &mut self,
        rules: &[ApprovalRule],
        charter: &Charter,
        subject: Subject,
        digest: Digest,
        under: CharterId,
        statement: &Statement,
    ) {
        let mut signers = Vec::new();
        for rule in rules {
            let counts = |person: &usize| {
                let approver = charter.approvers.get(&cast::name(*person));
                approver.is_some_and(|approver| approver.groups.iter().any(|group| rule.from.contains(group)))
            };
            let have = signers.iter().filter(|person| counts(person)).count();
            let missing = (rule.need as usize).saturating_sub(have);
            let others = self.draw.people().into_iter().filter(|person| !signers.contains(person) && counts(person));
            let others: Vec<usize> = others.take(missing).collect();
            signers.extend(others);
        }
        match self.draw.below(6) {
            0 => drop(signers.pop()),
            1 => signers.extend(self.draw.any(0..PEOPLE.len())),
            2 => signers.push(MALLORY),
            _ => {}
        }
        signers.truncate(MOST_APPROVALS);
        for person in signers {
            let (signature, key) = cast::sign(person, charter, statement);
            self.checker.signed(&signature, key, subject, under);
            let approval = Approval { approver: cast::name(person), signature, at: self.clock.now() };
            self.note("somebody signs", || format!("{} signs {digest} under {under}", approval.approver));
            self.given.push(Given { subject: digest, under, approval });
        }
    }

    /// The site that a change set is for.
    fn site_of(&self, at: usize) -> Option<usize> {
        let installation = self.sets.get(at)?.set.installation;
        self.sites.iter().position(|site| site.installation == installation)
    }

    /// The approvals of something under a charter, at times with something wrong.
    fn approvals(&mut self, subject: Digest, under: CharterId) -> Vec<Approval> {
        let of = |given: &&Given| given.subject == subject && given.under == under;
        let mut approvals: Vec<Approval> = self.given.iter().filter(of).map(|given| given.approval.clone()).collect();
        if !self.draw.one_in(3) {
            approvals.truncate(MOST_APPROVALS);
            return approvals;
        }
        let (some, another) = (self.draw.any(approvals.iter().cloned()), self.draw.any(self.given.iter().map(|given| given.subject)));
        match (self.draw.below(6), some) {
            (0, Some(_)) => drop(approvals.remove(0)),
            // The same approval once more, under its own name or another.
            (1, Some(some)) => approvals.push(some),
            (2, Some(some)) => approvals.push(Approval { approver: cast::name(self.draw.below(PEOPLE.len())), ..some }),
            (3, Some(some)) => approvals.push(tampered(some)),
            // Those of something else, or of the same under another charter.
            (4, _) => {
                approvals = self.given.iter().filter(|given| Some(given.subject) == another).map(|given| given.approval.clone()).collect()
            }
            _ => approvals = self.given.iter().filter(|given| given.subject == subject).map(|given| given.approval.clone()).collect(),
        }
        approvals.truncate(MOST_APPROVALS);
        approvals
    }

    /// A warrant for a change set: mostly the one that the charter in force asks for.
    fn warrant(&mut self, at: usize, site: usize) -> Option<Warrant> {
        let Proposed { set, digest, of } = self.sets.get(at)?;
        let (set, digest, of) = (set.clone(), *digest, *of);
        let (id, mut sealed) = self.in_force(site)?;
        let (mut under, mut subject) = (id, digest);
        match self.draw.below(16) {
            0 | 1 => (under, sealed) = self.any_charter()?,
            // The charter in force, loosened by whoever has the ledger.
            2 => sealed.charter.profiles.values_mut().for_each(|rules| rules.import.need = 0),
            _ => {}
        }
        if let Some(of) = of
            && self.draw.one_in(2)
        {
            subject = of;
        }
        let approvals = self.approvals(subject, under);
        Some(Warrant { change_set: set, approvals, charter: sealed })
    }

    /// A change set, and the custodian that is asked for it: mostly the one that it is for.
    fn aim(&mut self) -> Option<(usize, usize)> {
        let at = self.recent(self.sets.len())?;
        let site = self.site_of(at).filter(|_| !self.draw.one_in(16));
        Some((at, site.unwrap_or(0)))
    }

    fn mint(&mut self) {
        let Some((at, site)) = self.aim() else { return };
        let set = self.sets[at].set.clone();
        let making = sets::steps(&set).filter_map(|step| Some((step, sets::made_by(&set, step)?)));
        let Some((mut step, mut coordinates)) = self.draw.any(making) else { return };
        match self.draw.below(10) {
            0 => step = StepNo(step.0 + 1),
            1 => self.turn(&mut coordinates),
            _ => {}
        }
        let Some(warrant) = self.warrant(at, site) else { return };
        let request = MintRequest { step, coordinates };
        let Site { installation, custody, .. } = &mut self.sites[site];
        let installation = *installation;
        match custody.mint(&warrant, &request) {
            Err(error) => self.refused("mint", &error),
            Ok(minted) => {
                let bytes = custody.reveal(&request.coordinates, minted.blob.as_ref());
                self.checker.minted(installation, self.clock.now(), &warrant, &request, &bytes);
                self.note("mint: let through", || format!("{:?}", request.coordinates));
                self.copies.push(CopyRecord {
                    coordinates: request.coordinates,
                    bytes_of: None,
                    check_value: minted.check_value,
                    blob: minted.blob,
                    public_key: minted.public_key,
                    material: None,
                    wrapped_under: None,
                    imported: None,
                });
            }
        }
    }

    /// Changes one of a copy's coordinates.
    fn turn(&mut self, copy: &mut CopyCoordinates) {
        let another = self.draw.any(self.copies.iter().map(|copy| copy.coordinates.clone()));
        match (self.draw.below(6), another) {
            (0, _) => copy.version = Version(3),
            (1, _) => copy.source = if copy.source == Source::Derived { Source::Generated } else { Source::Derived },
            (2, Some(another)) => (copy.profile, copy.approvals) = (another.profile, another.approvals),
            (3, Some(another)) => copy.placement = another.placement,
            (4, _) => copy.algorithm = Algorithm::HmacSha256,
            (_, Some(another)) => *copy = another,
            (_, None) => copy.approvals.need = 0,
        }
    }

    fn wrap(&mut self) {
        if let Some((site, warrant, request, pair)) = self.wish() {
            self.ask_to_wrap(site, &warrant, &request, pair);
        }
    }

    /// Asks for one step's copy under one key after the other.
    fn flood(&mut self) {
        if !self.draw.one_in(8) {
            return;
        }
        let Some((site, warrant, mut request, _)) = self.wish() else { return };
        for _ in 0..MOST_WRAPPING_KEYS + 2 {
            let Some(pair) = self.pair(true) else { return };
            request.wrapping_key.spki.clone_from(&self.pairs[pair].public);
            if !self.ask_to_wrap(site, &warrant, &request, pair) {
                return;
            }
        }
    }

    /// A request to wrap: the site, the warrant, the request, and the number of the key pair.
    fn wish(&mut self) -> Option<(usize, Warrant, WrapRequest, usize)> {
        let (at, site) = self.aim()?;
        let set = self.sets[at].set.clone();
        let importing = sets::steps(&set).filter_map(|step| Some((step, sets::imported_by(&set, step)?)));
        let (mut step, (mut coordinates, mut scheme)) = self.draw.any(importing)?;
        match self.draw.below(12) {
            0 => step = StepNo(step.0.saturating_sub(1)),
            1 | 2 => self.turn(&mut coordinates),
            3 => scheme = self.draw.of(&WrapScheme::ALL),
            _ => {}
        }
        let warrant = self.warrant(at, site)?;
        let known = self.copies.iter().filter(|copy| copy.coordinates == coordinates).cloned();
        let known = self.draw.any(known);
        // Without a copy of these coordinates, a derived one needs none, and any blob may do.
        let another = self.draw.any(self.copies.iter().filter_map(|copy| copy.blob.clone()));
        let blob = match coordinates.source {
            Source::Derived => None,
            Source::Generated => known.as_ref().and_then(|copy| copy.blob.clone()).filter(|_| !self.draw.one_in(8)).or(another),
        };
        let copy = CopyRecord {
            bytes_of: self.draw.one_in(8).then_some(coordinates.placement),
            coordinates,
            check_value: known.as_ref().and_then(|copy| copy.check_value),
            blob,
            public_key: known.and_then(|copy| copy.public_key),
            material: None,
            wrapped_under: None,
            imported: None,
        };
        let pair = self.pair(false)?;
        let wrapping_key = WrappingKey { spki: self.pairs[pair].public.clone(), scheme, token: Vec::new(), valid_until: None };
        Some((site, warrant, WrapRequest { step, copy, wrapping_key }, pair))
    }

    /// A key pair of the adversary's own, by its number.
    fn pair(&mut self, new: bool) -> Option<usize> {
        if new || self.pairs.len() < 3 {
            self.pairs.push(self.symbols.make_pair(RsaSize::Rsa2048).ok()?);
            return Some(self.pairs.len() - 1);
        }
        Some(self.draw.below(self.pairs.len()))
    }

    /// Whether the custodian let it through.
    fn ask_to_wrap(&mut self, site: usize, warrant: &Warrant, request: &WrapRequest, pair: usize) -> bool {
        let Site { installation, custody, .. } = &mut self.sites[site];
        let installation = *installation;
        match custody.wrap(warrant, request) {
            Err(error) => {
                self.refused("wrap", &error);
                false
            }
            Ok(wrapped) => {
                let under = Digest::of(&request.wrapping_key.spki);
                let recorded = warrant.change_set.digest().is_ok_and(|digest| custody.has_recorded(digest, request.step, under));
                let bytes = opened(&self.symbols, &self.pairs[pair], request.wrapping_key.scheme, &wrapped.bytes);
                let now = self.clock.now();
                self.checker.wrapped(installation, now, (warrant, request), &wrapped, bytes.as_deref(), recorded);
                self.note("wrap: let through", || format!("{:?} under {under}", request.copy.coordinates));
                true
            }
        }
    }

    /// Proposes another charter, has it signed, and mostly has it adopted.
    fn propose_charter(&mut self) {
        let site = self.site();
        let Some((id, sealed)) = self.in_force(site) else { return };
        let old = self.any_charter().filter(|_| self.draw.one_in(5));
        let next = match old {
            Some((_, old)) => Charter { installation: sealed.charter.installation, ..old.charter },
            None => cast::changed(&mut self.draw, &sealed.charter),
        };
        let change = CharterChange {
            before: id,
            next,
            proposer: sets::proposer(&mut self.draw),
            until: sets::until(&mut self.draw, self.clock.now()),
        };
        let (Ok(digest), Ok(statement)) = (change.digest(), Statement::of_charter(&change)) else { return };
        self.note("proposes a charter", || format!("{digest} by {}", change.proposer));
        let rules: Vec<ApprovalRule> = match self.draw.below(3) {
            // Those who decide about some profiles.
            0 => sealed.charter.profiles.values().take(1).map(|rules| rules.import.clone()).collect(),
            1 => strictest(&sealed.charter).into_iter().cloned().collect(),
            _ => {
                let all = sealed.charter.profiles.values().flat_map(|rules| [rules.import.clone(), rules.retire.clone()]);
                all.chain(sealed.charter.key_rules.iter().cloned()).collect()
            }
        };
        self.have_signed(&rules, &sealed.charter, Subject::Charter(digest), digest, id, &statement);
        self.changes.push(change);
        if !self.draw.one_in(4) {
            self.adopt();
        }
    }

    /// Has a charter adopted that was proposed: as it was, or after the charter that is in force by now.
    fn adopt(&mut self) {
        let Some(at) = self.recent(self.changes.len()) else { return };
        let mut change = self.changes[at].clone();
        let Some(site) = self.sites.iter().position(|site| site.installation == change.next.installation) else { return };
        let Some((id, mut current)) = self.in_force(site) else { return };
        let (Ok(signed), under) = (change.digest(), change.before) else { return };
        if self.draw.one_in(2) {
            change.before = id;
        }
        match self.draw.below(10) {
            0 => change.proposer = sets::proposer(&mut self.draw),
            1 => {
                let Some((id, sealed)) = self.any_charter() else { return };
                (change.before, current) = (id, sealed);
            }
            _ => {}
        }
        let approvals = self.approvals(signed, under);
        let Site { installation, custody, charters } = &mut self.sites[site];
        match custody.adopt(&current, &change, &approvals) {
            Err(error) => self.refused("adopt", &error),
            Ok(sealed) => {
                self.checker.adopted(*installation, self.clock.now(), &change, &approvals, &sealed);
                if let Ok(id) = sealed.id() {
                    if charters.last().is_none_or(|(last, _)| *last != id) {
                        charters.push((id, sealed));
                    }
                    self.note("adopt: let through", || id.to_string());
                }
            }
        }
    }

    /// Tells the custodian that a change set ended, under a charter of its own or of another token.
    fn finish(&mut self) {
        let Some((at, site)) = self.aim() else { return };
        let Some((_, sealed)) = self.any_charter() else { return };
        let (set, digest) = (self.sets[at].set.clone(), self.sets[at].digest);
        let Site { installation, custody, .. } = &self.sites[site];
        if custody.finish(&sealed, &set).is_ok() {
            self.checker.finished(*installation, digest);
            self.note("finishes a change set", || digest.to_string());
        }
    }

    /// Enrols once more: with a charter of its own, or with the first one.
    fn enrol(&mut self) {
        let Some((_, sealed)) = self.sites[0].charters.first().cloned() else { return };
        let charter = if self.draw.one_in(3) { sealed.charter } else { cast::charter(&mut self.draw, sealed.charter.installation) };
        match self.sites[0].custody.enrol(&charter) {
            Err(error) => self.refused("enrol", &error),
            Ok(None) => self.note("enrol: nothing was adopted", String::new),
            Ok(Some(sealed)) => {
                self.checker.enrolled(&sealed);
                self.note("enrol: let through", String::new);
            }
        }
    }

    fn wait(&mut self) {
        let spans = [Span::seconds(60), Span::seconds(1_800), Span::seconds(7_200), Span::days(2), Span::days(8), Span::days(31)];
        let span = self.draw.of(&spans);
        self.clock.advance(span);
        self.note("waits", || span.to_string());
    }

    fn restart(&mut self) {
        self.sites[0].custody.restart();
        self.note("starts the custodian anew", String::new);
    }
}

/// An approval whose signature was changed.
fn tampered(mut approval: Approval) -> Approval {
    let middle = approval.signature.len() / 2;
    if let Some(byte) = approval.signature.get(middle..=middle).filter(|byte| *byte != "\n") {
        let other = if byte == "A" { "B" } else { "A" };
        approval.signature.replace_range(middle..=middle, other);
    }
    approval
}

/// What whoever has the private key gets. `None`: nothing was wrapped for this key.
fn opened(symbols: &Symbols, pair: &Pair, scheme: WrapScheme, wrapped: &[u8]) -> Option<Vec<u8>> {
    let (head, tail) = wrapped.split_at_checked(pair.public.len())?;
    let hash = match scheme {
        WrapScheme::RsaOaepSha256 | WrapScheme::RsaAesKeyWrapSha256 => OaepHash::Sha256,
        WrapScheme::RsaOaepSha1 | WrapScheme::RsaAesKeyWrapSha1 => OaepHash::Sha1,
    };
    let secret = symbols.unwrap_oaep(&pair.private, hash, head).ok()?;
    match scheme {
        WrapScheme::RsaOaepSha256 | WrapScheme::RsaOaepSha1 => tail.is_empty().then(|| secret.expose().to_vec()),
        WrapScheme::RsaAesKeyWrapSha256 | WrapScheme::RsaAesKeyWrapSha1 => symbols.unwrap(secret.expose(), tail),
    }
}
