//! AWS KMS: one account.
//!
//! Owns the rules of imported symmetric keys as the service model and the developer guide state them. Other kinds of keys are refused with
//! `UnsupportedOperationException`. Permissions are not modelled: policies and grants are checked for their form, stored and returned, and
//! change nothing about what is allowed.
//!
//! Each region has keys, aliases and request quotas of its own, and exists as soon as a request is addressed to it. Journal, faults and
//! clock belong to the account.
//!
//! Consistency: a mutating request changes the present state. Within the window after a change, any other request may be answered from a
//! state before it.

mod alias;
mod answer;
mod config;
mod crypt;
mod dump;
mod fields;
mod grant;
mod import;
mod key;
mod lifecycle;
mod marks;
mod metadata;
mod multi_region;
mod operation;
mod page;
mod readings;
mod refusal;
mod rotation;
mod scope;
mod store;
mod wrappers;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rand_core::RngCore;
use serde_json::{Map, Value};

pub use self::{
    answer::{Answer, Reply, Request},
    config::Config,
    multi_region::Account,
    operation::Operation,
    readings::{
        ImportTokenUse, ImportWhileDisabled, LeavingRotations, MultiRegionRotation, MutationsSee, PolicyText, Readings,
        RepeatedPendingImport, RestoredDisabledKey, RotationsOrder,
    },
    refusal::{Code, Refusal},
};
use self::{
    fields::Fields,
    key::{LastUse, Material, Origin},
    scope::Scope,
    store::Store,
    wrappers::Wrappers,
};
use crate::{
    Timestamp,
    crypto::Crypto,
    frame::{Blame, Call, Frame, Noted, Service, uuid},
    quota::Buckets,
};

pub type Aws = Frame<Kms>;

pub struct Kms {
    config: Config,
    crypto: Box<dyn Crypto>,
    wrappers: Wrappers,
}

impl Aws {
    /// An empty account with the published quotas, by operation; `Cryptographic` is the quota of those that encrypt and decrypt.
    pub fn new(config: Config, crypto: Box<dyn Crypto>, rng: &mut dyn RngCore) -> Self {
        let buckets = Buckets::new(Operation::ALL.iter().map(|op| (op.quota(), op.published_quota())));
        let consistency = config.consistency;
        Self::around(Kms { config, crypto, wrappers: Wrappers::new(rng) }, buckets, consistency)
    }
}

impl Kms {
    /// The region that a request is addressed to.
    fn region_of<'a>(&'a self, request: &'a Request) -> &'a str {
        request.region.as_deref().filter(|name| multi_region::is_region(name)).unwrap_or(&self.config.region)
    }
}

impl Service for Kms {
    type Store = Account;
    type Request = Request;
    type Output = Value;
    type Refusal = Refusal;
    type Reply = Reply;
    type Readings = Readings;

