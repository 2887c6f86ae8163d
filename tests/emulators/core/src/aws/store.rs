//! The keys and aliases of one region, found by every kind of identifier.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use super::{
    config::Config,
    key::Key,
    refusal::{Code, Refusal},
};
use crate::Timestamp;

#[derive(Clone)]
pub(super) struct Alias {
    pub(super) target: String,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
}

/// The identifiers that a request may use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// A key id or a key ARN.
    Key,
    /// Those, or an alias name or alias ARN.
    KeyOrAlias,
}

/// The keys and aliases of one region. Cloning is cheap, because earlier states are kept.
#[derive(Clone, Default)]
pub(super) struct Store {
    keys: BTreeMap<String, Arc<Key>>,
    /// By full name, `alias/…`.
    aliases: BTreeMap<String, Alias>,
    /// Numbers of used import tokens; kept only under the reading that a token serves once.
    pub(super) used_tokens: BTreeSet<u64>,
    /// When to look at which key again. Entries may be outdated.
    events: BTreeSet<(Timestamp, String)>,
}

impl Store {
    pub(super) fn keys(&self) -> impl ExactSizeIterator<Item = &Key> {
        self.keys.values().map(Arc::as_ref)
    }

    pub(super) fn keys_after(&self, after: Option<&str>) -> impl Iterator<Item = &Key> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.keys.range::<str, _>((from, Bound::Unbounded)).map(|(_, key)| key.as_ref())
    }

    pub(super) fn get(&self, id: &str) -> Option<&Key> {
        self.keys.get(id).map(Arc::as_ref)
    }

    /// The next time at which something may happen without a request.
    pub(super) fn next_event(&self) -> Option<Timestamp> {
        self.events.first().map(|(at, _)| *at)
    }

    pub(super) fn insert(&mut self, key: Key) {
        self.keys.insert(key.id.clone(), Arc::new(key));
    }

    pub(super) fn alias(&self, name: &str) -> Option<&Alias> {
        self.aliases.get(name)
    }

    pub(super) fn aliases_after(&self, after: Option<&str>) -> impl Iterator<Item = (&String, &Alias)> {
        self.aliases.range::<str, _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
    }

    /// Gives an alias to a key. Another key that had it loses it.
    pub(super) fn bind(&mut self, name: &str, alias: Alias) {
        self.unbind(name);
        self.change(&alias.target, |key| key.aliases.insert(name.to_owned()));
        self.aliases.insert(name.to_owned(), alias);
    }

    pub(super) fn unbind(&mut self, name: &str) -> Option<Alias> {
        let alias = self.aliases.remove(name)?;
        self.change(&alias.target, |key| key.aliases.remove(name));
        Some(alias)
    }

    /// Changes a key, and records when to look at it again.
    pub(super) fn change<T>(&mut self, id: &str, change: impl FnOnce(&mut Key) -> T) -> Option<T> {
        let key = Arc::make_mut(self.keys.get_mut(id)?);
        let changed = change(key);
        self.events.extend(key.next_event().map(|at| (at, id.to_owned())));
        Some(changed)
    }

    /// Makes the changes that are due: material expires, rotations complete, keys are deleted with their aliases.
    pub(super) fn settle(&mut self, now: Timestamp) {
        while self.events.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, id)) = self.events.pop_first() else {
                return;
            };
            if self.get(&id).and_then(|key| key.deletion?.at).is_some_and(|at| at <= now) {
                for name in self.keys.remove(&id).iter().flat_map(|key| &key.aliases) {
                    self.aliases.remove(name);
                }
            } else {
                self.change(&id, |key| key.settle(now));
            }
        }
    }

    pub(super) fn find(&self, config: &Config, identifier: &str, naming: Naming) -> Result<&Key, Refusal> {
        let name = match identifier.strip_prefix("arn:") {
            None => identifier,
            Some(rest) => local_name(config, identifier, rest)?,
        };
        let id = if name.starts_with("alias/") {
            if naming == Naming::Key {
                let code = if name == identifier { Code::NotFound } else { Code::InvalidArn };
                return Err(code.because(format!("`{identifier}` is an alias, and this operation takes only keys")));
            }
            let alias = self.aliases.get(name);
            let missing = || Code::NotFound.because(format!("alias `{}` is not found", config.arn(name)));
            alias.map(|alias| alias.target.as_str()).ok_or_else(missing)?
        } else {
            // `key/…` is allowed only in ARNs.
            if identifier.starts_with("arn:") { name.strip_prefix("key/").unwrap_or(name) } else { name }
        };
        self.get(id).ok_or_else(|| Code::NotFound.because(format!("key `{}` does not exist", config.key_arn(id))))
    }
}

/// The last part of an ARN of this account and region.
fn local_name<'a>(config: &Config, arn: &str, rest: &'a str) -> Result<&'a str, Refusal> {
    let malformed = || Code::InvalidArn.because(format!("`{arn}` is not the ARN of a key or an alias"));
    let mut parts = rest.splitn(5, ':');
    let (Some("aws"), Some("kms"), Some(region), Some(account), Some(name)) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed());
    };
    if !name.starts_with("key/") && !name.starts_with("alias/") {
        return Err(malformed());
    }
    if region != config.region {
        return Err(Code::NotFound.because(format!("`{arn}` is in another region than `{}`", config.region)));
    }
    if account != config.account {
        return Err(Code::AccessDenied.because(format!("no policy allows access to `{arn}`")));
    }
    Ok(name)
}
