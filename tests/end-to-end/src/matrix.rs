//! One case of the kill matrix: its fault, and what has to hold afterwards.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyplane_lab::{Emulator, Protected};
use keyplane_model::{Action, CloudKind};
use serde_json::{Value, json};

use crate::site::Site;
use crate::world::{HERE, World, hashes, wait_for};

/// A fault while `keyplane apply` works on a key.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) site: &'static Site,
    pub(crate) work: Work,
    /// The key's profile, which is named after its source.
    pub(crate) source: &'static str,
    /// What the emulator does to which mutating request of the key, counted from 1.
    pub(crate) fault: Option<(u64, Value)>,
    pub(crate) kill: Kill,
}

/// What `keyplane apply` has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Bring a new key to its destination.
    FirstKey,
    /// Remove or disable the surplus of a late effect, after approval.
    CleanUp,
}

/// When `keyplane` is killed, by SIGKILL, so that it cannot clean up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    Not,
    /// When the emulator has stopped at a request.
    Halted {
        /// Whether to wait until `keyplane` certainly has its reply.
        replied: bool,
        /// Whether a request that was stopped before its effect takes effect later.
        lands: bool,
    },
    Received,
    /// When `keyplane` has reported so many lines of progress.
    Told(usize),
}

/// How often `keyplane apply` is run after the fault, at most: to resume, to finish what that left, and after a clean-up was approved.
const RUNS: usize = 3;

/// A delay in seconds within the settling time of the labs (time-out and consistency bound: 1.2 s): the client has given up, and still
/// waits.
pub(crate) const WITHIN: u64 = 1;

/// A delay in seconds beyond the settling time: the client has concluded that there was no effect, and sent the request again.
pub(crate) const BEYOND: u64 = 5;

/// More requests than any test sends: a late request waits until the test lets it take effect.
pub(crate) const HELD: u64 = 1_000_000;

/// Every mutating request of `keyplane apply` for one key, in order, from an undisturbed run.
pub(crate) fn mutations(world: &World, site: &Site, work: Work, key: &str, source: &'static str) -> Vec<String> {
    work.approved(world, site, key, source);
    let before = world.requests(site.destination).len();
    world.must(&["apply"]).unwrap();
    let of_apply = world.requests(site.destination).into_iter().skip(before);
    of_apply.filter(|request| request["mutation"].is_u64()).map(|request| request["operation"].as_str().unwrap().to_owned()).collect()
}

/// A lab in which the emulator has generated its RSA pairs, and a time-out costs a second.
pub(crate) fn world(site: &Site) -> World {
    let world = World::enrolled_at(site.destination);
    world.applied("undisturbed", "generated", &[site.destination]);
    world.edit_config(|text| text.replace("call-timeout = \"3s\"", "call-timeout = \"1s\"")).unwrap();
    world
}