    fn operation<'a>(&self, request: &'a Request) -> &'a str {
        &request.operation
    }

    fn is_mutating(&self, request: &Request) -> bool {
        Operation::from_name(&request.operation).is_some_and(Operation::is_mutating)
    }

    fn may_lag(&self, request: &Request) -> bool {
        !self.is_mutating(request) || self.config.readings.mutations_see == MutationsSee::RecentPast
    }

    fn draws(&self, _: &Account, request: &Request) -> Vec<(String, &'static str)> {
        let Some(operation) = Operation::from_name(&request.operation) else {
            return Vec::new();
        };
        let elsewhere = multi_region::counts_elsewhere(operation, &request.body);
        let here = (self.region_of(request).to_owned(), operation);
        std::iter::once(here).chain(elsewhere).map(|(region, counted)| (region, counted.quota())).collect()
    }

    fn noted(&self, request: &Request) -> Noted {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        Noted {
            region: Some(self.region_of(request).to_owned()),
            key_id: text("KeyId").or_else(|| text("TargetKeyId")),
            size: request.body.len(),
            wrapped_material: text("EncryptedKeyMaterial").and_then(|wrapped| STANDARD.decode(wrapped).ok()),
            body,
        }
    }

    fn settle(&mut self, account: &mut Account, now: Timestamp, _: &mut dyn RngCore) {
        account.settle(now);
    }

    fn serve(&mut self, call: Call<'_>, account: &mut Account, past: Option<&Account>, request: &Request) -> Result<Value, Refusal> {
        let operation = Operation::from_name(&request.operation)
            .ok_or_else(|| Code::UnknownOperation.because(format!("there is no operation `{}`", request.operation)))?;
        let members: Map<String, Value> =
            serde_json::from_slice(&request.body).map_err(|_| Code::Serialization.because("the body is not a JSON object"))?;
        let fields = Fields::new(&members);

        let config = self.config.in_region(self.region_of(request));
        let Call { now, rng, id } = call;
        let mut scope = Scope { now, config: &config, crypto: self.crypto.as_ref(), rng, wrappers: &mut self.wrappers, used: Vec::new() };
        let region = config.region.as_str();
        let answer = if operation.is_mutating() {
            if let Some(past) = past {
                mutate(&mut scope, &mut past.clone(), operation, &fields)?;
            }
            mutate(&mut scope, account, operation, &fields)
        } else {
            let seen = past.unwrap_or(account);
            // A region to which no request was addressed is empty.
            read(&mut scope, seen.region(region).unwrap_or(&Store::default()), operation, &fields)
        }?;
        let event = uuid(scope.rng);
        for key in scope.used {
            let usage = LastUse { operation, at: now, event: event.clone(), request: id.to_owned() };
            account.region_mut(region).change(&key, |key| key.last_use = Some(usage));
        }
        Ok(answer)
    }

    fn reply(&self, served: Result<&Value, &Refusal>, id: String) -> Reply {
        match served {
            Ok(output) => Reply::output(output, id),
            Err(refusal) => Reply::refusal(refusal, id),
        }
    }

    fn error(&self, status: u16, code: &str, id: String) -> Reply {
        Reply::error(status, code, "a fault was asked for", id)
    }

    fn blamed(&self, blame: Blame, request: &Request) -> Refusal {
        match blame {
            Blame::Throttled(_) => {
                Code::Throttling.because("you have exceeded the rate at which you may call KMS; reduce the frequency of your calls")
            }
            Blame::Denied => Code::AccessDenied.because(format!("no policy allows `kms:{}`", request.operation)),
            Blame::Failed => Code::Internal.because("a fault was asked for"),
        }
    }

    fn code(refusal: &Refusal) -> String {
        refusal.code.name().to_owned()
    }

    fn readings(&mut self) -> &mut Readings {
        &mut self.config.readings
    }

    fn dump(&self, now: Timestamp, account: &Account) -> Value {
        dump::everything(&self.config, self.crypto.as_ref(), now, account)
    }

    /// KMS Developer Guide, "Importing key material": the owner keeps a copy.
    // contract: aws.import.durability
    fn lose(&mut self, account: &mut Account, now: Timestamp, region: &str) {
        // A region to which no request was addressed has nothing to lose.
        let Some(store) = account.region(region) else {
            return;
        };
        let imported: Vec<String> = store.keys().filter(|key| key.origin == Origin::External).map(|key| key.id.clone()).collect();
        let store = account.region_mut(region);
        for id in imported {
            store.change(&id, |key| key.materials.iter_mut().for_each(Material::lose));
        }
        account.synchronize(now);
    }

    fn alter(&self, account: &mut Account, before: &Account) {
        let regions: Vec<String> = account.regions().map(|(region, _)| region.clone()).collect();
        for region in regions {
            let is_new = |id: &String| before.region(&region).is_none_or(|store| store.get(id).is_none());
            let store = account.region_mut(&region);
            let made: Vec<String> = store.keys().map(|key| key.id.clone()).filter(is_new).collect();
            for id in made {
                store.change(&id, |key| key.tags.clear());
            }
        }
    }
}

