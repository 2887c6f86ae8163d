//! The engine under virtual time.
//!
//! Owns runs: the whole engine in one thread with one seed, the in-memory ledger, the emulators' cores with symbolic
//! cryptography, several servers, people, and faults of every kind; a checker for each rule that schedules can break; and bugs that are
//! planted by wrappers around the ports, never by switches in the product.
//!
//! May know: `engine` and what that knows, and the emulators' cores. Nobody may know it.
//!
//! | module | owns |
//! |---|---|
//! | `schedule` | who is there, what is wanted, what goes wrong: drawn from the seed beforehand |
//! | `world` | one run of it, to the judgement |
//! | `rules`, `watch`, `absence` | the judgement: what is left in the end, and each mutating request as it leaves |
//! | `planted` | bugs, for the rules to be judged by |
//! | `shrink` | a failing schedule made smaller |
//! | `server`, `people` | who works, who wants, who approves |
//! | `executor` | virtual time, and who goes on next |
//! | `life` | a server from its start to its crash, and the exact moments at which it can crash |
//! | `grid` | schedules made by hand: every mishap at every request of a key's way, and crashes at every moment |
//! | `net`, `ports` | the way between a server and a cloud; between a server, the ledger and the custodian |
//! | `clouds`, `sites` | the port `Cloud` over each emulator's core; the emulators of a run |
//! | `custodian`, `symbols` | the HSM, with cryptography as a table |
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
#[cfg(test)]
mod tests;
mod watch;
mod world;

pub use cli::main;