/// Runs cases of one site in several labs concurrently; fails with every case that fails. `prepare` sets up each lab. Returns how many runs
/// ended before they were to be killed.
pub(crate) fn run(cases: Vec<Case>, labs: usize, prepare: fn(&World, &Site)) -> usize {
    let site = cases.first().expect("there are cases").site;
    let count = cases.len();
    let queue = Mutex::new(cases.into_iter().enumerate().collect::<VecDeque<_>>());
    let (failures, unkilled) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..labs {
            scope.spawn(|| {
                let begin = || {
                    let world = world(site);
                    prepare(&world, site);
                    world
                };
                let mut world = begin();
                loop {
                    let next = queue.lock().unwrap().pop_front();
                    let Some((number, case)) = next else { break };
                    let key = format!("case-{number}");
                    match catch_unwind(AssertUnwindSafe(|| case.run(&world, &key))) {
                        Ok(Disturbed::AsPlanned) => {}
                        Ok(Disturbed::EndedBefore) => drop(unkilled.fetch_add(1, Ordering::Relaxed)),
                        Err(panic) => {
                            let said = panic.downcast_ref::<String>().cloned();
                            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                            failures.lock().unwrap().push(format!("{case:?}: {}", said.unwrap_or_default()));
                            // What the failed case left in this lab would spoil the next one.
                            world = begin();
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {count} cases failed:\n{}", failures.len(), failures.join("\n"));
    unkilled.into_inner()
}

/// What became of a run with a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturbed {
    /// The fault happened.
    AsPlanned,
    /// The run ended first, because it reported fewer lines than the run that counted them: a slow call is also reported.
    EndedBefore,
}

impl Work {
    /// Asks for the work, and has it approved.
    fn approved(self, world: &World, site: &Site, key: &str, source: &str) {
        world.approved(key, source, &[site.destination]);
        if self == Self::FirstKey {
            return;
        }
        let emulator = world.emulator(site.destination).unwrap();
        let operation = site.requests[usize::try_from(site.doubles).unwrap() - 1];
        let effect = json!({ "kind": "late", "after_requests": HELD, "close": true });
        emulator.post("faults", &json!({ "operation": operation, "effect": effect })).unwrap();
        // If the emulator has to generate a pair first, a time-out may come before its answer.
        let ran: Vec<_> = (0..RUNS).map(|_| world.keyplane(&["apply"])).take_while(|ran| ran.code != 0).collect();
        assert!(ran.len() < RUNS, "{ran:#?}");
        // An object was made in the place of the one whose request was given up; now that one is made as well.
        emulator.post("late", &json!(null)).unwrap();
        assert!(all_answered(emulator), "the request that was held did not take effect");
        // Google Cloud imports for a while; until then there is nothing to clean up.
        wait_for("the late import", || (!emulator.get("dump").unwrap().to_string().contains("PENDING_IMPORT")).then_some(()));
        world.must(&["plan"]).unwrap();
        let open = world.status().unwrap().open;
        assert_eq!(open.iter().map(|view| view.action).collect::<Vec<_>>(), [Action::CleanUp], "{open:#?}");
        world.approve_all().unwrap();
    }
}

impl Case {
    fn run(&self, world: &World, key: &str) -> Disturbed {
        self.work.approved(world, self.site, key, self.source);
        let emulator = self.emulator(world);
        emulator.delete("requests").unwrap();
        let base = emulator.get("state").unwrap()["mutations"].as_u64().unwrap();
        let hit = self.fault.as_ref().map(|(number, effect)| {
            emulator.post("faults", &json!({ "mutation": base + number, "effect": effect })).unwrap();
            base + number
        });
        let disturbed = self.disturb(world, hit);

        let before = hashes(&self.objects(world, key));
        assert!(before.len() <= 1, "{} materials after the fault", before.len());
        let kept = self.protect(world, key, !before.is_empty());

        self.recover(world);
        if let Some(hit) = hit.filter(|_| self.is_late()) {
            wait_for("the late effect", || answered(emulator, hit));
            self.recover(world);
        }
        self.check(world, key);
        let after = hashes(&self.objects(world, key));
        assert!(before.is_subset(&after), "the material changed");
        if let Some(kept) = kept {
            self.site.check(world, key, b"before", &kept).expect("what was encrypted before decrypts");
        }
        disturbed
    }

    fn emulator<'w>(&self, world: &'w World) -> &'w Emulator {
        world.emulator(self.site.destination).unwrap()
    }

    fn objects(&self, world: &World, key: &str) -> Vec<Value> {
        world.objects(self.site.destination, key)
    }

    /// Runs `keyplane apply` with the fault.
    fn disturb(&self, world: &World, hit: Option<u64>) -> Disturbed {
        let emulator = self.emulator(world);
        let told = matches!(self.kill, Kill::Told(_));
        let output = if told { Stdio::piped() } else { Stdio::null() };
        let mut apply = world.command(&["apply"]).stdout(Stdio::null()).stderr(output).spawn().unwrap();
        match self.kill {
            Kill::Not => {
                apply.wait().unwrap();
            }
            Kill::Halted { replied, lands } => {
                wait_for_halt(emulator, replied);
                kill(&mut apply);
                emulator.post("resume", &json!({ "apply": lands })).unwrap();
            }
            Kill::Received => {
                wait_for("the request", || {
                    let mutations = emulator.get("state").unwrap()["mutations"].as_u64().unwrap();
                    (Some(mutations) >= hit).then_some(())
                });
                kill(&mut apply);
            }
            Kill::Told(lines) => {
                let progress = BufReader::new(apply.stderr.take().unwrap()).lines().map(Result::unwrap);
                if progress.take(lines).count() == lines {
                    // After its last line it may end before the kill.
                    apply.kill().unwrap();
                    apply.wait().unwrap();
                } else {
                    assert!(apply.wait().unwrap().success(), "it told less than that, and failed");
                    return Disturbed::EndedBefore;
                }
            }
        }
        Disturbed::AsPlanned
    }

    /// Whether the effect comes after its client gave up.
    fn is_late(&self) -> bool {
        self.fault.as_ref().is_some_and(|(_, effect)| effect["kind"] == "late")
    }

    /// Whether there may be surplus.
    fn may_double(&self) -> bool {
        self.is_late() || self.work == Work::CleanUp
    }

    /// Encrypts under the key, if it can be used already: at AWS by its claim, since its users' name may come later; at Google Cloud with
    /// its primary version, without which nobody can encrypt. `None`: it cannot be used.
    fn protect(&self, world: &World, key: &str, has_material: bool) -> Option<Protected> {
        let name = match self.site.cloud() {
            CloudKind::Aws => claims(world, key).pop().filter(|_| has_material)?.strip_prefix("alias/").unwrap().to_owned(),
            CloudKind::Gcp => {
                let usable = self.objects(world, key).iter().any(|object| object["primary"].is_string());
                Some(key.to_owned()).filter(|_| usable)?
            }
            CloudKind::Azure => Some(key.to_owned()).filter(|_| has_material)?,
        };
        // Where reads lag, so does use.
        Some(wait_for("the use of the key", || self.site.protect(world, &name, b"before").ok()))
    }

    /// Applies until a plan finds nothing to do. Only surplus may have to be removed on the way.
    fn recover(&self, world: &World) {
        let mut said = String::new();
        for _ in 0..RUNS {
            let ran = world.keyplane(&["apply"]);
            let left = world.settled().err();
            if ran.code == 0 && left.is_none() {
                return;
            }
            said.push_str(&format!("apply ended with {}:\n{}{}", ran.code, ran.stdout, ran.stderr));
            said.push_str(&left.unwrap_or_default());
            for view in world.status().unwrap().open.iter().filter(|view| view.approved_by.is_empty()) {
                assert_eq!(view.action, Action::CleanUp, "a change set for {} was dropped, and made anew:\n{said}", view.key);
            }
            world.approve_all().unwrap();
        }
        panic!("something is left after {RUNS} runs:\n{said}");
    }

    /// What has to hold in the end of every case.
    fn check(&self, world: &World, key: &str) {
        let objects = self.objects(world, key);
        let (live, surplus): (Vec<_>, Vec<_>) = objects.iter().partition(|object| Site::is_live(object));
        assert_eq!(live.len(), 1, "not one live object: {objects:#?}");
        assert!(surplus.iter().all(|object| object["materials"].as_array().unwrap().is_empty()), "surplus with material: {surplus:#?}");
        assert!(self.may_double() || surplus.is_empty(), "an object was made twice, though the first could be seen: {surplus:#?}");
        let live = live[0];
        // Where the import is the activation, the first of two was in use until the second came, so it stays usable.
        let followed = self.site.cloud() == CloudKind::Azure && self.may_double();
        let usable = Site::usable(live);
        assert!(usable.len() == 1 || followed && usable.len() == 2, "not one material that works: {live:#?}");
        let seconds = live["materials"].as_array().unwrap().len() - 1;
        assert!(self.may_double() || seconds == 0, "it was imported twice, though the first import could be seen: {live:#?}");
        assert_eq!(hashes(&objects).len(), 1, "not one material: {live:#?}");
        let id = live["id"].as_str().unwrap();
        if self.site.cloud() == CloudKind::Aws {
            assert_eq!(live["state"], "Enabled", "{live:#?}");
            assert_eq!(world.target(HERE, &format!("alias/{key}")).as_deref(), Some(id), "the users' name leads elsewhere");
            let claims = claims(world, key);
            assert_eq!(claims.len(), 1, "not one claim: {claims:?}");
            assert_eq!(world.target(HERE, &claims[0]).as_deref(), Some(id), "the claim leads elsewhere");
        }
        let status = world.status().unwrap();
        let copies = &status.keys.iter().find(|status| status.key.as_str() == key).unwrap().copies;
        assert!(copies.len() == 1 && copies[0].imported.is_some(), "{copies:#?}");
        assert_eq!(copies[0].object.as_ref().map(ToString::to_string).as_deref(), Some(id), "the ledger knows another object");

        let kept = self.site.protect(world, key, b"after").unwrap();
        self.site.check(world, key, b"after", &kept).unwrap();
    }
}

/// Our aliases that point at objects of a key.
fn claims(world: &World, key: &str) -> Vec<String> {
    let dump = world.here().get("dump").unwrap();
    let ids: Vec<Value> = world.objects(HERE, key).into_iter().map(|object| object["id"].clone()).collect();
    let aliases = dump["aliases"].as_array().unwrap().iter();
    let ours = aliases.filter(|alias| ids.contains(&alias["target"])).map(|alias| alias["name"].as_str().unwrap().to_owned());
    ours.filter(|name| name.starts_with("alias/keyplane/")).collect()
}

/// Whether every mutating request had its effect or was refused.
fn all_answered(emulator: &Emulator) -> bool {
    let requests = emulator.get("requests").unwrap();
    let mut mutations = requests.as_array().unwrap().iter().filter(|request| request["mutation"].is_u64());
    mutations.all(|request| request["outcome"].is_string())
}

/// Whether a mutating request had its effect or was refused.
fn answered(emulator: &Emulator, mutation: u64) -> Option<()> {
    // The emulator applies what is due when it is asked for its state.
    emulator.get("state").unwrap();
    let requests = emulator.get("requests").unwrap();
    let request = requests.as_array().unwrap().iter().find(|request| request["mutation"] == mutation).unwrap();
    request["outcome"].is_string().then_some(())
}

/// Waits until the emulator has stopped; with `replied`, until its client has the reply and sends another request.
pub(crate) fn wait_for_halt(emulator: &Emulator, replied: bool) {
    wait_for("the halt", || {
        let state = emulator.get("state").unwrap();
        let hanging = state["halted"].as_object()?["hanging"].as_u64().unwrap();
        (!replied || hanging > 0).then_some(())
    });
}

/// Sends SIGKILL to a `keyplane` that has to be running.
pub(crate) fn kill(apply: &mut Child) {
    assert!(apply.try_wait().unwrap().is_none(), "`keyplane` ended before it could be killed");
    apply.kill().unwrap();
    apply.wait().unwrap();
}
