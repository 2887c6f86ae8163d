//! Injected faults: rules that select a request, and what goes wrong with it.
//!
//! Decisions are pure: in every run that sends the same requests, the n-th mutating request is the same one.

use serde::{Deserialize, Serialize};

/// A request is served by the first rule that fits it and is not used up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Only this operation, by its name on the wire (`ImportKeyMaterial`). `None`: any.
    #[serde(default)]
    pub operation: Option<String>,
    /// Only the mutating request with this number, counted from 1 since the emulator started. `None`: any.
    #[serde(default)]
    pub mutation: Option<u64>,
    /// How many fitting requests pass first.
    #[serde(default)]
    pub skip: u64,
    /// How often the rule acts: once if it is left out, always if it is null.
    #[serde(default = "once")]
    pub times: Option<u64>,
    pub effect: Effect,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// The cloud's throttling answer, without the effect.
    Throttle,
    /// The cloud's "not allowed" answer, without the effect.
    Deny,
    /// The cloud's internal error.
    ServerError {
        /// Whether the request takes effect all the same.
        #[serde(default)]
        applied: bool,
    },
    /// An answer with this error code and HTTP status, without the effect.
    Error {
        /// As the cloud spells it.
        code: String,
        /// 400 if it is left out.
        #[serde(default = "bad_request")]
        status: u16,
    },
    /// No answer. The connection stays open.
    Hang {
        /// Whether the request takes effect all the same.
        #[serde(default)]
        applied: bool,
    },
    /// The request takes effect; then the connection is closed without an answer.
    LostReply,
    /// No answer, and the request takes effect later if it still can. With both limits the earlier one counts; with neither, it takes
    /// effect at once.
    Late {
        /// In seconds of the emulator's clock.
        #[serde(default)]
        after_seconds: Option<u32>,
        /// After so many further requests were answered.
        #[serde(default)]
        after_requests: Option<u64>,
        /// Close the connection at once, instead of letting the client wait.
        #[serde(default)]
        close: bool,
    },
    /// The usual answer, and no effect that anybody ever sees: it is undone at once.
    Undone,
    /// The usual answer and effect, and what was made is altered at once, as by a program of the owner's with rules of its own: new keys lose
    /// their tags or labels, and at Azure new versions are disabled.
    Altered,
    /// The cloud stops: from here on every request hangs until somebody resumes it.
    Halt { when: HaltPoint },
}

/// Where in the life of a request the cloud stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltPoint {
    /// The request was received, and nothing was done.
    BeforeEffect,
    /// The request took effect, and no answer was sent.
    AfterEffect,
    /// The answer was sent.
    AfterReply,
}

/// The rules that can still act.
#[derive(Debug, Default)]
pub struct Faults(Vec<Rule>);

impl Faults {
    /// Adds a rule after the others.
    pub fn add(&mut self, rule: Rule) {
        self.0.push(rule);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn rules(&self) -> &[Rule] {
        &self.0
    }

    /// The effect of the first rule that fits this request; that rule is used once. `None`: nothing goes wrong.
    pub fn decide(&mut self, operation: &str, mutation: Option<u64>) -> Option<Effect> {
        let mut decided = None;
        for rule in self.0.iter_mut().filter(|rule| rule.fits(operation, mutation)) {
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if let Some(times) = &mut rule.times {
                *times = times.saturating_sub(1);
            }
            decided = Some(rule.effect.clone());
            break;
        }
        self.0.retain(|rule| rule.times != Some(0));
        decided
    }
}

impl Rule {
    /// A rule that does `effect` to the mutating request with this number.
    pub fn on_mutation(number: u64, effect: Effect) -> Self {
        Self { operation: None, mutation: Some(number), skip: 0, times: once(), effect }
    }

    /// A rule that does `effect` to the next request of this operation.
    pub fn on_operation(operation: &str, effect: Effect) -> Self {
        Self { operation: Some(operation.to_owned()), mutation: None, skip: 0, times: once(), effect }
    }

    fn fits(&self, operation: &str, mutation: Option<u64>) -> bool {
        self.times != Some(0)
            && self.operation.as_deref().is_none_or(|wanted| wanted == operation)
            && self.mutation.is_none_or(|wanted| mutation == Some(wanted))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the field's own type")]
const fn once() -> Option<u64> {
    Some(1)
}

const fn bad_request() -> u16 {
    400
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_acts_once_unless_told_otherwise() {
        let mut faults = Faults::default();
        faults.add(Rule::on_operation("CreateKey", Effect::Throttle));
        assert_eq!(faults.decide("DescribeKey", None), None);
        assert_eq!(faults.decide("CreateKey", Some(1)), Some(Effect::Throttle));
        assert_eq!(faults.decide("CreateKey", Some(2)), None);
        assert!(faults.rules().is_empty());
    }

    #[test]
    fn a_rule_for_a_mutation_waits_for_its_number() {
        let mut faults = Faults::default();
        faults.add(Rule::on_mutation(2, Effect::LostReply));
        assert_eq!(faults.decide("CreateKey", Some(1)), None);
        assert_eq!(faults.decide("DescribeKey", None), None);
        assert_eq!(faults.decide("CreateAlias", Some(2)), Some(Effect::LostReply));
    }

    #[test]
    fn a_rule_reads_as_it_is_documented() {
        let rule: Rule = serde_json::from_str(
            r#"{"operation": "ImportKeyMaterial", "skip": 1, "times": null, "effect": {"kind": "late", "after_requests": 3}}"#,
        )
        .unwrap();
        let mut faults = Faults::default();
        faults.add(rule);
        assert_eq!(faults.decide("ImportKeyMaterial", Some(1)), None);
        let late = Some(Effect::Late { after_seconds: None, after_requests: Some(3), close: false });
        assert_eq!(faults.decide("ImportKeyMaterial", Some(2)), late);
        assert_eq!(faults.decide("ImportKeyMaterial", Some(3)), late);
        assert!(serde_json::from_str::<Rule>(r#"{"effect": {"kind": "throttle"}, "time": 3}"#).is_err());
    }
}