/// INVARIANT: a refused request has changed nothing, because each operation makes all checks before its first change.
fn mutate(scope: &mut Scope<'_>, account: &mut Account, operation: Operation, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let output = match operation {
        Operation::ReplicateKey => multi_region::replicate(scope, account, fields),
        Operation::UpdatePrimaryRegion => multi_region::update_primary(scope, account, fields),
        other => mutate_region(scope, account.region_mut(&scope.config.region), other, fields),
    }?;
    account.synchronize(scope.now);
    Ok(output)
}

/// The changes of a request in its own region.
fn mutate_region(scope: &mut Scope<'_>, store: &mut Store, operation: Operation, fields: &Fields<'_>) -> Result<Value, Refusal> {
    match operation {
        Operation::CancelKeyDeletion => lifecycle::cancel_deletion(scope, store, fields),
        Operation::CreateAlias => alias::create(scope, store, fields),
        Operation::CreateGrant => grant::create(scope, store, fields),
        Operation::CreateKey => lifecycle::create(scope, store, fields),
        Operation::DeleteAlias => alias::delete(scope, store, fields),
        Operation::DeleteImportedKeyMaterial => import::delete(scope, store, fields),
        Operation::DisableKey => lifecycle::switch(scope, store, fields, true),
        Operation::EnableKey => lifecycle::switch(scope, store, fields, false),
        Operation::DisableKeyRotation | Operation::EnableKeyRotation => rotation::automatic(scope, store, fields),
        Operation::ImportKeyMaterial => import::import(scope, store, fields),
        Operation::PutKeyPolicy => marks::put_policy(scope, store, fields),
        Operation::RetireGrant => grant::retire(scope, store, fields),
        Operation::RevokeGrant => grant::revoke(scope, store, fields),
        Operation::RotateKeyOnDemand => rotation::rotate(scope, store, fields),
        Operation::ScheduleKeyDeletion => lifecycle::schedule_deletion(scope, store, fields),
        Operation::TagResource => marks::tag(scope, store, fields),
        Operation::UntagResource => marks::untag(scope, store, fields),
        Operation::UpdateAlias => alias::update(scope, store, fields),
        other => read(scope, store, other, fields),
    }
}

fn read(scope: &mut Scope<'_>, store: &Store, operation: Operation, fields: &Fields<'_>) -> Result<Value, Refusal> {
    match operation {
        Operation::Decrypt => crypt::decrypt(scope, store, fields),
        Operation::DescribeKey => lifecycle::describe(scope, store, fields),
        Operation::Encrypt => crypt::encrypt(scope, store, fields),
        Operation::GenerateDataKey => crypt::data_key(scope, store, fields, true),
        Operation::GenerateDataKeyWithoutPlaintext => crypt::data_key(scope, store, fields, false),
        Operation::GetKeyLastUsage => lifecycle::last_usage(scope, store, fields),
        Operation::GetKeyPolicy => marks::get_policy(scope, store, fields),
        Operation::GetKeyRotationStatus => rotation::status(scope, store, fields),
        Operation::GetParametersForImport => import::parameters(scope, store, fields),
        Operation::ListAliases => alias::list(scope, store, fields),
        Operation::ListGrants => grant::list(scope, store, fields),
        Operation::ListKeyPolicies => marks::list_policies(scope, store, fields),
        Operation::ListKeyRotations => rotation::list(scope, store, fields),
        Operation::ListKeys => lifecycle::list(scope, store, fields),
        Operation::ListResourceTags => marks::list_tags(scope, store, fields),
        Operation::ListRetirableGrants => grant::list_retirable(scope, store, fields),
        Operation::ReEncrypt => crypt::re_encrypt(scope, store, fields),
        mutating => Err(Code::Internal.because(format!("`{}` is not a read", mutating.name()))),
    }
}
