//! The engine under virtual time.
//!
//! Owns runs: the whole engine in one thread with one seed, the ledger in memory, the emulators' cores with symbolic cryptography, several
//! servers, people, and faults; a checker for each rule that schedules can break; and bugs that are planted by wrappers around the ports,
//! never by switches in the product.
//!
//! May know: `engine` and its dependencies, and the emulators' cores. Nobody may know it.
//!
//! | module | owns |
//! |---|---|
//! | `schedule` | who takes part, what is wanted, what goes wrong: drawn from the seed in advance |
//! | `world` | one run of it, up to the verdict |
//! | `rules`, `watch`, `absence` | the checkers: of the final state, and of each mutating request as it leaves |
//! | `planted` | bugs, to test the checkers with |
//! | `shrink` | makes a failing schedule smaller |
//! | `server`, `people` | servers, the policy's intents, approvers |
//! | `executor` | virtual time, and the order of tasks |
//! | `life` | a server from its start to its crash, and the exact moments at which it can crash |
//! | `grid` | schedules made by hand: every mishap at every request on a key's way, and crashes at every moment |
//! | `net`, `ports` | the network between servers and clouds; the way from servers to ledger and custodian |
//! | `clouds`, `sites` | the port `Cloud` over each emulator's core; the emulators of a run |
//! | `custodian`, `symbols` | the HSM, with cryptography as a table |
//! | `taken_over` | runs of another kind: a server that was taken over asks a custodian for everything |
//! | `cli` | `keyplane-simulate` |

mod absence;
mod cli;
mod clouds;
mod custodian;
mod executor;
mod grid;
mod life;
mod net;
mod people;
mod planted;
mod ports;
mod rules;
mod schedule;
mod server;
mod shrink;
mod sites;
mod symbols;
mod taken_over;
#[cfg(test)]
mod tests;
mod watch;
mod world;

pub use cli::main;
