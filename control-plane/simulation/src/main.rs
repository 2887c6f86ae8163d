//! `keyplane-simulate`: runs schedules, or one of them to be read.

fn main() -> std::process::ExitCode {
    keyplane_simulation::main()
}
