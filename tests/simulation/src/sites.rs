//! The emulated clouds of a run behind one trait.

use std::sync::Arc;

use keyplane_emulator_core::fault::{Effect, Rule};
use keyplane_emulator_core::frame::Service;
use keyplane_model::{Destination, InstallationId, Span, Timestamp};
use keyplane_port::Cloud;
use serde_json::Value;

use crate::clouds::{Place, aws, azure, by_hand, gcp};
use crate::life::Life;
use crate::net::{Line, Site, core_time};
use crate::people::parsed;
use crate::schedule::{Bot, Meddling, Mishap};
use crate::symbols::Symbols;

pub(crate) trait Emulated: Send + Sync {
    /// The port of a server to this cloud.
    fn cloud(&self, life: &Life, who: &str, installation: InstallationId) -> Arc<dyn Cloud>;
    /// Sets the answer of an open question, as JSON. `false`: there is no such question or answer.
    fn read(&self, question: &str, answer: &str) -> bool;
    /// Adds a fault rule.
    fn add(&self, rule: Rule);
    /// Makes the nth mutating request arrive twice.
    fn double(&self, mutation: u64);
    /// How many mutating requests it got so far, including those that set it up.
    fn mutations(&self) -> u64;
    /// Removes all fault rules. Late effects that are under way still come.
    fn calm(&self);
    fn dump(&self, now: Timestamp) -> Value;
    /// The operations of its mutating requests, in order.
    fn mutating(&self) -> Vec<String>;
    /// Every request as JSON; and for each injected fault its time, effect and operation.
    fn requests(&self) -> (String, Vec<(Timestamp, String, String)>);
    /// The requests that were sent when the quota was used up, with their times.
    fn overdrawn(&self) -> Vec<(Timestamp, String)>;
    /// Somebody changes a key by hand. `false`: there was no such key.
    fn meddle(&self, now: Timestamp, name: &str, what: Meddling) -> bool;
}

struct Whole<S: Service> {
    site: Arc<Site<S>>,
    destination: Destination,
    connect: fn(Line<S>, Destination, InstallationId) -> Arc<dyn Cloud>,
    by_hand: fn(&Value, &str, Meddling) -> Option<S::Request>,
}

impl<S: Service> Emulated for Whole<S> {
    fn cloud(&self, life: &Life, who: &str, installation: InstallationId) -> Arc<dyn Cloud> {
        let line = Line::new(life.clone(), Arc::clone(&self.site), format!("{who}>{}", self.destination.name));
        (self.connect)(line, self.destination.clone(), installation)
    }

    fn read(&self, question: &str, answer: &str) -> bool {
        self.site.inside(|frame, _| {
            let readings = frame.readings();
            let mut all = serde_json::to_value(&*readings).unwrap_or_default();
            all[question] = serde_json::from_str(answer).unwrap_or_default();
            serde_json::from_value(all).map(|all| *readings = all).is_ok()
        })
    }

    fn add(&self, rule: Rule) {
        self.site.inside(|frame, _| frame.faults().add(rule));
    }

    fn double(&self, mutation: u64) {
        self.site.double(mutation);
    }

    fn mutations(&self) -> u64 {
        self.site.inside(|frame, _| frame.journal().mutations())
    }

    fn calm(&self) {
        self.site.inside(|frame, _| frame.faults().clear());
    }

    fn dump(&self, now: Timestamp) -> Value {
        self.site.inside(|frame, rng| frame.dump(core_time(now), rng))
    }

    fn requests(&self) -> (String, Vec<(Timestamp, String, String)>) {
        self.site.inside(|frame, _| {
            let entries: Vec<_> = frame.journal().entries().collect();
            let mishaps = entries.iter().filter_map(|entry| {
                let fault = serde_json::to_value(entry.fault.as_ref()?).ok()?;
                Some((Timestamp(entry.at.micros()), fault["kind"].as_str()?.to_owned(), entry.operation.clone()))
            });
            (serde_json::to_string(&entries).unwrap_or_default(), mishaps.collect())
        })
    }

    fn mutating(&self) -> Vec<String> {
        self.site.inside(|frame, _| {
            let entries = frame.journal().entries().filter(|entry| entry.mutation.is_some());
            entries.map(|entry| entry.operation.clone()).collect()
        })
    }

    fn overdrawn(&self) -> Vec<(Timestamp, String)> {
        self.site.overdrawn()
    }

    fn meddle(&self, now: Timestamp, name: &str, what: Meddling) -> bool {
        let dump = self.dump(now);
        let Some(request) = (self.by_hand)(&dump, name, what) else { return false };
        self.site.inside(|frame, rng| drop(frame.handle(core_time(now), rng, &request)));
        true
    }
}

/// The cloud of a place. `lag`: how old a state that a read shows may be. `key_vault`: the Azure vault is a Key Vault, not a Managed HSM.
pub(crate) fn emulated(place: Place, key_vault: bool, symbols: Symbols, lag: Span, seed: u64) -> Arc<dyn Emulated> {
    let name = parsed(place.name());
    match place {
        Place::Aws => Arc::new(Whole {
            site: Site::new(aws::frame(symbols, lag, seed), seed),
            destination: aws::destination(name),
            connect: |line, destination, installation| Arc::new(aws::Aws::new(line, destination, installation)),
            by_hand: by_hand::aws,
        }),
        Place::Gcp | Place::Gcp2 => Arc::new(Whole {
            site: Site::new(gcp::frame(symbols, &name, lag), seed),
            destination: gcp::destination(name),
            connect: |line, destination, installation| Arc::new(gcp::Gcp::new(line, destination, installation)),
            by_hand: by_hand::gcp,
        }),
        Place::Azure => {
            let destination = azure::destination(name, key_vault);
            Arc::new(Whole {
                site: Site::new(azure::frame(symbols, &destination, lag), seed),
                destination,
                connect: |line, destination, installation| Arc::new(azure::Azure::new(line, destination, installation)),
                by_hand: by_hand::azure,
            })
        }
    }
}

/// Makes a mishap happen to the nth mutating request from now.
pub(crate) fn befall(site: &dyn Emulated, nth: u64, what: Mishap) {
    let mutation = site.mutations() + nth;
    let effect = match what {
        Mishap::Twice => return site.double(mutation),
        Mishap::LostReply => Effect::LostReply,
        Mishap::Late(seconds) => Effect::Late { after_seconds: Some(seconds), after_requests: None, close: false },
        Mishap::Closed(requests) => Effect::Late { after_seconds: None, after_requests: Some(requests), close: true },
        Mishap::Swallowed => Effect::Hang { applied: false },
        Mishap::Failed { applied } => Effect::ServerError { applied },
        Mishap::Throttled => Effect::Throttle,
    };
    site.add(Rule { operation: None, mutation: Some(mutation), skip: 0, times: Some(1), effect });
}

/// The rule that refuses `times` requests in a row, after `skip` that pass.
pub(crate) fn refusals(skip: u64, times: u64, throttled: bool) -> Rule {
    let effect = if throttled { Effect::Throttle } else { Effect::ServerError { applied: false } };
    Rule { operation: None, mutation: None, skip, times: Some(times), effect }
}

/// The rule by which a bot meddles with every request of an operation, until the trouble is over.
pub(crate) fn bot(operation: &str, what: Bot) -> Rule {
    let effect = match what {
        Bot::Undoes => Effect::Undone,
        Bot::Alters => Effect::Altered,
    };
    Rule { operation: Some(operation.to_owned()), mutation: None, skip: 0, times: None, effect }
}
