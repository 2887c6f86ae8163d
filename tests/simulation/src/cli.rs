//! The command line: many schedules concurrently, or one whose transcript is printed.
#![expect(clippy::print_stdout, reason = "the one place that writes to the terminal")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;

use crate::executor::locked;
use crate::planted::Planted;
use crate::rules::Broken;
use crate::schedule::{Fault, Schedule};
use crate::shrink::shrink;
use crate::taken_over;
use crate::world::{Ended, run};

/// The engine under virtual time: crashes, lost and late replies, people, each from a seed.
#[derive(Parser)]
#[command(name = "keyplane-simulate", version)]
struct Cli {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many schedules; with one, its transcript is printed
    #[arg(long, default_value_t = 1)]
    schedules: u64,
    /// How many run side by side
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// A bug to plant, by its name; `all`: each in turn, which has to be found
    #[arg(long)]
    plant: Option<String>,
    /// In place of schedules from seeds: every mishap at every request of a key's way to every cloud, one by one
    #[arg(long)]
    grid: bool,
    /// In place of the engine: a server that was taken over asks a custodian for everything. Takes --seed, --schedules, --jobs and --plant,
    /// whose variants are others
    #[arg(long, conflicts_with = "grid")]
    taken_over: bool,
    /// Do not look for a smaller schedule that fails as well
    #[arg(long)]
    no_shrink: bool,
}

/// How many failing schedules are printed in full; of the others only the seed and the rules.
const TOLD: usize = 3;

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.grid {
        return if crate::grid::walk() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if cli.taken_over {
        return if attack(&cli) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match cli.plant.as_deref() {
        Some("all") => hunt(&cli),
        Some(name) => match Planted::ALL.into_iter().find(|planted| planted.name() == name) {
            Some(planted) if cli.schedules == 1 => read(&cli, Some(planted)),
            Some(planted) => many(&cli, Some(planted)),
            None => {
                let known = Planted::ALL.map(Planted::name).join(", ");
                println!("no bug is called `{name}`; there are: {known}");
                ExitCode::FAILURE
            }
        },
        None if cli.schedules == 1 => read(&cli, None),
        None => many(&cli, None),
    }
}

/// Runs one schedule and prints its transcript.
fn read(cli: &Cli, planted: Option<Planted>) -> ExitCode {
    let schedule = Schedule::draw(cli.seed);
    let ended = run(&schedule, planted, true);
    println!("{}", pretty(&schedule));
    ended.lines.iter().for_each(|line| println!("{line}"));
    println!("transcript {}", ended.transcript);
    if ended.broken.is_empty() {
        println!("every rule holds, after {} virtual seconds", ended.seconds);
        return ExitCode::SUCCESS;
    }
    tell(cli, &schedule, planted, &ended);
    ExitCode::FAILURE
}

/// Runs many schedules and prints what they covered and which failed.
fn many(cli: &Cli, planted: Option<Planted>) -> ExitCode {
    let (counts, failed) = (Mutex::new(BTreeMap::<String, u64>::new()), Mutex::new(Vec::<(u64, Ended)>::new()));
    let shapes = Mutex::new(BTreeMap::<String, u64>::new());
    side_by_side(cli, |seed| {
        let schedule = Schedule::draw(seed);
        let ended = run(&schedule, planted, false);
        {
            let mut shapes = locked(&shapes);
            for shape in shapes_of(&schedule) {
                *shapes.entry(shape).or_default() += 1;
            }
        }
        {
            let mut counts = locked(&counts);
            ended.counts.iter().for_each(|(what, count)| *counts.entry(what.clone()).or_default() += count);
        }
        if !ended.broken.is_empty() {
            locked(&failed).push((seed, ended));
        }
    });
    print("what the schedules have:", &locked(&shapes));
    print("what happened:", &locked(&counts));
    let mut failed = failed.into_inner().unwrap_or_default();
    failed.sort_by_key(|(seed, _)| *seed);
    for (seed, ended) in failed.iter().take(TOLD) {
        tell(cli, &Schedule::draw(*seed), planted, ended);
    }
    for (seed, ended) in failed.iter().skip(TOLD) {
        let rules: BTreeSet<_> = ended.broken.iter().map(|broken| broken.rule.to_string()).collect();
        println!("seed {seed} breaks {}", rules.into_iter().collect::<Vec<_>>().join(", "));
    }
    println!("{} schedules, {} failed", cli.schedules, failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a job for the seed of each schedule, several concurrently.
fn side_by_side(cli: &Cli, job: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..cli.jobs {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= cli.schedules {
                        break;
                    }
                    job(cli.seed + number);
                }
            });
        }
    });
}

fn print(title: &str, counts: &BTreeMap<String, u64>) {
    println!("{title}");
    counts.iter().for_each(|(what, count)| println!("  {count:>9}  {what}"));
}

/// Runs the schedules of a server that was taken over, or searches for each planted variant. Whether all is as it should be.
fn attack(cli: &Cli) -> bool {
    let planted = match cli.plant.as_deref() {
        Some("all") => return hunt_taken_over(cli),
        None => None,
        Some(name) => match taken_over::Planted::ALL.into_iter().find(|planted| planted.name() == name) {
            Some(planted) => Some(planted),
            None => {
                println!(
                    "no variant is called `{name}`; there are: {}",
                    taken_over::Planted::ALL.map(taken_over::Planted::name).join(", ")
                );
                return false;
            }
        },
    };
    let (counts, failed) = (Mutex::new(BTreeMap::<String, u64>::new()), Mutex::new(BTreeMap::new()));
    side_by_side(cli, |seed| {
        let ended = taken_over::run(seed, planted, cli.schedules == 1);
        ended.lines.iter().for_each(|line| println!("{line}"));
        {
            let mut counts = locked(&counts);
            ended.counts.into_iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
        }
        if !ended.broken.is_empty() {
            locked(&failed).insert(seed, ended.broken);
        }
    });
    print("what happened:", &locked(&counts));
    let failed = failed.into_inner().unwrap_or_default();
    for (seed, broken) in &failed {
        for taken_over::Broken { fault, what } in broken {
            println!("seed {seed}: the custodian let through, {fault}: {what}");
        }
    }
    println!("{} schedules, {} failed", cli.schedules, failed.len());
    failed.is_empty()
}

/// Searches for each planted variant of the custodian.
fn hunt_taken_over(cli: &Cli) -> bool {
    let mut missed = 0;
    for planted in taken_over::Planted::ALL {
        let found = first(cli, |seed| {
            let broken = taken_over::run(seed, Some(planted), false).broken;
            broken.into_iter().find(|broken| broken.fault == planted.shows_as())
        });
        let shown = found.map(|(number, broken)| format!("found by schedule {}: {}: {}", number + 1, broken.fault, broken.what));
        missed += usize::from(shown.is_none());
        println!("{:<32} {}", planted.name(), shown.unwrap_or_else(|| format!("NOT found in {} schedules", cli.schedules)));
    }
    println!("{} planted variants, {missed} not found", taken_over::Planted::ALL.len());
    missed == 0
}

/// Searches for each planted bug. A failure if one is not found.
fn hunt(cli: &Cli) -> ExitCode {
    let mut missed = 0;
    for planted in Planted::ALL {
        let found = first(cli, |seed| {
            let schedule = Some(Schedule::draw(seed)).filter(|schedule| planted.may_show(schedule))?;
            let broken = run(&schedule, Some(planted), false).broken;
            broken.into_iter().find(|broken| broken.rule == planted.breaks())
        });
        let shown = found.map(|(number, broken)| {
            format!("found by schedule {} (seed {}): {}: {}", number + 1, cli.seed + number, broken.rule, broken.what)
        });
        missed += usize::from(shown.is_none());
        println!("{:<28} {}", planted.name(), shown.unwrap_or_else(|| format!("NOT found in {} schedules", cli.schedules)));
    }
    println!("{} planted bugs, {missed} not found", Planted::ALL.len());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first of the schedules whose seed gives something, counted from 0; several are tried concurrently.
fn first<T: Send>(cli: &Cli, job: impl Fn(u64) -> Option<T> + Sync) -> Option<(u64, T)> {
    let (next, found) = (AtomicU64::new(0), Mutex::new(None::<(u64, T)>));
    let is_late = |number| locked(&found).as_ref().is_some_and(|(first, _)| *first < number);
    std::thread::scope(|scope| {
        for _ in 0..cli.jobs {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= cli.schedules || is_late(number) {
                        break;
                    }
                    if let Some(given) = job(cli.seed + number)
                        && !is_late(number)
                    {
                        *locked(&found) = Some((number, given));
                    }
                }
            });
        }
    });
    found.into_inner().ok().flatten()
}

fn tell(cli: &Cli, schedule: &Schedule, planted: Option<Planted>, ended: &Ended) {
    println!("seed {} breaks:", schedule.seed);
    let lines = |broken: &[Broken]| broken.iter().for_each(|Broken { rule, what }| println!("  {rule}: {what}"));
    lines(&ended.broken);
    if !cli.no_shrink {
        let (smaller, broken) = shrink(schedule, &ended.broken, |schedule| run(schedule, planted, false).broken);
        println!("and so does this smaller schedule:\n{}", pretty(&smaller));
        lines(&broken);
    }
    println!("to read it: make simulate SEED={}", schedule.seed);
}

fn pretty(schedule: &Schedule) -> String {
    serde_json::to_string_pretty(schedule).unwrap_or_default()
}

/// The features of a schedule, for the statistics.
fn shapes_of(schedule: &Schedule) -> Vec<String> {
    let keys: Vec<_> = schedule.wanted().collect();
    let placements: usize = schedule.keys.iter().map(|key| key.places.len()).sum();
    let places = keys.iter().flat_map(|key| {
        key.places.iter().map(|(place, algorithm)| format!("placement to {} by {algorithm} at {}", key.purpose, place.name()))
    });
    let shared = keys.iter().filter(|key| key.shared && key.places.len() > 1).map(|key| {
        let algorithm = key.places.values().next().map(ToString::to_string).unwrap_or_default();
        let places = key.places.keys().map(|place| place.name()).collect::<Vec<_>>().join(" and ");
        format!("shared {algorithm} at {places}")
    });
    let bots = schedule.faults.iter().filter_map(|fault| match fault {
        Fault::Bot { place, operation, what } => Some(format!("a bot {what:?} {operation} at {}", place.name()).to_lowercase()),
        _ => None,
    });
    let charter = schedule.charter.as_ref().map(|charter| {
        let ends = if charter.given_up.is_some() { "given up" } else { "signed" };
        format!("charter {:?}, {ends}", charter.what).to_lowercase()
    });
    vec![
        format!("{} servers", schedule.servers),
        format!("{} keys", keys.len()),
        format!("{placements:>2} placements at first"),
        format!("{:>2} faults", schedule.faults.len()),
        format!("azure is a {}", if schedule.key_vault { "key vault" } else { "managed hsm" }),
    ]
    .into_iter()
    .chain(places)
    .chain(shared)
    .chain(charter)
    .chain(bots)
    .chain(schedule.readings.iter().map(|(place, question, answer)| format!("{} {question} {answer}", place.name())))
    .collect()
}
